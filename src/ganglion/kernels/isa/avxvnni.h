/* AVX-VNNI beside avx2.h: sums of four products, unsigned by signed bytes. */
typedef __m256i v8q;
GG_INLINE v8q v8q_set(const uint8_t *p)
{
    int32_t group;
    memcpy(&group, p, 4);
    return _mm256_set1_epi32(group);
}
GG_INLINE v8q v8q_load(const int8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
GG_INLINE v8i v8i_dot4(v8i acc, v8q a, v8q b) { return _mm256_dpbusd_avx_epi32(acc, a, b); }

/* n codes as unsigned bytes: signed ones with 128 added (zero is -128), or as they are */
GG_INLINE void v8q_prepare_i8(uint8_t *to, const int8_t *from, int n, int zero)
{
    __m256i zeros = _mm256_set1_epi8((char)zero);
    int i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i codes = _mm256_loadu_si256((const __m256i *)(from + i));
        _mm256_storeu_si256((__m256i *)(to + i), _mm256_sub_epi8(codes, zeros));
    }
    for (; i < n; ++i)
        to[i] = (uint8_t)(from[i] - zero);
}
GG_INLINE void v8q_prepare_u8(uint8_t *to, const uint8_t *from, int n, int zero)
{
    (void)zero;
    memcpy(to, from, (size_t)n);
}
/* n numbers as unsigned codes: rint(x * inverse) + zero, at most 255 */
GG_INLINE void v8q_quantize(uint8_t *to, const float *from, int n, float inverse, int zero)
{
    v8f factor = v8f_set(inverse);
    for (int i = 0; i < n; i += 8) {
        int left = n - i < 8 ? n - i : 8;
        v8i a = v8f_to_i(v8f_mul(v8f_load_n(from + i, left), factor));
        v8i_store_b_n(to + i, v8i_min(v8i_add(a, v8i_set(zero)), v8i_set(255)), left);
    }
}
