// Cross-entropy of bf16 logits, their gradient in their place, and the sum of losses; formulas in cross_entropy.rs.
//
// Shapes  x (rows, vocab) bf16, stride ld   targets (rows)   weights, losses (rows) f32   scale (1) f32   out (1) f64
// Rounds  in f32, gradients once to bf16. A block has a row: one pass for maximum and sum, which are merged in a fixed tree,
//         and one for the gradient, from the end backwards, where the row still lies in the cache.

#define THREADS 1024
#define AHEAD 4 // vectors of eight that a thread has in flight
#define LEAST __uint_as_float(0xff7fffffu)

// Maximum and the sum of exponentials below it.
struct Soft {
    float top, sum;
};
__device__ __forceinline__ Soft merge(Soft a, Soft b) {
    float top = fmaxf(a.top, b.top);
    return {top, a.sum * __expf(a.top - top) + b.sum * __expf(b.top - top)};
}

__device__ __forceinline__ void logits8(float v[8], uint4 p, u32 at, u32 width, bool whole) {
    open8(v, p);
    if (whole && at < width) return;
#pragma unroll
    for (int j = 0; j < 8; j++)
        if (at + j >= width) v[j] = __uint_as_float(0xff800000u);
}

__device__ __forceinline__ Soft soft(const bf16* x, u32 width, bool whole) {
    __shared__ Soft shared[THREADS / 32];
    Soft mine = {LEAST, 0.f};
    for (u32 from = threadIdx.x * 8; from < width; from += THREADS * 8 * AHEAD) {
        uint4 p[AHEAD];
        float v[AHEAD][8], top = mine.top;
#pragma unroll
        for (int k = 0; k < AHEAD; k++) p[k] = raw8(x, from + k * THREADS * 8, width, whole);
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            logits8(v[k], p[k], from + k * THREADS * 8, width, whole);
#pragma unroll
            for (int j = 0; j < 8; j++) top = fmaxf(top, v[k][j]);
        }
        mine.sum *= __expf(mine.top - top);
        mine.top = top;
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
#pragma unroll
            for (int j = 0; j < 8; j++) mine.sum += __expf(v[k][j] - top);
    }
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) mine = merge(mine, {__shfl_xor_sync(~0u, mine.top, d), __shfl_xor_sync(~0u, mine.sum, d)});
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
    __syncthreads();
    mine = shared[threadIdx.x % 32];
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) mine = merge(mine, {__shfl_xor_sync(~0u, mine.top, d), __shfl_xor_sync(~0u, mine.sum, d)});
    return mine;
}

// Losses; and x becomes its gradient. A row of weight 0 is not read: its loss and its gradient are 0.
extern "C" __global__ void __launch_bounds__(THREADS, 1) cross_entropy_both(
    bf16* x, float* losses, const u32* targets, const float* weights, const float* scale, u32 width, u32 ld) {
    u32 row = blockIdx.x, target = targets[row];
    bool whole = width % 8 == 0 && even(x, ld);
    x += (size_t)row * ld;
    float weight = weights[row], factor = *scale * weight, zeros[8] = {};
    if (weight == 0.f) {
        if (threadIdx.x == 0) losses[row] = 0.f;
        for (u32 at = threadIdx.x * 8; at < width; at += THREADS * 8) store8(x, zeros, at, width, whole);
        return;
    }
    // A target that is no token gives a loss that is no number.
    float wanted = target < width ? wide(x[target]) : __uint_as_float(~0u);
    Soft all = soft(x, width, whole);
    if (threadIdx.x == 0) losses[row] = weight * (logf(all.sum) + (all.top - wanted));
    float by = factor / all.sum;
    u32 step = THREADS * 8 * AHEAD, last = (width - 1) / step * step;
    for (int base = last; base >= 0; base -= step) {
        uint4 p[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) p[k] = raw8(x, base + (k * THREADS + threadIdx.x) * 8, width, whole);
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            u32 at = base + (k * THREADS + threadIdx.x) * 8;
            float v[8];
            open8(v, p[k]);
#pragma unroll
            for (int j = 0; j < 8; j++) v[j] = __expf(v[j] - all.top) * by;
            if (target - at < 8) {
#pragma unroll
                for (int j = 0; j < 8; j++) v[j] -= target == at + j ? factor : 0.f;
            }
            store8(x, v, at, width, whole);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) cross_entropy_losses(
    const bf16* x, float* losses, const u32* targets, const float* weights, u32 width, u32 ld) {
    u32 row = blockIdx.x, target = targets[row];
    bool whole = width % 8 == 0 && even(x, ld);
    x += (size_t)row * ld;
    float weight = weights[row], wanted = target < width ? wide(x[target]) : __uint_as_float(~0u);
    if (weight == 0.f) {
        if (threadIdx.x == 0) losses[row] = 0.f;
        return;
    }
    Soft all = soft(x, width, whole);
    if (threadIdx.x == 0) losses[row] = weight * (logf(all.sum) + (all.top - wanted));
}

// out += the losses; by 1,024 threads and a fixed tree, in f64.
extern "C" __global__ void __launch_bounds__(1024) cross_entropy_sum(double* out, const float* losses, u32 count) {
    __shared__ double shared[1024];
    double sum = 0;
    for (u32 i = threadIdx.x; i < count; i += 1024) sum += losses[i];
    shared[threadIdx.x] = sum;
    for (u32 half = 512; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *out += shared[0];
}
