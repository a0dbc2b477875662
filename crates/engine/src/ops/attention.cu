// Causal attention over a tree of segments in bf16, forward and backward, for sm_80 and later (mma.sync, ldmatrix, cp.async).
//
// Forward    p_ij = softmax_j(scale * q_i . k_j)        o_i = sum_j p_ij v_j        lse_i = ln sum_j e^(scale q_i.k_j)
// Backward   delta_i = do_i . o_i      ds_ij = p_ij * (do_i . v_j - delta_i)
//            dq_i = scale sum_j ds_ij k_j      dk_j = scale sum_i ds_ij q_i      dv_j = sum_i p_ij do_i
// Visible    row i sees row j when j <= i < last[j], and with a window w when also pos[i] - pos[j] < w.
// Shapes     q (rows, heads, head_dim), k, v (rows, kv_heads, head_dim): parts of one buffer whose rows are ld elements apart;
//            dq, dk, dv likewise, ldd apart; o, do (rows, heads, head_dim), ldo apart; lse, delta f32 (heads, rows).
//            Head h reads key head h / (heads / kv_heads). A head narrower than the compiled size is filled with zeros.
// Tiles      start[t] .. start[t + 1] of tiles[] are the tiles that tile t meets, ascending: index * 2 + (1 if a pair is hidden
//            or lies beyond rows). order[] names the tiles heaviest first.
// Rounds     products take bf16 and sum in f32; the softmax is f32; p and ds are rounded to bf16 before the second product.
// Repeats    a block owns what it writes and adds in the order of its list, head by head: no atomics, same call, same bits.
//
// How: a warp owns whole rows of the scores, so that p stays in its registers and is at once the left operand of the next product.
// Rows in shared memory are 16 bytes longer than a head: the eight rows of an ldmatrix fall into different banks, and every address is
// a base and a constant.

typedef unsigned short u16;
typedef unsigned long long u64;

// What both directions read. The host has the same struct.
struct Attend {
    u16 *q, *k, *v, *o;
    float *lse;
    const u32 *last, *pos, *start, *tiles, *order;
    u32 rows, heads, kv_heads, head_dim, ld, ldo, window;
    float scale;
};

// And what the backward adds.
struct Backward {
    Attend at;
    u16 *d_o, *dq, *dk, *dv;
    float *delta;
    u32 ldd;
};

#define THREADS 128 // of a block; the backward by keys has several such groups in one
#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f
#define INF __int_as_float(0x7f800000)
#define LOWEST -1e30f

extern __shared__ __align__(128) unsigned char shared[];

// ---- The instructions.

__device__ __forceinline__ u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// Copies 16 bytes, or fills them with zeros.
__device__ __forceinline__ void copy16(u32 to, const void *from, bool real) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(real ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copy16(u32 to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ void copy4(u32 to, const void *from, bool real) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(real ? 4 : 0) : "memory");
}
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N groups are still on their way.
template <int N> __device__ __forceinline__ void wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// Four 8x8 matrices; lane l gives the address of a row.
__device__ __forceinline__ void load4(u32 (&r)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
__device__ __forceinline__ void load4_turned(u32 (&r)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
// c += a b, 16x16 by 16x8.
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
__device__ __forceinline__ float2 shared_pair(u32 at) {
    float2 v;
    asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(at) : "memory");
    return v;
}
__device__ __forceinline__ u32 shared_word(u32 at) {
    u32 v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at) : "memory");
    return v;
}
__device__ __forceinline__ void shared_store4(u32 at, const float (&v)[4]) {
    asm volatile("st.shared.v4.f32 [%0], {%1,%2,%3,%4};" ::"r"(at), "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3]) : "memory");
}
__device__ __forceinline__ void shared_add4(float (&to)[4], u32 at) {
    float x, y, z, w;
    asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];" : "=f"(x), "=f"(y), "=f"(z), "=f"(w) : "r"(at) : "memory");
    to[0] += x, to[1] += y, to[2] += z, to[3] += w;
}
__device__ __forceinline__ void shared_store(u32 at, u32 v) { asm volatile("st.shared.u32 [%0], %1;" ::"r"(at), "r"(v) : "memory"); }

// ---- Tiles between memory and shared memory.

// Bytes from row to row in shared memory.
#define PITCH(HD) ((HD) * 2 + 16)

// A head of a matrix in memory.
struct Part {
    u16 *at;
    u32 ld, rows, width;
    bool wide; // 16-byte accesses are possible
};

__device__ __forceinline__ Part part(u16 *base, u32 head, u32 ld, const Attend &a) {
    u16 *at = base + (u64)head * a.head_dim;
    return Part{at, ld, a.rows, a.head_dim, ((ld | a.head_dim) & 7) == 0 && ((u64)base & 15) == 0};
}

// Brings ROWS rows from row0 on; what lies outside reads as zero.
template <int HD, int ROWS> __device__ __forceinline__ void fetch(u32 to, const Part &m, u32 row0) {
    constexpr int CHUNKS = HD / 8;
    if (m.wide && m.width == HD && row0 + ROWS <= m.rows) {
        if constexpr (THREADS % CHUNKS == 0) {
            constexpr int STEP = THREADS / CHUNKS;
            u32 row = (threadIdx.x % THREADS) / CHUNKS, chunk = (threadIdx.x % THREADS) % CHUNKS;
            const u16 *from = m.at + (u64)(row0 + row) * m.ld + chunk * 8;
            to += row * PITCH(HD) + chunk * 16;
#pragma unroll
            for (int i = 0; i < ROWS / STEP; i++) {
                copy16(to + i * STEP * PITCH(HD), from);
                from += STEP * m.ld;
            }
        } else {
            const u16 *from = m.at + (u64)row0 * m.ld;
#pragma unroll
            for (int i = 0; i < ROWS * CHUNKS / THREADS; i++) {
                u32 n = (threadIdx.x % THREADS) + i * THREADS, row = n / CHUNKS, chunk = n % CHUNKS;
                copy16(to + row * PITCH(HD) + chunk * 16, from + row * m.ld + chunk * 8);
            }
        }
    } else if (m.wide) {
#pragma unroll 1
        for (u32 n = (threadIdx.x % THREADS); n < ROWS * CHUNKS; n += THREADS) {
            u32 row = n / CHUNKS, chunk = n % CHUNKS;
            bool real = row0 + row < m.rows && chunk * 8 < m.width;
            copy16(to + row * PITCH(HD) + chunk * 16, real ? m.at + (u64)(row0 + row) * m.ld + chunk * 8 : m.at, real);
        }
    } else {
#pragma unroll 1
        for (u32 n = (threadIdx.x % THREADS); n < ROWS * HD; n += THREADS) {
            u32 row = n / HD, column = n % HD;
            bool real = row0 + row < m.rows && column < m.width;
            u16 x = real ? m.at[(u64)(row0 + row) * m.ld + column] : (u16)0;
            asm volatile("st.shared.u16 [%0], %1;" ::"r"(to + row * PITCH(HD) + column * 2), "h"(x) : "memory");
        }
    }
}

// Brings N words of a list by row; the threads from `first` on do it.
template <int N> __device__ __forceinline__ void fetch_words(u32 to, const void *list, u32 row0, u32 rows, u32 first) {
    u32 n = (threadIdx.x % THREADS) - first;
    if (n < N) {
        bool real = row0 + n < rows;
        copy4(to + n * 4, (const u32 *)list + (real ? row0 + n : 0), real);
    }
}

// One warp writes ROWS rows that it has put into shared memory.
template <int HD, int ROWS> __device__ __forceinline__ void put(const Part &m, u32 from, u32 row0) {
    constexpr int CHUNKS = HD / 8;
    u32 lane = threadIdx.x & 31;
    if (m.wide) {
#pragma unroll 4
        for (u32 n = lane; n < ROWS * CHUNKS; n += 32) {
            u32 row = n / CHUNKS, chunk = n % CHUNKS;
            if (row0 + row < m.rows && chunk * 8 < m.width) {
                uint4 x;
                asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                             : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(from + row * PITCH(HD) + chunk * 16) : "memory");
                *(uint4 *)(m.at + (u64)(row0 + row) * m.ld + chunk * 8) = x;
            }
        }
    } else {
#pragma unroll 1
        for (u32 n = lane; n < ROWS * HD; n += 32) {
            u32 row = n / HD, column = n % HD;
            if (row0 + row < m.rows && column < m.width) {
                u16 x;
                asm volatile("ld.shared.u16 %0, [%1];" : "=h"(x) : "r"(from + row * PITCH(HD) + column * 2) : "memory");
                m.at[(u64)(row0 + row) * m.ld + column] = x;
            }
        }
    }
}

// Puts a warp's 16 rows of a sum, times `by`, into shared memory.
template <int HD> __device__ __forceinline__ void lay_down(u32 to, const float (&sum)[HD / 8][4], float by_top, float by_bottom) {
    u32 lane = threadIdx.x & 31;
    to += (lane >> 2) * PITCH(HD) + (lane & 3) * 4;
#pragma unroll
    for (int n = 0; n < HD / 8; n++) {
        shared_store(to + n * 16, pack(sum[n][0] * by_top, sum[n][1] * by_top));
        shared_store(to + n * 16 + 8 * PITCH(HD), pack(sum[n][2] * by_bottom, sum[n][3] * by_bottom));
    }
}

// Where a lane's row of a 16x16 block begins: for a left operand, and for a right operand that is turned.
__device__ __forceinline__ u32 lane_block(u32 pitch) { return (threadIdx.x & 15) * pitch + ((threadIdx.x >> 4) & 1) * 16; }
// The same for a right operand whose rows are the columns of the product.
__device__ __forceinline__ u32 lane_rows(u32 pitch) {
    return ((threadIdx.x & 7) + ((threadIdx.x >> 4) & 1) * 8) * pitch + ((threadIdx.x >> 3) & 1) * 16;
}

// ---- Forward: a block does 128 queries of a head, a warp 32 of them, 64 keys at a time.

#define QUERIES 128
#define KEYS 64

template <int HD> struct ForwardShared {
    static const int Q = 0, K = QUERIES * PITCH(HD), K_STAGE = KEYS * PITCH(HD), V = K + 2 * K_STAGE, LAST = V + K_STAGE;
    static const int POS = LAST + 2 * KEYS * 4, BYTES = POS + 2 * KEYS * 4;
};

template <int HD> __device__ __forceinline__ void forward(const Attend &a) {
    typedef ForwardShared<HD> At;
    constexpr int P = PITCH(HD);
    const u32 head = blockIdx.x, tile = a.order[blockIdx.y], row0 = tile * QUERIES;
    const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const Part q = part(a.q, head, a.ld, a), k = part(a.k, head / (a.heads / a.kv_heads), a.ld, a);
    const Part v = part(a.v, head / (a.heads / a.kv_heads), a.ld, a);
    const u32 base = shared_address(shared);
    const u32 first = warp * 32; // of this warp's rows within the tile
    const u32 q_at = base + At::Q + first * P + lane_block(P), k_at = base + At::K + lane_rows(P), v_at = base + At::V + lane_block(P);

    u32 at = a.start[tile];
    const u32 end = a.start[tile + 1];
    u32 entry = at < end ? a.tiles[at] : 0;
    fetch<HD, QUERIES>(base + At::Q, q, row0);
    fetch<HD, KEYS>(base + At::K, k, (entry >> 1) * KEYS);
    if (entry & 1) {
        fetch_words<KEYS>(base + At::LAST, a.last, (entry >> 1) * KEYS, a.rows, 0);
        if (a.window) fetch_words<KEYS>(base + At::POS, a.pos, (entry >> 1) * KEYS, a.rows, KEYS);
    }
    commit();

    float o[2][HD / 8][4] = {};
    // What is subtracted in the exponent, and from where on it is replaced: a sum of a few powers of two more costs no digits.
    float shift[2][2] = {{LOWEST, LOWEST}, {LOWEST, LOWEST}}, level[2][2] = {{LOWEST, LOWEST}, {LOWEST, LOWEST}}, total[2][2] = {};
    const float by = a.scale * LOG2E;

    for (u32 stage = 0; at < end; stage ^= 1) {
        wait<0>();
        __syncthreads();
        const u32 key0 = (entry >> 1) * KEYS, hidden = entry & 1;
        fetch<HD, KEYS>(base + At::V, v, key0);
        commit();
        at++;
        if (at < end) {
            entry = a.tiles[at];
            const u32 next = (entry >> 1) * KEYS, other = stage ^ 1;
            fetch<HD, KEYS>(base + At::K + other * At::K_STAGE, k, next);
            if (entry & 1) {
                fetch_words<KEYS>(base + At::LAST + other * KEYS * 4, a.last, next, a.rows, 0);
                if (a.window) fetch_words<KEYS>(base + At::POS + other * KEYS * 4, a.pos, next, a.rows, KEYS);
            }
        }
        commit();

        // A warp all of whose rows come before the keys has nothing to do.
        const bool idle = hidden && key0 > row0 + first + 31;
        float s[2][KEYS / 8][4] = {};
        if (!idle) {
#pragma unroll
            for (int d = 0; d < HD / 16; d++) {
                u32 x[2][4];
                load4(x[0], q_at + d * 32);
                load4(x[1], q_at + d * 32 + 16 * P);
#pragma unroll
                for (int n = 0; n < KEYS / 16; n++) {
                    u32 y[4];
                    load4(y, k_at + stage * At::K_STAGE + n * 16 * P + d * 32);
#pragma unroll
                    for (int m = 0; m < 2; m++) {
                        mma(s[m][2 * n], x[m], y[0], y[1]);
                        mma(s[m][2 * n + 1], x[m], y[2], y[3]);
                    }
                }
            }
            if (hidden) {
                const u32 words = base + stage * KEYS * 4 + (lane & 3) * 8, window = a.window ? a.window : ~0u;
                u32 place[2][2] = {};
                if (a.window) {
#pragma unroll
                    for (int r = 0; r < 4; r++) place[r >> 1][r & 1] = a.pos[min(row0 + first + r * 8 + (lane >> 2), a.rows - 1)];
                }
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
                    for (int c = 0; c < 2; c++) {
                        const u32 key = key0 + n * 8 + (lane & 3) * 2 + c, last = shared_word(words + At::LAST + n * 32 + c * 4);
                        const u32 from = a.window ? shared_word(words + At::POS + n * 32 + c * 4) : 0;
#pragma unroll
                        for (int m = 0; m < 2; m++) {
#pragma unroll
                            for (int half = 0; half < 2; half++) {
                                const u32 row = row0 + first + m * 16 + half * 8 + (lane >> 2);
                                const bool seen = key <= row & row < last & place[m][half] - from < window;
                                s[m][n][half * 2 + c] = seen ? s[m][n][half * 2 + c] : -INF;
                            }
                        }
                    }
                }
            }
            float top[2][2];
            bool grown = false;
#pragma unroll
            for (int m = 0; m < 2; m++) {
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float x = s[m][0][half * 2];
#pragma unroll
                    for (int n = 0; n < KEYS / 8; n++) x = fmaxf(x, fmaxf(s[m][n][half * 2], s[m][n][half * 2 + 1]));
                    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
                    x = fmaxf(x, __shfl_xor_sync(~0u, x, 2));
                    top[m][half] = x;
                    grown |= x * by > level[m][half];
                }
            }
            if (__any_sync(~0u, grown)) {
#pragma unroll
                for (int m = 0; m < 2; m++) {
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const float x = top[m][half] * by;
                        if (!(x > level[m][half])) continue;
                        const float shrink = exp2_fast(shift[m][half] - x);
                        shift[m][half] = x;
                        level[m][half] = x + 8.f;
                        total[m][half] *= shrink;
#pragma unroll
                        for (int n = 0; n < HD / 8; n++) {
                            o[m][n][half * 2] *= shrink;
                            o[m][n][half * 2 + 1] *= shrink;
                        }
                    }
                }
            }
#pragma unroll
            for (int m = 0; m < 2; m++) {
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float sum = 0.f;
#pragma unroll
                    for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
                        for (int c = 0; c < 2; c++) {
                            const float p = exp2_fast(__fmaf_rn(s[m][n][half * 2 + c], by, -shift[m][half]));
                            s[m][n][half * 2 + c] = p;
                            sum += p;
                        }
                    }
                    total[m][half] += sum;
                }
            }
        }
        wait<1>();
        __syncthreads();
        if (!idle) {
#pragma unroll
            for (int j = 0; j < KEYS / 16; j++) {
                u32 x[2][4];
#pragma unroll
                for (int m = 0; m < 2; m++) {
                    x[m][0] = pack(s[m][2 * j][0], s[m][2 * j][1]);
                    x[m][1] = pack(s[m][2 * j][2], s[m][2 * j][3]);
                    x[m][2] = pack(s[m][2 * j + 1][0], s[m][2 * j + 1][1]);
                    x[m][3] = pack(s[m][2 * j + 1][2], s[m][2 * j + 1][3]);
                }
#pragma unroll
                for (int n = 0; n < HD / 16; n++) {
                    u32 y[4];
                    load4_turned(y, v_at + j * 16 * P + n * 32);
#pragma unroll
                    for (int m = 0; m < 2; m++) {
                        mma(o[m][2 * n], x[m], y[0], y[1]);
                        mma(o[m][2 * n + 1], x[m], y[2], y[3]);
                    }
                }
            }
        }
    }

    // A warp alone has read its rows of q: they make room for o.
    wait<0>();
    __syncthreads();
    const Part out = part(a.o, head, a.ldo, a);
#pragma unroll
    for (int m = 0; m < 2; m++) {
        float by_half[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float sum = total[m][half];
            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2);
            by_half[half] = sum > 0.f ? 1.f / sum : 0.f;
            const u32 row = row0 + first + m * 16 + half * 8 + (lane >> 2);
            if ((lane & 3) == 0 && row < a.rows) a.lse[(u64)head * a.rows + row] = shift[m][half] * LN2 + __logf(sum);
        }
        lay_down<HD>(base + At::Q + (first + m * 16) * P, o[m], by_half[0], by_half[1]);
    }
    __syncwarp();
    put<HD, 32>(out, base + At::Q + first * P, row0 + first);
}

// ---- Backward: what both kernels know of a row, then dk and dv by tiles of 64 keys, and dq by tiles of 64 queries.

#define TILE 64

// delta = do . o; eight lanes do a head of a row.
extern "C" __global__ void __launch_bounds__(256) attention_delta(const Backward b) {
    const Attend &a = b.at;
    const u32 pair = blockIdx.x * 32 + (threadIdx.x >> 3), lane = threadIdx.x & 7;
    const u32 row = pair / a.heads, head = pair % a.heads;
    float sum = 0.f;
    if (row < a.rows) {
        const Part o = part(a.o, head, a.ldo, a), d_o = part(b.d_o, head, a.ldo, a);
        const u16 *x = o.at + (u64)row * a.ldo, *y = d_o.at + (u64)row * a.ldo;
        if (o.wide && d_o.wide) {
            for (u32 c = lane * 8; c < a.head_dim; c += 64) {
                const uint4 s = *(const uint4 *)(x + c), t = *(const uint4 *)(y + c);
                const u32 l[4] = {s.x, s.y, s.z, s.w}, r[4] = {t.x, t.y, t.z, t.w};
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    sum += __uint_as_float(l[i] << 16) * __uint_as_float(r[i] << 16);
                    sum += __uint_as_float(l[i] & 0xffff0000) * __uint_as_float(r[i] & 0xffff0000);
                }
            }
        } else {
            for (u32 c = lane; c < a.head_dim; c += 8) sum += __uint_as_float((u32)x[c] << 16) * __uint_as_float((u32)y[c] << 16);
        }
    }
    sum += __shfl_xor_sync(~0u, sum, 4);
    sum += __shfl_xor_sync(~0u, sum, 2);
    sum += __shfl_xor_sync(~0u, sum, 1);
    if (lane == 0 && row < a.rows) b.delta[(u64)head * a.rows + row] = sum;
}

// c (16 x 8N) += a b^T for 16 rows in registers and 8N rows of HD columns in shared memory; two such products at a time.
template <int HD, int N>
__device__ __forceinline__ void scores(float (&c)[N][4], const u32 (&left)[HD / 16][4], u32 right,    //
                                       float (&c2)[N][4], const u32 (&left2)[HD / 16][4], u32 right2) {
#pragma unroll
    for (int d = 0; d < HD / 16; d++) {
#pragma unroll
        for (int n = 0; n < N / 2; n++) {
            u32 y[4];
            load4(y, right + n * 16 * PITCH(HD) + d * 32);
            mma(c[2 * n], left[d], y[0], y[1]);
            mma(c[2 * n + 1], left[d], y[2], y[3]);
            load4(y, right2 + n * 16 * PITCH(HD) + d * 32);
            mma(c2[2 * n], left2[d], y[0], y[1]);
            mma(c2[2 * n + 1], left2[d], y[2], y[3]);
        }
    }
}
// sum (16 x HD) += a b for scores a (16 x 8N) and 8N rows of HD columns in shared memory.
template <int HD, int N> __device__ __forceinline__ void gather(float (&sum)[HD / 8][4], const float (&a)[N][4], u32 right) {
#pragma unroll
    for (int j = 0; j < N / 2; j++) {
        const u32 left[4] = {pack(a[2 * j][0], a[2 * j][1]), pack(a[2 * j][2], a[2 * j][3]), pack(a[2 * j + 1][0], a[2 * j + 1][1]),
                             pack(a[2 * j + 1][2], a[2 * j + 1][3])};
#pragma unroll
        for (int n = 0; n < HD / 16; n++) {
            u32 y[4];
            load4_turned(y, right + j * 16 * PITCH(HD) + n * 32);
            mma(sum[2 * n], left, y[0], y[1]);
            mma(sum[2 * n + 1], left, y[2], y[3]);
        }
    }
}

// A group's part of shared memory.
template <int HD> struct KeysShared {
    static const int TILE_BYTES = TILE * PITCH(HD), Q = 0, DO = 2 * TILE_BYTES, LSE = 4 * TILE_BYTES, DELTA = LSE + 2 * TILE * 4;
    static const int BYTES = DELTA + 2 * TILE * 4;
};
__device__ __forceinline__ void group_sync(u32 group) { asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory"); }

// dk and dv: a block does 64 keys of a key head, a warp 16 of them, which it holds in registers; the scores are turned, keys by
// queries. Each group of four warps takes its share of the queries; their sums are added in order of the groups.
template <int HD, int SUB, int UNROLL> __device__ __forceinline__ void backward_keys(const Backward &b) {
    typedef KeysShared<HD> At;
    constexpr int P = PITCH(HD), STAGE = TILE * P, N = SUB / 8;
    const Attend &a = b.at;
    const u32 key_head = blockIdx.x, tile = a.order[blockIdx.y], key0 = tile * TILE, heads = a.heads / a.kv_heads;
    const u32 groups = blockDim.x / THREADS, group = threadIdx.x / THREADS;
    const u32 lane = threadIdx.x & 31, first = (threadIdx.x % THREADS >> 5) * 16;
    const u32 block = shared_address(shared), base = block + group * At::BYTES;
    const u32 begin = a.start[tile], end = a.start[tile + 1];
    const u32 low = key0 + first + (lane >> 2), high = low + 8; // this lane's two keys
    const float by = a.scale * LOG2E;

    u32 at = begin + group, head = key_head * heads, stage = 0;
    const u32 past = begin < end ? head + heads : head;
    while (head < past && at >= end) at -= end - begin, head++;
    u32 entry = head < past ? a.tiles[at] : 0;
    if (head < past) {
        fetch<HD, TILE>(base + At::Q, part(a.q, head, a.ld, a), (entry >> 1) * TILE);
        fetch<HD, TILE>(base + At::DO, part(b.d_o, head, a.ldo, a), (entry >> 1) * TILE);
        fetch_words<TILE>(base + At::LSE, a.lse + (u64)head * a.rows, (entry >> 1) * TILE, a.rows, 0);
        fetch_words<TILE>(base + At::DELTA, b.delta + (u64)head * a.rows, (entry >> 1) * TILE, a.rows, TILE);
    }
    if (group == 0) {
        fetch<HD, TILE>(base + At::Q + STAGE, part(a.k, key_head, a.ld, a), key0);
        fetch<HD, TILE>(base + At::DO + STAGE, part(a.v, key_head, a.ld, a), key0);
    }
    commit();
    wait<0>();
    __syncthreads();
    u32 k[HD / 16][4], v[HD / 16][4];
#pragma unroll
    for (int d = 0; d < HD / 16; d++) {
        load4(k[d], block + At::Q + STAGE + first * P + lane_block(P) + d * 32);
        load4(v[d], block + At::DO + STAGE + first * P + lane_block(P) + d * 32);
    }
    __syncthreads();

    float dk[HD / 8][4] = {}, dv[HD / 8][4] = {};
    while (head < past) {
        const u32 row0 = (entry >> 1) * TILE, hidden = entry & 1;
        const u32 q_rows = base + At::Q + stage * STAGE, words = base + stage * TILE * 4 + (lane & 3) * 8;
        at += groups;
        while (head < past && at >= end) at -= end - begin, head++;
        stage ^= 1;
        wait<0>();
        group_sync(group);
        if (head < past) {
            entry = a.tiles[at];
            const u32 next = (entry >> 1) * TILE;
            fetch<HD, TILE>(base + At::Q + stage * STAGE, part(a.q, head, a.ld, a), next);
            fetch<HD, TILE>(base + At::DO + stage * STAGE, part(b.d_o, head, a.ldo, a), next);
            fetch_words<TILE>(base + At::LSE + stage * TILE * 4, a.lse + (u64)head * a.rows, next, a.rows, 0);
            fetch_words<TILE>(base + At::DELTA + stage * TILE * 4, b.delta + (u64)head * a.rows, next, a.rows, TILE);
        }
        commit();

#pragma unroll (UNROLL)
        for (int sub = 0; sub < TILE / SUB; sub++) {
            const u32 q_at = q_rows + sub * SUB * P, do_at = q_at + At::DO - At::Q;
            float p[N][4] = {}, ds[N][4] = {};
            scores<HD, N>(p, k, q_at + lane_rows(P), ds, v, do_at + lane_rows(P));
            if (hidden) {
                const u32 window = a.window ? a.window : ~0u;
                const u32 last_low = low < a.rows ? a.last[low] : 0, last_high = high < a.rows ? a.last[high] : 0;
                const u32 pos_low = a.window && low < a.rows ? a.pos[low] : 0, pos_high = a.window && high < a.rows ? a.pos[high] : 0;
#pragma unroll
                for (int n = 0; n < N; n++) {
#pragma unroll
                    for (int c = 0; c < 2; c++) {
                        const u32 row = row0 + sub * SUB + n * 8 + (lane & 3) * 2 + c;
                        const u32 place = a.window ? a.pos[min(row, a.rows - 1)] : 0;
                        const bool sees_low = low <= row & row < last_low & place - pos_low < window;
                        const bool sees_high = high <= row & row < last_high & place - pos_high < window;
                        p[n][c] = sees_low ? p[n][c] : -INF;
                        p[n][c + 2] = sees_high ? p[n][c + 2] : -INF;
                    }
                }
            }
#pragma unroll
            for (int n = 0; n < N; n++) {
                const float2 lse = shared_pair(words + At::LSE + (sub * N + n) * 32);
                const float2 delta = shared_pair(words + At::DELTA + (sub * N + n) * 32);
                const float by_column[2] = {lse.x * LOG2E, lse.y * LOG2E};
#pragma unroll
                for (int c = 0; c < 4; c++) {
                    p[n][c] = exp2_fast(__fmaf_rn(p[n][c], by, -by_column[c & 1]));
                    ds[n][c] = p[n][c] * (ds[n][c] - (c & 1 ? delta.y : delta.x));
                }
            }
            gather<HD, N>(dv, p, do_at + lane_block(P));
            gather<HD, N>(dk, ds, q_at + lane_block(P));
        }
    }

    // The same lane of every group holds the same numbers.
    wait<0>();
    group_sync(group);
    const u32 mine = base + (threadIdx.x % THREADS) * 16;
    if (group > 0) {
#pragma unroll
        for (int n = 0; n < HD / 8; n++) {
            shared_store4(mine + n * THREADS * 16, dk[n]);
            shared_store4(mine + (HD / 8 + n) * THREADS * 16, dv[n]);
        }
    }
    __syncthreads();
    if (group > 0) return;
    for (u32 other = 1; other < groups; other++) {
#pragma unroll
        for (int n = 0; n < HD / 8; n++) {
            shared_add4(dk[n], mine + other * At::BYTES + n * THREADS * 16);
            shared_add4(dv[n], mine + other * At::BYTES + (HD / 8 + n) * THREADS * 16);
        }
    }
    lay_down<HD>(base + At::Q + first * P, dk, a.scale, a.scale);
    lay_down<HD>(base + At::DO + first * P, dv, 1.f, 1.f);
    __syncwarp();
    put<HD, 16>(part(b.dk, key_head, b.ldd, a), base + At::Q + first * P, key0 + first);
    put<HD, 16>(part(b.dv, key_head, b.ldd, a), base + At::DO + first * P, key0 + first);
}

template <int HD> struct QueriesShared {
    static const int K = 0, V = TILE * PITCH(HD), STAGE = 2 * V, LAST = 2 * STAGE, BYTES = LAST + 2 * TILE * 4;
};

// dq: a block does 64 queries of a head, a warp 16 of them, which it holds in registers.
template <int HD, int SUB> __device__ __forceinline__ void backward_queries(const Backward &b) {
    typedef QueriesShared<HD> At;
    constexpr int P = PITCH(HD), N = SUB / 8;
    const Attend &a = b.at;
    const u32 head = blockIdx.x, tile = a.order[blockIdx.y], row0 = tile * TILE;
    const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, first = warp * 16;
    const Part k = part(a.k, head / (a.heads / a.kv_heads), a.ld, a), v = part(a.v, head / (a.heads / a.kv_heads), a.ld, a);
    const u32 base = shared_address(shared);
    const u32 low = row0 + first + (lane >> 2), high = low + 8; // this lane's two queries
    const u32 pos_low = a.window && low < a.rows ? a.pos[low] : 0, pos_high = a.window && high < a.rows ? a.pos[high] : 0;
    const u32 window = a.window ? a.window : ~0u;
    const float by = a.scale * LOG2E;

    u32 at = a.start[tile], stage = 1;
    const u32 end = a.start[tile + 1];
    u32 entry = at < end ? a.tiles[at] : 0;
    fetch<HD, TILE>(base + At::K, part(a.q, head, a.ld, a), row0);
    fetch<HD, TILE>(base + At::V, part(b.d_o, head, a.ldo, a), row0);
    commit();
    fetch<HD, TILE>(base + At::STAGE + At::K, k, (entry >> 1) * TILE);
    fetch<HD, TILE>(base + At::STAGE + At::V, v, (entry >> 1) * TILE);
    if (entry & 1) fetch_words<TILE>(base + At::LAST + TILE * 4, a.last, (entry >> 1) * TILE, a.rows, 0);
    commit();
    float lse[2] = {0.f, 0.f}, delta[2] = {0.f, 0.f};
    if (low < a.rows) lse[0] = a.lse[(u64)head * a.rows + low] * LOG2E, delta[0] = b.delta[(u64)head * a.rows + low];
    if (high < a.rows) lse[1] = a.lse[(u64)head * a.rows + high] * LOG2E, delta[1] = b.delta[(u64)head * a.rows + high];
    wait<1>();
    __syncthreads();
    u32 q[HD / 16][4], d_o[HD / 16][4];
#pragma unroll
    for (int d = 0; d < HD / 16; d++) {
        load4(q[d], base + At::K + first * P + lane_block(P) + d * 32);
        load4(d_o[d], base + At::V + first * P + lane_block(P) + d * 32);
    }

    float dq[HD / 8][4] = {};
    for (; at < end; stage ^= 1) {
        const u32 key0 = (entry >> 1) * TILE, hidden = entry & 1;
        wait<0>();
        __syncthreads();
        at++;
        if (at < end) {
            entry = a.tiles[at];
            const u32 next = (entry >> 1) * TILE, other = base + (stage ^ 1) * At::STAGE;
            fetch<HD, TILE>(other + At::K, k, next);
            fetch<HD, TILE>(other + At::V, v, next);
            if (entry & 1) fetch_words<TILE>(base + At::LAST + (stage ^ 1) * TILE * 4, a.last, next, a.rows, 0);
        }
        commit();

        const u32 words = base + At::LAST + stage * TILE * 4 + (lane & 3) * 8;
#pragma unroll 4
        for (int sub = 0; sub < TILE / SUB; sub++) {
            const u32 keys = base + stage * At::STAGE + sub * SUB * P;
            float p[N][4] = {}, ds[N][4] = {};
            scores<HD, N>(p, q, keys + At::K + lane_rows(P), ds, d_o, keys + At::V + lane_rows(P));
            if (hidden) {
#pragma unroll
                for (int n = 0; n < N; n++) {
#pragma unroll
                    for (int c = 0; c < 2; c++) {
                        const u32 key = key0 + sub * SUB + n * 8 + (lane & 3) * 2 + c;
                        const u32 last = shared_word(words + (sub * N + n) * 32 + c * 4);
                        const u32 from = a.window ? a.pos[min(key, a.rows - 1)] : 0;
                        const bool low_sees = key <= low & low < last & pos_low - from < window;
                        const bool high_sees = key <= high & high < last & pos_high - from < window;
                        p[n][c] = low_sees ? p[n][c] : -INF;
                        p[n][c + 2] = high_sees ? p[n][c + 2] : -INF;
                    }
                }
            }
#pragma unroll
            for (int n = 0; n < N; n++) {
#pragma unroll
                for (int c = 0; c < 4; c++) {
                    p[n][c] = exp2_fast(__fmaf_rn(p[n][c], by, -lse[c >> 1]));
                    ds[n][c] = p[n][c] * (ds[n][c] - delta[c >> 1]);
                }
            }
            gather<HD, N>(dq, ds, keys + At::K + lane_block(P));
        }
    }

    wait<0>();
    __syncthreads();
    lay_down<HD>(base + first * P, dq, a.scale, a.scale);
    __syncwarp();
    put<HD, 16>(part(b.dq, head, b.ldd, a), base + first * P, row0 + first);
}

// ---- Entry points, one for each size of head. All take their struct by value; a head of head_dim runs at the next larger size.
//
// attention_forward_HD   grid (heads, tiles of 128 queries)     128 threads     tiles by query 128, by key 64
// attention_delta        grid (rows * heads / 32, up)           256 threads     before the two below
// attention_keys_HD      grid (kv_heads, tiles of 64 keys)      128 * groups    64, 64: lists of the keys
// attention_queries_HD   grid (heads, tiles of 64 queries)      128 threads     64, 64: lists of the queries
//
// FORWARD and QUERY blocks share a multiprocessor; a block of the keys has GROUPS groups at most, as many as shared memory holds.

#define ENTRIES(HD, FORWARD, GROUPS, K_SUB, K_UNROLL, QUERY, Q_SUB)                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, FORWARD) attention_forward_##HD(const Attend a) { forward<HD>(a); }       \
    extern "C" __global__ void __launch_bounds__(THREADS *GROUPS, 1) attention_keys_##HD(const Backward b) {                        \
        backward_keys<HD, K_SUB, K_UNROLL>(b);                                                                                      \
    }                                                                                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS, QUERY) attention_queries_##HD(const Backward b) {                         \
        backward_queries<HD, Q_SUB>(b);                                                                                             \
    }

ENTRIES(32, 3, 4, 32, 1, 4, 64)
ENTRIES(64, 3, 3, 32, 1, 4, 16)
ENTRIES(96, 2, 2, 16, 2, 2, 64)
ENTRIES(128, 2, 2, 16, 1, 2, 32)
