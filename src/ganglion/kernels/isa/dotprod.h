/* Dot products of bytes (FEAT_DotProd) beside neon.h. SDOT takes signed bytes alone: prepared codes
 * are unsigned as for other sets, and have 128 subtracted here; the packed biases make up for it. */
typedef int8x16_t v4q;
GG_INLINE v4q v4q_set(const uint8_t *p)
{
    uint32_t group;
    memcpy(&group, p, 4);
    return vreinterpretq_s8_u32(veorq_u32(vdupq_n_u32(group), vdupq_n_u32(0x80808080u)));
}
GG_INLINE v4q v4q_load(const int8_t *p) { return vld1q_s8(p); }
GG_INLINE v4i v4i_dot4(v4i acc, v4q a, v4q b) { return vdotq_s32(acc, b, a); }

/* n codes as unsigned bytes: signed ones with 128 added (zero is -128), or as they are */
GG_INLINE void v4q_prepare_i8(uint8_t *to, const int8_t *from, int n, int zero)
{
    int8x16_t zeros = vdupq_n_s8((int8_t)zero);
    int i = 0;
    for (; i + 16 <= n; i += 16)
        vst1q_u8(to + i, vreinterpretq_u8_s8(vsubq_s8(vld1q_s8(from + i), zeros)));
    for (; i < n; ++i)
        to[i] = (uint8_t)(from[i] - zero);
}
GG_INLINE void v4q_prepare_u8(uint8_t *to, const uint8_t *from, int n, int zero)
{
    (void)zero;
    memcpy(to, from, (size_t)n);
}
