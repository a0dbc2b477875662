// The way of rows to the experts and back; contract in experts.rs, lists and places as route.cu makes them.
//
// Shapes  x, y, out (rows, width) bf16 with strides   list (sorted rows): a pair, or ~0 where none is   places (rows, top)
//         dlogits (rows, experts), router (experts, width) f32
// Rounds  sums in f32 in the order of the slots, once to bf16. Every element by itself.

// Row i of out = row list[i] / top of x; zero where there is no pair.
extern "C" __global__ void __launch_bounds__(256) experts_gather(
    bf16* out, const bf16* x, const u32* list, u32 rows, u32 width, u32 ldo, u32 ldx, u32 top, u32 pairs) {
    auto [row, at] = spot(width);
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(out, ldo) && even(x, ldx);
    u32 pair = list[row];
    float v[8] = {};
    if (pair < pairs) load8(v, x + (size_t)(pair / top) * ldx, at, width, whole);
    store8(out + (size_t)row * ldo, v, at, width, whole);
}

// out = x + what the experts of each row gave.
extern "C" __global__ void __launch_bounds__(256) experts_combine(
    bf16* out, const bf16* x, const bf16* y, const u32* places, u32 rows, u32 width, u32 ldo, u32 ldx, u32 ldy, u32 top) {
    auto [row, at] = spot(width);
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(out, ldo) && even(x, ldx) && even(y, ldy);
    float sum[8], v[8];
    load8(sum, x + (size_t)row * ldx, at, width, whole);
    for (u32 slot = 0; slot < top; slot++) {
        load8(v, y + (size_t)places[(size_t)row * top + slot] * ldy, at, width, whole);
#pragma unroll
        for (int j = 0; j < 8; j++) sum[j] += v[j];
    }
    store8(out + (size_t)row * ldo, sum, at, width, whole);
}

// Rows that a thread does at once, so that the router is read once for all of them.
#define ROWS 4

// out = dlogits·router + the gradients that the experts of each row gave.
extern "C" __global__ void __launch_bounds__(256) experts_back(
    bf16* out, const bf16* y, const u32* places, const float* dlogits, const float* router, u32 rows, u32 width, u32 ldo, u32 ldy,
    u32 top, u32 experts) {
    auto [group, at] = spot(width);
    u32 first = group * ROWS;
    if (first >= rows) return;
    bool whole = width % 8 == 0 && even(out, ldo) && even(y, ldy) && even(router, width);
    float sum[ROWS][8] = {}, v[8];
    for (u32 e = 0; e < experts; e++) {
        floats8(v, router + (size_t)e * width, at, width, whole);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float d = dlogits[(size_t)min(first + r, rows - 1) * experts + e];
#pragma unroll
            for (int j = 0; j < 8; j++) sum[r][j] += d * v[j];
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        u32 row = first + r;
        if (row >= rows) continue;
        for (u32 slot = 0; slot < top; slot++) {
            load8(v, y + (size_t)places[(size_t)row * top + slot] * ldy, at, width, whole);
#pragma unroll
            for (int j = 0; j < 8; j++) sum[r][j] += v[j];
        }
        store8(out + (size_t)row * ldo, sum[r], at, width, whole);
    }
}
