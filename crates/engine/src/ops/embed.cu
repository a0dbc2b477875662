// The gradient of an embedding; formula in embed.rs. (Forward is a gather of rows: rows.cu.)
//
// Shapes  dtable (vocab, width) f32 or bf16   dx (rows, width) bf16, stride ld
//         order (rows): rows sorted by token, in their own order within one   tokens (distinct)
//         starts (distinct + 1): where in `order` the rows of each token begin
// Rounds  f32, once to bf16. A thread adds up the rows of one token in their order, so nothing depends on timing.

__device__ __forceinline__ void table8(float v[8], const float* row, u32 at, u32 n, bool whole) { floats8(v, row, at, n, whole); }
__device__ __forceinline__ void table8(float v[8], const bf16* row, u32 at, u32 n, bool whole) { load8(v, row, at, n, whole); }
__device__ __forceinline__ void put(float* to, float v) { *to = v; }
__device__ __forceinline__ void put(bf16* to, float v) { *to = narrow(v); }

template <class T>
__device__ __forceinline__ void backward(
    T* dtable, const bf16* dx, const u32* order, const u32* tokens, const u32* starts, u32 width, u32 ld) {
    u32 at = (blockIdx.y * 128 + threadIdx.x) * 8;
    if (at >= width) return;
    bool whole = width % 8 == 0 && even(dx, ld) && (size_t)dtable % 16 == 0;
    T* out = dtable + (size_t)tokens[blockIdx.x] * width;
    float sum[8], v[4][8];
    table8(sum, out, at, width, whole);
    u32 i = starts[blockIdx.x], end = starts[blockIdx.x + 1];
    for (; i < end; i += 4) {
#pragma unroll
        for (int k = 0; k < 4; k++) load8(v[k], dx + (size_t)order[min(i + k, end - 1)] * ld, at, i + k < end ? width : 0, whole);
#pragma unroll
        for (int k = 0; k < 4; k++)
#pragma unroll
            for (int j = 0; j < 8; j++) sum[j] += v[k][j];
    }
#pragma unroll
    for (int j = 0; j < 8; j++)
        if (at + j < width) put(out + at + j, sum[j]);
}

extern "C" __global__ void __launch_bounds__(128) embed_backward_f32(
    float* dtable, const bf16* dx, const u32* order, const u32* tokens, const u32* starts, u32 width, u32 ld) {
    backward(dtable, dx, order, tokens, starts, width, ld);
}
extern "C" __global__ void __launch_bounds__(128) embed_backward_bf16(
    bf16* dtable, const bf16* dx, const u32* order, const u32* tokens, const u32* starts, u32 width, u32 ld) {
    backward(dtable, dx, order, tokens, starts, width, ld);
}
