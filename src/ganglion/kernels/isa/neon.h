/* The vocabulary for four lanes: AArch64 Advanced SIMD. */
typedef float32x4_t v4f;
typedef int32x4_t v4i;
typedef uint32x4_t v4m;

GG_INLINE v4i v4f_bits(v4f a) { return vreinterpretq_s32_f32(a); }
GG_INLINE v4f v4i_asf(v4i a) { return vreinterpretq_f32_s32(a); }
GG_INLINE v4i v4i_set(int32_t a) { return vdupq_n_s32(a); }

GG_INLINE v4f v4f_load(const float *p) { return vld1q_f32(p); }
GG_INLINE void v4f_store(float *p, v4f a) { vst1q_f32(p, a); }
GG_INLINE v4f v4f_load_n(const float *p, int n)
{
    float lanes[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    memcpy(lanes, p, (size_t)n * 4);
    return vld1q_f32(lanes);
}
GG_INLINE void v4f_store_n(float *p, v4f a, int n)
{
    float lanes[4];
    vst1q_f32(lanes, a);
    memcpy(p, lanes, (size_t)n * 4);
}
GG_INLINE v4f v4f_set(float a) { return vdupq_n_f32(a); }
GG_INLINE v4f v4f_add(v4f a, v4f b) { return vaddq_f32(a, b); }
GG_INLINE v4f v4f_sub(v4f a, v4f b) { return vsubq_f32(a, b); }
GG_INLINE v4f v4f_mul(v4f a, v4f b) { return vmulq_f32(a, b); }
GG_INLINE v4f v4f_div(v4f a, v4f b) { return vdivq_f32(a, b); }
GG_INLINE v4f v4f_fma(v4f a, v4f b, v4f c) { return vfmaq_f32(c, a, b); }
GG_INLINE v4f v4f_max(v4f a, v4f b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
GG_INLINE v4f v4f_min(v4f a, v4f b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
GG_INLINE v4f v4f_maximum(v4f a, v4f b) { return vmaxq_f32(a, b); }
GG_INLINE v4f v4f_minimum(v4f a, v4f b) { return vminq_f32(a, b); }
GG_INLINE v4f v4f_neg(v4f a) { return vnegq_f32(a); }
GG_INLINE v4f v4f_abs(v4f a) { return vabsq_f32(a); }
GG_INLINE v4f v4f_copysign(v4f a, v4f b) { return vbslq_f32(vdupq_n_u32(0x80000000u), b, a); }
GG_INLINE v4f v4f_sqrt(v4f a) { return vsqrtq_f32(a); }
GG_INLINE v4f v4f_rint(v4f a) { return vrndnq_f32(a); }
GG_INLINE v4f v4f_floor(v4f a) { return vrndmq_f32(a); }
GG_INLINE v4f v4f_ceil(v4f a) { return vrndpq_f32(a); }

GG_INLINE v4m v4f_gt(v4f a, v4f b) { return vcgtq_f32(a, b); }
GG_INLINE v4m v4f_ge(v4f a, v4f b) { return vcgeq_f32(a, b); }
GG_INLINE v4m v4f_lt(v4f a, v4f b) { return vcltq_f32(a, b); }
GG_INLINE v4m v4f_le(v4f a, v4f b) { return vcleq_f32(a, b); }
GG_INLINE v4m v4f_eq(v4f a, v4f b) { return vceqq_f32(a, b); }
GG_INLINE v4m v4m_and(v4m a, v4m b) { return vandq_u32(a, b); }
GG_INLINE v4m v4m_or(v4m a, v4m b) { return vorrq_u32(a, b); }
GG_INLINE v4m v4m_not(v4m a) { return vmvnq_u32(a); }
GG_INLINE int v4m_any(v4m a) { return vmaxvq_u32(a) != 0; }
GG_INLINE v4f v4f_select(v4m m, v4f a, v4f b) { return vbslq_f32(m, a, b); }

GG_INLINE v4i v4i_load(const int32_t *p) { return vld1q_s32(p); }
GG_INLINE void v4i_store(int32_t *p, v4i a) { vst1q_s32(p, a); }
GG_INLINE v4i v4i_load_n(const int32_t *p, int n)
{
    int32_t lanes[4] = {0, 0, 0, 0};
    memcpy(lanes, p, (size_t)n * 4);
    return vld1q_s32(lanes);
}
GG_INLINE void v4i_store_n(int32_t *p, v4i a, int n)
{
    int32_t lanes[4];
    vst1q_s32(lanes, a);
    memcpy(p, lanes, (size_t)n * 4);
}
GG_INLINE v4i v4i_add(v4i a, v4i b) { return vaddq_s32(a, b); }
GG_INLINE v4i v4i_sub(v4i a, v4i b) { return vsubq_s32(a, b); }
GG_INLINE v4i v4i_mul(v4i a, v4i b) { return vmulq_s32(a, b); }
GG_INLINE v4i v4i_and(v4i a, v4i b) { return vandq_s32(a, b); }
GG_INLINE v4i v4i_or(v4i a, v4i b) { return vorrq_s32(a, b); }
GG_INLINE v4i v4i_xor(v4i a, v4i b) { return veorq_s32(a, b); }
GG_INLINE v4i v4i_max(v4i a, v4i b) { return vmaxq_s32(a, b); }
GG_INLINE v4i v4i_min(v4i a, v4i b) { return vminq_s32(a, b); }
#define v4i_shl(a, n) vshlq_s32(a, vdupq_n_s32(n))
#define v4i_sra(a, n) vshlq_s32(a, vdupq_n_s32(-(n)))
GG_INLINE v4f v4i_to_f(v4i a) { return vcvtq_f32_s32(a); }
GG_INLINE v4i v4f_to_i(v4f a) { return vcvtnq_s32_f32(a); }

GG_INLINE v4i v4i_load_i8_n(const int8_t *p, int n)
{
    uint32_t bytes = 0;
    memcpy(&bytes, p, (size_t)n);
    return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytes)))));
}
GG_INLINE v4i v4i_load_u8_n(const uint8_t *p, int n)
{
    uint32_t bytes = 0;
    memcpy(&bytes, p, (size_t)n);
    uint16x8_t words = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(bytes)));
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(words)));
}
GG_INLINE v4i v4i_load_i8(const int8_t *p) { return v4i_load_i8_n(p, 4); }
GG_INLINE v4i v4i_load_u8(const uint8_t *p) { return v4i_load_u8_n(p, 4); }
GG_INLINE void v4i_store_b_n(void *p, v4i a, int n)
{
    int16x4_t words = vmovn_s32(a);
    int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
    uint32_t low = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);
    memcpy(p, &low, (size_t)n);
}
GG_INLINE void v4i_store_b(void *p, v4i a) { v4i_store_b_n(p, a, 4); }
GG_INLINE v4i v4f_sat(v4f a, float lo, float hi)
{
    return v4f_to_i(v4f_min(v4f_max(a, v4f_set(lo)), v4f_set(hi)));
}

GG_INLINE v4f v4f_zip_lo(v4f a, v4f b) { return vzip1q_f32(a, b); }
GG_INLINE v4f v4f_zip_hi(v4f a, v4f b) { return vzip2q_f32(a, b); }
GG_INLINE float v4f_sum(v4f a) { return vaddvq_f32(a); }
GG_INLINE float v4f_hmax(v4f a) { return vmaxvq_f32(a); }

/* the four lanes' first numbers, then their second ones */
typedef int16x8_t v4h;
GG_INLINE v4h v4h_set(const int16_t *p)
{
    int32_t pair;
    memcpy(&pair, p, 4);
    return vreinterpretq_s16_s32(vdupq_n_s32(pair));
}
GG_INLINE v4h v4h_load(const int8_t *p) { return vmovl_s8(vld1_s8(p)); }
GG_INLINE v4i v4i_dot2(v4i acc, v4h a, v4h b)
{
    acc = vmlal_lane_s16(acc, vget_low_s16(b), vget_low_s16(a), 0);
    return vmlal_lane_s16(acc, vget_high_s16(b), vget_low_s16(a), 1);
}
/* n codes widened, with their zero point subtracted */
GG_INLINE void v4h_prepare_i8(int16_t *to, const int8_t *from, int n, int zero)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        vst1q_s16(to + i, vsubq_s16(vmovl_s8(vld1_s8(from + i)), vdupq_n_s16((int16_t)zero)));
    for (; i < n; ++i)
        to[i] = (int16_t)(from[i] - zero);
}
GG_INLINE void v4h_prepare_u8(int16_t *to, const uint8_t *from, int n, int zero)
{
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        int16x8_t wide = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(from + i)));
        vst1q_s16(to + i, vsubq_s16(wide, vdupq_n_s16((int16_t)zero)));
    }
    for (; i < n; ++i)
        to[i] = (int16_t)(from[i] - zero);
}
/* a's, then b's numbers as int16, saturated */
GG_INLINE void v4h_store(int16_t *p, v4i a, v4i b)
{
    vst1q_s16(p, vcombine_s16(vqmovn_s32(a), vqmovn_s32(b)));
}
