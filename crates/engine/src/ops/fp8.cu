// Rows of bf16 to 8-bit floats (e4m3) with a scale each, and the transpose of a matrix of bytes; formulas in fp8.rs.
//
// Shapes  x (rows, width) bf16, stride ldx   by (width) f32 or null   q (rows, width) bytes without gaps   scales (rows) f32
// Rounds  f32, each element once to e4m3. A row belongs to one group of threads, VECTORS * 8 values each; a maximum has no
//         order. Joined with what makes the row: the same bits as one after the other, and one reading less.

__device__ __forceinline__ u32 e4m3(float low, float high) {
    unsigned short out;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(out) : "f"(high), "f"(low));
    return out;
}

template <int THREADS>
__device__ __forceinline__ float greatest(float v, float* shared) {
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, d));
    if (THREADS == 32) return v;
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < THREADS / 32; i++) v = fmaxf(v, shared[i]);
    return v;
}

// v * by, rounded to bf16: `by` is as wide as a row of floats, so it is read once.
__device__ __forceinline__ uint4 scaled8(float v[8], const float* by, u32 at, u32 width, bool whole) {
    float f[8];
    floats8(f, by, at, width, whole);
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] *= f[j];
    return pack8(v);
}

// The greatest size of what a thread holds of a row.
template <int THREADS, int VECTORS>
__device__ __forceinline__ float most_of(const uint4 p[VECTORS]) {
    float v[8], most = 0.f;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        open8(v, p[i]);
#pragma unroll
        for (int j = 0; j < 8; j++) most = fmaxf(most, fabsf(v[j]));
    }
    return most;
}

// Tells the scale of a row of which a thread's greatest is `most`; gives what to multiply by.
template <int THREADS>
__device__ __forceinline__ float settle(float* scale, float most) {
    __shared__ float shared[32];
    most = greatest<THREADS>(most, shared);
    // A row of nothing has the scale 1; the least one can be divided by.
    most = most == 0.f ? 448.f : fmaxf(most, 1e-30f);
    if (threadIdx.x % THREADS == 0) *scale = most / 448.f;
    return 448.f / most;
}

template <int THREADS, int VECTORS>
__device__ __forceinline__ void put(u8* q, float inverse, const uint4 p[VECTORS], u32 width, bool whole) {
    float v[8];
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        u32 at = (i * THREADS + threadIdx.x % THREADS) * 8;
        if (at >= width) continue;
        open8(v, p[i]);
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] *= inverse;
        uint2 out = {e4m3(v[0], v[1]) | e4m3(v[2], v[3]) << 16, e4m3(v[4], v[5]) | e4m3(v[6], v[7]) << 16};
        if (whole) {
            *(uint2*)(q + at) = out;
            continue;
        }
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (at + j < width) q[at + j] = (j < 4 ? out.x : out.y) >> (j % 4 * 8);
    }
}

// Quantises one row that its threads hold.
template <int THREADS, int VECTORS>
__device__ __forceinline__ void quantise(u8* q, float* scale, const uint4 p[VECTORS], u32 width, bool whole) {
    float inverse = settle<THREADS>(scale, most_of<THREADS, VECTORS>(p));
    put<THREADS, VECTORS>(q, inverse, p, width, whole);
}

template <int THREADS, int VECTORS>
__device__ __forceinline__ void rows(u8* q, float* scales, const bf16* x, const float* by, u32 rows, u32 width, u32 ldx) {
    u32 row = blockIdx.x * (blockDim.x / THREADS) + threadIdx.x / THREADS, lane = threadIdx.x % THREADS;
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(x, ldx);
    uint4 p[VECTORS];
#pragma unroll
    for (int i = 0; i < VECTORS; i++) p[i] = raw8(x + (size_t)row * ldx, (i * THREADS + lane) * 8, width, whole);
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        if (!by) break;
        float v[8];
        open8(v, p[i]);
        p[i] = scaled8(v, by, (i * THREADS + lane) * 8, width, whole);
    }
    quantise<THREADS, VECTORS>(q + (size_t)row * width, scales + row, p, width, whole);
}

// RMSNorm, then as above; see rmsnorm.cu.
template <int THREADS, int VECTORS>
__device__ __forceinline__ void norm(
    u8* q, float* scales, bf16* y, float* r, const bf16* x, const float* w, u32 rows, u32 width, u32 ldx, u32 ldy, float eps) {
    __shared__ float shared[32];
    u32 row = blockIdx.x * (blockDim.x / THREADS) + threadIdx.x / THREADS, lane = threadIdx.x % THREADS;
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(x, ldx) && even(y, ldy);
    x += (size_t)row * ldx, y += (size_t)row * ldy;
    uint4 p[VECTORS];
    float v[8], sum = 0.f;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) p[i] = raw8(x, (i * THREADS + lane) * 8, width, whole);
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        open8(v, p[i]);
#pragma unroll
        for (int j = 0; j < 8; j++) sum += v[j] * v[j];
    }
    float factor = rsqrtf(total<THREADS>(sum, shared) / width + eps);
    if (lane == 0) r[row] = factor;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        u32 at = (i * THREADS + lane) * 8;
        float scale[8];
        floats8(scale, w, at, width, whole);
        open8(v, p[i]);
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] = v[j] * factor * scale[j];
        store8(y, v, at, width, whole);
        p[i] = pack8(v);
    }
    quantise<THREADS, VECTORS>(q + (size_t)row * width, scales + row, p, width, whole);
}

// SwiGLU, then as above; see swiglu.cu.
template <int THREADS, int VECTORS>
__device__ __forceinline__ void gate(u8* q, float* scales, bf16* h, const bf16* gu, u32 rows, u32 width, u32 ldh, u32 ldg) {
    u32 row = blockIdx.x * (blockDim.x / THREADS) + threadIdx.x / THREADS, lane = threadIdx.x % THREADS;
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(h, ldh) && even(gu, ldg);
    const bf16* gate = gu + (size_t)row * ldg;
    uint4 p[VECTORS];
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        u32 at = (i * THREADS + lane) * 8;
        float g[8], u[8];
        load8(g, gate, at, width, whole), load8(u, gate + width, at, width, whole);
#pragma unroll
        for (int j = 0; j < 8; j++) g[j] = g[j] * __fdividef(1.f, 1.f + __expf(-g[j])) * u[j];
        store8(h + (size_t)row * ldh, g, at, width, whole);
        p[i] = pack8(g);
    }
    quantise<THREADS, VECTORS>(q + (size_t)row * width, scales + row, p, width, whole);
}

// The backward pass of SwiGLU (see swiglu.cu), then as above: a row of dg and du is one.
template <int THREADS, int VECTORS>
__device__ __forceinline__ void gate_back(
    u8* q, float* scales, bf16* gu, bf16* dh, const float* by, u32 rows, u32 width, u32 ldg, u32 ldh) {
    u32 row = blockIdx.x * (blockDim.x / THREADS) + threadIdx.x / THREADS, lane = threadIdx.x % THREADS;
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(dh, ldh) && even(gu, ldg);
    bf16 *gate = gu + (size_t)row * ldg, *grad = dh + (size_t)row * ldh;
    uint4 pg[VECTORS], pu[VECTORS];
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        u32 at = (i * THREADS + lane) * 8;
        float g[8], u[8], d[8];
        load8(g, gate, at, width, whole), load8(u, gate + width, at, width, whole), load8(d, grad, at, width, whole);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            float s = __fdividef(1.f, 1.f + __expf(-g[j])), silu = g[j] * s, up = u[j], from = d[j];
            d[j] = silu * up;
            u[j] = from * silu;
            g[j] = (from * up) * (s * (1.f + g[j] * (1.f - s)));
        }
        store8(gate, g, at, width, whole), store8(gate + width, u, at, width, whole), store8(grad, d, at, width, whole);
        open8(g, pack8(g)), open8(u, pack8(u)); // as they were stored
        pg[i] = scaled8(g, by, at, width, whole), pu[i] = scaled8(u, by + width, at, width, whole);
    }
    float inverse = settle<THREADS>(scales + row, fmaxf(most_of<THREADS, VECTORS>(pg), most_of<THREADS, VECTORS>(pu)));
    q += (size_t)row * 2 * width;
    put<THREADS, VECTORS>(q, inverse, pg, width, whole);
    put<THREADS, VECTORS>(q + width, inverse, pu, width, whole);
}

#define KERNELS(NAME, BLOCK, THREADS, VECTORS)                                                                                       \
    extern "C" __global__ void __launch_bounds__(BLOCK) fp8_quantise_##NAME(                                                         \
        u8* q, float* scales, const bf16* x, const float* by, u32 count, u32 width, u32 ldx) {                                       \
        rows<THREADS, VECTORS>(q, scales, x, by, count, width, ldx);                                                                 \
    }                                                                                                                                \
    extern "C" __global__ void __launch_bounds__(BLOCK) fp8_rmsnorm_##NAME(                                                          \
        u8* q, float* scales, bf16* y, float* r, const bf16* x, const float* w, u32 count, u32 width, u32 ldx, u32 ldy, float eps) { \
        norm<THREADS, VECTORS>(q, scales, y, r, x, w, count, width, ldx, ldy, eps);                                                  \
    }                                                                                                                                \
    extern "C" __global__ void __launch_bounds__(BLOCK) fp8_swiglu_##NAME(                                                           \
        u8* q, float* scales, bf16* h, const bf16* gu, u32 count, u32 width, u32 ldh, u32 ldg) {                                     \
        gate<THREADS, VECTORS>(q, scales, h, gu, count, width, ldh, ldg);                                                            \
    }
#define BACKWARD(NAME, BLOCK, THREADS, VECTORS)                                                                                      \
    extern "C" __global__ void __launch_bounds__(BLOCK) fp8_swiglu_backward_##NAME(                                                  \
        u8* q, float* scales, bf16* gu, bf16* dh, const float* by, u32 count, u32 width, u32 ldg, u32 ldh) {                         \
        gate_back<THREADS, VECTORS>(q, scales, gu, dh, by, count, width, ldg, ldh);                                                  \
    }
KERNELS(1024, 256, 32, 4)
KERNELS(4096, 256, 256, 2)
KERNELS(8192, 256, 256, 4)
KERNELS(16384, 512, 512, 4)
KERNELS(32768, 512, 512, 8)
BACKWARD(1024, 256, 32, 4)
BACKWARD(4096, 256, 256, 2)
BACKWARD(8192, 512, 512, 2)
BACKWARD(16384, 1024, 1024, 2)
BACKWARD(32768, 1024, 1024, 4)

// Four words of four bytes: the transpose of their 4 x 4 bytes.
__device__ __forceinline__ void turn4(u32 w[4]) {
    u32 a = __byte_perm(w[0], w[1], 0x5140), b = __byte_perm(w[2], w[3], 0x5140);
    u32 c = __byte_perm(w[0], w[1], 0x7362), d = __byte_perm(w[2], w[3], 0x7362);
    w[0] = __byte_perm(a, b, 0x5410), w[1] = __byte_perm(a, b, 0x7632);
    w[2] = __byte_perm(c, d, 0x5410), w[3] = __byte_perm(c, d, 0x7632);
}

// out (width, rows) = x (rows, width), by tiles of 128 x 128. Rows of a tile lie 144 bytes apart in shared memory and each
// sixteen rows 16 bytes further, so that neither side of the turn meets a bank twice.
extern "C" __global__ void __launch_bounds__(256) fp8_transpose(u8* out, const u8* x, u32 rows, u32 width) {
    __shared__ __align__(16) u32 tile[128 * 36 + 8 * 4];
    u32 row0 = blockIdx.y * 128, column0 = blockIdx.x * 128;
    bool whole = rows % 16 == 0 && width % 16 == 0;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        u32 r = k * 32 + threadIdx.x / 8, c = threadIdx.x % 8 * 16, row = row0 + r, column = column0 + c;
        uint4 v = make_uint4(0, 0, 0, 0);
        if (whole) {
            if (row < rows && column < width) v = *(const uint4*)(x + (size_t)row * width + column);
        } else {
            u32 w[4] = {};
#pragma unroll
            for (int j = 0; j < 16; j++)
                if (row < rows && column + j < width) w[j / 4] |= (u32)x[(size_t)row * width + column + j] << (j % 4 * 8);
            v = make_uint4(w[0], w[1], w[2], w[3]);
        }
        *(uint4*)(tile + r * 36 + r / 16 * 4 + c / 4) = v;
    }
    __syncthreads();
    // A thread turns 16 rows of 4 columns into 4 rows of 16.
    u32 group = threadIdx.x % 8, word = threadIdx.x / 8;
    u32 w[4][4];
#pragma unroll
    for (int i = 0; i < 16; i++) w[i / 4][i % 4] = tile[(group * 16 + i) * 36 + group * 4 + word];
#pragma unroll
    for (int i = 0; i < 4; i++) turn4(w[i]);
    u32 row = row0 + group * 16;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        u32 column = column0 + word * 4 + j;
        if (column >= width || row >= rows) continue;
        u8* to = out + (size_t)column * rows + row;
        if (whole) {
            *(uint4*)to = make_uint4(w[0][j], w[1][j], w[2][j], w[3][j]);
            continue;
        }
#pragma unroll
        for (int i = 0; i < 16; i++)
            if (row + i < rows) to[i] = w[i / 4][j] >> (i % 4 * 8);
    }
}
