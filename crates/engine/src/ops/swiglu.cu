// SwiGLU of bf16 rows; formula in swiglu.rs.
//
// Shapes  gu (rows, 2 * width) bf16, stride ldg: gates, then ups   h, dh (rows, width) bf16, stride ldh
//         of an expert's rows: list (rows), each a pair or ~0   weights, dw (pairs) f32
// Rounds  in f32, results once to bf16. Every element by itself; a row's dw is a sum of a fixed order.

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

// g, u, dh of one element become dg, du, h.
__device__ __forceinline__ void back(float& g, float& u, float& d) {
    float s = sigmoid(g), silu = g * s, up = u, from = d;
    d = silu * up;
    u = from * silu;
    g = (from * up) * (s * (1.f + g * (1.f - s)));
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
    for (int j = 0; j < 8; j++) back(g[j], u[j], d[j]);
    store8(gate, g, at, width, whole), store8(gate + width, u, at, width, whole), store8(grad, d, at, width, whole);
}

// h times the weight of the row's pair; zero where there is none.
extern "C" __global__ void __launch_bounds__(256) swiglu_forward_weighted(
    bf16* h, const bf16* gu, const u32* list, const float* weights, u32 rows, u32 width, u32 ldh, u32 ldg, u32 pairs) {
    auto [row, at] = spot(width);
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(h, ldh) && even(gu, ldg);
    const bf16* gate = gu + (size_t)row * ldg;
    u32 pair = list[row];
    float g[8] = {}, u[8], w = 0.f;
    if (pair < pairs) {
        w = weights[pair];
        load8(g, gate, at, width, whole), load8(u, gate + width, at, width, whole);
#pragma unroll
        for (int j = 0; j < 8; j++) g[j] = g[j] * sigmoid(g[j]) * u[j] * w;
    }
    store8(h + (size_t)row * ldh, g, at, width, whole);
}

// Of rows that count w times: gu becomes dg, du and dh becomes h, all times w; dw = sum of dh * h. A block for a row.
extern "C" __global__ void __launch_bounds__(256) swiglu_backward_weighted(
    bf16* gu, bf16* dh, float* dw, const u32* list, const float* weights, u32 width, u32 ldg, u32 ldh, u32 pairs) {
    __shared__ float shared[8];
    size_t row = blockIdx.x;
    u32 pair = list[row];
    bool whole = width % 8 == 0 && even(dh, ldh) && even(gu, ldg);
    bf16 *gate = gu + row * ldg, *grad = dh + row * ldh;
    float w = pair < pairs ? weights[pair] : 0.f, sum = 0.f;
    for (u32 at = threadIdx.x * 8; at < width; at += 2048) {
        float g[8], u[8], d[8];
        load8(g, gate, at, width, whole), load8(u, gate + width, at, width, whole), load8(d, grad, at, width, whole);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            float from = d[j];
            back(g[j], u[j], d[j]);
            sum += from * d[j];
            g[j] *= w, u[j] *= w, d[j] *= w;
        }
        store8(gate, g, at, width, whole), store8(gate + width, u, at, width, whole), store8(grad, d, at, width, whole);
    }
    sum = total<256>(sum, shared);
    if (threadIdx.x == 0 && pair < pairs) dw[pair] = sum;
}
