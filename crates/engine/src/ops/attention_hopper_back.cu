// Causal attention over a tree of segments on Hopper, backward: products by wgmma, tiles moved by the bulk tensor copy engine.
//
// Backward   delta_i = - do_i . o_i    ds_ij = p_ij * (do_i . v_j + delta_i)      p_ij = e^(scale q_i . k_j - lse_i), 0 where hidden
//            dq_i = scale sum_j ds_ij k_j      dk_j = scale sum_i ds_ij q_i      dv_j = sum_i p_ij do_i
// Shapes     as forward; do as o; dq, dk, dv parts of one buffer of row stride ldd; delta f32 (heads, rows)
// Order      attend_hopper_dq_*, which also writes delta, then attend_hopper_dkdv_*, which reads it
// Rounds     p and ds to bf16 for the products that sum them, these in f32; results to bf16 once
// Repeats    a tile of dq, dk or dv is summed by one block, or by one cluster in the order of its blocks, each in the order of
//            its list, head by head; no atomics: same call, same bits
//
// Both kernels compute the scores of a pair of tiles anew: seven products instead of five, but none waits for another block, and
// p and ds stay in registers: the transposed scores that dk and dv need are computed as K Q^T, not stored and read back.

// ---- Backward: dq, by tiles of queries ---------------------------------------------------------------------------------------

template <int HD>
struct Queries {
    static constexpr u32 GROUPS = 2, STAGES = 2, TQ = 128, TK = 128, CHUNKS = HD / 64, CHUNK = 128 * 128, TILE = CHUNKS * CHUNK, LIST = TK * 4;
    static constexpr u32 Q = 0, D_O = TILE, K = 2 * TILE, V = K + STAGES * TILE, LAST = V + STAGES * TILE, POS = LAST + STAGES * LIST,
                         Q_FULL = POS + STAGES * LIST, Q_FREE = Q_FULL + 8, K_FULL = Q_FREE + 8, K_FREE = K_FULL + 8 * STAGES,
                         V_FULL = K_FREE + 8 * STAGES, V_FREE = V_FULL + 8 * STAGES, BYTES = V_FREE + 8 * STAGES;
};

template <int HD>
DEV void queries_copies(u32 base, const Map* map_q, const Map* map_k, const Map* map_v, const Map* map_o, const Map* map_do, const Map* map_last,
                        const Map* map_pos, const Attend& a) {
    using F = Queries<HD>;
    u32 shared_by = a.heads / a.kv_heads;
    Ring<F::STAGES> k_ring, v_ring;
    Ring<1> q_ring;
    Work next(a, 0, F::TQ);
    for (u32 n = 1; next.any; n++) {
        Work now = next;
        next = Work(a, n, F::TQ);
        // The output comes as if it were a tile of keys: it is read once, for delta.
        u32 kv = now.head / shared_by, q_full = base + F::Q_FULL, k_full = base + F::K_FULL + 8 * k_ring.at;
        barrier_wait(base + F::K_FREE + 8 * k_ring.at, k_ring.parity ^ 1);
        barrier_expect(k_full, F::TILE);
        load_tile<F::CHUNKS, 2, 64>(base + F::K + k_ring.at * F::TILE, map_o, k_full, now.head, now.tile * F::TQ);
        k_ring = k_ring.next();
        barrier_wait(base + F::Q_FREE, q_ring.parity ^ 1);
        barrier_expect(q_full, 2 * F::TILE);
        load_tile<F::CHUNKS, 2, 64>(base + F::D_O, map_do, q_full, now.head, now.tile * F::TQ);
        load_tile<F::CHUNKS, 2, 64>(base + F::Q, map_q, q_full, now.head, now.tile * F::TQ);
        q_ring = q_ring.next();
        for (u32 t = now.from; t < now.to; t++) {
            u32 key = (__ldg(a.tiles + t) >> 1) * F::TK, v_full = base + F::V_FULL + 8 * v_ring.at;
            k_full = base + F::K_FULL + 8 * k_ring.at;
            barrier_wait(base + F::K_FREE + 8 * k_ring.at, k_ring.parity ^ 1);
            barrier_expect(k_full, F::TILE + (a.window ? 2 : 1) * F::LIST);
            load_tile<F::CHUNKS, 1, 128>(base + F::K + k_ring.at * F::TILE, map_k, k_full, kv, key);
            load_list(base + F::LAST + k_ring.at * F::LIST, map_last, k_full, key);
            if (a.window) load_list(base + F::POS + k_ring.at * F::LIST, map_pos, k_full, key);
            k_ring = k_ring.next();
            barrier_wait(base + F::V_FREE + 8 * v_ring.at, v_ring.parity ^ 1);
            barrier_expect(v_full, F::TILE);
            load_tile<F::CHUNKS, 1, 128>(base + F::V + v_ring.at * F::TILE, map_v, v_full, kv, key);
            v_ring = v_ring.next();
        }
    }
}

// The sum over a row of two tiles of the products of their numbers; this thread's quarter of it.
template <int CHUNKS>
DEV float row_product(u32 x, u32 y, u32 row, u32 quarter) {
    float sum = 0.f;
#pragma unroll
    for (u32 b = 0; b < 2 * CHUNKS; b++) {
        u32 at = (b / 2) * Queries<64>::CHUNK + row * 128 + (((b % 2 * 4 + quarter) ^ (row & 7)) << 4), u[4], w[4];
        load_four(u, x + at);
        load_four(w, y + at);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            sum += __uint_as_float(u[e] << 16) * __uint_as_float(w[e] << 16);
            sum += __uint_as_float(u[e] & 0xffff0000) * __uint_as_float(w[e] & 0xffff0000);
        }
    }
    return sum;
}

// This thread's two pairs of a block of eight columns.
DEV void store_block(bf16* to, u32 ld, const float* x, float scale, u32 row, u32 rows) {
    if (row < rows) *(u32*)to = narrow2(x[0] * scale, x[1] * scale);
    if (row + 8 < rows) *(u32*)(to + (u64)8 * ld) = narrow2(x[2] * scale, x[3] * scale);
}

// Writes 64 rows of a product, times `scale`, as bf16; `to` is this thread's first row and column.
template <int N>
DEV void store_rows(bf16* to, u32 ld, const float (&x)[N], float scale, u32 row, const Attend& a) {
#pragma unroll
    for (int b = 0; b < N / 4; b++)
        if (b * 8 < a.head_dim) store_block(to + b * 8, ld, x + 4 * b, scale, row, a.rows);
}

template <int HD>
DEV void queries_products(u32 base, const AttendBack& back) {
    using F = Queries<HD>;
    const Attend& a = back.a;
    const u32 TURN = 1;
    u32 lane = threadIdx.x % 128, me = computing_group<F::GROUPS>(), warp = lane / 32, thread = lane % 32;
    u32 mine = me * 64 * 128, column = thread % 4 * 2;
    u64 q_desc = along_k(base + F::Q + mine), do_desc = along_k(base + F::D_O + mine), k_desc = along_k(base + F::K), v_desc = along_k(base + F::V),
        k_across = across(base + F::K, F::CHUNK);
    float c = a.scale * LOG2E;
    Ring<F::STAGES> k_ring, v_ring;
    Ring<1> q_ring;
    if (me == 1) turn_pass(TURN, 256);
    Work next(a, 0, F::TQ);
    for (u32 n = 1; next.any; n++) {
        Work now = next;
        next = Work(a, n, F::TQ);
        u32 row = me * 64 + warp * 16 + thread / 4, i = now.tile * F::TQ + row;
        float s[F::TK / 2], dp[F::TK / 2], dq[HD / 2], lse[2], delta[2];
        u32 ds[F::TK / 4];
#pragma unroll
        for (int h = 0; h < 2; h++) lse[h] = i + 8 * h < a.rows ? __ldg(a.lse + (u64)now.head * a.rows + i + 8 * h) * LOG2E : INF;
        barrier_wait(base + F::K_FULL + 8 * k_ring.at, k_ring.parity);
        barrier_wait(base + F::Q_FULL, q_ring.parity);
        q_ring = q_ring.next();
#pragma unroll
        for (int h = 0; h < 2; h++) {
            delta[h] = -over_quad_sum(row_product<F::CHUNKS>(base + F::K + k_ring.at * F::TILE, base + F::D_O, row + 8 * h, thread % 4));
            if (thread % 4 == 0 && i + 8 * h < a.rows) back.delta[(u64)now.head * a.rows + i + 8 * h] = delta[h];
        }
        __syncwarp();
        if (thread == 0) barrier_arrive(base + F::K_FREE + 8 * k_ring.at);
        k_ring = k_ring.next();
        if (now.from == now.to && thread == 0) barrier_arrive(base + F::Q_FREE);
#pragma unroll
        for (int x = 0; x < HD / 2; x++) dq[x] = 0.f;
        for (u32 t = now.from; t < now.to; t++) {
            u32 entry = __ldg(a.tiles + t), key = (entry >> 1) * F::TK;
#pragma unroll
            for (int x = 0; x < F::TK / 2; x++) dp[x] = delta[x / 2 % 2];
            barrier_wait(base + F::K_FULL + 8 * k_ring.at, k_ring.parity);
            turn_wait(TURN + me, 256);
            pin(s);
            pin(dp);
            wg_fence();
            scores<HD>(s, q_desc, F::CHUNK, k_desc + ((k_ring.at * F::TILE) >> 4), F::CHUNK);
            wg_commit();
            barrier_wait(base + F::V_FULL + 8 * v_ring.at, v_ring.parity);
            scores<HD>(dp, do_desc, F::CHUNK, v_desc + ((v_ring.at * F::TILE) >> 4), F::CHUNK, 1);
            wg_commit();
            turn_pass(TURN + (me ^ 1), 256);
            wg_wait<1>();
            pin(s);
            if ((entry & 1) || key + F::TK > a.rows) {
                u32 last = base + F::LAST + k_ring.at * F::LIST + column * 4, pos = last + (F::POS - F::LAST);
                if (a.window) hide<true>(s, a, i, key + column, last, pos);
                else hide<false>(s, a, i, key + column, last, pos);
            }
#pragma unroll
            for (int x = 0; x < F::TK / 2; x++) s[x] = exp2_fast(s[x] * c - lse[x / 2 % 2]);
            // Passes at once. The assembler moves nothing across its branch, and would else put off the exponentials to after the wait.
            pin(s);
            barrier_wait(base + F::V_FULL + 8 * v_ring.at, v_ring.parity);
            wg_wait<0>();
            pin(dp);
            if (thread == 0) {
                barrier_arrive(base + F::V_FREE + 8 * v_ring.at);
                if (t + 1 == now.to) barrier_arrive(base + F::Q_FREE);
            }
#pragma unroll
            for (int x = 0; x < F::TK / 2; x++) s[x] *= dp[x];
            round_tile(ds, s);
            pin(ds);
            pin(dq);
            wg_fence();
            gather<F::TK / 16>(dq, ds, k_across + ((k_ring.at * F::TILE) >> 4), 1);
            wg_commit();
            wg_wait<0>();
            pin(dq);
            if (thread == 0) barrier_arrive(base + F::K_FREE + 8 * k_ring.at);
            k_ring = k_ring.next();
            v_ring = v_ring.next();
        }
        store_rows(back.dq + (u64)i * back.ldd + now.head * a.head_dim + column, back.ldd, dq, a.scale, i, a);
    }
    if (me == 0) turn_wait(TURN, 256);
}

template <int HD>
DEV void queries(const Map* q, const Map* k, const Map* v, const Map* o, const Map* d_o, const Map* last, const Map* pos, const AttendBack& back) {
    using F = Queries<HD>;
    extern __shared__ __align__(1024) unsigned char memory[];
    u32 base = shared_address(memory);
    if (threadIdx.x == 0) {
        barrier_init(base + F::Q_FULL, 1);
        barrier_init(base + F::Q_FREE, 4 * F::GROUPS);
        for (u32 s = 0; s < F::STAGES; s++) {
            barrier_init(base + F::K_FULL + 8 * s, 1);
            barrier_init(base + F::V_FULL + 8 * s, 1);
            barrier_init(base + F::K_FREE + 8 * s, 4 * F::GROUPS);
            barrier_init(base + F::V_FREE + 8 * s, 4 * F::GROUPS);
        }
        barriers_ready();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        registers_down<24>();
        if (threadIdx.x == 0) queries_copies<HD>(base, q, k, v, o, d_o, last, pos, back.a);
    } else {
        registers_up<240>();
        queries_products<HD>(base, back);
    }
}

// ---- Backward: dk and dv, by tiles of keys -----------------------------------------------------------------------------------

template <int HD>
struct Keys {
    static constexpr u32 GROUPS = 2, STAGES = HD == 128 ? 4 : 8, TK = 128, TQ = 64, CHUNKS = HD / 64, K_CHUNK = TK * 128, Q_CHUNK = TQ * 128;
    // Whether a group of warps passes over queries that come before all its keys: a tenth faster at 128, a twentieth slower at 64 (H100).
    static constexpr bool SKIP = HD == 128;
    static constexpr u32 K_TILE = CHUNKS * K_CHUNK, Q_TILE = CHUNKS * Q_CHUNK, LIST = TQ * 4, POS_LIST = 512;
    static constexpr u32 K = 0, V = K_TILE, Q = 2 * K_TILE, D_O = Q + STAGES * Q_TILE, LSE = D_O + STAGES * Q_TILE, DELTA = LSE + STAGES * LIST,
                         POS = DELTA + STAGES * 2 * LIST, KV_FULL = POS + STAGES * POS_LIST, FULL = KV_FULL + 8, FREE = FULL + 8 * STAGES,
                         BYTES = FREE + 8 * STAGES;
};

// This block's tile of keys, and the query heads that it looks at: blocks of a cluster share a tile and part the heads of its group.
struct KeyWork {
    u32 tile, kv, head, head_end, from, to;
    DEV KeyWork(const Attend& a) {
        u32 parts = cluster_size(), n = blockIdx.x / parts, shared_by = a.heads / a.kv_heads / parts;
        tile = __ldg(a.order + n / a.kv_heads), kv = n % a.kv_heads;
        from = __ldg(a.start + tile), to = __ldg(a.start + tile + 1);
        head = (kv * parts + blockIdx.x % parts) * shared_by, head_end = head + shared_by;
    }
};

template <int HD>
DEV void keys_copies(u32 base, const Map* map_q, const Map* map_k, const Map* map_v, const Map* map_do, const Map* map_pos, const Attend& a) {
    using F = Keys<HD>;
    KeyWork work(a);
    u32 tile = work.tile, kv = work.kv, from = work.from, to = work.to;
    if (from == to) return;
    barrier_expect(base + F::KV_FULL, 2 * F::K_TILE);
    load_tile<F::CHUNKS, 1, 128>(base + F::K, map_k, base + F::KV_FULL, kv, tile * F::TK);
    load_tile<F::CHUNKS, 1, 128>(base + F::V, map_v, base + F::KV_FULL, kv, tile * F::TK);
    Ring<F::STAGES> ring;
    for (u32 head = work.head; head < work.head_end; head++)
#pragma unroll 1
        for (u32 t = from; t < to; t++) {
            u32 query = (__ldg(a.tiles + t) >> 1) * F::TQ, full = base + F::FULL + 8 * ring.at;
            barrier_wait(base + F::FREE + 8 * ring.at, ring.parity ^ 1);
            barrier_expect(full, 2 * F::Q_TILE + (a.window ? F::POS_LIST : 0));
            load_tile<F::CHUNKS, 1, 64>(base + F::Q + ring.at * F::Q_TILE, map_q, full, head, query);
            load_tile<F::CHUNKS, 1, 64>(base + F::D_O + ring.at * F::Q_TILE, map_do, full, head, query);
            if (a.window) load_list(base + F::POS + ring.at * F::POS_LIST, map_pos, full, query);
            ring = ring.next();
        }
}

// lse and delta of each tile of queries, by one warp: a head's lists start anywhere, which the copy engine does not take.
template <int HD>
DEV void keys_lists(u32 base, const AttendBack& back) {
    using F = Keys<HD>;
    const Attend& a = back.a;
    KeyWork work(a);
    u32 thread = threadIdx.x % 32;
    Ring<F::STAGES> ring;
    for (u32 head = work.head; head < work.head_end; head++)
#pragma unroll 1
        for (u32 t = work.from; t < work.to; t++) {
            u32 query = (__ldg(a.tiles + t) >> 1) * F::TQ;
            barrier_wait(base + F::FREE + 8 * ring.at, ring.parity ^ 1);
#pragma unroll 1
            for (u32 x = thread; x < F::TQ; x += 32) {
                bool real = query + x < a.rows;
                u32 from = head * a.rows + (real ? query + x : 0), pair = base + F::DELTA + ring.at * 2 * F::LIST + x / 2 * 16 + x % 2 * 4;
                load_number(base + F::LSE + ring.at * F::LIST + 4 * x, a.lse + from, real);
                load_number(pair, back.delta + from, real);
                load_number(pair + 8, back.delta + from, real);
            }
            numbers_arrive(base + F::FULL + 8 * ring.at);
            ring = ring.next();
        }
    asm volatile("cp.async.wait_all;" ::: "memory");
}

// Hides pairs where rows are keys `j` and `j + 8` and columns are queries from `i`; `pos` lies in shared memory from this
// thread's first column on.
template <bool WINDOW, int N>
DEV void hide_across(float (&s)[N], const Attend& a, u32 j, u32 i, u32 pos) {
    u32 end[2], at[2] = {0, 0};
#pragma unroll
    for (int h = 0; h < 2; h++) {
        end[h] = j + 8 * h < a.rows ? __ldg(a.last + j + 8 * h) : 0;
        if (WINDOW) at[h] = __ldg(a.pos + min(j + 8 * h, a.rows - 1));
    }
#pragma unroll
    for (int b = 0; b < N / 4; b++) {
        u32 from[2] = {0, 0};
        if (WINDOW) load_pair(from, pos + b * 32);
#pragma unroll
        for (int e = 0; e < 2; e++) {
            u32 q = i + b * 8 + e;
            bool see0 = j <= q && q < end[0], see1 = j + 8 <= q && q < end[1];
            if (WINDOW) see0 = see0 && from[e] - at[0] < a.window, see1 = see1 && from[e] - at[1] < a.window;
            s[4 * b + e] = see0 ? s[4 * b + e] : -INF;
            s[4 * b + 2 + e] = see1 ? s[4 * b + 2 + e] : -INF;
        }
    }
}

// Writes a tile of dk and dv, this thread's part of which begins at row `j` and element `to_row` of each. A cluster first adds its
// sums, in the order of its blocks, each block for its share of the columns: every thread lays its numbers over the tiles of
// queries and reads what the same thread of each block laid there.
template <int HD>
DEV void keys_store(u32 base, const AttendBack& back, u64 to_row, u32 j, const float (&dk)[HD / 2], const float (&dv)[HD / 2]) {
    using F = Keys<HD>;
    const Attend& a = back.a;
    u32 parts = cluster_size();
    if (parts == 1) {
        store_rows(back.dk + to_row, back.ldd, dk, a.scale, j, a);
        store_rows(back.dv + to_row, back.ldd, dv, 1.f, j, a);
        return;
    }
    const u32 BLOCKS = HD / 8, ALL = 128 * F::GROUPS;
    u32 here = base + F::Q + (threadIdx.x - 128) * 16;
    turn_wait(1, ALL);
#pragma unroll
    for (int b = 0; b < BLOCKS; b++) {
        store_four(here + b * ALL * 16, dk[4 * b], dk[4 * b + 1], dk[4 * b + 2], dk[4 * b + 3]);
        store_four(here + (BLOCKS + b) * ALL * 16, dv[4 * b], dv[4 * b + 1], dv[4 * b + 2], dv[4 * b + 3]);
    }
    cluster_wait();
    for (u32 b = blockIdx.x % parts; b < 2 * BLOCKS; b += parts) {
        float sum[4] = {0.f, 0.f, 0.f, 0.f};
        for (u32 r = 0; r < parts; r++) add_four(sum, here + b * ALL * 16, r);
        u32 block = b % BLOCKS;
        bf16* to = (b < BLOCKS ? back.dk : back.dv) + to_row + block * 8;
        if (block * 8 < a.head_dim) store_block(to, back.ldd, sum, b < BLOCKS ? a.scale : 1.f, j, a.rows);
    }
    cluster_wait();
}

template <int HD>
DEV void keys_products(u32 base, const AttendBack& back) {
    using F = Keys<HD>;
    const Attend& a = back.a;
    u32 lane = threadIdx.x % 128, me = computing_group<F::GROUPS>(), warp = lane / 32, thread = lane % 32;
    u32 mine = me * 64 * 128, column = thread % 4 * 2;
    KeyWork work(a);
    u32 from = work.from, to = work.to, first = work.tile * F::TK + me * 64, j = first + warp * 16 + thread / 4;
    float dk[HD / 2], dv[HD / 2], c = a.scale * LOG2E;
    u32 p[F::TQ / 4];
#pragma unroll
    for (int x = 0; x < HD / 2; x++) dk[x] = dv[x] = 0.f;
    if (from != to) {
        u64 k_desc = along_k(base + F::K + mine), v_desc = along_k(base + F::V + mine), q_desc = along_k(base + F::Q), do_desc = along_k(base + F::D_O),
            q_across = across(base + F::Q, F::Q_CHUNK), do_across = across(base + F::D_O, F::Q_CHUNK);
        Ring<F::STAGES> ring;
        u32 held = F::STAGES;
        barrier_wait(base + F::KV_FULL, 0);
        for (u32 head = work.head; head < work.head_end; head++)
            for (u32 t = from; t < to; t++) {
                float s[F::TQ / 2], dp[F::TQ / 2];
                u32 entry = __ldg(a.tiles + t), query = (entry >> 1) * F::TQ;
                u32 at = ring.at, full = base + F::FULL + 8 * at, stage = (at * F::Q_TILE) >> 4;
                u32 parity = ring.parity, release = base + F::FREE + 8 * held;
                bool free = thread == 0 && held < F::STAGES;
                barrier_wait(full, parity);
                held = at;
                ring = ring.next();
                if (F::SKIP && __any_sync(~0u, query + F::TQ <= first)) {
                    // All later than the queries: these 64 keys see nothing of the tile.
                    wg_wait<0>();
                    pin(dk);
                    pin(dv);
                    pin(p);
                    if (free) barrier_arrive(release);
                    continue;
                }
                // The sums of do v^T start at delta, so that ds is one product later. Rows share their columns: delta lies there twice.
                u32 lists = base + F::LSE + at * F::LIST + column * 4;
#pragma unroll
                for (int b = 0; b < F::TQ / 8; b++) {
                    u32 d[4];
                    load_four(d, base + F::DELTA + at * 2 * F::LIST + column * 8 + b * 64);
#pragma unroll
                    for (int x = 0; x < 4; x++) dp[4 * b + x] = __uint_as_float(d[x]);
                }
                pin(s);
                pin(dp);
                wg_fence();
                scores<HD>(s, k_desc, F::K_CHUNK, q_desc + stage, F::Q_CHUNK);
                wg_commit();
                scores<HD>(dp, v_desc, F::K_CHUNK, do_desc + stage, F::Q_CHUNK, 1);
                wg_commit();
                wg_wait<1>();
                pin(s);
                pin(p);
                pin(dk);
                pin(dv);
                if (free) barrier_arrive(release);
                if ((entry & 1) || query + F::TQ > a.rows) {
                    u32 pos = base + F::POS + at * F::POS_LIST + column * 4;
                    if (a.window) hide_across<true>(s, a, j, query + column, pos);
                    else hide_across<false>(s, a, j, query + column, pos);
                }
#pragma unroll
                for (int b = 0; b < F::TQ / 8; b++) {
                    u32 l[2];
                    load_pair(l, lists + b * 32);
#pragma unroll
                    for (int x = 0; x < 4; x++) s[4 * b + x] = exp2_fast(s[4 * b + x] * c - __uint_as_float(l[x % 2]) * LOG2E);
                }
                round_tile(p, s);
                pin(p);
                wg_fence();
                gather<F::TQ / 16>(dv, p, do_across + stage, 1);
                wg_commit();
                wg_wait<1>();
                pin(dp);
#pragma unroll
                for (int x = 0; x < F::TQ / 2; x++) s[x] *= dp[x];
                // Passes at once; as above, it keeps the assembler from moving the products to where they need more registers.
                pin(s);
                barrier_wait(full, parity);
                wg_wait<0>();
                pin(p);
                pin(dv);
                round_tile(p, s);
                pin(p);
                wg_fence();
                gather<F::TQ / 16>(dk, p, q_across + stage, 1);
                wg_commit();
            }
        wg_wait<0>();
        pin(dk);
        pin(dv);
    }
    keys_store<HD>(base, back, (u64)j * back.ldd + work.kv * a.head_dim + column, j, dk, dv);
}

template <int HD>
DEV void keys(const Map* q, const Map* k, const Map* v, const Map* d_o, const Map* pos, const AttendBack& back) {
    using F = Keys<HD>;
    extern __shared__ __align__(1024) unsigned char memory[];
    u32 base = shared_address(memory);
    if (threadIdx.x == 0) {
        barrier_init(base + F::KV_FULL, 1);
        for (u32 s = 0; s < F::STAGES; s++) {
            barrier_init(base + F::FULL + 8 * s, 1 + 32);
            barrier_init(base + F::FREE + 8 * s, 4 * F::GROUPS);
        }
        barriers_ready();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        registers_down<24>();
        if (threadIdx.x == 0) keys_copies<HD>(base, q, k, v, d_o, pos, back.a);
        if (threadIdx.x / 32 == 1) keys_lists<HD>(base, back);
    } else {
        registers_up<240>();
        keys_products<HD>(base, back);
    }
}

#define MAP(name) const __grid_constant__ Map name
#define BACKWARD(HD)                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(384, 1) attend_hopper_dq_##HD(                                                          \
        MAP(q), MAP(k), MAP(v), MAP(o), MAP(d_o), MAP(last), MAP(pos), const __grid_constant__ AttendBack back) {                        \
        queries<HD>(&q, &k, &v, &o, &d_o, &last, &pos, back);                                                                            \
    }                                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(384, 1) attend_hopper_dkdv_##HD(                                                        \
        MAP(q), MAP(k), MAP(v), MAP(d_o), MAP(pos), const __grid_constant__ AttendBack back) {                                           \
        keys<HD>(&q, &k, &v, &d_o, &pos, back);                                                                                          \
    }

BACKWARD(128)
BACKWARD(64)

// What the host asks for.
static_assert(Queries<128>::BYTES == 198736 && Queries<64>::BYTES == 100432, "shared memory of dq");
static_assert(Keys<128>::BYTES == 201800 && Keys<64>::BYTES == 174216, "shared memory of dk and dv");
