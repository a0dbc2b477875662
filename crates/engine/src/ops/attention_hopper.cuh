// What the attention kernels for Hopper share: the interface, the instructions and the rule of what is hidden. Put in front of
// attention_hopper.cu and attention_hopper_back.cu, after what all kernels share; includes nothing.
//
// Tiles of q, k, v, o and do lie in shared memory as chunks of 64 columns: rows of 128 bytes, sixteen bytes of them exchanged by the
// row's number modulo 8 (the 128-byte swizzle that the copy engine writes and the tensor cores read).

#define DEV __device__ __forceinline__
#define INF __int_as_float(0x7f800000)
#define LOG2E 1.4426950408889634f

// A tensor map as the driver encodes it.
struct alignas(64) Map {
    u64 words[16];
};

// What both directions read; the host has the same struct. q, k, v, o and do are read through tensor maps alone.
struct Attend {
    const bf16 *q, *k, *v;
    bf16* o;
    float* lse;
    const u32 *last, *pos, *start, *tiles, *order;
    u32 rows, heads, kv_heads, head_dim, ld, ldo, window;
    float scale;
};

// And what the backward adds.
struct AttendBack {
    Attend a;
    const bf16* d_o;
    bf16 *dq, *dk, *dv;
    float* delta;
    u32 ldd;
};

// ---- Barriers and copies ------------------------------------------------------------------------------------------------

DEV u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

DEV void barrier_init(u32 bar, u32 count) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory"); }

DEV void barrier_expect(u32 bar, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}

DEV void barrier_arrive(u32 bar) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory"); }

DEV void barrier_wait(u32 bar, u32 parity) {
    asm volatile(
        "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra again;\n}\n" ::"r"(bar),
        "r"(parity)
        : "memory");
}

// Named barriers: `wait` joins and waits, `pass` only joins.
DEV void turn_wait(u32 id, u32 threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
DEV void turn_pass(u32 id, u32 threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

// A tile of ROWS * BOXES rows of one head, in boxes of ROWS rows and 64 columns: chunk by chunk of 64 columns.
template <int CHUNKS, int BOXES, int ROWS>
DEV void load_tile(u32 to, const Map* map, u32 bar, u32 head, u32 row) {
#pragma unroll
    for (u32 x = 0; x < CHUNKS * BOXES; x++)
        asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(
                         to + x * ROWS * 128),
                     "l"(map), "r"(bar), "r"(x / BOXES * 64), "r"(head), "r"(row + x % BOXES * ROWS)
                     : "memory");
}

// As many numbers as the map says of a list with one a row.
DEV void load_list(u32 to, const Map* map, u32 bar, u32 row) {
    asm volatile("cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3}], [%2];" ::"r"(to), "l"(map),
                 "r"(bar), "r"(row)
                 : "memory");
}

// One number, or zero where it is not real; `numbers_arrive` joins the barrier once this thread's numbers are there.
DEV void load_number(u32 to, const float* from, bool real) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(real ? 4 : 0) : "memory");
}
DEV void numbers_arrive(u32 bar) { asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(bar) : "memory"); }

DEV void load_pair(u32 (&to)[2], u32 address) {
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "r"(address) : "memory");
}

DEV void load_four(u32 (&to)[4], u32 address) {
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address) : "memory");
}

DEV void store_box(const Map* map, u32 from, u32 column, u32 head, u32 row) {
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map), "r"(from), "r"(column),
                 "r"(head), "r"(row)
                 : "memory");
}

DEV void store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
DEV void store_wait_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
DEV void store_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
DEV void barriers_ready() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEV void store_matrices(u32 to, u32 x0, u32 x1, u32 x2, u32 x3) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(x0), "r"(x1), "r"(x2), "r"(x3) : "memory");
}
DEV void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

template <int N>
DEV void registers_up() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N>
DEV void registers_down() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }

// Which of the computing groups of four warps this thread is in. By votes, so that the compiler knows that it is the same for a warp
// and keeps what follows of it, as the addresses of operands, in the registers that a warp has in common.
template <int GROUPS>
DEV u32 computing_group() {
    u32 group = 0;
#pragma unroll
    for (u32 g = 1; g < GROUPS; g++) group += __any_sync(~0u, threadIdx.x >= 128 * (g + 1)) ? 1 : 0;
    return group;
}

// ---- Clusters -----------------------------------------------------------------------------------------------------------

DEV u32 cluster_size() {
    u32 n;
    asm("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(n));
    return n;
}
DEV void cluster_wait() { asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory"); }
DEV void store_four(u32 to, float a, float b, float c, float d) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
}
// Adds what lies at this block's address in the cluster's block `rank`.
DEV void add_four(float (&sum)[4], u32 address, u32 rank) {
    float x[4];
    asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %4, %5;\nld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [there];\n}\n"
                 : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3])
                 : "r"(address), "r"(rank)
                 : "memory");
    for (int i = 0; i < 4; i++) sum[i] += x[i];
}

// ---- Products -----------------------------------------------------------------------------------------------------------

DEV void wg_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEV void wg_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING>
DEV void wg_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory"); }

// Keeps the compiler from moving reads or writes of the accumulators across this point.
template <int N>
DEV void pin(float (&d)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}
template <int N>
DEV void pin(u32 (&d)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+r"(d[i])::"memory");
}

// Descriptors of tiles in shared memory, rows of 64 bf16 (128 bytes) with the 128-byte swizzle, eight rows an atom. `along_k`:
// the rows are those of the result and their columns are summed over. `across`: the rows are summed over, their columns are
// those of the result, and further 64 columns follow `chunk` bytes later.
DEV u64 along_k(u32 address) { return (u64)((address & 0x3ffff) >> 4) | ((u64)1 << 16) | ((u64)64 << 32) | ((u64)1 << 62); }
DEV u64 across(u32 address, u32 chunk) {
    return (u64)((address & 0x3ffff) >> 4) | ((u64)(chunk >> 4) << 16) | ((u64)64 << 32) | ((u64)1 << 62);
}

#define F4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define F16(d, i) F4(d, i), F4(d, i + 4), F4(d, i + 8), F4(d, i + 12)
#define F32(d) F16(d, 0), F16(d, 16)
#define F64(d) F32(d), F16(d, 32), F16(d, 48)
#define R32 \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, " \
    "%28, %29, %30, %31"
#define R64 \
    R32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, " \
        "%56, %57, %58, %59, %60, %61, %62, %63"

// d (+)= A B, 64 x 2N by 16: A from shared memory along_k; B along_k.
DEV void multiply(float (&d)[32], u64 a, u64 b, u32 add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" R32 "}, %32, %33, p, 1, 1, 0, 0;\n}\n"
        : F32(d)
        : "l"(a), "l"(b), "r"(add));
}
DEV void multiply(float (&d)[64], u64 a, u64 b, u32 add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" R64 "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
        : F64(d)
        : "l"(a), "l"(b), "r"(add));
}
// The same with A from registers and B across.
DEV void multiply(float (&d)[32], u32 a0, u32 a1, u32 a2, u32 a3, u64 b, u32 add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" R32 "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}\n"
        : F32(d)
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b), "r"(add));
}
DEV void multiply(float (&d)[64], u32 a0, u32 a1, u32 a2, u32 a3, u64 b, u32 add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" R64 "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}\n"
        : F64(d)
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b), "r"(add));
}

// d (+)= A B^T over head_dim columns in chunks of 64: A's chunks lie `a_chunk` bytes apart, B's `b_chunk`.
template <int HD, int N>
DEV void scores(float (&d)[N], u64 a, u32 a_chunk, u64 b, u32 b_chunk, u32 add = 0) {
#pragma unroll
    for (int k = 0; k < HD / 16; k++)
        multiply(d, a + (((k / 4) * a_chunk + (k % 4) * 32) >> 4), b + (((k / 4) * b_chunk + (k % 4) * 32) >> 4), k > 0 ? 1 : add);
}

// d (+)= P B over 16 * K rows of B.
template <int K, int N>
DEV void gather(float (&d)[N], const u32 (&p)[4 * K], u64 b, u32 add) {
#pragma unroll
    for (int k = 0; k < K; k++) multiply(d, p[4 * k], p[4 * k + 1], p[4 * k + 2], p[4 * k + 3], b + ((k * 2048) >> 4), k > 0 ? 1 : add);
}

// ---- Numbers ------------------------------------------------------------------------------------------------------------

DEV float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEV float log_fast(float x) {
    float y;
    asm("lg2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y * 0.6931471805599453f;
}
DEV float over_quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
DEV float over_quad_sum(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

// The accumulator of a product of 64 rows holds, in thread t of warp w, element 4b + 2h + e at row 16w + t/4 + 8h and column
// 8b + 2(t%4) + e. Two neighbouring blocks b, rounded, are the A operand of the next product over 16 of those columns.
template <int N>
DEV void round_tile(u32 (&p)[N / 2], const float (&s)[N]) {
#pragma unroll
    for (int i = 0; i < N / 2; i++) p[i] = narrow2(s[2 * i], s[2 * i + 1]);
}

// Hides the pairs of a tile that the rule hides: rows are queries `i` and `i + 8`, columns keys from `key`, of which `last` and
// `pos` lie in shared memory from this thread's first column on.
template <bool WINDOW, int N>
DEV void hide(float (&s)[N], const Attend& a, u32 i, u32 key, u32 last, u32 pos) {
    u32 pos0 = 0, pos1 = 0;
    if (WINDOW) pos0 = a.pos[min(i, a.rows - 1)], pos1 = a.pos[min(i + 8, a.rows - 1)];
#pragma unroll
    for (int b = 0; b < N / 4; b++) {
        u32 end[2], at[2] = {0, 0};
        load_pair(end, last + b * 32);
        if (WINDOW) load_pair(at, pos + b * 32);
#pragma unroll
        for (int e = 0; e < 2; e++) {
            u32 j = key + b * 8 + e;
            bool see0 = j <= i && i < end[e], see1 = j <= i + 8 && i + 8 < end[e];
            if (WINDOW) see0 = see0 && pos0 - at[e] < a.window, see1 = see1 && pos1 - at[e] < a.window;
            s[4 * b + e] = see0 ? s[4 * b + e] : -INF;
            s[4 * b + 2 + e] = see1 ? s[4 * b + 2 + e] : -INF;
        }
    }
}

// A place in a ring of buffers, and the parity with which its barriers' next phase ends.
template <u32 STAGES>
struct Ring {
    u32 at = 0, parity = 0;
    DEV Ring next() const {
        Ring r;
        r.at = at + 1 == STAGES ? 0 : at + 1;
        r.parity = at + 1 == STAGES ? parity ^ 1 : parity;
        return r;
    }
};

// The n-th tile of queries of this block: heaviest first over all blocks, forth and back so that the sums are alike.
struct Work {
    u32 tile, head, from, to;
    bool any;
    DEV Work(const Attend& a, u32 n, u32 tile_rows) {
        u32 w = n * gridDim.x + (n & 1 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
        any = w < (a.rows + tile_rows - 1) / tile_rows * a.heads;
        if (!any) return;
        tile = __ldg(a.order + w / a.heads), head = w % a.heads;
        from = __ldg(a.start + tile), to = __ldg(a.start + tile + 1);
    }
};
