/* The vocabulary for one lane. What each operation means is what it does here.
 *
 * v1f float32, v1i int32 (arithmetic wraps), v1m mask. Loads and stores need no alignment beyond
 * the element's own; `_n` ones touch the first n elements only, and load 0 into the other lanes.
 * Headers with 16-bit products also have vLh (L pairs of int16) and vLi_dot2: each lane's sum gains
 * the products of its pair; with 8-bit products vLq (L groups of four bytes) and vLi_dot4.
 * Every operation but fma, sum and NaN payloads gives the same bits in every header.
 */
typedef float v1f;
typedef int32_t v1i;
typedef int v1m;

GG_INLINE v1i v1f_bits(v1f a) { v1i r; memcpy(&r, &a, 4); return r; }
GG_INLINE v1f v1i_asf(v1i a) { v1f r; memcpy(&r, &a, 4); return r; }

GG_INLINE v1f v1f_load(const float *p) { return *p; }
GG_INLINE void v1f_store(float *p, v1f a) { *p = a; }
GG_INLINE v1f v1f_load_n(const float *p, int n) { return n > 0 ? *p : 0.0f; }
GG_INLINE void v1f_store_n(float *p, v1f a, int n) { if (n > 0) *p = a; }
GG_INLINE v1f v1f_set(float a) { return a; }
GG_INLINE v1f v1f_add(v1f a, v1f b) { return a + b; }
GG_INLINE v1f v1f_sub(v1f a, v1f b) { return a - b; }
GG_INLINE v1f v1f_mul(v1f a, v1f b) { return a * b; }
GG_INLINE v1f v1f_div(v1f a, v1f b) { return a / b; }
/* a * b + c; the vector headers may round once where this rounds twice */
GG_INLINE v1f v1f_fma(v1f a, v1f b, v1f c) { return a * b + c; }
/* the second operand where either is NaN or both are zeros, as x86 does */
GG_INLINE v1f v1f_max(v1f a, v1f b) { return a > b ? a : b; }
GG_INLINE v1f v1f_min(v1f a, v1f b) { return a < b ? a : b; }
/* NaN where either is (as max(0, a) has it too); of two zeros either */
GG_INLINE v1f v1f_maximum(v1f a, v1f b) { return a > b || a != a ? a : b; }
GG_INLINE v1f v1f_minimum(v1f a, v1f b) { return a < b || a != a ? a : b; }
GG_INLINE v1f v1f_neg(v1f a) { return -a; }
GG_INLINE v1f v1f_abs(v1f a) { return v1i_asf(v1f_bits(a) & 0x7fffffff); }
/* b's sign on a's magnitude */
GG_INLINE v1f v1f_copysign(v1f a, v1f b)
{
    return v1i_asf((v1f_bits(a) & 0x7fffffff) | (v1f_bits(b) & INT32_MIN));
}

/* Correctly rounded, digit by digit: a root has 24 bits and never lies half-way between two. */
GG_INLINE v1f v1f_sqrt(v1f a)
{
    uint32_t bits = (uint32_t)v1f_bits(a), root = 0, rest = 0;
    if (bits == 0u || bits == 0x80000000u || bits == 0x7f800000u || a != a)
        return a;
    if (bits >> 31)
        return v1i_asf(0x7fc00000);
    int exponent = (int)(bits >> 23);
    uint32_t mantissa = bits & 0x7fffffu;
    if (exponent)
        mantissa |= 0x800000u;
    else
        for (exponent = 1; mantissa < 0x800000u; --exponent)
            mantissa <<= 1;
    if (!(exponent & 1))
        mantissa <<= 1; /* the exponent's distance from 127 becomes even */
    mantissa <<= 7; /* 25 digits of two bits each: 50 bits, the lower ones zero */
    for (int i = 0; i < 25; ++i) {
        uint32_t trial = (root << 2) | 1u;
        rest = (rest << 2) | (mantissa >> 30);
        mantissa <<= 2;
        root <<= 1;
        if (rest >= trial) {
            rest -= trial;
            root |= 1u;
        }
    }
    root = (root >> 1) + (root & 1u); /* the 25th digit rounds */
    return v1i_asf((v1i)(((uint32_t)(exponent + 125) >> 1 << 23) + root));
}

/* to the nearest integer, half to even */
GG_INLINE v1f v1f_rint(v1f a)
{
    float size = v1f_abs(a);
    if (!(size < 8388608.0f))
        return a;
    return v1f_copysign((size + 8388608.0f) - 8388608.0f, a);
}
GG_INLINE v1f v1f_floor(v1f a)
{
    float r = v1f_rint(a);
    return r > a ? r - 1.0f : r;
}
GG_INLINE v1f v1f_ceil(v1f a)
{
    float r = v1f_rint(a);
    return r < a ? v1f_copysign(r + 1.0f, a) : r;
}

GG_INLINE v1m v1f_gt(v1f a, v1f b) { return a > b; }
GG_INLINE v1m v1f_ge(v1f a, v1f b) { return a >= b; }
GG_INLINE v1m v1f_lt(v1f a, v1f b) { return a < b; }
GG_INLINE v1m v1f_le(v1f a, v1f b) { return a <= b; }
GG_INLINE v1m v1f_eq(v1f a, v1f b) { return a == b; }
GG_INLINE v1m v1m_and(v1m a, v1m b) { return a & b; }
GG_INLINE v1m v1m_or(v1m a, v1m b) { return a | b; }
GG_INLINE v1m v1m_not(v1m a) { return !a; }
GG_INLINE int v1m_any(v1m a) { return a; }
/* a where the mask holds, else b */
GG_INLINE v1f v1f_select(v1m m, v1f a, v1f b) { return m ? a : b; }

GG_INLINE v1i v1i_set(int32_t a) { return a; }
GG_INLINE v1i v1i_load(const int32_t *p) { return *p; }
GG_INLINE void v1i_store(int32_t *p, v1i a) { *p = a; }
GG_INLINE v1i v1i_load_n(const int32_t *p, int n) { return n > 0 ? *p : 0; }
GG_INLINE void v1i_store_n(int32_t *p, v1i a, int n) { if (n > 0) *p = a; }
GG_INLINE v1i v1i_add(v1i a, v1i b) { return (v1i)((uint32_t)a + (uint32_t)b); }
GG_INLINE v1i v1i_sub(v1i a, v1i b) { return (v1i)((uint32_t)a - (uint32_t)b); }
GG_INLINE v1i v1i_mul(v1i a, v1i b) { return (v1i)((uint32_t)a * (uint32_t)b); }
GG_INLINE v1i v1i_and(v1i a, v1i b) { return a & b; }
GG_INLINE v1i v1i_or(v1i a, v1i b) { return a | b; }
GG_INLINE v1i v1i_xor(v1i a, v1i b) { return a ^ b; }
GG_INLINE v1i v1i_max(v1i a, v1i b) { return a > b ? a : b; }
GG_INLINE v1i v1i_min(v1i a, v1i b) { return a < b ? a : b; }
/* shifts by 0 to 31: left, and right with the sign */
#define v1i_shl(a, n) ((v1i)((uint32_t)(a) << (n)))
#define v1i_sra(a, n) ((v1i)(a) >> (n))
GG_INLINE v1f v1i_to_f(v1i a) { return (float)a; }
/* nearest, half to even; INT32_MIN for what does not fit (other headers may saturate) */
GG_INLINE v1i v1f_to_i(v1f a)
{
#if defined(__GNUC__) && defined(__ARM_FP) && (__ARM_FP & 4) && !defined(__aarch64__)
    v1f r;
    __asm__("vcvtr.s32.f32 %0, %1" : "=t"(r) : "t"(a));
    return v1f_bits(r);
#endif
    return a >= -2147483648.0f && a < 2147483648.0f ? (v1i)v1f_rint(a) : INT32_MIN;
}

/* 8-bit memory: widened to int32 or float32; float32 stored rounded half to even and saturated,
 * NaN as the least code; int32 stored as its low byte */
GG_INLINE v1i v1i_load_i8(const int8_t *p) { return *p; }
GG_INLINE v1i v1i_load_u8(const uint8_t *p) { return *p; }
GG_INLINE v1i v1i_load_i8_n(const int8_t *p, int n) { return n > 0 ? *p : 0; }
GG_INLINE v1i v1i_load_u8_n(const uint8_t *p, int n) { return n > 0 ? *p : 0; }
GG_INLINE void v1i_store_b(void *p, v1i a) { *(uint8_t *)p = (uint8_t)a; }
GG_INLINE void v1i_store_b_n(void *p, v1i a, int n) { if (n > 0) *(uint8_t *)p = (uint8_t)a; }
GG_INLINE v1i v1f_sat(v1f a, float lo, float hi)
{
    return v1f_to_i(v1f_min(v1f_max(a, lo), hi));
}

/* interleaved: lanes of the first (lo) or second (hi) halves of a and b, alternating */
GG_INLINE v1f v1f_zip_lo(v1f a, v1f b) { (void)b; return a; }
GG_INLINE v1f v1f_zip_hi(v1f a, v1f b) { (void)a; return b; }

/* across the lanes; the order of the sum is the header's own */
GG_INLINE float v1f_sum(v1f a) { return a; }
GG_INLINE float v1f_hmax(v1f a) { return a; }

/* a cut towards zero within [lo, hi]; lo for NaN */
GG_INLINE int64_t gg_integer(float a, int64_t lo, int64_t hi)
{
    if (!(a > (float)lo))
        return lo;
    return a >= (float)hi ? hi : (int64_t)a;
}
/* the nearest float, half to even, without a call on 32-bit processors: what is cut off leaves a 1
 * behind, below all that decides */
GG_INLINE float gg_float(uint64_t a)
{
    float scale = 1.0f;
    for (; a >> 32; a = (a >> 1) | (a & 1u))
        scale += scale;
    return (float)(uint32_t)a * scale;
}
/* 256 steps over [lo, hi], which holds 0: a step's size, what numbers are multiplied by, and the
 * code of 0; all zero where there is next to no range */
GG_INLINE float gg_steps(float lo, float hi, float *inverse, int32_t *zero)
{
    float range = hi - lo;
    *inverse = 0.0f;
    *zero = 0;
    if (!(range >= 1e-30f))
        return 0.0f;
    *inverse = 255.0f / range;
    *zero = v1f_sat(-lo * *inverse, 0.0f, 255.0f);
    return range / 255.0f;
}
