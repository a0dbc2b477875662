// The router of a mixture of experts: logits, choices, and the pairs of a row and a slot by expert; contract in route.rs.
//
// Shapes  x (rows, width) bf16, stride ldx   w (experts, width) f32   logits, dlogits (rows, experts) f32
//         chosen, weights, dw, places (rows, top): a pair is row * top + slot   list (as many rows as all experts have, rounded up)
// Rounds  f32, a row by itself: what else is in the call changes no bit. Counts are whole numbers.

// Rows that a warp does at once, so that the router is read once for all of them.
#define ROWS 4

// logits = x·Wᵀ, eight experts at a time.
extern "C" __global__ void __launch_bounds__(256) route_logits(
    float* logits, const bf16* x, const float* w, u32 rows, u32 width, u32 ldx, u32 experts) {
    u32 lane = threadIdx.x % 32, first = (blockIdx.x * 8 + threadIdx.x / 32) * ROWS;
    if (first >= rows) return;
    bool whole = width % 8 == 0 && even(x, ldx) && even(w, width);
    for (u32 from = 0; from < experts; from += 8) {
        float sum[ROWS][8] = {};
        for (u32 at = lane * 8; at < width; at += 256) {
            float v[ROWS][8], q[8];
#pragma unroll
            for (int r = 0; r < ROWS; r++) load8(v[r], x + (size_t)min(first + r, rows - 1) * ldx, at, width, whole);
#pragma unroll
            for (int e = 0; e < 8; e++) {
                if (from + e >= experts) continue;
                floats8(q, w + (size_t)(from + e) * width, at, width, whole);
#pragma unroll
                for (int r = 0; r < ROWS; r++)
#pragma unroll
                    for (int j = 0; j < 8; j++) sum[r][e] += v[r][j] * q[j];
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++)
#pragma unroll
            for (int e = 0; e < 8; e++) {
                float all = total<32>(sum[r][e], 0);
                if (lane == 0 && first + r < rows && from + e < experts) logits[(size_t)(first + r) * experts + from + e] = all;
            }
    }
}

// The largest logits of a row one after the other, of equals the first; a NaN is never larger than another.
extern "C" __global__ void __launch_bounds__(256) route_choose(
    u32* chosen, float* weights, const float* logits, u32 rows, u32 experts, u32 top) {
    u32 row = blockIdx.x * 256 + threadIdx.x;
    if (row >= rows) return;
    logits += (size_t)row * experts, chosen += (size_t)row * top, weights += (size_t)row * top;
    for (u32 slot = 0; slot < top; slot++) {
        u32 best = ~0u;
        for (u32 e = 0; e < experts; e++) {
            bool taken = false;
            for (u32 s = 0; s < slot; s++) taken |= chosen[s] == e;
            if (!taken && (best == ~0u || logits[e] > logits[best])) best = e;
        }
        chosen[slot] = best;
    }
    float most = logits[chosen[0]], sum = 0.f;
    for (u32 s = 0; s < top; s++) weights[s] = expf(logits[chosen[s]] - most), sum += weights[s];
    for (u32 s = 0; s < top; s++) weights[s] /= sum;
}

// Pairs that each expert has; a block for each.
extern "C" __global__ void __launch_bounds__(1024) route_count(u32* counts, const u32* chosen, u32 pairs) {
    u32 all = 0;
    for (u32 from = 0; from < pairs; from += 1024) {
        u32 pair = from + threadIdx.x;
        all += __syncthreads_count(pair < pairs && chosen[pair] == blockIdx.x);
    }
    if (threadIdx.x == 0) counts[blockIdx.x] = all;
}

// The pairs of each expert in order, each expert's from a multiple of `step` on, with ~0 up to the next; and where each pair went.
extern "C" __global__ void __launch_bounds__(1024) route_sort(
    u32* list, u32* places, const u32* counts, const u32* chosen, u32 pairs, u32 step) {
    __shared__ u32 sums[32];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, start = 0;
    for (u32 e = 0; e < blockIdx.x; e++) start += (counts[e] + step - 1) / step * step;
    u32 at = start;
    for (u32 from = 0; from < pairs; from += 1024) {
        u32 pair = from + threadIdx.x;
        bool mine = pair < pairs && chosen[pair] == blockIdx.x;
        u32 votes = __ballot_sync(~0u, mine);
        if (lane == 0) sums[warp] = __popc(votes);
        __syncthreads();
        u32 before = 0, all = 0;
        for (u32 i = 0; i < 32; i++) before += i < warp ? sums[i] : 0, all += sums[i];
        __syncthreads();
        if (mine) {
            u32 to = at + before + __popc(votes & ((1u << lane) - 1));
            list[to] = pair, places[pair] = to;
        }
        at += all;
    }
    u32 end = start + (at - start + step - 1) / step * step;
    for (u32 to = at + threadIdx.x; to < end; to += 1024) list[to] = ~0u;
}

// dlogits from dw, weights and chosen; with `adds` over what is there.
extern "C" __global__ void __launch_bounds__(256) route_backward(
    float* dlogits, const float* dw, const float* weights, const u32* chosen, u32 rows, u32 experts, u32 top, u32 adds) {
    u32 row = blockIdx.x * 256 + threadIdx.x;
    if (row >= rows) return;
    dlogits += (size_t)row * experts, dw += (size_t)row * top, weights += (size_t)row * top, chosen += (size_t)row * top;
    for (u32 e = 0; !adds && e < experts; e++) dlogits[e] = 0.f;
    float mean = 0.f;
    for (u32 s = 0; s < top; s++) mean += dw[s] * weights[s];
    for (u32 s = 0; s < top; s++) dlogits[chosen[s]] += weights[s] * (dw[s] - mean);
}
