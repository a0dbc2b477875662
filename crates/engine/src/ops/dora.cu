// DoRA over rows of bf16; formulas in dora.rs.
//
// Shapes  w (outputs, inputs) bf16, stride ld   squares, lengths, factors, m, dm (outputs) f32
//         p (outputs, rank) f32, stride ldp: W·Aᵀ   gram (rank, rank) f32, stride ldg   b (outputs, rank) bf16, stride ldb, scaled
//         y, out, plus, dy, y0 (rows, outputs) bf16 with strides   bias (outputs) bf16   parts (count, outputs) f32
// Rounds  lengths in f64, once to f32; the rest in f32, rows once to bf16. Sums over rows by parts, then their sum, in a fixed order.

// |W_j|²: a warp has a row.
extern "C" __global__ void __launch_bounds__(256) dora_squares(float* squares, const bf16* w, u32 rows, u32 width, u32 ld) {
    u32 row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(w, ld);
    w += (size_t)row * ld;
    double sum = 0.;
    for (u32 at = threadIdx.x % 32 * 8; at < width; at += 256) {
        float v[8];
        load8(v, w, at, width, whole);
#pragma unroll
        for (int j = 0; j < 8; j++) sum += (double)v[j] * (double)v[j];
    }
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) sum += __shfl_xor_sync(~0u, sum, d);
    if (threadIdx.x % 32 == 0) squares[row] = (float)sum;
}

// |W_j + (B A)_j| and m_j over it: a thread has an output.
extern "C" __global__ void __launch_bounds__(256) dora_factors(
    float* lengths, float* factors, const float* m, const float* squares, const float* p, const float* gram, const bf16* b, u32 outputs,
    u32 rank, u32 ldp, u32 ldg, u32 ldb) {
    u32 j = blockIdx.x * 256 + threadIdx.x;
    if (j >= outputs) return;
    p += (size_t)j * ldp, b += (size_t)j * ldb;
    double square = squares[j];
    for (u32 r = 0; r < rank; r++) {
        double own = 0.;
        for (u32 q = 0; q < rank; q++) own += (double)wide(b[q]) * (double)gram[(size_t)r * ldg + q];
        square += (double)wide(b[r]) * (2. * (double)p[r] + own);
    }
    // Rounding of P and G may leave a row that cancels to nothing below zero.
    float length = (float)sqrt(fmax(square, 0.));
    lengths[j] = length, factors[j] = m[j] / length;
}

// out = plus + c·y + bias, each of plus and bias if there is one; out may be y or plus.
extern "C" __global__ void __launch_bounds__(256) dora_forward(
    bf16* out, const bf16* y, const bf16* plus, const float* factors, const bf16* bias, u32 rows, u32 width, u32 ldo, u32 ldy, u32 ldp) {
    auto [row, at] = spot(width);
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(out, ldo) && even(y, ldy) && even(plus, ldp) && even(bias, 0) && (size_t)factors % 16 == 0;
    float v[8], c[8], before[8] = {}, beside[8] = {};
    load8(v, y + (size_t)row * ldy, at, width, whole);
    floats8(c, factors, at, width, whole);
    if (plus) load8(before, plus + (size_t)row * ldp, at, width, whole);
    if (bias) load8(beside, bias, at, width, whole);
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] = before[j] + (v[j] * c[j] + beside[j]);
    store8(out + (size_t)row * ldo, v, at, width, whole);
}

// Parts of dm: sums of dy·y0 over rows, each by the length of its row of weights when they are added up.
extern "C" __global__ void __launch_bounds__(256) dora_parts(float* parts, const bf16* dy, const bf16* y0, u32 rows, u32 width, u32 lddy, u32 ldy) {
    bool whole = width % 8 == 0 && even(dy, lddy) && even(y0, ldy);
    sum_part(parts, rows, width, [=](float v[8], u32 row, u32 at) {
        float y[8];
        load8(v, dy + (size_t)row * lddy, at, width, whole);
        load8(y, y0 + (size_t)row * ldy, at, width, whole);
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] *= y[j];
    });
}
extern "C" __global__ void __launch_bounds__(256) dora_sums(float* dm, const float* parts, const float* lengths, u32 count, u32 width) {
    u32 column = blockIdx.x * 256 + threadIdx.x;
    if (column >= width) return;
    float all = 0.f;
    for (u32 i = 0; i < count; i++) all += parts[(size_t)i * width + column];
    dm[column] += all / lengths[column];
}
