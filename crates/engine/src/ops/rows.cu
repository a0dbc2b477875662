// Rows moved: copied, gathered, scattered, set to zero, made narrow or wide; contract in rows.rs.
//
// Shapes  out, x (rows, width), strides ldo, ldx   index (rows)
// Rounds  float32 to bf16 once. Every element by itself.

enum How { COPY, PICK, PUT, ZERO };

template <How HOW>
__device__ __forceinline__ void move(bf16* out, const bf16* x, const u32* index, u32 rows, u32 width, u32 ldo, u32 ldx, u32 limit) {
    auto [row, at] = spot(width);
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(out, ldo) && (HOW == ZERO || even(x, ldx));
    size_t from = row, to = row;
    bool there = true;
    if (HOW == PICK) from = index[row], there = from < limit;
    if (HOW == PUT) to = index[row], there = to < limit;
    if (HOW == PUT && !there) return;
    // A row that is not there shows as numbers that are none.
    uint4 v = make_uint4(~0u, ~0u, ~0u, ~0u);
    if (HOW == ZERO) v = make_uint4(0, 0, 0, 0);
    else if (there) v = raw8(x + from * ldx, at, width, whole);
    out += to * ldo;
    if (whole) {
        *(uint4*)(out + at) = v;
        return;
    }
    u32 q[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int j = 0; j < 8; j++)
        if (at + j < width) out[at + j] = q[j / 2] >> (j % 2 * 16);
}

#define MOVE(NAME, HOW)                                                                                                              \
    extern "C" __global__ void __launch_bounds__(256) rows_##NAME(                                                                   \
        bf16* out, const bf16* x, const u32* index, u32 rows, u32 width, u32 ldo, u32 ldx, u32 limit) {                              \
        move<HOW>(out, x, index, rows, width, ldo, ldx, limit);                                                                      \
    }
MOVE(copy, COPY)
MOVE(pick, PICK)
MOVE(put, PUT)
MOVE(zero, ZERO)

__device__ __forceinline__ void narrow8(bf16* out, const float* x, u32 task, u32 rows, u32 width, u32 ldo, u32 ldx, float scale) {
    u32 each = (width + 7) / 8, row = task / each, at = task % each * 8;
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(out, ldo) && even(x, ldx);
    float v[8];
    floats8(v, x + (size_t)row * ldx, at, width, whole);
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] *= scale;
    store8(out + (size_t)row * ldo, v, at, width, whole);
}

// out = x * scale, from float32 to bf16
extern "C" __global__ void __launch_bounds__(256) rows_narrow(bf16* out, const float* x, u32 rows, u32 width, u32 ldo, u32 ldx, float scale) {
    narrow8(out, x, blockIdx.x * 256 + threadIdx.x, rows, width, ldo, ldx, scale);
}

// The same for a list of matrices, block row y for one of them.
struct Matrix {
    bf16* out;
    const float* x;
    u32 rows, width, ldo;
    float scale;
};
extern "C" __global__ void __launch_bounds__(256) rows_narrow_all(const Matrix* list) {
    Matrix m = list[blockIdx.y];
    u32 tasks = m.rows * ((m.width + 7) / 8);
    for (u32 task = blockIdx.x * 256 + threadIdx.x; task < tasks; task += gridDim.x * 256)
        narrow8(m.out, m.x, task, m.rows, m.width, m.ldo, m.width, m.scale);
}

// From bf16 to float32; what lies beyond is not touched.
extern "C" __global__ void __launch_bounds__(256) rows_widen(float* out, const bf16* x, u32 rows, u32 width, u32 ldo, u32 ldx) {
    auto [row, at] = spot(width);
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(out, ldo) && even(x, ldx);
    float v[8];
    load8(v, x + (size_t)row * ldx, at, width, whole);
    out += (size_t)row * ldo + at;
    if (whole) {
        *(float4*)out = make_float4(v[0], v[1], v[2], v[3]), *(float4*)(out + 4) = make_float4(v[4], v[5], v[6], v[7]);
        return;
    }
#pragma unroll
    for (int j = 0; j < 8; j++)
        if (at + j < width) out[j] = v[j];
}

// Numbers with the mean 0 and the variance of `size` squared: the sum of four uniform ones, each from 16 of an element's 64 bits.
extern "C" __global__ void __launch_bounds__(256) rows_noise(bf16* out, u32 count, u64 seed, float size) {
    u32 at = (blockIdx.x * 256 + threadIdx.x) * 8;
    if (at >= count) return;
    float v[8];
#pragma unroll
    for (int j = 0; j < 8; j++) {
        u64 z = mix(mix(seed) ^ (at + j));
        u32 sum = (u32)(z & 0xffff) + (u32)(z >> 16 & 0xffff) + (u32)(z >> 32 & 0xffff) + (u32)(z >> 48);
        v[j] = ((float)sum + 2.f - 131072.f) * (1.7320508f / 65536.f) * size;
    }
    store8(out, v, at, count, count % 8 == 0 && even(out, 8));
}

// Row i of out is the sum of rows starts[i] .. starts[i + 1] of x, in their order.
extern "C" __global__ void __launch_bounds__(256) rows_put_back(bf16* out, const bf16* x, const u32* starts, u32 rows, u32 width, u32 ldo, u32 ldx) {
    auto [row, at] = spot(width);
    if (row >= rows) return;
    bool whole = width % 8 == 0 && even(out, ldo) && even(x, ldx);
    float sum[8] = {}, v[8];
    for (u32 from = starts[row]; from < starts[row + 1]; from++) {
        load8(v, x + (size_t)from * ldx, at, width, whole);
#pragma unroll
        for (int j = 0; j < 8; j++) sum[j] += v[j];
    }
    store8(out + (size_t)row * ldo, sum, at, width, whole);
}
