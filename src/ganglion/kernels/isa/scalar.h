/* The vocabulary for one lane. What each operation means is what it does here. */
typedef float v1f;
typedef int32_t v1i;
typedef int v1m;

GG_INLINE v1f v1f_load(const float *p) { return *p; }
GG_INLINE void v1f_store(float *p, v1f a) { *p = a; }
GG_INLINE v1f v1f_set(float a) { return a; }
GG_INLINE v1f v1f_add(v1f a, v1f b) { return a + b; }
GG_INLINE v1f v1f_sub(v1f a, v1f b) { return a - b; }
GG_INLINE v1f v1f_mul(v1f a, v1f b) { return a * b; }
GG_INLINE v1f v1f_div(v1f a, v1f b) { return a / b; }
/* a * b + c; the vector headers may round once where this rounds twice */
GG_INLINE v1f v1f_fma(v1f a, v1f b, v1f c) { return a * b + c; }
/* the second operand where either is NaN, as x86 does */
GG_INLINE v1f v1f_max(v1f a, v1f b) { return a > b ? a : b; }
GG_INLINE v1f v1f_min(v1f a, v1f b) { return a < b ? a : b; }
