// Gradients of an adapter's factors: sums over all rows of products of a wide and a narrow matrix, several in one launch.
//
// Forward    out[i][c] += scale * sum_t y[t][i] * u[t][c]
// Shapes     y (rows, width) bf16, stride ldy   u (rows, count) bf16, stride ldu   out f32: element (i, c) at i * step_i + c * step_c
// Tiles      a block has 128 columns of y, up to 64 of u, and a share of the rows; the block that is the last of its tile to be
//            done adds the shares in their order, so the same call gives the same bits whichever it is.
// Rounds     products of bf16, sums in f32.

#define COLUMNS 128 // of y
#define STEP 32     // rows brought at a time
#define STAGES 4
#define PITCH_Y (COLUMNS * 2 + 16) // bytes: the eight rows of an ldmatrix fall into different banks

struct Job {
    const bf16 *y, *u;
    float* out;
    u32 ldy, ldu, width, from, count, step_i, step_c, tiles;
    float scale;
    u32 _end;
};
// The columns from..from + count of u are meant; u itself begins at a multiple of sixteen bytes.
struct Jobs {
    Job jobs[4];
    float* shares;
    u32* done;
    u32 rows, each; // each: rows of a share
};

extern __shared__ __align__(128) unsigned char shared[];

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void copy16(u32 to, const void* from, bool real) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(real ? 16 : 0) : "memory");
}
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
__device__ __forceinline__ void load4_turned(u32 (&r)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
// c += a b, 16x16 by 16x8.
__device__ __forceinline__ void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Brings rows row..row + STEP of CHUNKS * 8 columns; what lies beyond `to_row` or `width` reads as zero.
template <int CHUNKS>
__device__ __forceinline__ void fetch(u32 to, u32 pitch, const bf16* m, u32 ld, u32 column, u32 width, u32 row, u32 to_row, bool whole) {
#pragma unroll
    for (int i = 0; i < (STEP * CHUNKS + 127) / 128; i++) {
        u32 at = i * 128 + threadIdx.x, r = at / CHUNKS, c = column + at % CHUNKS * 8;
        if (STEP * CHUNKS % 128 && at >= STEP * CHUNKS) break;
        bool real = row + r < to_row && c < width;
        const bf16* from = m + (size_t)(row + r) * ld + c;
        if (whole) copy16(to + r * pitch + at % CHUNKS * 16, real ? from : m, real);
        else {
            uint4 v = raw8(from - c, c, real ? width : 0, false);
            *(uint4*)(shared + (to - shared_address(shared)) + r * pitch + at % CHUNKS * 16) = v;
        }
    }
}

// NARROW eights of columns of u.
template <int NARROW> __device__ __forceinline__ void gradients(const Jobs& all) {
    constexpr u32 PITCH_U = NARROW * 16 + 16, STAGE = STEP * (PITCH_Y + PITCH_U);
    u32 which = 0, tile = blockIdx.x;
    while (tile >= all.jobs[which].tiles) tile -= all.jobs[which++].tiles;
    const Job job = all.jobs[which];
    u32 wide_tiles = (job.width + COLUMNS - 1) / COLUMNS, column = tile % wide_tiles * COLUMNS;
    u32 begin = job.from / 8 * 8 + tile / wide_tiles * NARROW * 8, end = job.from + job.count; // columns of u
    bool whole_y = even(job.y, job.ldy) && job.width % 8 == 0, whole_u = even(job.u, job.ldu);
    u32 ends = whole_u ? (end + 7) / 8 * 8 : end; // a buffer's rows are a multiple of eight
    u32 first = blockIdx.y * all.each, last = min(all.rows, first + all.each);
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, base = shared_address(shared);
    auto bring = [&](u32 row, u32 stage) {
        u32 to = base + stage * STAGE;
        if (row < last) {
            fetch<COLUMNS / 8>(to, PITCH_Y, job.y, job.ldy, column, job.width, row, last, whole_y);
            fetch<NARROW>(to + STEP * PITCH_Y, PITCH_U, job.u, job.ldu, begin, ends, row, last, whole_u);
        }
        commit();
    };
    float sum[2][NARROW][4] = {};
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) bring(first + s * STEP, s);
    u32 stage = 0;
    for (u32 row = first; row < last; row += STEP) {
        wait<STAGES - 2>();
        __syncthreads();
        bring(row + (STAGES - 1) * STEP, (stage + STAGES - 1) % STAGES);
        u32 y = base + stage * STAGE + (lane / 16 * 8 + lane % 8) * PITCH_Y + (warp * 32 + lane / 8 % 2 * 8) * 2;
        u32 u = base + stage * STAGE + STEP * PITCH_Y + (lane % 16) * PITCH_U + lane / 16 * 16;
#pragma unroll
        for (int k = 0; k < STEP / 16; k++) {
            u32 a[2][4], b[4];
            load4_turned(a[0], y + k * 16 * PITCH_Y);
            load4_turned(a[1], y + k * 16 * PITCH_Y + 32);
#pragma unroll
            for (int n = 0; n < NARROW; n += 2) {
                load4_turned(b, u + k * 16 * PITCH_U + n * 16);
#pragma unroll
                for (int m = 0; m < 2; m++) mma(sum[m][n], a[m], b[0], b[1]), mma(sum[m][n + 1], a[m], b[2], b[3]);
            }
        }
        stage = (stage + 1) % STAGES;
    }
    wait<0>();
    __shared__ u32 arrived;
    constexpr u32 EACH = 2 * NARROW * 4 * 128; // floats of a share
    if (gridDim.y > 1) {
        float* own = all.shares + ((size_t)blockIdx.x * gridDim.y + blockIdx.y) * EACH;
#pragma unroll
        for (int i = 0; i < 2 * NARROW; i++) ((float4*)own)[i * 128 + threadIdx.x] = *(float4*)sum[i / NARROW][i % NARROW];
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) arrived = atomicInc(all.done + blockIdx.x, gridDim.y - 1); // counts from 0 again after the last
        __syncthreads();
        if (arrived != gridDim.y - 1) return;
        __threadfence();
#pragma unroll
        for (int i = 0; i < 2 * NARROW; i++) *(float4*)sum[i / NARROW][i % NARROW] = make_float4(0.f, 0.f, 0.f, 0.f);
        const float4* share = (const float4*)(all.shares + (size_t)blockIdx.x * gridDim.y * EACH) + threadIdx.x;
#pragma unroll(NARROW < 4 ? 4 : NARROW < 6 ? 2 : 1)
        for (u32 s = 0; s < gridDim.y; s++, share += EACH / 4) {
            float4 v[2 * NARROW]; // all on their way at once
#pragma unroll
            for (int i = 0; i < 2 * NARROW; i++) v[i] = __ldcg(share + i * 128);
#pragma unroll
            for (int i = 0; i < 2 * NARROW; i++) {
                float* to = sum[i / NARROW][i % NARROW];
                to[0] += v[i].x, to[1] += v[i].y, to[2] += v[i].z, to[3] += v[i].w;
            }
        }
    }
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int n = 0; n < NARROW; n++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                u32 i = column + warp * 32 + m * 16 + lane / 4 + j / 2 * 8, c = begin + n * 8 + lane % 4 * 2 + j % 2;
                if (i >= job.width || c < job.from || c >= end) continue;
                job.out[(size_t)i * job.step_i + (size_t)(c - job.from) * job.step_c] += job.scale * sum[m][n][j];
            }
}

#define KERNEL(NARROW) \
    extern "C" __global__ void __launch_bounds__(128) linear_gradients_##NARROW(const __grid_constant__ Jobs all) { gradients<NARROW>(all); }
KERNEL(2)
KERNEL(4)
KERNEL(6)
KERNEL(8)
