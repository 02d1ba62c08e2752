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
