/* The vocabulary for sixteen lanes: AVX-512 F, BW, DQ and VL. */
typedef __m512 v16f;
typedef __m512i v16i;
typedef __mmask16 v16m;

GG_INLINE v16i v16f_bits(v16f a) { return _mm512_castps_si512(a); }
GG_INLINE v16f v16i_asf(v16i a) { return _mm512_castsi512_ps(a); }
GG_INLINE v16i v16i_set(int32_t a) { return _mm512_set1_epi32(a); }
GG_INLINE v16m v16m_first(int n) { return (v16m)((1u << n) - 1u); }

GG_INLINE v16f v16f_load(const float *p) { return _mm512_loadu_ps(p); }
GG_INLINE void v16f_store(float *p, v16f a) { _mm512_storeu_ps(p, a); }
GG_INLINE v16f v16f_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(v16m_first(n), p);
}
GG_INLINE void v16f_store_n(float *p, v16f a, int n)
{
    _mm512_mask_storeu_ps(p, v16m_first(n), a);
}
GG_INLINE v16f v16f_set(float a) { return _mm512_set1_ps(a); }
GG_INLINE v16f v16f_add(v16f a, v16f b) { return _mm512_add_ps(a, b); }
GG_INLINE v16f v16f_sub(v16f a, v16f b) { return _mm512_sub_ps(a, b); }
GG_INLINE v16f v16f_mul(v16f a, v16f b) { return _mm512_mul_ps(a, b); }
GG_INLINE v16f v16f_div(v16f a, v16f b) { return _mm512_div_ps(a, b); }
GG_INLINE v16f v16f_fma(v16f a, v16f b, v16f c) { return _mm512_fmadd_ps(a, b, c); }
GG_INLINE v16f v16f_max(v16f a, v16f b) { return _mm512_max_ps(a, b); }
GG_INLINE v16f v16f_min(v16f a, v16f b) { return _mm512_min_ps(a, b); }
GG_INLINE v16f v16f_maximum(v16f a, v16f b)
{
    return _mm512_mask_max_ps(a, _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), a, b);
}
GG_INLINE v16f v16f_minimum(v16f a, v16f b)
{
    return _mm512_mask_min_ps(a, _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), a, b);
}
GG_INLINE v16f v16f_neg(v16f a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
GG_INLINE v16f v16f_abs(v16f a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
GG_INLINE v16f v16f_copysign(v16f a, v16f b)
{
    v16f sign = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(sign, a), _mm512_and_ps(sign, b));
}
GG_INLINE v16f v16f_sqrt(v16f a) { return _mm512_sqrt_ps(a); }
GG_INLINE v16f v16f_rint(v16f a) { return _mm512_roundscale_ps(a, 8); }
GG_INLINE v16f v16f_floor(v16f a) { return _mm512_roundscale_ps(a, 9); }
GG_INLINE v16f v16f_ceil(v16f a) { return _mm512_roundscale_ps(a, 10); }

GG_INLINE v16m v16f_gt(v16f a, v16f b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
GG_INLINE v16m v16f_ge(v16f a, v16f b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
GG_INLINE v16m v16f_lt(v16f a, v16f b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
GG_INLINE v16m v16f_le(v16f a, v16f b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
GG_INLINE v16m v16f_eq(v16f a, v16f b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
GG_INLINE v16m v16m_and(v16m a, v16m b) { return (v16m)(a & b); }
GG_INLINE v16m v16m_or(v16m a, v16m b) { return (v16m)(a | b); }
GG_INLINE v16m v16m_not(v16m a) { return (v16m)~a; }
GG_INLINE int v16m_any(v16m a) { return a != 0; }
GG_INLINE v16f v16f_select(v16m m, v16f a, v16f b) { return _mm512_mask_blend_ps(m, b, a); }

GG_INLINE v16i v16i_load(const int32_t *p) { return _mm512_loadu_si512((const void *)p); }
GG_INLINE void v16i_store(int32_t *p, v16i a) { _mm512_storeu_si512((void *)p, a); }
GG_INLINE v16i v16i_load_n(const int32_t *p, int n)
{
    return _mm512_maskz_loadu_epi32(v16m_first(n), p);
}
GG_INLINE void v16i_store_n(int32_t *p, v16i a, int n)
{
    _mm512_mask_storeu_epi32(p, v16m_first(n), a);
}
GG_INLINE v16i v16i_add(v16i a, v16i b) { return _mm512_add_epi32(a, b); }
GG_INLINE v16i v16i_sub(v16i a, v16i b) { return _mm512_sub_epi32(a, b); }
GG_INLINE v16i v16i_mul(v16i a, v16i b) { return _mm512_mullo_epi32(a, b); }
GG_INLINE v16i v16i_and(v16i a, v16i b) { return _mm512_and_si512(a, b); }
GG_INLINE v16i v16i_or(v16i a, v16i b) { return _mm512_or_si512(a, b); }
GG_INLINE v16i v16i_xor(v16i a, v16i b) { return _mm512_xor_si512(a, b); }
GG_INLINE v16i v16i_max(v16i a, v16i b) { return _mm512_max_epi32(a, b); }
GG_INLINE v16i v16i_min(v16i a, v16i b) { return _mm512_min_epi32(a, b); }
#define v16i_shl(a, n) _mm512_slli_epi32(a, n)
#define v16i_sra(a, n) _mm512_srai_epi32(a, n)
GG_INLINE v16f v16i_to_f(v16i a) { return _mm512_cvtepi32_ps(a); }
GG_INLINE v16i v16f_to_i(v16f a) { return _mm512_cvtps_epi32(a); }

GG_INLINE v16i v16i_load_i8(const int8_t *p)
{
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
}
GG_INLINE v16i v16i_load_u8(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}
GG_INLINE v16i v16i_load_i8_n(const int8_t *p, int n)
{
    return _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(v16m_first(n), p));
}
GG_INLINE v16i v16i_load_u8_n(const uint8_t *p, int n)
{
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(v16m_first(n), p));
}
GG_INLINE void v16i_store_b(void *p, v16i a)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a));
}
GG_INLINE void v16i_store_b_n(void *p, v16i a, int n)
{
    _mm512_mask_cvtepi32_storeu_epi8(p, v16m_first(n), a);
}
GG_INLINE v16i v16f_sat(v16f a, float lo, float hi)
{
    return v16f_to_i(v16f_min(v16f_max(a, v16f_set(lo)), v16f_set(hi)));
}

GG_INLINE v16f v16f_zip_lo(v16f a, v16f b)
{
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19,
                                                       4, 20, 5, 21, 6, 22, 7, 23), b);
}
GG_INLINE v16f v16f_zip_hi(v16f a, v16f b)
{
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27,
                                                       12, 28, 13, 29, 14, 30, 15, 31), b);
}
GG_INLINE float v16f_sum(v16f a)
{
    __m256 high = _mm512_extractf32x8_ps(a, 1);
    return v8f_sum(_mm256_add_ps(_mm512_castps512_ps256(a), high));
}
GG_INLINE float v16f_hmax(v16f a)
{
    __m256 high = _mm512_extractf32x8_ps(a, 1);
    return v8f_hmax(_mm256_max_ps(_mm512_castps512_ps256(a), high));
}

typedef __m512i v16h;
GG_INLINE v16h v16h_set(const int16_t *p)
{
    int32_t pair;
    memcpy(&pair, p, 4);
    return _mm512_set1_epi32(pair);
}
GG_INLINE v16h v16h_load(const int8_t *p)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p));
}
GG_INLINE v16i v16i_dot2(v16i acc, v16h a, v16h b)
{
    return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
}
/* n codes widened, with their zero point subtracted */
GG_INLINE void v16h_prepare_i8(int16_t *to, const int8_t *from, int n, int zero)
{
    v8h_prepare_i8(to, from, n, zero);
}
GG_INLINE void v16h_prepare_u8(int16_t *to, const uint8_t *from, int n, int zero)
{
    v8h_prepare_u8(to, from, n, zero);
}
/* a's, then b's numbers as int16, saturated */
GG_INLINE void v16h_store(int16_t *p, v16i a, v16i b)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtsepi32_epi16(a));
    _mm256_storeu_si256((__m256i *)(p + 16), _mm512_cvtsepi32_epi16(b));
}
