// Rotary position embedding of bf16 rows, in place; formula in rope.rs.
//
// Shapes  x (rows, heads * head_dim) bf16, stride ld   cos, sin (positions, half) f32   angles (rows): rows of the table
// Rounds  the turn in f32, x once to bf16. A thread has eight pairs, or one where half is no multiple of 8.

template <int PAIRS>
__device__ __forceinline__ void turn(bf16* x, const float* cosines, const float* sines, const u32* angles, u32 rows, u32 heads, u32 head_dim, u32 half, u32 ld, float sign) {
    u32 task = blockIdx.x * 256 + threadIdx.x, each = half / PAIRS, i = task % each * PAIRS, head = task / each;
    u32 row = head / heads;
    if (row >= rows) return;
    size_t turn = (size_t)angles[row] * half + i;
    bf16 *first = x + (size_t)row * ld + head % heads * head_dim + i, *second = first + half;
    if (PAIRS == 1) {
        float a = wide(*first), b = wide(*second), c = cosines[turn], s = sines[turn] * sign;
        *first = narrow(a * c - b * s), *second = narrow(b * c + a * s);
        return;
    }
    float a[8], b[8], c[8], s[8];
    load8(a, first, 0, 8, true), load8(b, second, 0, 8, true);
    floats8(c, cosines + turn, 0, 8, true), floats8(s, sines + turn, 0, 8, true);
#pragma unroll
    for (int j = 0; j < 8; j++) {
        float p = a[j], q = b[j], t = s[j] * sign;
        a[j] = p * c[j] - q * t, b[j] = q * c[j] + p * t;
    }
    store8(first, a, 0, 8, true), store8(second, b, 0, 8, true);
}

extern "C" __global__ void __launch_bounds__(256) rope_eights(
    bf16* x, const float* cosines, const float* sines, const u32* angles, u32 rows, u32 heads, u32 head_dim, u32 half, u32 ld, float sign) {
    turn<8>(x, cosines, sines, angles, rows, heads, head_dim, half, ld, sign);
}
extern "C" __global__ void __launch_bounds__(256) rope_ones(
    bf16* x, const float* cosines, const float* sines, const u32* angles, u32 rows, u32 heads, u32 head_dim, u32 half, u32 ld, float sign) {
    turn<1>(x, cosines, sines, angles, rows, heads, head_dim, half, ld, sign);
}
