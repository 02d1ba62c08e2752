/* AVX-512 VNNI beside avx512.h: sums of four products, unsigned by signed bytes. */
typedef __m512i v16q;
GG_INLINE v16q v16q_set(const uint8_t *p)
{
    int32_t group;
    memcpy(&group, p, 4);
    return _mm512_set1_epi32(group);
}
GG_INLINE v16q v16q_load(const int8_t *p) { return _mm512_loadu_si512((const void *)p); }
GG_INLINE v16i v16i_dot4(v16i acc, v16q a, v16q b) { return _mm512_dpbusd_epi32(acc, a, b); }

/* n codes as unsigned bytes: signed ones with 128 added (zero is -128), or as they are */
GG_INLINE void v16q_prepare_i8(uint8_t *to, const int8_t *from, int n, int zero)
{
    __m512i zeros = _mm512_set1_epi8((char)zero);
    for (int i = 0; i < n; i += 64) {
        __mmask64 m = n - i < 64 ? (1ull << (n - i)) - 1 : ~0ull;
        _mm512_mask_storeu_epi8(to + i, m,
                                _mm512_sub_epi8(_mm512_maskz_loadu_epi8(m, from + i), zeros));
    }
}
GG_INLINE void v16q_prepare_u8(uint8_t *to, const uint8_t *from, int n, int zero)
{
    (void)zero;
    memcpy(to, from, (size_t)n);
}

/* bytes of 64 channels for four taps, as four vectors of 16 channels' taps. In its 128-bit lane l,
 * vector j holds channels 16 l + 4 j to 16 l + 4 j + 3; v16q_pack puts them back in order */
GG_INLINE void v16q_interleave(v16q *to, v16q a, v16q b, v16q c, v16q d)
{
    v16q ab = _mm512_unpacklo_epi8(a, b), cd = _mm512_unpacklo_epi8(c, d);
    to[0] = _mm512_unpacklo_epi16(ab, cd);
    to[1] = _mm512_unpackhi_epi16(ab, cd);
    ab = _mm512_unpackhi_epi8(a, b);
    cd = _mm512_unpackhi_epi8(c, d);
    to[2] = _mm512_unpacklo_epi16(ab, cd);
    to[3] = _mm512_unpackhi_epi16(ab, cd);
}
/* sums times their factors, rounded; at most hi. What is below int32 becomes its least number, which
 * the pack saturates as it should. */
GG_INLINE v16i v16q_scaled(v16i sum, const float *factors, float hi)
{
    return v16f_to_i(v16f_min(v16f_mul(v16i_to_f(sum), v16f_load(factors)), v16f_set(hi)));
}
/* the same where no factor reaches 1: nothing leaves int32 */
GG_INLINE v16i v16q_rounded(v16i sum, const float *factors)
{
    return v16f_to_i(v16f_mul(v16i_to_f(sum), v16f_load(factors)));
}
/* the same of sums that began at the bits of 1.5 * 2^23: see rescale.py */
GG_INLINE v16i v16q_fused(v16i sum, const float *factors, const float *offsets)
{
    return v16f_to_i(v16f_fma(v16i_asf(sum), v16f_load(factors), v16f_load(offsets)));
}
GG_INLINE v16q v16q_words(v16i a, v16i b, int zero)
{
    v16q words = _mm512_packs_epi32(a, b);
    return zero ? _mm512_adds_epi16(words, _mm512_set1_epi16((int16_t)zero)) : words;
}
GG_INLINE v16q v16q_pack_i8(v16i a, v16i b, v16i c, v16i d, int zero)
{
    return _mm512_packs_epi16(v16q_words(a, b, zero), v16q_words(c, d, zero));
}
GG_INLINE v16q v16q_pack_u8(v16i a, v16i b, v16i c, v16i d, int zero)
{
    return _mm512_packus_epi16(v16q_words(a, b, zero), v16q_words(c, d, zero));
}
/* what v16q_pack gives of four vectors, each one's codes together */
GG_INLINE v16q v16q_rows(v16q a)
{
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14,
                                                      3, 7, 11, 15), a);
}
/* the first n of the sixteen codes that vector `from` gave */
#define v16q_store_quarter(p, a, from, n) \
    _mm_mask_storeu_epi8(p, v16m_first(n), _mm512_extracti32x4_epi32(a, from))
GG_INLINE v16q v16q_all(int code) { return _mm512_set1_epi8((char)code); }
GG_INLINE v16q v16q_least_i8(v16q a, int lo) { return _mm512_max_epi8(a, v16q_all(lo)); }
GG_INLINE v16q v16q_least_u8(v16q a, int lo) { return _mm512_max_epu8(a, v16q_all(lo)); }
GG_INLINE v16q v16q_max_i8(v16q a, v16q b) { return _mm512_max_epi8(a, b); }
GG_INLINE v16q v16q_max_u8(v16q a, v16q b) { return _mm512_max_epu8(a, b); }
GG_INLINE v16q v16q_most_i8(v16q a, int hi) { return _mm512_min_epi8(a, v16q_all(hi)); }
GG_INLINE v16q v16q_most_u8(v16q a, int hi) { return _mm512_min_epu8(a, v16q_all(hi)); }
/* codes as unsigned bytes: signed ones with 128 added */
GG_INLINE v16q v16q_raw_i8(v16q a) { return _mm512_xor_si512(a, v16q_all(-128)); }
GG_INLINE v16q v16q_raw_u8(v16q a) { return a; }
/* the bytes of the mask from memory, the others from `otherwise` */
GG_INLINE v16q v16q_inside(v16q otherwise, uint64_t mask, const uint8_t *p)
{
    return _mm512_mask_loadu_epi8(otherwise, mask, p);
}
/* pieces of eight bytes, by their number in a and b together */
GG_INLINE v16q v16q_pick(v16q a, v16q b, v16q numbers)
{
    return _mm512_permutex2var_epi64(a, numbers, b);
}
#define v16q_eighths(a, b, c, d, e, f, g, h) _mm512_setr_epi64(a, b, c, d, e, f, g, h)
GG_INLINE __mmask64 v16q_first(int n) { return n < 64 ? (1ull << n) - 1 : ~0ull; }
GG_INLINE void v16q_store(void *p, v16q a, int n) { _mm512_mask_storeu_epi8(p, v16q_first(n), a); }
/* n numbers as unsigned codes: rint(x * inverse) + zero, at most 255 */
GG_INLINE void v16q_quantize(uint8_t *to, const float *from, int n, float inverse, int zero)
{
    v16f factor = v16f_set(inverse);
    int i = 0;
    for (; i + 64 <= n; i += 64) {
        v16i a = v16f_to_i(v16f_mul(v16f_load(from + i), factor));
        v16i b = v16f_to_i(v16f_mul(v16f_load(from + i + 16), factor));
        v16i c = v16f_to_i(v16f_mul(v16f_load(from + i + 32), factor));
        v16i d = v16f_to_i(v16f_mul(v16f_load(from + i + 48), factor));
        v16q_store(to + i, v16q_rows(v16q_pack_u8(a, b, c, d, zero)), 64);
    }
    for (; i < n; i += 16) {
        int left = n - i < 16 ? n - i : 16;
        v16i a = v16f_to_i(v16f_mul(v16f_load_n(from + i, left), factor));
        a = v16i_min(v16i_add(a, v16i_set(zero)), v16i_set(255));
        v16i_store_b_n(to + i, a, left);
    }
}
