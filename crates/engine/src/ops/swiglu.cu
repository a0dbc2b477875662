// SwiGLU of bf16 rows; formula in swiglu.rs.
//
// Shapes  gu (rows, 2 * width) bf16, stride ldg: gates, then ups   h, dh (rows, width) bf16, stride ldh
// Rounds  in f32, results once to bf16. Every element by itself.

__device__ __forceinline__ float sigmoid(float g) { return __fdividef(1.f, 1.f + __expf(-g)); }

extern "C" __global__ void __launch_bounds__(256) swiglu_forward(bf16* h, const bf16* gu, u32 rows, u32 width, u32 ldh, u32 ldg) {
    auto [row, at] = spot(width);
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(h, ldh) && even(gu, ldg);
    const bf16* gate = gu + (size_t)row * ldg;
    float g[8], u[8];
    load8(g, gate, at, width, whole), load8(u, gate + width, at, width, whole);
#pragma unroll
    for (int j = 0; j < 8; j++) g[j] = g[j] * sigmoid(g[j]) * u[j];
    store8(h + (size_t)row * ldh, g, at, width, whole);
}

// gu becomes dg, du; dh becomes h.
extern "C" __global__ void __launch_bounds__(256) swiglu_backward(bf16* gu, bf16* dh, u32 rows, u32 width, u32 ldg, u32 ldh) {
    auto [row, at] = spot(width);
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(dh, ldh) && even(gu, ldg);
    bf16 *gate = gu + (size_t)row * ldg, *grad = dh + (size_t)row * ldh;
    float g[8], u[8], d[8];
    load8(g, gate, at, width, whole), load8(u, gate + width, at, width, whole), load8(d, grad, at, width, whole);
#pragma unroll
    for (int j = 0; j < 8; j++) {
        float s = sigmoid(g[j]), silu = g[j] * s, up = u[j], from = d[j];
        d[j] = silu * up;
        u[j] = from * silu;
        g[j] = (from * up) * (s * (1.f + g[j] * (1.f - s)));
    }
    store8(gate, g, at, width, whole), store8(gate + width, u, at, width, whole), store8(grad, d, at, width, whole);
}
