// Causal attention over a tree of segments on Hopper, forward: products by wgmma, tiles moved by the bulk tensor copy engine.
//
// Forward    key j is seen by query i where j <= i < last[j], and pos[i] - pos[j] < window where there is one
//            p_ij = softmax_j(scale * q_i . k_j)    o_i = sum_j p_ij v_j    lse_i = ln sum_j e^(scale q_i . k_j)
// Shapes     q, k, v parts of one buffer of row stride ld; o (rows, heads, head_dim); lse (heads, rows); head_dim a multiple of
//            8, at most the size in the kernel's name: the copy engine fills the columns and rows beyond with zeros and writes none
// Work       the host lists for each tile of queries the tiles of keys that it sees: index * 2 + 1 if some pair is hidden
// Rounds     scores, softmax and sums in f32; p to bf16 for its product with v; o to bf16 once
// Repeats    each output tile is made by one block in the order of its list; no atomics: same call, same bits
//
// A block is one group of four warps of which a thread issues copies, and two or three groups that compute, 64 queries each. These
// take turns at the tensor cores: while one multiplies, the others are at their softmax. Blocks stay and take several tiles.

// Bytes of shared memory and where things lie in it. Tiles are chunks of 64 columns, each of all rows of the tile; the output
// of a tile takes the place of its queries.
template <int HD, int GROUPS, int STAGES>
struct Forward {
    static constexpr u32 TQ = 64 * GROUPS, TK = 128, CHUNKS = HD / 64;
    static constexpr u32 Q_CHUNK = TQ * 128, K_CHUNK = TK * 128;
    static constexpr u32 Q_BYTES = CHUNKS * Q_CHUNK, K_BYTES = CHUNKS * K_CHUNK, LIST = TK * 4;
    static constexpr u32 Q = 0, K = 2 * Q_BYTES, V = K + STAGES * K_BYTES, LAST = V + STAGES * K_BYTES, POS = LAST + STAGES * LIST,
                         BARS = POS + STAGES * LIST;
    static constexpr u32 Q_FULL = BARS, Q_FREE = Q_FULL + 16, K_FULL = Q_FREE + 16, K_FREE = K_FULL + 8 * STAGES,
                         V_FULL = K_FREE + 8 * STAGES, V_FREE = V_FULL + 8 * STAGES, BYTES = V_FREE + 8 * STAGES;
};

// The softmax of one tile of scores against the rows' maxima so far: s becomes the probabilities up to their sum; returns by
// what the sums so far are to be multiplied.
struct Row {
    float top, sum;
};
template <int N>
DEV void soften(float (&s)[N], Row (&row)[2], float (&shrink)[2], float c) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = row[h].top;
#pragma unroll
        for (int b = 0; b < N / 4; b++) top = fmaxf(top, fmaxf(s[4 * b + 2 * h], s[4 * b + 2 * h + 1]));
        top = over_quad_max(top);
        float base = top == -INF ? 0.f : top * c;
        shrink[h] = exp2_fast(row[h].top * c - base);
        row[h].top = top;
        float sum = 0.f;
#pragma unroll
        for (int b = 0; b < N / 4; b++) {
            float& x = s[4 * b + 2 * h];
            float& y = s[4 * b + 2 * h + 1];
            x = exp2_fast(x * c - base);
            y = exp2_fast(y * c - base);
            sum += x + y;
        }
        row[h].sum = row[h].sum * shrink[h] + sum;
    }
}

template <int HD, int GROUPS, int STAGES>
DEV void forward_copies(u32 base, const Map* map_q, const Map* map_k, const Map* map_v, const Map* map_last, const Map* map_pos, const Attend& a) {
    using F = Forward<HD, GROUPS, STAGES>;
    u32 shared_by = a.heads / a.kv_heads;
    Ring<STAGES> ring;
    Ring<2> q_ring;
    Work next(a, 0, F::TQ);
    for (u32 n = 1; next.any; n++) {
        Work now = next;
        next = Work(a, n, F::TQ);
        if (now.from == now.to) continue;
        u32 q_full = base + F::Q_FULL + 8 * q_ring.at, kv = now.head / shared_by;
        barrier_wait(base + F::Q_FREE + 8 * q_ring.at, q_ring.parity ^ 1);
        barrier_expect(q_full, F::Q_BYTES);
        load_tile<F::CHUNKS, GROUPS, 64>(base + F::Q + q_ring.at * F::Q_BYTES, map_q, q_full, now.head, now.tile * F::TQ);
        q_ring = q_ring.next();
        for (u32 t = now.from; t < now.to; t++) {
            u32 key = (__ldg(a.tiles + t) >> 1) * F::TK, k_full = base + F::K_FULL + 8 * ring.at, v_full = base + F::V_FULL + 8 * ring.at;
            barrier_wait(base + F::K_FREE + 8 * ring.at, ring.parity ^ 1);
            barrier_expect(k_full, F::K_BYTES + (a.window ? 2 : 1) * F::LIST);
            load_tile<F::CHUNKS, 1, 128>(base + F::K + ring.at * F::K_BYTES, map_k, k_full, kv, key);
            load_list(base + F::LAST + ring.at * F::LIST, map_last, k_full, key);
            if (a.window) load_list(base + F::POS + ring.at * F::LIST, map_pos, k_full, key);
            barrier_wait(base + F::V_FREE + 8 * ring.at, ring.parity ^ 1);
            barrier_expect(v_full, F::K_BYTES);
            load_tile<F::CHUNKS, 1, 128>(base + F::V + ring.at * F::K_BYTES, map_v, v_full, kv, key);
            ring = ring.next();
        }
    }
}

template <int HD, int GROUPS, int STAGES>
DEV void forward_products(u32 base, const Map* map_o, const Attend& a) {
    using F = Forward<HD, GROUPS, STAGES>;
    const u32 TURN = 1, GROUP = 4;
    u32 lane = threadIdx.x % 128, me = computing_group<GROUPS>(), next_group = me + 1 == GROUPS ? 0 : me + 1;
    u32 warp = lane / 32, thread = lane % 32;
    u32 mine = me * 64 * 128, column = thread % 4 * 2;
    u64 q_desc = along_k(base + F::Q + mine), k_desc = along_k(base + F::K), v_desc = across(base + F::V, F::K_CHUNK);
    float c = a.scale * LOG2E;
    Ring<STAGES> ring;
    Ring<2> q_ring;
    u32 q_used = 0;
    if (me == GROUPS - 1) turn_pass(TURN, 256);
    Work next(a, 0, F::TQ);
    for (u32 n = 1; next.any; n++) {
        Work now = next;
        next = Work(a, n, F::TQ);
        u32 i = now.tile * F::TQ + me * 64 + warp * 16 + thread / 4;
        float s[F::TK / 2], o[HD / 2], shrink[2];
        u32 p[F::TK / 4];
        Row row[2] = {{-INF, 0.f}, {-INF, 0.f}};
        // What is hidden of the scores of a tile of keys, and their softmax.
        auto finish = [&](u32 entry, u32 stage) {
            u32 key = (entry >> 1) * F::TK, last = base + F::LAST + stage * F::LIST + column * 4, pos = last + (F::POS - F::LAST);
            if ((entry & 1) || key + F::TK > a.rows) {
                if (a.window) hide<true>(s, a, i, key + column, last, pos);
                else hide<false>(s, a, i, key + column, last, pos);
            }
            __syncwarp();
            if (thread == 0) barrier_arrive(base + F::K_FREE + 8 * stage);
            soften(s, row, shrink, c);
        };
        if (now.from == now.to) {
            // Nothing to see: zeros. Never so where the lists are made of real rows.
            for (u32 r = lane; r < 64 * a.head_dim; r += 128) {
                u32 at = now.tile * F::TQ + me * 64 + r / a.head_dim;
                if (at < a.rows) a.o[(u64)at * a.ldo + now.head * a.head_dim + r % a.head_dim] = 0;
            }
            if (lane < 64 && now.tile * F::TQ + me * 64 + lane < a.rows) a.lse[(u64)now.head * a.rows + now.tile * F::TQ + me * 64 + lane] = INF;
            continue;
        }
        // The first scores; then, for each further tile, its scores and the product of the last probabilities with v together.
        u64 q_here = q_desc + ((q_ring.at * F::Q_BYTES) >> 4);
        u32 entry = __ldg(a.tiles + now.from);
        barrier_wait(base + F::Q_FULL + 8 * q_ring.at, q_ring.parity);
        barrier_wait(base + F::K_FULL + 8 * ring.at, ring.parity);
        pin(s);
        wg_fence();
        scores<HD>(s, q_here, F::Q_CHUNK, k_desc + ((ring.at * F::K_BYTES) >> 4), F::K_CHUNK);
        wg_commit();
        wg_wait<0>();
        pin(s);
        finish(entry, ring.at);
        round_tile(p, s);
        // The queries of the tile before this one lie free once its output, written over them, is gone.
        if (lane == 0 && q_used) {
            store_wait_read();
            barrier_arrive(base + F::Q_FREE + 8 * (q_ring.at ^ 1));
        }
        q_used = 1;
        u32 add = 0;
        for (u32 t = now.from + 1; t < now.to; t++) {
            entry = __ldg(a.tiles + t);
            Ring<STAGES> ahead = ring.next();
            barrier_wait(base + F::K_FULL + 8 * ahead.at, ahead.parity);
            turn_wait(TURN + me, 256);
            pin(s);
            pin(o);
            pin(p);
            wg_fence();
            scores<HD>(s, q_here, F::Q_CHUNK, k_desc + ((ahead.at * F::K_BYTES) >> 4), F::K_CHUNK);
            wg_commit();
            barrier_wait(base + F::V_FULL + 8 * ring.at, ring.parity);
            gather<F::TK / 16>(o, p, v_desc + ((ring.at * F::K_BYTES) >> 4), add);
            wg_commit();
            turn_pass(TURN + next_group, 256);
            wg_wait<1>();
            pin(s);
            finish(entry, ahead.at);
            wg_wait<0>();
            pin(o);
            pin(p);
            if (thread == 0) barrier_arrive(base + F::V_FREE + 8 * ring.at);
#pragma unroll
            for (int x = 0; x < HD / 2; x++) o[x] *= shrink[x / 2 % 2];
            round_tile(p, s);
            add = 1;
            ring = ahead;
        }
        barrier_wait(base + F::V_FULL + 8 * ring.at, ring.parity);
        pin(o);
        pin(p);
        wg_fence();
        gather<F::TK / 16>(o, p, v_desc + ((ring.at * F::K_BYTES) >> 4), add);
        wg_commit();
        // A row that sees nothing is zero, and its lse is infinite so that the backward's probabilities are zero too.
        float scale[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float sum = over_quad_sum(row[h].sum);
            scale[h] = sum > 0.f ? 1.f / sum : 0.f;
            float lse = sum > 0.f ? row[h].top * a.scale + log_fast(sum) : INF;
            if (thread % 4 == 0 && i + 8 * h < a.rows) a.lse[(u64)now.head * a.rows + i + 8 * h] = lse;
        }
        wg_wait<0>();
        pin(o);
        if (thread == 0) barrier_arrive(base + F::V_FREE + 8 * ring.at);
        ring = ring.next();
        u32 out = base + F::Q + q_ring.at * F::Q_BYTES + mine;
        turn_wait(GROUP + me, 128);
#pragma unroll
        for (int b = 0; b < HD / 16; b++) {
            u32 at = warp * 16 + thread % 16, block = (b % 4) * 2 + thread / 16;
            const float* x = o + 8 * b;
            store_matrices(out + (b / 4) * F::Q_CHUNK + at * 128 + ((block ^ (at & 7)) << 4), narrow2(x[0] * scale[0], x[1] * scale[0]),
                           narrow2(x[2] * scale[1], x[3] * scale[1]), narrow2(x[4] * scale[0], x[5] * scale[0]), narrow2(x[6] * scale[1], x[7] * scale[1]));
        }
        fence_async();
        turn_wait(GROUP + me, 128);
        if (lane == 0) {
            for (u32 c = 0; c < F::CHUNKS; c++) store_box(map_o, out + c * F::Q_CHUNK, c * 64, now.head, now.tile * F::TQ + me * 64);
            store_commit();
        }
        q_ring = q_ring.next();
    }
    if (me == 0) turn_wait(TURN, 256);
    if (lane == 0) store_wait();
}

template <int HD, int GROUPS, int STAGES, int UP, int DOWN>
DEV void forward(const Map* q, const Map* k, const Map* v, const Map* o, const Map* last, const Map* pos, const Attend& a) {
    using F = Forward<HD, GROUPS, STAGES>;
    extern __shared__ __align__(1024) unsigned char memory[];
    u32 base = shared_address(memory);
    if (threadIdx.x == 0) {
        for (u32 s = 0; s < 2; s++) {
            barrier_init(base + F::Q_FULL + 8 * s, 1);
            barrier_init(base + F::Q_FREE + 8 * s, GROUPS);
        }
        for (u32 s = 0; s < STAGES; s++) {
            barrier_init(base + F::K_FULL + 8 * s, 1);
            barrier_init(base + F::V_FULL + 8 * s, 1);
            barrier_init(base + F::K_FREE + 8 * s, 4 * GROUPS);
            barrier_init(base + F::V_FREE + 8 * s, 4 * GROUPS);
        }
        barriers_ready();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        registers_down<DOWN>();
        if (threadIdx.x == 0) forward_copies<HD, GROUPS, STAGES>(base, q, k, v, last, pos, a);
    } else {
        registers_up<UP>();
        forward_products<HD, GROUPS, STAGES>(base, o, a);
    }
}

#define FORWARD(name, HD, GROUPS, STAGES, UP, DOWN)                                                                                      \
    extern "C" __global__ void __launch_bounds__(128 * (GROUPS + 1), 1)                                                                  \
        name(const __grid_constant__ Map q, const __grid_constant__ Map k, const __grid_constant__ Map v, const __grid_constant__ Map o, \
             const __grid_constant__ Map last, const __grid_constant__ Map pos, const __grid_constant__ Attend a) {                     \
        forward<HD, GROUPS, STAGES, UP, DOWN>(&q, &k, &v, &o, &last, &pos, a);                                                           \
    }

FORWARD(attend_hopper_128, 128, 2, 2, 240, 24)
FORWARD(attend_hopper_64, 64, 3, 4, 160, 32)

// What the host asks for.
static_assert(Forward<128, 2, 2>::BYTES == 198752 && Forward<64, 3, 4>::BYTES == 184480, "shared memory of the forward");
