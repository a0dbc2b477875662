// Weights of 4 and 8 bits to bf16 rows; formulas in unpack.rs.
//
// Shapes  packed (rows * width / 2) bytes, two elements each, the first in the upper half   codes (rows, width) int8
//         scales one for each 2^shift * 8 elements of the flat matrix; their codes and nested scales, one for each 2^nested
// Rounds  a scale and its product with an element's value in f32, each rounded, then once to bf16: as on the host.

#define AHEAD 4 // eights of elements that a thread has in flight

__constant__ float VALUES[16] = {-1.f,       -0.6961928f, -0.52507305f, -0.3949175f, -0.28444138f, -0.18477343f, -0.091050036f, 0.f,
                                 0.0795803f, 0.1609302f,  0.2461123f,   0.33791524f, 0.44070983f,  0.562617f,    0.72295684f,   1.f};

struct Scales {
    const float* absmax;
    const u8* codes; // of a scale that is quantised in turn, else null
    const float* map;
    float offset;
    u32 nested;
};
__device__ __forceinline__ float scale_of(const Scales& s, u32 block) {
    return s.codes ? __fadd_rn(__fmul_rn(s.map[s.codes[block]], s.absmax[block >> s.nested]), s.offset) : s.absmax[block];
}

extern "C" __global__ void __launch_bounds__(256) unpack_nf4(
    bf16* out, const u8* packed, const float* absmax, const u8* codes, const float* map, float offset, u32 shift, u32 nested, u32 rows,
    u32 width, u32 ldo) {
    __shared__ float values[16];
    if (threadIdx.x < 16) values[threadIdx.x] = VALUES[threadIdx.x];
    __syncthreads();
    Scales s = {absmax, codes, map, offset, nested};
    u32 each = (width + 7) / 8, tasks = rows * each, first = blockIdx.x * (256 * AHEAD) + threadIdx.x;
    if (width % 8 == 0 && even(out, ldo)) {
        u32 word[AHEAD];
        float scale[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            u32 task = min(first + k * 256, tasks - 1);
            word[k] = ((const u32*)packed)[task], scale[k] = scale_of(s, task >> shift);
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            u32 task = first + k * 256;
            if (task >= tasks) return;
            float v[8];
#pragma unroll
            for (int j = 0; j < 8; j++) v[j] = values[word[k] >> (j / 2 * 8 + (j % 2 ? 0 : 4)) & 15] * scale[k];
            store8(out + (size_t)(task / each) * ldo, v, task % each * 8, width, true);
        }
        return;
    }
    for (u32 task = first; task < min(first + AHEAD * 256, tasks); task += 256) {
        u32 row = task / each, at = task % each * 8, flat = row * width + at;
        for (u32 j = 0; j < 8 && at + j < width; j++, flat++) {
            u32 nibble = packed[flat / 2] >> (flat % 2 ? 0 : 4) & 15;
            out[(size_t)row * ldo + at + j] = narrow(values[nibble] * scale_of(s, flat >> (shift + 3)));
        }
    }
}

__device__ __forceinline__ float number(u32 byte, float scale) { return __fmul_rn((float)(signed char)byte * scale, 1.f / 127.f); }

extern "C" __global__ void __launch_bounds__(256) unpack_int8(bf16* out, const u8* codes, const float* scales, u32 rows, u32 width, u32 ldo) {
    u32 each = (width + 7) / 8, tasks = rows * each, first = blockIdx.x * (256 * AHEAD) + threadIdx.x;
    if (width % 8 == 0 && even(out, ldo)) {
        uint2 words[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) words[k] = ((const uint2*)codes)[min(first + k * 256, tasks - 1)];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            u32 task = first + k * 256, row = task / each;
            if (task >= tasks) return;
            float v[8], scale = scales[row];
#pragma unroll
            for (int j = 0; j < 8; j++) v[j] = number((j < 4 ? words[k].x : words[k].y) >> (j % 4 * 8) & 255, scale);
            store8(out + (size_t)row * ldo, v, task % each * 8, width, true);
        }
        return;
    }
    for (u32 task = first; task < min(first + AHEAD * 256, tasks); task += 256) {
        u32 row = task / each, at = task % each * 8;
        for (u32 j = 0; j < 8 && at + j < width; j++)
            out[(size_t)row * ldo + at + j] = narrow(number(codes[(size_t)row * width + at + j], scales[row]));
    }
}
