// Inverted dropout of bf16 rows; formula and mask in dropout.rs, the same bits as there.
//
// Shapes  x, out (rows, width) bf16, strides ldx, ldo   keys (rows) u64   base (1) u64: of seed and stream
// Rounds  f32, once to bf16. Every element by itself.

__device__ __forceinline__ u32 half(u32 x) {
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

// out = before + mask * x * scale; before is out, or 0
template <bool ADDS>
__device__ __forceinline__ void drop(
    bf16* out, const bf16* x, const u64* keys, const u64* base, u32 rows, u32 width, u32 ldo, u32 ldx, u32 threshold, float scale) {
    auto [row, at] = spot(width);
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(out, ldo) && even(x, ldx);
    u64 state = mix(*base ^ keys[row]);
    out += (size_t)row * ldo;
    float v[8], before[8];
    load8(v, x + (size_t)row * ldx, at, width, whole);
    if (ADDS) load8(before, out, at, width, whole);
#pragma unroll
    for (int j = 0; j < 8; j++) {
        u32 bits = half(half((u32)state + (at + j) * 0x9e3779b9u) ^ (u32)(state >> 32));
        v[j] = bits < threshold ? 0.f : v[j] * scale;
        if (ADDS) v[j] += before[j];
    }
    store8(out, v, at, width, whole);
}

extern "C" __global__ void __launch_bounds__(256) dropout_forward(
    bf16* out, const bf16* x, const u64* keys, const u64* base, u32 rows, u32 width, u32 ldo, u32 ldx, u32 threshold, float scale) {
    drop<false>(out, x, keys, base, rows, width, ldo, ldx, threshold, scale);
}
extern "C" __global__ void __launch_bounds__(256) dropout_backward(
    bf16* out, const bf16* x, const u64* keys, const u64* base, u32 rows, u32 width, u32 ldo, u32 ldx, u32 threshold, float scale) {
    drop<true>(out, x, keys, base, rows, width, ldo, ldx, threshold, scale);
}
