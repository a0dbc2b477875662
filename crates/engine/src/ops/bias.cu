// The gradient of a bias; formula in bias.rs. (Forward is done by the product that the bias is added to.)
//
// Shapes  dy (rows, width) bf16, stride ld   db (width) f32   parts (count, width) f32
// Rounds  f32. Parts of the rows, then their sum, both in a fixed order.

extern "C" __global__ void __launch_bounds__(256) bias_parts(float* parts, const bf16* dy, u32 rows, u32 width, u32 ld) {
    bool whole = width % 8 == 0 && even(dy, ld);
    sum_part(parts, rows, width, [=](float v[8], u32 row, u32 at) { load8(v, dy + (size_t)row * ld, at, width, whole); });
}
extern "C" __global__ void __launch_bounds__(256) bias_sums(float* db, const float* parts, u32 count, u32 width) {
    sum_parts(db, parts, count, width);
}
