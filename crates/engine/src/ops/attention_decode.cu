// Attention of tokens that are being generated: one query a sequence over its cache in bf16, for sm_80 and later (mma.sync).
//
// Forward    p_j = softmax_j(scale * q . k_j)        o = sum_j p_j v_j
// Visible    keys 0 .. len[row] - 1, with a window w the last w of them; key j lies in cache row j below `prefix`, which all share,
//            else in row start[row] + j - prefix. A row of length 0 asks nothing; its o is 0.
// Shapes     q (n, heads, head_dim), rows ld apart; o likewise, ldo apart; k, v (kv_heads, rows, HD), filled up with zeros behind
//            head_dim; sums f32 (n, heads, count, HD), tops f32 (n, heads, count, 2): greatest score and sum of each part.
// Rounds     products take bf16 and sum in f32; the softmax is f32; p is rounded to bf16 before the second product.
// Repeats    keys are cut into parts of PART by their position alone, a block does a part, and parts are added in their order; so
//            o depends on the sequence alone, whatever else is in the batch and wherever the common prefix ends.
//
// How: the scores of sixteen keys and up to eight heads of one key head are one product, keys x heads; so every key and value is
// read once for all heads that share it, from memory straight into the registers of the product. Which dimension of a head
// is which column of an operand is free as long as both operands agree: each lane reads sixteen bytes that lie together.

#define PART 256 // keys of a block
#define WARPS 4
#define LOG2E 1.4426950408889634f
#define INF __int_as_float(0x7f800000)

// The host has the same struct.
struct Decode {
    const bf16 *q;
    bf16 *o;
    const bf16 *k, *v;
    float *sums, *tops;
    const u32 *len, *start;
    u32 n, heads, kv_heads, head_dim, ld, ldo, rows, prefix, window, count;
    float scale;
};

// c += a b, 16x16 by 16x8.
__device__ __forceinline__ void mma(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
// The transpose of an 8x8 matrix that the warp holds, a pair a lane.
__device__ __forceinline__ u32 turned(u32 pair) {
    u32 out;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(pair));
    return out;
}
__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
// The greatest over the eight lanes that have the same heads, and the sum.
__device__ __forceinline__ float greatest(float v) {
#pragma unroll
    for (int d = 4; d < 32; d <<= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, d));
    return v;
}
__device__ __forceinline__ float all(float v) {
#pragma unroll
    for (int d = 4; d < 32; d <<= 1) v += __shfl_xor_sync(~0u, v, d);
    return v;
}

// A block: up to eight heads of a key head, a sequence, a part of its keys.
template <int HD> __device__ __forceinline__ void attend(const Decode &a) {
    // A lane reads WIDE values of a key's v at a time, whose pairs are two rows of an operand.
    constexpr int CHUNKS = HD / 32, WIDE = HD % 64 == 0 ? 8 : 4, SLICES = HD / (8 * WIDE), PAIRS = WIDE / 2;
    __shared__ float sums[WARPS][8][HD + 4], tops[WARPS][8], totals[WARPS][8];
    const u32 row = blockIdx.y, len = a.len[row], lowest = a.window && len > a.window ? len - a.window : 0;
    const u32 first = blockIdx.z * PART, past = min(first + PART, len);
    if (first >= len || past <= lowest) return;
    const u32 group = a.heads / a.kv_heads, tiles = (group + 7) / 8, kv = blockIdx.x / tiles;
    const u32 head = kv * group + blockIdx.x % tiles * 8, heads = min(8u, (kv + 1) * group - head);
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, eighth = lane / 4, c = lane % 4;

    uint4 q[CHUNKS];
    const bool whole = a.head_dim % 8 == 0 && even(a.q, a.ld);
    const bf16 *asks = a.q + (size_t)row * a.ld + (size_t)(head + eighth) * a.head_dim;
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) q[j] = raw8(asks, 32 * j + 8 * c, eighth < heads ? a.head_dim : 0, whole);
    const bf16 *keys = a.k + (size_t)kv * a.rows * HD + 8 * c, *values = a.v + (size_t)kv * a.rows * HD + WIDE * eighth;
    const u32 own = a.start[row] - a.prefix;
    // Where a key lies; one that is not there is another's, whose score is then left out.
    auto place = [&](u32 key) {
        key = min(key, len - 1);
        return (size_t)(key < a.prefix ? key : key + own) * HD;
    };

    float o[SLICES][PAIRS][4] = {}, top[2] = {-INF, -INF}, total[2] = {};
    const float by = a.scale * LOG2E;
#pragma unroll 1
    for (u32 key = first + warp * 16; key < past; key += WARPS * 16) {
        if (key + 16 <= lowest) continue;
        uint4 k[2][CHUNKS];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const bf16 *at = keys + place(key + eighth + half * 8);
#pragma unroll
            for (int j = 0; j < CHUNKS; j++) k[half][j] = *(const uint4 *)(at + 32 * j);
        }
        u32 v[4][SLICES][PAIRS];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const bf16 *at = values + place(key + 2 * c + i % 2 + i / 2 * 8);
#pragma unroll
            for (int s = 0; s < SLICES; s++) {
                if constexpr (WIDE == 8) {
                    uint4 x = *(const uint4 *)(at + s * 64);
                    v[i][s][0] = x.x, v[i][s][1] = x.y, v[i][s][2] = x.z, v[i][s][3] = x.w;
                } else {
                    uint2 x = *(const uint2 *)(at + s * 32);
                    v[i][s][0] = x.x, v[i][s][1] = x.y;
                }
            }
        }
        // s[0], s[1]: key `eighth`, heads 2c and 2c + 1; s[2], s[3]: the key eight further.
        float s[4] = {};
#pragma unroll
        for (int j = 0; j < CHUNKS; j++) {
            mma(s, k[0][j].x, k[1][j].x, k[0][j].y, k[1][j].y, q[j].x, q[j].y);
            mma(s, k[0][j].z, k[1][j].z, k[0][j].w, k[1][j].w, q[j].z, q[j].w);
        }
        float shrink[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const u32 at = key + eighth + half * 8;
                s[2 * half + h] = at >= lowest && at < past ? s[2 * half + h] * by : -INF;
            }
            const float next = fmaxf(top[h], greatest(fmaxf(s[h], s[2 + h])));
            shrink[h] = exp2_fast(top[h] - next);
            s[h] = exp2_fast(s[h] - next), s[2 + h] = exp2_fast(s[2 + h] - next);
            total[h] = total[h] * shrink[h] + (s[h] + s[2 + h]);
            top[h] = next;
        }
        const u32 low = turned(narrow2(s[0], s[1])), high = turned(narrow2(s[2], s[3]));
#pragma unroll
        for (int i = 0; i < SLICES; i++) {
#pragma unroll
            for (int u = 0; u < PAIRS; u++) {
#pragma unroll
                for (int j = 0; j < 4; j++) o[i][u][j] *= shrink[j % 2];
                const u32 a0 = __byte_perm(v[0][i][u], v[1][i][u], 0x5410), a1 = __byte_perm(v[0][i][u], v[1][i][u], 0x7632);
                const u32 a2 = __byte_perm(v[2][i][u], v[3][i][u], 0x5410), a3 = __byte_perm(v[2][i][u], v[3][i][u], 0x7632);
                mma(o[i][u], a0, a1, a2, a3, low, high);
            }
        }
    }

    // The warps' sums, brought to one greatest score and added in their order. A warp without keys has -inf, 0 and 0.
#pragma unroll
    for (int h = 0; h < 2; h++) {
        total[h] = all(total[h]);
        if (eighth == 0) tops[warp][2 * c + h] = top[h], totals[warp][2 * c + h] = total[h];
    }
    __syncthreads();
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float most = tops[0][2 * c + h];
#pragma unroll
        for (int w = 1; w < WARPS; w++) most = fmaxf(most, tops[w][2 * c + h]);
        const float factor = exp2_fast(top[h] - most);
        float *to = sums[warp][2 * c + h] + WIDE * eighth;
#pragma unroll
        for (int i = 0; i < SLICES; i++) {
#pragma unroll
            for (int u = 0; u < PAIRS; u++) {
                *(float2 *)(to + i * 8 * WIDE + 2 * u) = make_float2(o[i][u][h] * factor, o[i][u][2 + h] * factor);
            }
        }
    }
    __syncthreads();
    const size_t at = ((size_t)row * a.heads + head) * a.count + blockIdx.z;
    for (u32 i = threadIdx.x; i < heads * HD; i += WARPS * 32) {
        float sum = 0.f;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += sums[w][i / HD][i % HD];
        a.sums[(at + (size_t)(i / HD) * a.count) * HD + i % HD] = sum;
    }
    if (threadIdx.x < heads) {
        float most = -INF, sum = 0.f;
#pragma unroll
        for (int w = 0; w < WARPS; w++) most = fmaxf(most, tops[w][threadIdx.x]);
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += totals[w][threadIdx.x] * exp2_fast(tops[w][threadIdx.x] - most);
        *(float2 *)(a.tops + 2 * (at + (size_t)threadIdx.x * a.count)) = make_float2(most, sum);
    }
}

// A warp: a head of a sequence, all its parts.
template <int HD> __device__ __forceinline__ void merge(const Decode &a) {
    const u32 row = blockIdx.y, head = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (head >= a.heads) return;
    const u32 len = a.len[row], lowest = a.window && len > a.window ? len - a.window : 0, from = lowest / PART, to = (len + PART - 1) / PART;
    const size_t at = ((size_t)row * a.heads + head) * a.count;
    const float2 *tops = (const float2 *)a.tops + at;
    const float *sums = a.sums + at * HD + lane;
    float top = -INF, total = 0.f, o[HD / 32] = {};
    for (u32 p = from; p < to; p++) top = fmaxf(top, tops[p].x);
    for (u32 p = from; p < to; p++) {
        const float factor = exp2_fast(tops[p].x - top);
        total += tops[p].y * factor;
#pragma unroll
        for (int i = 0; i < HD / 32; i++) o[i] += sums[(size_t)p * HD + 32 * i] * factor;
    }
    const float by = total > 0.f ? 1.f / total : 0.f;
    bf16 *out = a.o + (size_t)row * a.ldo + (size_t)head * a.head_dim;
#pragma unroll
    for (int i = 0; i < HD / 32; i++)
        if (lane + 32 * i < a.head_dim) out[lane + 32 * i] = narrow(o[i] * by);
}

#define SIZE(HD)                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, 3) attention_decode_##HD(const Decode a) { attend<HD>(a); }             \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) attention_merge_##HD(const Decode a) { merge<HD>(a); }

SIZE(32)
SIZE(64)
SIZE(96)
SIZE(128)
