// Beside the model's ops, what generation does: keys and values into the cache and out of it, the greatest logit, the next step;
// contract in answer.rs.
//
// Shapes  x (rows, 2 * heads * head_dim) bf16, stride ldx: k and v side by side   index (rows)
//         k, v (heads, limit, pitch) bf16, filled up with zeros behind head_dim
//         logits (rows, width) f32   best (rows)   len, angles, rows (n)
// Rounds  nothing: numbers are moved and compared.

// Which eight neighbours of which head of k or v of which row this thread has.
struct Piece {
    u32 row, at;
    size_t column, place; // of x, and of a cache whose row is 0
    bool values;
};
__device__ __forceinline__ Piece piece(u32 heads, u32 head_dim, u32 pitch, u32 limit) {
    u32 task = blockIdx.x * 256 + threadIdx.x, each = pitch / 8, head = task / each % (2 * heads), row = task / each / (2 * heads);
    return {row, task % each * 8, (size_t)head * head_dim, (size_t)(head % heads) * limit * pitch, head >= heads};
}

// Row i of x to cache row index[i]; a row that the cache has not is left out.
extern "C" __global__ void __launch_bounds__(256) answer_keep(
    bf16* k, bf16* v, const bf16* x, const u32* index, u32 rows, u32 heads, u32 head_dim, u32 pitch, u32 ldx, u32 limit) {
    Piece p = piece(heads, head_dim, pitch, limit);
    if (p.row >= rows) return;
    u32 to = index[p.row];
    if (to >= limit) return;
    bool whole = head_dim % 8 == 0 && even(x, ldx);
    uint4 n = raw8(x + (size_t)p.row * ldx + p.column, p.at, head_dim, whole);
    *(uint4*)((p.values ? v : k) + p.place + (size_t)to * pitch + p.at) = n;
}

// Row i of the cache to row i of x.
extern "C" __global__ void __launch_bounds__(256) answer_fetch(
    bf16* x, const bf16* k, const bf16* v, u32 rows, u32 heads, u32 head_dim, u32 pitch, u32 ldx, u32 limit) {
    Piece p = piece(heads, head_dim, pitch, limit);
    if (p.row >= rows) return;
    bool whole = head_dim % 8 == 0 && even(x, ldx);
    uint4 n = *(const uint4*)((p.values ? v : k) + p.place + (size_t)p.row * pitch + p.at);
    bf16* to = x + (size_t)p.row * ldx + p.column + p.at;
    if (whole) {
        if (p.at < head_dim) *(uint4*)to = n;
        return;
    }
    u32 q[4] = {n.x, n.y, n.z, n.w};
#pragma unroll
    for (int j = 0; j < 8; j++)
        if (p.at + j < head_dim) to[j] = q[j / 2] >> (j % 2 * 16);
}

// The greater of two logits, of equals the first.
struct Best {
    float value;
    u32 at;
};
__device__ __forceinline__ Best better(Best a, Best b) { return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a; }

#define THREADS 1024
#define AHEAD 4 // vectors that a thread has in flight

extern "C" __global__ void __launch_bounds__(THREADS, 1) answer_best(u32* best, const float* x, u32 width) {
    __shared__ Best shared[THREADS / 32];
    x += (size_t)blockIdx.x * width;
    Best mine = {__uint_as_float(0xff800000u), 0};
    bool whole = width % 4 == 0 && (size_t)x % 16 == 0;
    u32 fours = whole ? width / 4 : 0;
    for (u32 from = threadIdx.x; from < fours; from += THREADS * AHEAD) {
        float4 v[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) v[k] = ((const float4*)x)[min(from + k * THREADS, fours - 1)];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            u32 at = min(from + k * THREADS, fours - 1) * 4;
            float four[4] = {v[k].x, v[k].y, v[k].z, v[k].w};
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (four[j] > mine.value) mine = {four[j], at + j};
        }
    }
    for (u32 at = fours * 4 + threadIdx.x; at < width; at += THREADS)
        if (x[at] > mine.value) mine = {x[at], at};
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) mine = better(mine, {__shfl_xor_sync(~0u, mine.value, d), __shfl_xor_sync(~0u, mine.at, d)});
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int i = 1; i < THREADS / 32; i++) mine = better(mine, shared[i]);
    best[blockIdx.x] = mine.at;
}

// Every sequence that asks is one token longer.
extern "C" __global__ void __launch_bounds__(256) answer_next(u32* len, u32* angles, u32* rows, u32 n) {
    u32 i = blockIdx.x * 256 + threadIdx.x;
    if (i >= n || len[i] == 0) return;
    len[i]++, angles[i]++, rows[i]++;
}
