// RMSNorm of bf16 rows, or of each head of them; formula in rmsnorm.rs.
//
// Shapes  x, y (rows, width) bf16 with strides ldx, ldy   w (width) f32   r (rows) f32   dy, dx likewise
//         heads: x, y (rows, heads * width)   r (rows * heads)
// Rounds  all in f32, y and dx once to bf16. A row belongs to one group of threads whose sums are a fixed tree.

// One row, held by THREADS threads as VECTORS * 8 values each.
template <int THREADS, int VECTORS>
__device__ __forceinline__ void forward(bf16* y, float* r, const bf16* x, const float* w, u32 width, float eps, bool whole, bool mine) {
    __shared__ float shared[32];
    u32 lane = threadIdx.x % THREADS;
    uint4 p[VECTORS];
    float v[8], sum = 0.f;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) p[i] = raw8(x, (i * THREADS + lane) * 8, mine ? width : 0, whole);
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        open8(v, p[i]);
#pragma unroll
        for (int j = 0; j < 8; j++) sum += v[j] * v[j];
    }
    float factor = rsqrtf(total<THREADS>(sum, shared) / width + eps);
    if (!mine) return;
    if (lane == 0) *r = factor;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        u32 at = (i * THREADS + lane) * 8;
        float scale[8];
        floats8(scale, w, at, width, whole);
        open8(v, p[i]);
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] = v[j] * factor * scale[j];
        store8(y, v, at, width, whole);
    }
}

// dx = before + r * (dy*w - x*r * mean(dy*w * x*r)); before is dx or, of a head, 0
template <int THREADS, int VECTORS, bool ADDS>
__device__ __forceinline__ void backward(bf16* dx, const bf16* dy, const bf16* x, const float* w, float factor, u32 width, bool whole, bool mine) {
    __shared__ float shared[32];
    u32 lane = threadIdx.x % THREADS, all = mine ? width : 0;
    uint4 g[VECTORS], n[VECTORS], before[VECTORS];
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        u32 at = (i * THREADS + lane) * 8;
        g[i] = raw8(dy, at, all, whole), n[i] = raw8(x, at, all, whole);
        if (ADDS) before[i] = raw8(dx, at, all, whole);
    }
    float scale[8], a[8], b[8], d[8];
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        floats8(scale, w, (i * THREADS + lane) * 8, width, whole);
        open8(a, g[i]), open8(b, n[i]);
#pragma unroll
        for (int j = 0; j < 8; j++) sum += (a[j] * scale[j]) * (b[j] * factor);
    }
    float mean = total<THREADS>(sum, shared) / width;
    if (!mine) return;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        u32 at = (i * THREADS + lane) * 8;
        floats8(scale, w, at, width, whole);
        open8(a, g[i]), open8(b, n[i]);
        if (ADDS) open8(d, before[i]);
#pragma unroll
        for (int j = 0; j < 8; j++) d[j] = (ADDS ? d[j] : 0.f) + factor * (a[j] * scale[j] - (b[j] * factor) * mean);
        store8(dx, d, at, width, whole);
    }
}

#define NORM(NAME, BLOCK, THREADS, VECTORS)                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK) rmsnorm_forward_##NAME(                                                      \
        bf16* y, float* r, const bf16* x, const float* w, u32 rows, u32 width, u32 ldx, u32 ldy, float eps) {                        \
        size_t row = blockIdx.x * (BLOCK / THREADS) + threadIdx.x / THREADS;                                                         \
        bool whole = width % 8 == 0 && even(x, ldx) && even(y, ldy);                                                                 \
        forward<THREADS, VECTORS>(y + row * ldy, r + row, x + row * ldx, w, width, eps, whole, row < rows);                          \
    }                                                                                                                                \
    extern "C" __global__ void __launch_bounds__(BLOCK) rmsnorm_backward_##NAME(                                                     \
        bf16* dx, const bf16* dy, const bf16* x, const float* w, const float* r, u32 rows, u32 width, u32 ldx, u32 ldy, u32 lddx,    \
        u32 adds) {                                                                                                                  \
        size_t row = blockIdx.x * (BLOCK / THREADS) + threadIdx.x / THREADS;                                                         \
        bool whole = width % 8 == 0 && even(x, ldx) && even(dy, ldy) && even(dx, lddx), mine = row < rows;                           \
        if (adds)                                                                                                                    \
            backward<THREADS, VECTORS, true>(dx + row * lddx, dy + row * ldy, x + row * ldx, w, mine ? r[row] : 0.f, width, whole, mine); \
        else                                                                                                                         \
            backward<THREADS, VECTORS, false>(dx + row * lddx, dy + row * ldy, x + row * ldx, w, mine ? r[row] : 0.f, width, whole, mine); \
    }

NORM(1024, 256, 32, 4)
NORM(4096, 256, 256, 2)
NORM(8192, 256, 256, 4)
NORM(16384, 512, 512, 4)

// Of each head: sixteen threads a head of up to 128, or a warp one of up to 256.
#define HEADS(NAME, THREADS)                                                                                                         \
    extern "C" __global__ void __launch_bounds__(256) rmsnorm_heads_forward_##NAME(                                                  \
        bf16* y, float* r, const bf16* x, const float* w, u32 rows, u32 heads, u32 width, u32 ldx, u32 ldy, float eps) {             \
        u32 i = blockIdx.x * (256 / THREADS) + threadIdx.x / THREADS;                                                                \
        size_t row = i / heads, from = i % heads * width;                                                                            \
        bool whole = width % 8 == 0 && even(x, ldx) && even(y, ldy);                                                                 \
        forward<THREADS, 1>(y + row * ldy + from, r + i, x + row * ldx + from, w, width, eps, whole, row < rows);                    \
    }                                                                                                                                \
    extern "C" __global__ void __launch_bounds__(256) rmsnorm_heads_backward_##NAME(                                                 \
        bf16* dx, const bf16* dy, const bf16* x, const float* w, const float* r, u32 rows, u32 heads, u32 width, u32 ldx, u32 ldy,   \
        u32 lddx) {                                                                                                                  \
        u32 i = blockIdx.x * (256 / THREADS) + threadIdx.x / THREADS;                                                                \
        size_t row = i / heads, from = i % heads * width;                                                                            \
        bool whole = width % 8 == 0 && even(x, ldx) && even(dy, ldy) && even(dx, lddx), mine = row < rows;                           \
        backward<THREADS, 1, false>(                                                                                                 \
            dx + row * lddx + from, dy + row * ldy + from, x + row * ldx + from, w, mine ? r[i] : 0.f, width, whole, mine);          \
    }

HEADS(128, 16)
HEADS(256, 32)

// Parts of dw: sums of dy * x*r over rows, or over rows and heads.
extern "C" __global__ void __launch_bounds__(256) rmsnorm_weight_parts(
    float* parts, const bf16* dy, const bf16* x, const float* r, u32 rows, u32 heads, u32 width, u32 ldx, u32 ldy) {
    bool whole = width % 8 == 0 && even(x, ldx) && even(dy, ldy);
    sum_part(parts, rows * heads, width, [=](float v[8], u32 i, u32 at) {
        size_t row = i / heads, from = i % heads * width;
        float n[8], factor = r[i];
        load8(n, x + row * ldx + from, at, width, whole);
        load8(v, dy + row * ldy + from, at, width, whole);
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] *= n[j] * factor;
    });
}
extern "C" __global__ void __launch_bounds__(256) rmsnorm_weight_sums(float* dw, const float* parts, u32 count, u32 width) {
    sum_parts(dw, parts, count, width);
}
