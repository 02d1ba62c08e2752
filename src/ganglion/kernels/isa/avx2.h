/* The vocabulary for eight lanes: AVX2 and FMA. */
typedef __m256 v8f;
typedef __m256i v8i;
typedef __m256 v8m;

GG_INLINE v8i v8f_bits(v8f a) { return _mm256_castps_si256(a); }
GG_INLINE v8f v8i_asf(v8i a) { return _mm256_castsi256_ps(a); }
GG_INLINE v8i v8i_set(int32_t a) { return _mm256_set1_epi32(a); }
/* all ones in the first n lanes */
GG_INLINE v8i v8i_first(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

GG_INLINE v8f v8f_load(const float *p) { return _mm256_loadu_ps(p); }
GG_INLINE void v8f_store(float *p, v8f a) { _mm256_storeu_ps(p, a); }
GG_INLINE v8f v8f_load_n(const float *p, int n) { return _mm256_maskload_ps(p, v8i_first(n)); }
GG_INLINE void v8f_store_n(float *p, v8f a, int n) { _mm256_maskstore_ps(p, v8i_first(n), a); }
GG_INLINE v8f v8f_set(float a) { return _mm256_set1_ps(a); }
GG_INLINE v8f v8f_add(v8f a, v8f b) { return _mm256_add_ps(a, b); }
GG_INLINE v8f v8f_sub(v8f a, v8f b) { return _mm256_sub_ps(a, b); }
GG_INLINE v8f v8f_mul(v8f a, v8f b) { return _mm256_mul_ps(a, b); }
GG_INLINE v8f v8f_div(v8f a, v8f b) { return _mm256_div_ps(a, b); }
GG_INLINE v8f v8f_fma(v8f a, v8f b, v8f c) { return _mm256_fmadd_ps(a, b, c); }
GG_INLINE v8f v8f_max(v8f a, v8f b) { return _mm256_max_ps(a, b); }
GG_INLINE v8f v8f_min(v8f a, v8f b) { return _mm256_min_ps(a, b); }
GG_INLINE v8f v8f_maximum(v8f a, v8f b)
{
    return _mm256_or_ps(_mm256_max_ps(a, b), _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
GG_INLINE v8f v8f_minimum(v8f a, v8f b)
{
    return _mm256_or_ps(_mm256_min_ps(a, b), _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
GG_INLINE v8f v8f_neg(v8f a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
GG_INLINE v8f v8f_abs(v8f a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
GG_INLINE v8f v8f_copysign(v8f a, v8f b)
{
    v8f sign = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b));
}
GG_INLINE v8f v8f_sqrt(v8f a) { return _mm256_sqrt_ps(a); }
GG_INLINE v8f v8f_rint(v8f a) { return _mm256_round_ps(a, 8); }
GG_INLINE v8f v8f_floor(v8f a) { return _mm256_round_ps(a, 9); }
GG_INLINE v8f v8f_ceil(v8f a) { return _mm256_round_ps(a, 10); }

GG_INLINE v8m v8f_gt(v8f a, v8f b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
GG_INLINE v8m v8f_ge(v8f a, v8f b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
GG_INLINE v8m v8f_lt(v8f a, v8f b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
GG_INLINE v8m v8f_le(v8f a, v8f b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
GG_INLINE v8m v8f_eq(v8f a, v8f b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
GG_INLINE v8m v8m_and(v8m a, v8m b) { return _mm256_and_ps(a, b); }
GG_INLINE v8m v8m_or(v8m a, v8m b) { return _mm256_or_ps(a, b); }
GG_INLINE v8m v8m_not(v8m a) { return _mm256_xor_ps(a, v8i_asf(v8i_set(-1))); }
GG_INLINE int v8m_any(v8m a) { return _mm256_movemask_ps(a) != 0; }
GG_INLINE v8f v8f_select(v8m m, v8f a, v8f b) { return _mm256_blendv_ps(b, a, m); }

GG_INLINE v8i v8i_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
GG_INLINE void v8i_store(int32_t *p, v8i a) { _mm256_storeu_si256((__m256i *)p, a); }
GG_INLINE v8i v8i_load_n(const int32_t *p, int n) { return _mm256_maskload_epi32(p, v8i_first(n)); }
GG_INLINE void v8i_store_n(int32_t *p, v8i a, int n)
{
    _mm256_maskstore_epi32(p, v8i_first(n), a);
}
GG_INLINE v8i v8i_add(v8i a, v8i b) { return _mm256_add_epi32(a, b); }
GG_INLINE v8i v8i_sub(v8i a, v8i b) { return _mm256_sub_epi32(a, b); }
GG_INLINE v8i v8i_mul(v8i a, v8i b) { return _mm256_mullo_epi32(a, b); }
GG_INLINE v8i v8i_and(v8i a, v8i b) { return _mm256_and_si256(a, b); }
GG_INLINE v8i v8i_or(v8i a, v8i b) { return _mm256_or_si256(a, b); }
GG_INLINE v8i v8i_xor(v8i a, v8i b) { return _mm256_xor_si256(a, b); }
GG_INLINE v8i v8i_max(v8i a, v8i b) { return _mm256_max_epi32(a, b); }
GG_INLINE v8i v8i_min(v8i a, v8i b) { return _mm256_min_epi32(a, b); }
#define v8i_shl(a, n) _mm256_slli_epi32(a, n)
#define v8i_sra(a, n) _mm256_srai_epi32(a, n)
GG_INLINE v8f v8i_to_f(v8i a) { return _mm256_cvtepi32_ps(a); }
GG_INLINE v8i v8f_to_i(v8f a) { return _mm256_cvtps_epi32(a); }

GG_INLINE __m128i v8i_bytes(const void *p, int n)
{
    uint64_t bytes = 0;
    memcpy(&bytes, p, (size_t)n);
    return _mm_cvtsi64_si128((long long)bytes);
}
GG_INLINE v8i v8i_load_i8(const int8_t *p) { return _mm256_cvtepi8_epi32(v8i_bytes(p, 8)); }
GG_INLINE v8i v8i_load_u8(const uint8_t *p) { return _mm256_cvtepu8_epi32(v8i_bytes(p, 8)); }
GG_INLINE v8i v8i_load_i8_n(const int8_t *p, int n)
{
    return _mm256_cvtepi8_epi32(v8i_bytes(p, n));
}
GG_INLINE v8i v8i_load_u8_n(const uint8_t *p, int n)
{
    return _mm256_cvtepu8_epi32(v8i_bytes(p, n));
}
GG_INLINE void v8i_store_b_n(void *p, v8i a, int n)
{
    v8i low = _mm256_and_si256(a, v8i_set(255));
    v8i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0xd8);
    __m128i half = _mm256_castsi256_si128(words);
    uint64_t bytes = (uint64_t)_mm_cvtsi128_si64(_mm_packus_epi16(half, half));
    memcpy(p, &bytes, (size_t)n);
}
GG_INLINE void v8i_store_b(void *p, v8i a) { v8i_store_b_n(p, a, 8); }
GG_INLINE v8i v8f_sat(v8f a, float lo, float hi)
{
    return v8f_to_i(v8f_min(v8f_max(a, v8f_set(lo)), v8f_set(hi)));
}

GG_INLINE v8f v8f_zip_lo(v8f a, v8f b)
{
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
}
GG_INLINE v8f v8f_zip_hi(v8f a, v8f b)
{
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
}
GG_INLINE float v8f_sum(v8f a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
GG_INLINE float v8f_hmax(v8f a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

typedef __m256i v8h;
GG_INLINE v8h v8h_set(const int16_t *p)
{
    int32_t pair;
    memcpy(&pair, p, 4);
    return _mm256_set1_epi32(pair);
}
GG_INLINE v8h v8h_load(const int8_t *p)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
}
GG_INLINE v8i v8i_dot2(v8i acc, v8h a, v8h b)
{
    return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
}
/* n codes widened, with their zero point subtracted */
#define V8H_PREPARE(name, type, widen)                                                     \
    GG_INLINE void name(int16_t *to, const type *from, int n, int zero)                    \
    {                                                                                      \
        __m256i zeros = _mm256_set1_epi16((int16_t)zero);                                  \
        int i = 0;                                                                         \
        for (; i + 16 <= n; i += 16) {                                                     \
            __m256i wide = widen(_mm_loadu_si128((const __m128i *)(from + i)));            \
            _mm256_storeu_si256((__m256i *)(to + i), _mm256_sub_epi16(wide, zeros));       \
        }                                                                                  \
        for (; i < n; ++i)                                                                 \
            to[i] = (int16_t)(from[i] - zero);                                             \
    }
V8H_PREPARE(v8h_prepare_i8, int8_t, _mm256_cvtepi8_epi16)
V8H_PREPARE(v8h_prepare_u8, uint8_t, _mm256_cvtepu8_epi16)
/* a's, then b's numbers as int16, saturated */
GG_INLINE void v8h_store(int16_t *p, v8i a, v8i b)
{
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
    _mm256_storeu_si256((__m256i *)p, words);
}
