/* Two products of 16 bits in one instruction (Armv7E-M, Armv8-M with DSP) beside scalar.h; elsewhere
 * the same in C. A word holds four bytes of memory, the first one lowest; two of them become the
 * halves of a word: even ones are bytes 0 and 2, odd ones 1 and 3. */
GG_INLINE uint32_t dsp_load(const void *p) { uint32_t r; memcpy(&r, p, 4); return r; }
GG_INLINE uint32_t dsp_halves(int32_t low, int32_t high) { return ((uint32_t)low & 0xffffu) | (uint32_t)high << 16; }
GG_INLINE int32_t dsp_low(uint32_t a) { return (int16_t)(a & 0xffffu); }
GG_INLINE int32_t dsp_high(uint32_t a) { return (int16_t)(a >> 16); }
GG_INLINE uint32_t dsp_even_i8(uint32_t a)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP)
    uint32_t r;
    __asm__("sxtb16 %0, %1" : "=r"(r) : "r"(a));
    return r;
#else
    return dsp_halves((int8_t)(a & 0xffu), (int8_t)(a >> 16 & 0xffu));
#endif
}
GG_INLINE uint32_t dsp_odd_i8(uint32_t a)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP)
    uint32_t r;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(a));
    return r;
#else
    return dsp_even_i8(a >> 8);
#endif
}
GG_INLINE uint32_t dsp_even_u8(uint32_t a) { return a & 0x00ff00ffu; }
GG_INLINE uint32_t dsp_odd_u8(uint32_t a) { return a >> 8 & 0x00ff00ffu; }
/* acc and the products of the halves, modulo 2^32 */
GG_INLINE int32_t dsp_dot2(int32_t acc, uint32_t a, uint32_t b)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP)
    int32_t r;
    __asm__("smlad %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
#else
    return (int32_t)((uint32_t)acc + (uint32_t)(dsp_low(a) * dsp_low(b)) + (uint32_t)(dsp_high(a) * dsp_high(b)));
#endif
}
/* acc and the product of the low halves, of the high ones */
GG_INLINE int32_t dsp_low_low(int32_t acc, uint32_t a, uint32_t b)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP)
    int32_t r;
    __asm__("smlabb %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
#else
    return (int32_t)((uint32_t)acc + (uint32_t)(dsp_low(a) * dsp_low(b)));
#endif
}
GG_INLINE int32_t dsp_high_high(int32_t acc, uint32_t a, uint32_t b)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP)
    int32_t r;
    __asm__("smlatt %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
#else
    return (int32_t)((uint32_t)acc + (uint32_t)(dsp_high(a) * dsp_high(b)));
#endif
}
/* the halves of two words: the low ones, the high ones */
GG_INLINE uint32_t dsp_lows(uint32_t a, uint32_t b)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP)
    uint32_t r;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(r) : "r"(a), "r"(b));
    return r;
#else
    return (a & 0xffffu) | b << 16;
#endif
}
GG_INLINE uint32_t dsp_highs(uint32_t a, uint32_t b)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP)
    uint32_t r;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(r) : "r"(b), "r"(a));
    return r;
#else
    return a >> 16 | (b & 0xffff0000u);
#endif
}
/* a + b, saturated */
GG_INLINE int32_t dsp_add(int32_t a, int32_t b)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP)
    int32_t r;
    __asm__("qadd %0, %1, %2" : "=r"(r) : "r"(a), "r"(b));
    return r;
#else
    const int64_t r = (int64_t)a + b;
    return r > INT32_MAX ? INT32_MAX : r < INT32_MIN ? INT32_MIN : (int32_t)r;
#endif
}
/* a code within [0, 255] or [-128, 127] */
GG_INLINE int32_t dsp_sat_i8(int32_t a)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP)
    __asm__("ssat %0, #8, %0" : "+r"(a));
    return a;
#else
    return a < -128 ? -128 : a > 127 ? 127 : a;
#endif
}
GG_INLINE int32_t dsp_sat_u8(int32_t a)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP)
    __asm__("usat %0, #8, %0" : "+r"(a));
    return a;
#else
    return a < 0 ? 0 : a > 255 ? 255 : a;
#endif
}
/* Sums of one row for four channels. x: for each pair of terms a word of halves; w: for each four
 * terms two words a pair of channels, as in dsp_tile. `pairs` is even. */
GG_INLINE void dsp_row(int32_t sums[4], const uint32_t *x, const int8_t *w, int pairs)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && defined(__thumb2__)
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    int n = pairs / 2;
    uint32_t p, q, u, t, v;
    __asm__ volatile(
        "1:\n\tldrd %[p], %[q], [%[x]], #8\n\t"
        "ldrd %[u], %[t], [%[w]], #8\n\t"
        "sxtb16 %[v], %[u]\n\tsmlad %[a], %[p], %[v], %[a]\n\t"
        "sxtb16 %[v], %[u], ror #8\n\tsmlad %[b], %[p], %[v], %[b]\n\t"
        "sxtb16 %[v], %[t]\n\tsmlad %[a], %[q], %[v], %[a]\n\t"
        "sxtb16 %[v], %[t], ror #8\n\tsmlad %[b], %[q], %[v], %[b]\n\t"
        "ldrd %[u], %[t], [%[w]], #8\n\t"
        "sxtb16 %[v], %[u]\n\tsmlad %[c], %[p], %[v], %[c]\n\t"
        "sxtb16 %[v], %[u], ror #8\n\tsmlad %[d], %[p], %[v], %[d]\n\t"
        "sxtb16 %[v], %[t]\n\tsmlad %[c], %[q], %[v], %[c]\n\t"
        "sxtb16 %[v], %[t], ror #8\n\tsmlad %[d], %[q], %[v], %[d]\n\t"
        "subs %[n], #1\n\tbne 1b"
        : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [x] "+r"(x), [w] "+r"(w), [n] "+r"(n),
          [p] "=&r"(p), [q] "=&r"(q), [u] "=&r"(u), [t] "=&r"(t), [v] "=&r"(v)
        : : "cc", "memory");
    sums[0] = a; sums[1] = b; sums[2] = c; sums[3] = d;
#else
    for (int k = 0; k < pairs; k += 2, x += 2)
        for (int i = 0; i < 4; i += 2, w += 8)
            for (int late = 0; late < 2; ++late) {
                const uint32_t word = dsp_load(w + 4 * late);
                sums[i] = dsp_dot2(sums[i], x[late], dsp_even_i8(word));
                sums[i + 1] = dsp_dot2(sums[i + 1], x[late], dsp_odd_i8(word));
            }
#endif
}
/* Sums of three pixels for two channels: sums[0..2] of one, sums[3..5] of the other. x: for each pair
 * of terms a word of halves a pixel; w: for each pair a word, bytes 0 and 2 for the one, 1 and 3 for
 * the other. `pairs` is even. */
GG_INLINE void dsp_tile(int32_t sums[6], const uint32_t *x, const int8_t *w, int pairs)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && defined(__OPTIMIZE__) && (__ARM_FP & 4)
    int32_t a0 = sums[0], a1 = sums[1], a2 = sums[2], b0 = sums[3], b1 = sums[4], b2 = sums[5];
    const uint32_t *end = x + 3 * pairs;
    float last; /* no general register is left for where the loop ends */
    uint32_t u, v;
    memcpy(&last, &end, 4);
    __asm__ volatile(
        "1:\n\t"
        "ldmia %[x]!, {r2, r3, r4}\n\tldr %[u], [%[w]], #4\n\tsxtb16 %[v], %[u]\n\t"
        "smlad %[a0], r2, %[v], %[a0]\n\tsmlad %[a1], r3, %[v], %[a1]\n\t"
        "smlad %[a2], r4, %[v], %[a2]\n\tsxtb16 %[v], %[u], ror #8\n\t"
        "smlad %[b0], r2, %[v], %[b0]\n\tsmlad %[b1], r3, %[v], %[b1]\n\t"
        "smlad %[b2], r4, %[v], %[b2]\n\t"
        "ldmia %[x]!, {r2, r3, r4}\n\tldr %[u], [%[w]], #4\n\tsxtb16 %[v], %[u]\n\t"
        "smlad %[a0], r2, %[v], %[a0]\n\tsmlad %[a1], r3, %[v], %[a1]\n\t"
        "smlad %[a2], r4, %[v], %[a2]\n\tsxtb16 %[v], %[u], ror #8\n\t"
        "smlad %[b0], r2, %[v], %[b0]\n\tsmlad %[b1], r3, %[v], %[b1]\n\t"
        "smlad %[b2], r4, %[v], %[b2]\n\t"
        "vmov %[u], %[last]\n\tcmp %[x], %[u]\n\tbne 1b"
        : [a0] "+r"(a0), [a1] "+r"(a1), [a2] "+r"(a2), [b0] "+r"(b0), [b1] "+r"(b1), [b2] "+r"(b2),
          [x] "+r"(x), [w] "+r"(w), [u] "=&r"(u), [v] "=&r"(v)
        : [last] "t"(last) : "r2", "r3", "r4", "cc", "memory");
    sums[0] = a0; sums[1] = a1; sums[2] = a2; sums[3] = b0; sums[4] = b1; sums[5] = b2;
#else
    for (int k = 0; k < pairs; ++k, x += 3, w += 4) {
        const uint32_t word = dsp_load(w);
        for (int i = 0; i < 3; ++i) {
            sums[i] = dsp_dot2(sums[i], x[i], dsp_even_i8(word));
            sums[3 + i] = dsp_dot2(sums[3 + i], x[i], dsp_odd_i8(word));
        }
    }
#endif
}
