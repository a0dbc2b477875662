// Attention of generation in bf16: one new token a sequence over the keys and values that are held, for sm_80 and later.
//
// Forward    p_j = softmax_j(scale * q . k_j)        o = sum_j p_j v_j
// Shapes     q, o (sequences, heads, head_dim) with rows ld and ldo apart; k, v: slots of kv_heads * head_dim, rows held apart;
//            head h reads key head h / (heads / kv_heads). Sequence s sees slots 0 .. prefix, which all share, and
//            start[s] .. start[s] + len[s], its own token the last of them; with a window only the last `window` of all these.
//            sums f32 (sequences, heads, splits, head_dim), facts (sequences, heads, splits) pairs: room between the two kernels.
// Writes     o; zeros for a sequence without slots.
// Rounds     products take bf16 and sum in f32; the softmax is f32; p is rounded to bf16.
// Moves      every key and value once for all heads that read it: bound by memory.
// Repeats    how a sequence is cut depends on its own length alone and the pieces are added in order, so neither the other
//            sequences nor the timing change a bit.
//
// How: a block does the heads of a key head (16 at most) over a piece of some 256 slots. Each of its four warps walks its own
// quarter, 16 slots at a time, with its own buffers and its own softmax: they meet only at the end.

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

struct Decode {
    const u16 *q, *k, *v;
    u16 *o;
    float *sums;
    float2 *facts;
    const u32 *start, *len;
    u32 sequences, heads, kv_heads, head_dim, ld, held, ldo, prefix, window, splits;
    float scale;
};

#define WARPS 4
#define SLOTS 16
#define PIECE 256
#define LOG2E 1.4426950408889634f
#define LOWEST -1e30f
// Bytes from row to row in shared memory: the rows of an ldmatrix fall into different banks.
#define PITCH(HD) ((HD) * 2 + 16)

extern __shared__ __align__(128) unsigned char shared[];

__device__ __forceinline__ void copy16(u32 to, const void *from, bool real) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(real ? 16 : 0) : "memory");
}
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
__device__ __forceinline__ void load4(u32 (&r)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
__device__ __forceinline__ void load4_turned(u32 (&r)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
__device__ __forceinline__ void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ u32 pack(float low, float high) {
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Which slots a sequence sees, in order of position, and how they are cut.
struct Span {
    u32 first, past, pieces; // positions
};
__device__ __forceinline__ Span span(const Decode &d, u32 sequence) {
    const u32 past = d.prefix + d.len[sequence], seen = d.window ? min(d.window, past) : past;
    return Span{past - seen, past, seen > PIECE ? (seen + PIECE - 1) / PIECE : 1};
}

// One warp brings 16 slots of a head; those from `past` on read as zero.
template <int HD>
__device__ __forceinline__ void fetch(u32 to, const u16 *head, const Decode &d, u32 start, u32 position, u32 past, bool wide) {
    constexpr u32 CHUNKS = HD / 8;
    const u32 lane = threadIdx.x & 31;
    if (wide) {
#pragma unroll
        for (u32 i = 0; i < SLOTS * CHUNKS / 32; i++) {
            const u32 n = lane + i * 32, row = n / CHUNKS, chunk = n % CHUNKS, p = position + row;
            const bool real = p < past && chunk * 8 < d.head_dim;
            const u32 slot = p < d.prefix ? p : start + (p - d.prefix);
            copy16(to + row * PITCH(HD) + chunk * 16, real ? head + (u64)slot * d.held + chunk * 8 : head, real);
        }
    } else {
#pragma unroll 1
        for (u32 n = lane; n < SLOTS * HD; n += 32) {
            const u32 row = n / HD, column = n % HD, p = position + row;
            const u32 slot = p < d.prefix ? p : start + (p - d.prefix);
            const u16 x = p < past && column < d.head_dim ? head[(u64)slot * d.held + column] : (u16)0;
            asm volatile("st.shared.u16 [%0], %1;" ::"r"(to + row * PITCH(HD) + column * 2), "h"(x) : "memory");
        }
    }
}

template <int HD> __device__ __forceinline__ void decode(const Decode &d) {
    constexpr u32 P = PITCH(HD), BUFFER = SLOTS * P;
    const u32 group = d.heads / d.kv_heads, parts = (group + 15) / 16, key_head = blockIdx.x / parts;
    const u32 head0 = key_head * group + blockIdx.x % parts * 16, heads = min(16u, key_head * group + group - head0);
    const u32 sequence = blockIdx.y, piece = blockIdx.z, warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    const Span all = span(d, sequence);
    if (piece >= all.pieces) return;
    // Pieces and a warp's share of them are whole tiles.
    const u32 tiles = (all.past - all.first + SLOTS - 1) / SLOTS;
    const u32 low = tiles * piece / all.pieces, high = tiles * (piece + 1) / all.pieces, count = high - low;
    const u32 from = low + count * warp / WARPS, to = low + count * (warp + 1) / WARPS, start = d.start[sequence];
    const u16 *k = d.k + (u64)key_head * d.head_dim, *v = d.v + (u64)key_head * d.head_dim;
    const bool wide = ((d.held | d.head_dim) & 7) == 0 && (((u64)d.k | (u64)d.v) & 15) == 0;
    const u32 base = (u32)__cvta_generic_to_shared(shared) + warp * 4 * BUFFER;

#pragma unroll
    for (u32 stage = 0; stage < 2; stage++) {
        if (from + stage < to) {
            fetch<HD>(base + stage * 2 * BUFFER, k, d, start, all.first + (from + stage) * SLOTS, all.past, wide);
            fetch<HD>(base + stage * 2 * BUFFER + BUFFER, v, d, start, all.first + (from + stage) * SLOTS, all.past, wide);
        }
        commit();
    }
    // The queries as a left operand of 16 rows, a row a head.
    u32 q[HD / 16][4];
#pragma unroll
    for (int c = 0; c < HD / 16; c++) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const u32 row = (lane >> 2) + (r & 1) * 8, column = c * 16 + (r >> 1) * 8 + (lane & 3) * 2;
            const u16 *x = d.q + (u64)sequence * d.ld + (u64)(head0 + row) * d.head_dim + column;
            const u32 a = row < heads && column < d.head_dim ? x[0] : 0, b = row < heads && column + 1 < d.head_dim ? x[1] : 0;
            q[c][r] = a | b << 16;
        }
    }

    const float by = d.scale * LOG2E;
    float o[HD / 8][4] = {}, shift[2] = {LOWEST, LOWEST}, total[2] = {};
    for (u32 tile = from, stage = 0; tile < to; tile++, stage ^= 1) {
        wait<1>();
        __syncwarp();
        const u32 keys = base + stage * 2 * BUFFER, values = keys + BUFFER;
        float s[2][4] = {};
#pragma unroll
        for (int c = 0; c < HD / 16; c++) {
            u32 y[4];
            load4(y, keys + ((lane & 7) + ((lane >> 4) & 1) * 8) * P + ((lane >> 3) & 1) * 16 + c * 32);
            mma(s[0], q[c], y[0], y[1]);
            mma(s[1], q[c], y[2], y[3]);
        }
        if (all.first + (tile + 1) * SLOTS > all.past) {
#pragma unroll
            for (int n = 0; n < 2; n++) {
#pragma unroll
                for (int c = 0; c < 4; c++) {
                    if (all.first + tile * SLOTS + n * 8 + (lane & 3) * 2 + (c & 1) >= all.past) s[n][c] = 2.f * LOWEST;
                }
            }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float top = fmaxf(fmaxf(s[0][half * 2], s[0][half * 2 + 1]), fmaxf(s[1][half * 2], s[1][half * 2 + 1]));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
            top = fmaxf(top * by, shift[half]);
            const float shrink = exp2_fast(shift[half] - top);
            shift[half] = top;
            float sum = 0.f;
#pragma unroll
            for (int n = 0; n < 2; n++) {
#pragma unroll
                for (int c = 0; c < 2; c++) {
                    s[n][half * 2 + c] = exp2_fast(__fmaf_rn(s[n][half * 2 + c], by, -top));
                    sum += s[n][half * 2 + c];
                }
            }
            total[half] = total[half] * shrink + sum;
#pragma unroll
            for (int n = 0; n < HD / 8; n++) {
                o[n][half * 2] *= shrink;
                o[n][half * 2 + 1] *= shrink;
            }
        }
        const u32 p[4] = {pack(s[0][0], s[0][1]), pack(s[0][2], s[0][3]), pack(s[1][0], s[1][1]), pack(s[1][2], s[1][3])};
#pragma unroll
        for (int n = 0; n < HD / 16; n++) {
            u32 y[4];
            load4_turned(y, values + (lane & 15) * P + (lane >> 4) * 16 + n * 32);
            mma(o[2 * n], p, y[0], y[1]);
            mma(o[2 * n + 1], p, y[2], y[3]);
        }
        __syncwarp();
        if (tile + 2 < to) {
            fetch<HD>(keys, k, d, start, all.first + (tile + 2) * SLOTS, all.past, wide);
            fetch<HD>(values, v, d, start, all.first + (tile + 2) * SLOTS, all.past, wide);
        }
        commit();
    }

    // The warps meet: their sums in their own buffers, shift and total of a row after them.
    wait<0>();
    __syncwarp();
    float *mine = (float *)(shared + warp * 4 * BUFFER), *facts = (float *)(shared + WARPS * 4 * BUFFER);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = total[half];
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        const u32 row = (lane >> 2) + half * 8;
        if ((lane & 3) == 0) {
            facts[(warp * 16 + row) * 2] = shift[half];
            facts[(warp * 16 + row) * 2 + 1] = sum;
        }
#pragma unroll
        for (int n = 0; n < HD / 8; n++) {
            *(float2 *)(mine + row * (HD + 8) + n * 8 + (lane & 3) * 2) = make_float2(o[n][half * 2], o[n][half * 2 + 1]);
        }
    }
    __syncthreads();
    for (u32 n = threadIdx.x; n < heads * HD; n += WARPS * 32) {
        const u32 row = n / HD, column = n % HD, head = head0 + row;
        float top = LOWEST, sum = 0.f, weight = 0.f;
#pragma unroll
        for (u32 w = 0; w < WARPS; w++) top = fmaxf(top, facts[(w * 16 + row) * 2]);
#pragma unroll
        for (u32 w = 0; w < WARPS; w++) {
            const float scale = exp2_fast(facts[(w * 16 + row) * 2] - top);
            weight += scale * facts[(w * 16 + row) * 2 + 1];
            sum += scale * ((float *)(shared + w * 4 * BUFFER))[row * (HD + 8) + column];
        }
        if (column >= d.head_dim) continue;
        if (all.pieces == 1) {
            const float x = weight > 0.f ? sum / weight : 0.f;
            d.o[(u64)sequence * d.ldo + (u64)head * d.head_dim + column] = (u16)pack(x, 0.f);
        } else {
            const u64 at = ((u64)sequence * d.heads + head) * d.splits + piece;
            d.sums[at * d.head_dim + column] = sum;
            if (column == 0) d.facts[at] = make_float2(top, weight);
        }
    }
}

// Adds the pieces of the sequences that were cut: a block a head and a sequence.
extern "C" __global__ void __launch_bounds__(128) attention_decode_join(const Decode d) {
    const u32 head = blockIdx.x, sequence = blockIdx.y, pieces = span(d, sequence).pieces;
    if (pieces == 1) return;
    const u64 at = ((u64)sequence * d.heads + head) * d.splits;
    float top = LOWEST, weight = 0.f;
    for (u32 n = 0; n < pieces; n++) top = fmaxf(top, d.facts[at + n].x);
    for (u32 n = 0; n < pieces; n++) weight += exp2_fast(d.facts[at + n].x - top) * d.facts[at + n].y;
    for (u32 column = threadIdx.x; column < d.head_dim; column += blockDim.x) {
        float sum = 0.f;
        for (u32 n = 0; n < pieces; n++) sum += exp2_fast(d.facts[at + n].x - top) * d.sums[(at + n) * d.head_dim + column];
        d.o[(u64)sequence * d.ldo + (u64)head * d.head_dim + column] = (u16)pack(sum / weight, 0.f);
    }
}

// ---- Entry points: grid (kv_heads * ceil(heads / kv_heads / 16), sequences, splits), 128 threads, and for the join (heads, sequences).
// splits is at least ceil(most slots seen / 256), the same in both.

#define ENTRY(HD) \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) attention_decode_##HD(const Decode d) { decode<HD>(d); }

ENTRY(32)
ENTRY(64)
ENTRY(96)
ENTRY(128)
