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

// The same where the result is rounded to bf16: root and quotient are off by 2^-22 at most, without a branch for what is tiny.
__device__ __forceinline__ void about(float& p, float& m, float& v, float g, const Rates& r) {
    m += r.new1 * (g - m);
    v += r.new2 * (g * g - v);
    float root, by;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(root) : "f"(v));
    asm("div.approx.ftz.f32 %0, %1, %2;" : "=f"(by) : "f"(m), "f"(root * r.root + r.eps));
    p = p * r.keep - r.step * by;
}

// The upper half is `v` in bf16: up with the probability of what lies between, by sixteen random bits. What is not finite stays so.
__device__ __forceinline__ u32 dither(float v, u32 random) {
    return __float_as_uint(v) + (fabsf(v) < __uint_as_float(0x7f800000u) ? random : 0);
}

// One step of two neighbours by 64 random bits, 32 for each: two halves and how they differ are three draws, of which any
// two are independent.
__device__ __forceinline__ void pair(u32& p, u32& m, u32& v, float g0, float g1, u64 random, const Rates& r) {
    float g[2] = {g0, g1};
    u32 out[3][2];
#pragma unroll
    for (int j = 0; j < 2; j++) {
        u32 mask = j ? 0xffff0000u : 0xffffu, shift = j ? 0 : 16, bits = (u32)(random >> 32 * j), high = bits >> 16;
        float a = __uint_as_float((p & mask) << shift), b = __uint_as_float((m & mask) << shift), c = __uint_as_float((v & mask) << shift);
        about(a, b, c, g[j], r);
        out[0][j] = dither(a, bits & 0xffff), out[1][j] = dither(b, high), out[2][j] = dither(c, (bits ^ high) & 0xffff);
    }
    p = __byte_perm(out[0][0], out[0][1], 0x7632), m = __byte_perm(out[1][0], out[1][1], 0x7632);
    v = __byte_perm(out[2][0], out[2][1], 0x7632);
}

__device__ __forceinline__ void grads8(float v[8], const bf16* g, u32 at, u32 n, bool whole) { load8(v, g, at, n, whole); }
__device__ __forceinline__ void grads8(float v[8], const float* g, u32 at, u32 n, bool whole) { floats8(v, g, at, n, whole); }

// `first` is the index of element 0 among all that are trained. The random bits of two neighbours are a function of the first one's.
template <class G>
__device__ __forceinline__ void dithered(bf16* p, bf16* m, bf16* v, const G* g, u32 n, u64 first, const Rates* rates, const float* clip) {
    u32 at = (blockIdx.x * 256 + threadIdx.x) * 8;
    if (at >= n) return;
    bool whole = at + 8 <= n && ((size_t)p | (size_t)m | (size_t)v | (size_t)g) % 16 == 0;
    bf16* to[3] = {p + at, m + at, v + at};
    uint4 raw[3];
    float d[8];
    // One branch, so that everything is asked for before anything is waited for.
    if (whole) {
#pragma unroll
        for (int i = 0; i < 3; i++) raw[i] = *(const uint4*)to[i];
        grads8(d, g, at, n, true);
    } else {
#pragma unroll
        for (int i = 0; i < 3; i++) raw[i] = raw8(to[i], 0, n - at, false);
        grads8(d, g, at, n, false);
    }
    Rates r = *rates;
    float by = *clip;
    u32 q[3][4] = {{raw[0].x, raw[0].y, raw[0].z, raw[0].w}, {raw[1].x, raw[1].y, raw[1].z, raw[1].w}, {raw[2].x, raw[2].y, raw[2].z, raw[2].w}};
#pragma unroll
    for (int i = 0; i < 4; i++) pair(q[0][i], q[1][i], q[2][i], d[2 * i] * by, d[2 * i + 1] * by, mix(r.key ^ (first + at + 2 * i)), r);
#pragma unroll
    for (int i = 0; i < 3; i++) {
        if (whole) {
            *(uint4*)to[i] = make_uint4(q[i][0], q[i][1], q[i][2], q[i][3]);
            continue;
        }
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (at + j < n) to[i][j] = (bf16)(q[i][j / 2] >> j % 2 * 16);
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

// Four times eight are asked for before any is waited for.
template <class G>
__device__ __forceinline__ void squares32(double& sum, const G* g, u32 at, u32 n, bool whole) {
    float v[4][8];
#pragma unroll
    for (int i = 0; i < 4; i++) grads8(v[i], g, at + i * 2048, n, whole);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) sum += (double)v[i][j] * (double)v[i][j];
}
template <class G>
__device__ __forceinline__ void squares(double* parts, const G* g, u32 n) {
    double sum = 0.;
    g += (size_t)blockIdx.x * 16384, n -= blockIdx.x * 16384;
    u32 at = threadIdx.x * 8;
    if (n >= 16384 && (size_t)g % 16 == 0) {
        squares32(sum, g, at, 16384, true), squares32(sum, g, at + 8192, 16384, true);
    } else {
        squares32(sum, g, at, n, false), squares32(sum, g, at + 8192, n, false);
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
