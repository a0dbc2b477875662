// What all kernels share; put in front of each file, so that none includes anything.

typedef unsigned short bf16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned char u8;

__device__ __forceinline__ float wide(bf16 v) { return __uint_as_float((u32)v << 16); }
__device__ __forceinline__ bf16 narrow(float v) {
    bf16 out;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out) : "f"(v));
    return out;
}
__device__ __forceinline__ u32 narrow2(float low, float high) {
    u32 out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
}

// Whether rows from `p` on may be read sixteen bytes at a time.
__device__ __forceinline__ bool even(const void* p, u32 stride) { return (size_t)p % 16 == 0 && stride % 8 == 0; }

// Eight neighbours of a row as they lie; those beyond `width` are zero.
__device__ __forceinline__ uint4 raw8(const bf16* row, u32 at, u32 width, bool whole) {
    if (whole) return at < width ? *(const uint4*)(row + at) : make_uint4(0, 0, 0, 0);
    u32 q[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        u32 low = at + 2 * i < width ? row[at + 2 * i] : 0, high = at + 2 * i + 1 < width ? row[at + 2 * i + 1] : 0;
        q[i] = high << 16 | low;
    }
    return make_uint4(q[0], q[1], q[2], q[3]);
}
__device__ __forceinline__ void open8(float v[8], uint4 p) {
    u32 q[4] = {p.x, p.y, p.z, p.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[2 * i] = __uint_as_float(q[i] << 16);
        v[2 * i + 1] = __uint_as_float(q[i] & 0xffff0000u);
    }
}
__device__ __forceinline__ void load8(float v[8], const bf16* row, u32 at, u32 width, bool whole) { open8(v, raw8(row, at, width, whole)); }

// The same of float32.
__device__ __forceinline__ void floats8(float v[8], const float* row, u32 at, u32 width, bool whole) {
    if (whole) {
        float4 a = make_float4(0.f, 0.f, 0.f, 0.f), b = a;
        if (at < width) a = *(const float4*)(row + at), b = *(const float4*)(row + at + 4);
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = at + i < width ? row[at + i] : 0.f;
}

__device__ __forceinline__ uint4 pack8(const float v[8]) {
    return make_uint4(narrow2(v[0], v[1]), narrow2(v[2], v[3]), narrow2(v[4], v[5]), narrow2(v[6], v[7]));
}
__device__ __forceinline__ void store8(bf16* row, const float v[8], u32 at, u32 width, bool whole) {
    if (whole) {
        if (at < width) *(uint4*)(row + at) = pack8(v);
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        if (at + i < width) row[at + i] = narrow(v[i]);
}

// The sum over the THREADS threads that share a row, known to all of them.
template <int THREADS>
__device__ __forceinline__ float total(float v, float* shared) {
#pragma unroll
    for (int d = THREADS < 32 ? THREADS / 2 : 16; d > 0; d >>= 1) v += __shfl_xor_sync(~0u, v, d);
    if (THREADS <= 32) return v;
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
    __syncthreads();
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < THREADS / 32; i++) sum += shared[i];
    __syncthreads();
    return sum;
}

// Which eight neighbours of which row this thread has, of rows cut into eights one after another.
struct Spot {
    u32 row, at;
};
__device__ __forceinline__ Spot spot(u32 width) {
    u32 task = blockIdx.x * blockDim.x + threadIdx.x, each = (width + 7) / 8;
    return {task / each, task % each * 8};
}

// Sums over rows, in two steps of a fixed order. First: block (x, y) of 256 threads sums part y of the rows in 64 columns;
// `term(v, row, at)` gives eight neighbours.
template <class Term>
__device__ __forceinline__ void sum_part(float* parts, u32 rows, u32 width, Term term) {
    __shared__ float sums[32][65];
    u32 lane = threadIdx.x % 8, slot = threadIdx.x / 8, at = blockIdx.x * 64 + lane * 8;
    u32 each = (rows + gridDim.y - 1) / gridDim.y, from = blockIdx.y * each, to = min(rows, from + each);
    float sum[8] = {}, v[8];
    for (u32 row = from + slot; at < width && row < to; row += 32) {
        term(v, row, at);
#pragma unroll
        for (int j = 0; j < 8; j++) sum[j] += v[j];
    }
#pragma unroll
    for (int j = 0; j < 8; j++) sums[slot][lane * 8 + j] = sum[j];
    __syncthreads();
    u32 column = blockIdx.x * 64 + threadIdx.x;
    if (threadIdx.x >= 64 || column >= width) return;
    float all = 0.f;
#pragma unroll
    for (int i = 0; i < 32; i++) all += sums[i][threadIdx.x];
    parts[(size_t)blockIdx.y * width + column] = all;
}
// Then: a thread adds the parts of its column to `out`.
__device__ __forceinline__ void sum_parts(float* out, const float* parts, u32 count, u32 width) {
    u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    float all = 0.f;
    for (u32 i = 0; i < count; i++) all += parts[(size_t)i * width + column];
    out[column] += all;
}

// Scatters 64 bits over 64 bits (SplitMix64: Steele, Lea and Flood, 2014), as on the host.
__device__ __forceinline__ u64 mix(u64 z) {
    z += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
