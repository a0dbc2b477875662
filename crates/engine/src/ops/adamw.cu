// AdamW over flat vectors, and the norm that clips; formulas in adamw.rs.
//
// Shapes  p, m, v, g (n): float32, or bf16 rounded at random   rates: one, on the device, so that a captured step can be run
//         again with others   clip (1)   parts (blocks of 16,384) f64   norm (2): the norm and the clip factor
// Rounds  f32; sums of squares in f64 in a fixed tree. Random bits are a function of (key, index): nothing needs to be kept.

// As the host computes them in f64; `key` is of the random bits of this step.
struct Rates {
    float new1, new2, step, root, eps, keep;
    u64 key;
};

__device__ __forceinline__ void update(float& p, float& m, float& v, float g, const Rates& r) {
    m += r.new1 * (g - m);
    v += r.new2 * (g * g - v);
    p = p * r.keep - r.step * (m / (sqrtf(v) * r.root + r.eps));
}

extern "C" __global__ void __launch_bounds__(256) adamw_step(
    float* p, float* m, float* v, const float* g, u32 n, const Rates* rates, const float* clip) {
    u32 at = (blockIdx.x * 256 + threadIdx.x) * 4;
    if (at >= n) return;
    Rates r = *rates;
    float by = *clip;
    if (at + 4 <= n) {
        float4 a = *(float4*)(p + at), b = *(float4*)(m + at), c = *(float4*)(v + at), d = *(const float4*)(g + at);
        update(a.x, b.x, c.x, d.x * by, r), update(a.y, b.y, c.y, d.y * by, r);
        update(a.z, b.z, c.z, d.z * by, r), update(a.w, b.w, c.w, d.w * by, r);
        *(float4*)(p + at) = a, *(float4*)(m + at) = b, *(float4*)(v + at) = c;
        return;
    }
    for (; at < n; at++) update(p[at], m[at], v[at], g[at] * by, r);
}

// To bf16: up with the probability of what lies between, by sixteen random bits. What is not finite stays so.
__device__ __forceinline__ bf16 dither(float v, u32 random) {
    u32 bits = __float_as_uint(v);
    return (bits & 0x7f800000u) == 0x7f800000u ? narrow(v) : (bits + (random & 0xffff)) >> 16;
}

__device__ __forceinline__ void grads8(float v[8], const bf16* g, u32 at, u32 n, bool whole) { load8(v, g, at, n, whole); }
__device__ __forceinline__ void grads8(float v[8], const float* g, u32 at, u32 n, bool whole) { floats8(v, g, at, n, whole); }

// `first` is the index of element 0 among all that are trained.
template <class G>
__device__ __forceinline__ void dithered(bf16* p, bf16* m, bf16* v, const G* g, u32 n, u64 first, const Rates* rates, const float* clip) {
    u32 at = (blockIdx.x * 256 + threadIdx.x) * 8;
    if (at >= n) return;
    bool whole = at + 8 <= n && (size_t)p % 16 == 0 && (size_t)m % 16 == 0 && (size_t)v % 16 == 0 && (size_t)g % 16 == 0;
    Rates r = *rates;
    float by = *clip, a[8], b[8], c[8], d[8];
    load8(a, p, at, n, whole), load8(b, m, at, n, whole), load8(c, v, at, n, whole), grads8(d, g, at, n, whole);
    u32 out[3][8];
#pragma unroll
    for (int j = 0; j < 8; j++) {
        update(a[j], b[j], c[j], d[j] * by, r);
        u64 random = mix(r.key ^ (first + at + j));
        out[0][j] = dither(a[j], (u32)random), out[1][j] = dither(b[j], (u32)(random >> 16)), out[2][j] = dither(c[j], (u32)(random >> 32));
    }
    bf16* to[3] = {p, m, v};
#pragma unroll
    for (int i = 0; i < 3; i++) {
        if (whole) {
            u32* o = out[i];
            *(uint4*)(to[i] + at) = make_uint4(o[0] | o[1] << 16, o[2] | o[3] << 16, o[4] | o[5] << 16, o[6] | o[7] << 16);
            continue;
        }
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (at + j < n) to[i][at + j] = out[i][j];
    }
}

extern "C" __global__ void __launch_bounds__(256) adamw_dithered_bf16(
    bf16* p, bf16* m, bf16* v, const bf16* g, u32 n, u64 first, const Rates* rates, const float* clip) {
    dithered(p, m, v, g, n, first, rates, clip);
}
extern "C" __global__ void __launch_bounds__(256) adamw_dithered_f32(
    bf16* p, bf16* m, bf16* v, const float* g, u32 n, u64 first, const Rates* rates, const float* clip) {
    dithered(p, m, v, g, n, first, rates, clip);
}

// The sum over a block's threads, in a fixed tree.
template <int THREADS>
__device__ __forceinline__ double sum_block(double v) {
    __shared__ double shared[THREADS / 32];
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(~0u, v, d);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
    __syncthreads();
    v = 0.;
    for (int i = 0; i < THREADS / 32; i++) v += shared[i];
    return v;
}

template <class G>
__device__ __forceinline__ void squares(double* parts, const G* g, u32 n) {
    double sum = 0.;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        u32 at = (blockIdx.x * 2048 + i * 256 + threadIdx.x) * 8;
        float v[8];
        grads8(v, g, at, n, at + 8 <= n && (size_t)g % 16 == 0);
#pragma unroll
        for (int j = 0; j < 8; j++) sum += (double)v[j] * (double)v[j];
    }
    sum = sum_block<256>(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}
extern "C" __global__ void __launch_bounds__(256) adamw_squares_f32(double* parts, const float* g, u32 n) { squares(parts, g, n); }
extern "C" __global__ void __launch_bounds__(256) adamw_squares_bf16(double* parts, const bf16* g, u32 n) { squares(parts, g, n); }

// One block: the norm of everything, and what brings it down to `most`.
extern "C" __global__ void __launch_bounds__(1024) adamw_norm(float* norm, const double* parts, u32 count, float most) {
    double sum = 0.;
    for (u32 i = threadIdx.x; i < count; i += 1024) sum += parts[i];
    double root = sqrt(sum_block<1024>(sum));
    if (threadIdx.x > 0) return;
    norm[0] = (float)root;
    norm[1] = (float)fmin(1., most / (root + 1e-6));
}
