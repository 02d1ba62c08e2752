/* The vocabulary for four lanes: WebAssembly SIMD. No fused multiply-add. */
typedef v128_t v4f;
typedef v128_t v4i;
typedef v128_t v4m;

GG_INLINE v4i v4f_bits(v4f a) { return a; }
GG_INLINE v4f v4i_asf(v4i a) { return a; }
GG_INLINE v4i v4i_set(int32_t a) { return wasm_i32x4_splat(a); }

GG_INLINE v4f v4f_load(const float *p) { return wasm_v128_load(p); }
GG_INLINE void v4f_store(float *p, v4f a) { wasm_v128_store(p, a); }
GG_INLINE v4f v4f_load_n(const float *p, int n)
{
    float lanes[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    memcpy(lanes, p, (size_t)n * 4);
    return wasm_v128_load(lanes);
}
GG_INLINE void v4f_store_n(float *p, v4f a, int n)
{
    float lanes[4];
    wasm_v128_store(lanes, a);
    memcpy(p, lanes, (size_t)n * 4);
}
GG_INLINE v4f v4f_set(float a) { return wasm_f32x4_splat(a); }
GG_INLINE v4f v4f_add(v4f a, v4f b) { return wasm_f32x4_add(a, b); }
GG_INLINE v4f v4f_sub(v4f a, v4f b) { return wasm_f32x4_sub(a, b); }
GG_INLINE v4f v4f_mul(v4f a, v4f b) { return wasm_f32x4_mul(a, b); }
GG_INLINE v4f v4f_div(v4f a, v4f b) { return wasm_f32x4_div(a, b); }
GG_INLINE v4f v4f_fma(v4f a, v4f b, v4f c) { return wasm_f32x4_add(wasm_f32x4_mul(a, b), c); }
/* pmax(x, y) is x < y ? y : x */
GG_INLINE v4f v4f_max(v4f a, v4f b) { return wasm_f32x4_pmax(b, a); }
GG_INLINE v4f v4f_min(v4f a, v4f b) { return wasm_f32x4_pmin(b, a); }
GG_INLINE v4f v4f_maximum(v4f a, v4f b) { return wasm_f32x4_max(a, b); }
GG_INLINE v4f v4f_minimum(v4f a, v4f b) { return wasm_f32x4_min(a, b); }
GG_INLINE v4f v4f_neg(v4f a) { return wasm_f32x4_neg(a); }
GG_INLINE v4f v4f_abs(v4f a) { return wasm_f32x4_abs(a); }
GG_INLINE v4f v4f_copysign(v4f a, v4f b)
{
    return wasm_v128_bitselect(b, a, wasm_i32x4_splat(INT32_MIN));
}
GG_INLINE v4f v4f_sqrt(v4f a) { return wasm_f32x4_sqrt(a); }
GG_INLINE v4f v4f_rint(v4f a) { return wasm_f32x4_nearest(a); }
GG_INLINE v4f v4f_floor(v4f a) { return wasm_f32x4_floor(a); }
GG_INLINE v4f v4f_ceil(v4f a) { return wasm_f32x4_ceil(a); }

GG_INLINE v4m v4f_gt(v4f a, v4f b) { return wasm_f32x4_gt(a, b); }
GG_INLINE v4m v4f_ge(v4f a, v4f b) { return wasm_f32x4_ge(a, b); }
GG_INLINE v4m v4f_lt(v4f a, v4f b) { return wasm_f32x4_lt(a, b); }
GG_INLINE v4m v4f_le(v4f a, v4f b) { return wasm_f32x4_le(a, b); }
GG_INLINE v4m v4f_eq(v4f a, v4f b) { return wasm_f32x4_eq(a, b); }
GG_INLINE v4m v4m_and(v4m a, v4m b) { return wasm_v128_and(a, b); }
GG_INLINE v4m v4m_or(v4m a, v4m b) { return wasm_v128_or(a, b); }
GG_INLINE v4m v4m_not(v4m a) { return wasm_v128_not(a); }
GG_INLINE int v4m_any(v4m a) { return wasm_v128_any_true(a); }
GG_INLINE v4f v4f_select(v4m m, v4f a, v4f b) { return wasm_v128_bitselect(a, b, m); }

GG_INLINE v4i v4i_load(const int32_t *p) { return wasm_v128_load(p); }
GG_INLINE void v4i_store(int32_t *p, v4i a) { wasm_v128_store(p, a); }
GG_INLINE v4i v4i_load_n(const int32_t *p, int n)
{
    int32_t lanes[4] = {0, 0, 0, 0};
    memcpy(lanes, p, (size_t)n * 4);
    return wasm_v128_load(lanes);
}
GG_INLINE void v4i_store_n(int32_t *p, v4i a, int n)
{
    int32_t lanes[4];
    wasm_v128_store(lanes, a);
    memcpy(p, lanes, (size_t)n * 4);
}
GG_INLINE v4i v4i_add(v4i a, v4i b) { return wasm_i32x4_add(a, b); }
GG_INLINE v4i v4i_sub(v4i a, v4i b) { return wasm_i32x4_sub(a, b); }
GG_INLINE v4i v4i_mul(v4i a, v4i b) { return wasm_i32x4_mul(a, b); }
GG_INLINE v4i v4i_and(v4i a, v4i b) { return wasm_v128_and(a, b); }
GG_INLINE v4i v4i_or(v4i a, v4i b) { return wasm_v128_or(a, b); }
GG_INLINE v4i v4i_xor(v4i a, v4i b) { return wasm_v128_xor(a, b); }
GG_INLINE v4i v4i_max(v4i a, v4i b) { return wasm_i32x4_max(a, b); }
GG_INLINE v4i v4i_min(v4i a, v4i b) { return wasm_i32x4_min(a, b); }
#define v4i_shl(a, n) wasm_i32x4_shl(a, n)
#define v4i_sra(a, n) wasm_i32x4_shr(a, n)
GG_INLINE v4f v4i_to_f(v4i a) { return wasm_f32x4_convert_i32x4(a); }
GG_INLINE v4i v4f_to_i(v4f a) { return wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(a)); }

GG_INLINE v4i v4i_load_i8_n(const int8_t *p, int n)
{
    int32_t bytes = 0;
    memcpy(&bytes, p, (size_t)n);
    return wasm_i32x4_extend_low_i16x8(wasm_i16x8_extend_low_i8x16(wasm_i32x4_splat(bytes)));
}
GG_INLINE v4i v4i_load_u8_n(const uint8_t *p, int n)
{
    int32_t bytes = 0;
    memcpy(&bytes, p, (size_t)n);
    return wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(wasm_i32x4_splat(bytes)));
}
GG_INLINE v4i v4i_load_i8(const int8_t *p) { return v4i_load_i8_n(p, 4); }
GG_INLINE v4i v4i_load_u8(const uint8_t *p) { return v4i_load_u8_n(p, 4); }
GG_INLINE void v4i_store_b_n(void *p, v4i a, int n)
{
    v128_t low = wasm_i8x16_shuffle(a, a, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    int32_t bytes = wasm_i32x4_extract_lane(low, 0);
    memcpy(p, &bytes, (size_t)n);
}
GG_INLINE void v4i_store_b(void *p, v4i a) { v4i_store_b_n(p, a, 4); }
GG_INLINE v4i v4f_sat(v4f a, float lo, float hi)
{
    return v4f_to_i(v4f_min(v4f_max(a, v4f_set(lo)), v4f_set(hi)));
}

GG_INLINE v4f v4f_zip_lo(v4f a, v4f b) { return wasm_i32x4_shuffle(a, b, 0, 4, 1, 5); }
GG_INLINE v4f v4f_zip_hi(v4f a, v4f b) { return wasm_i32x4_shuffle(a, b, 2, 6, 3, 7); }
GG_INLINE float v4f_sum(v4f a)
{
    v4f s = wasm_f32x4_add(a, wasm_i32x4_shuffle(a, a, 2, 3, 0, 1));
    return wasm_f32x4_extract_lane(s, 0) + wasm_f32x4_extract_lane(s, 1);
}
GG_INLINE float v4f_hmax(v4f a)
{
    v4f s = v4f_max(a, wasm_i32x4_shuffle(a, a, 2, 3, 0, 1));
    return v1f_max(wasm_f32x4_extract_lane(s, 0), wasm_f32x4_extract_lane(s, 1));
}

typedef v128_t v4h;
GG_INLINE v4h v4h_set(const int16_t *p)
{
    int32_t pair;
    memcpy(&pair, p, 4);
    return wasm_i32x4_splat(pair);
}
GG_INLINE v4h v4h_load(const int8_t *p) { return wasm_i16x8_load8x8(p); }
GG_INLINE v4i v4i_dot2(v4i acc, v4h a, v4h b)
{
    return wasm_i32x4_add(acc, wasm_i32x4_dot_i16x8(a, b));
}
/* n codes widened, with their zero point subtracted */
GG_INLINE void v4h_prepare_i8(int16_t *to, const int8_t *from, int n, int zero)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        wasm_v128_store(to + i, wasm_i16x8_sub(wasm_i16x8_load8x8(from + i),
                                               wasm_i16x8_splat((int16_t)zero)));
    for (; i < n; ++i)
        to[i] = (int16_t)(from[i] - zero);
}
GG_INLINE void v4h_prepare_u8(int16_t *to, const uint8_t *from, int n, int zero)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        wasm_v128_store(to + i, wasm_i16x8_sub(wasm_u16x8_load8x8(from + i),
                                               wasm_i16x8_splat((int16_t)zero)));
    for (; i < n; ++i)
        to[i] = (int16_t)(from[i] - zero);
}
/* a's, then b's numbers as int16, saturated */
GG_INLINE void v4h_store(int16_t *p, v4i a, v4i b)
{
    wasm_v128_store(p, wasm_i16x8_narrow_i32x4(a, b));
}
