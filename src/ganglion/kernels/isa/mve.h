/* Vectors of the M profile (Helium, Armv8.1-M) beside dsp.h: 16 bytes or 4 words at once; elsewhere
 * the same in C. Four words pass through memory. */
GG_INLINE void mve_signed(int8_t *to, const void *from, int n, int flip)
{
#if defined(__ARM_FEATURE_MVE)
    const int8_t *p = (const int8_t *)from;
    for (; n > 0; n -= 16, p += 16, to += 16) {
        const mve_pred16_t some = vctp8q((uint32_t)n);
        vstrbq_p_s8(to, veorq_s8(vldrbq_z_s8(p, some), vdupq_n_s8((int8_t)flip)), some);
    }
#else
    for (int i = 0; i < n; ++i)
        to[i] = (int8_t)(((const int8_t *)from)[i] ^ (int8_t)flip);
#endif
}
/* sums of one row for four channels: x 16 bytes a block, w 16 bytes a channel and block */
GG_INLINE void mve_dots(int32_t sums[4], const int8_t *x, const int8_t *w, int blocks)
{
#if defined(__ARM_FEATURE_MVE)
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    for (int k = 0; k < blocks; ++k, x += 16, w += 64) {
        const int8x16_t v = vldrbq_s8(x);
        a = vmladavaq_s8(a, v, vldrbq_s8(w));
        b = vmladavaq_s8(b, v, vldrbq_s8(w + 16));
        c = vmladavaq_s8(c, v, vldrbq_s8(w + 32));
        d = vmladavaq_s8(d, v, vldrbq_s8(w + 48));
    }
    sums[0] = a; sums[1] = b; sums[2] = c; sums[3] = d;
#else
    for (int k = 0; k < blocks; ++k, x += 16, w += 64)
        for (int i = 0; i < 64; ++i)
            sums[i / 16] = (int32_t)((uint32_t)sums[i / 16] + (uint32_t)(x[i % 16] * w[i]));
#endif
}
/* the first n of four sums gain a tap's products with their channels */
GG_INLINE void mve_tap_i8(int32_t sums[4], const int8_t *x, const int8_t *w, int n)
{
#if defined(__ARM_FEATURE_MVE)
    const mve_pred16_t some = vctp32q((uint32_t)n);
    const int32x4_t v = n < 4 ? vldrbq_z_s32(x, some) : vldrbq_s32(x);
    vstrwq_s32(sums, vaddq_s32(vldrwq_s32(sums), vmulq_s32(v, vldrbq_s32(w))));
#else
    for (int i = 0; i < n; ++i)
        sums[i] = (int32_t)((uint32_t)sums[i] + (uint32_t)(x[i] * w[i]));
#endif
}
GG_INLINE void mve_tap_u8(int32_t sums[4], const uint8_t *x, const int8_t *w, int n)
{
#if defined(__ARM_FEATURE_MVE)
    const mve_pred16_t some = vctp32q((uint32_t)n);
    const uint32x4_t v = n < 4 ? vldrbq_z_u32(x, some) : vldrbq_u32(x);
    const int32x4_t product = vmulq_s32(vreinterpretq_s32_u32(v), vldrbq_s32(w));
    vstrwq_s32(sums, vaddq_s32(vldrwq_s32(sums), product));
#else
    for (int i = 0; i < n; ++i)
        sums[i] = (int32_t)((uint32_t)sums[i] + (uint32_t)(x[i] * w[i]));
#endif
}
/* n codes of four sums, steps within [lo, hi] above the zero point */
GG_INLINE void mve_codes(void *y, const int32_t sums[4], const float *factors, int lo, int hi, int zero, int n)
{
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
    const float32x4_t steps = vmulq_f32(vcvtq_f32_s32(vldrwq_s32(sums)), vldrwq_f32(factors));
    const int32x4_t high = vmaxq_s32(vcvtnq_s32_f32(steps), vdupq_n_s32(lo));
    const int32x4_t codes = vaddq_n_s32(vminq_s32(high, vdupq_n_s32(hi)), zero);
    if (n < 4)
        vstrbq_p_s32((int8_t *)y, codes, vctp32q((uint32_t)n));
    else
        vstrbq_s32((int8_t *)y, codes);
#else
    for (int i = 0; i < n; ++i)
        ((uint8_t *)y)[i] = (uint8_t)(v1f_sat((float)sums[i] * factors[i], (float)lo, (float)hi) + zero);
#endif
}
