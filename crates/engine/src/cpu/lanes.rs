//! Vector widths: which one the CPU has, and the inner kernel of the matrix product for each.

use super::pairs::split;

/// The vector kernels a CPU can run, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain Rust; the compiler uses what the target has for sure (SSE2, NEON).
    Portable,
    /// 8 lanes with fused multiply-add.
    Avx2,
    /// 16 lanes with fused multiply-add.
    Avx512,
}

impl Level {
    /// The widest level of this CPU.
    pub fn detect() -> Level {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
            {
                return Level::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Level::Avx2;
            }
        }
        Level::Portable
    }
}

/// Whether this CPU multiplies pairs of bfloat16 in one instruction.
pub fn multiplies_pairs() -> bool {
    #[cfg(target_arch = "x86_64")]
    if Level::detect() == Level::Avx512 {
        return is_x86_feature_detected!("avx512bf16");
    }
    false
}

/// Compiles one body three times, for each [`Level`], and calls the right one.
///
/// The body must be plain Rust without `mul_add`, so that every level gives the same bits.
macro_rules! per_level {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(level: $crate::cpu::lanes::Level, $($arg: $ty),*) $(-> $out)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($arg: $ty),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512($($arg: $ty),*) $(-> $out)? { body($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($arg: $ty),*) $(-> $out)? { body($($arg),*) }
            match level {
                // SAFETY: a level is only made when the CPU has its features.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::lanes::Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::lanes::Level::Avx2 => unsafe { avx2($($arg),*) },
                _ => body($($arg),*),
            }
        }
    };
}
pub(crate) use per_level;

/// Rows of the tile that the kernel computes.
pub(crate) const MR: usize = 8;
/// Columns of the tile: the width of a packed panel.
pub(crate) const NR: usize = 48;

/// Where the left operand of a tile lies: element (i, k) is `start[i * row_step + k * k_step]`.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(crate) start: *const f32,
    pub(crate) row_step: usize,
    pub(crate) k_step: usize,
}

/// Where the right operand of a tile lies: element (k, j) is `start[k * k_step + j]`.
#[derive(Clone, Copy)]
pub(crate) struct Right {
    pub(crate) start: *const f32,
    pub(crate) k_step: usize,
}

/// A stretch of the sum over k that a tile adds up.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) a: Left,
    pub(crate) b: Right,
    /// Steps.
    pub(crate) k: usize,
}

/// What one step of k is, in both operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// One f32.
    Single,
    /// A word of two bfloat16 (see [`super::pairs`]).
    Pair,
}

/// One tile: `c[i][j] (+)= sum over all parts and their k of a[i][k] * b[k][j]`, [`MR`] rows of `a`, [`NR`] columns of `b`.
///
/// `cols` (1 to 48) is rounded up to whole vectors: lanes past it are computed and written, so `c` must
/// have room for 48 columns in each of its 8 rows (the caller passes a spare tile at edges).
///
/// # Safety
/// In each part `a` has 8 rows of k, `b` has k rows of 48 floats (of `cols` rounded up to 16, above Portable), `c` has 8 rows of `ldc` floats, 48 of them writable.
pub(crate) unsafe fn tile(level: Level, step: Step, cols: usize, parts: &[Part], c: *mut f32, ldc: usize, add: bool) {
    // SAFETY: the caller's promise is passed on; the level says that the features are there.
    unsafe {
        if step == Step::Pair {
            #[cfg(target_arch = "x86_64")]
            if level == Level::Avx512 && multiplies_pairs() {
                return match cols.div_ceil(16) {
                    1 => x86::tile_pairs::<1>(parts, c, ldc, add),
                    2 => x86::tile_pairs::<2>(parts, c, ldc, add),
                    _ => x86::tile_pairs::<3>(parts, c, ldc, add),
                };
            }
            return portable(parts, c, ldc, add, |a, b| {
                let ((a0, a1), (b0, b1)) = (split(a), split(b));
                a0 * b0 + a1 * b1
            });
        }
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => match cols.div_ceil(16) {
                1 => x86::tile512::<1>(parts, c, ldc, add),
                2 => x86::tile512::<2>(parts, c, ldc, add),
                _ => x86::tile512::<3>(parts, c, ldc, add),
            },
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::tile256(cols, parts, c, ldc, add),
            _ => portable(parts, c, ldc, add, |a, b| a * b),
        }
    }
}

/// The same tile in plain Rust; `times` multiplies one step of k.
///
/// # Safety
/// As [`tile`].
unsafe fn portable(parts: &[Part], c: *mut f32, ldc: usize, add: bool, times: impl Fn(f32, f32) -> f32) {
    // SAFETY: the caller promises the extents.
    unsafe {
        for half in 0..NR / 8 {
            let mut sum = [[0f32; 8]; MR];
            for (part, kk) in parts.iter().flat_map(|p| (0..p.k).map(move |kk| (p, kk))) {
                let (a, b) = (part.a, part.b);
                let bk = std::slice::from_raw_parts(b.start.add(kk * b.k_step + half * 8), 8);
                for (i, row) in sum.iter_mut().enumerate() {
                    let ak = *a.start.add(i * a.row_step + kk * a.k_step);
                    for (s, &v) in row.iter_mut().zip(bk) {
                        *s += times(ak, v);
                    }
                }
            }
            for (i, row) in sum.iter().enumerate() {
                let out = std::slice::from_raw_parts_mut(c.add(i * ldc + half * 8), 8);
                for (o, &s) in out.iter_mut().zip(row) {
                    *o = if add { *o + s } else { s };
                }
            }
        }
    }
}

/// Turns eight lines of k (a multiple of 8, not 0): `out[k * step + i] = lines[i][k]`.
pub(crate) fn turn(level: Level, out: &mut [f32], step: usize, lines: [&[f32]; 8]) {
    let k = lines[0].len();
    assert!(k > 0 && k.is_multiple_of(8) && step >= 8 && out.len() >= (k - 1) * step + 8 && lines.iter().all(|l| l.len() == k));
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx2 {
        // SAFETY: the level says that AVX2 is there; sizes were checked.
        return unsafe { x86::turn(out.as_mut_ptr(), step, lines.map(<[f32]>::as_ptr), k) };
    }
    for (k, o) in out.chunks_mut(step).enumerate().take(k) {
        for (v, line) in o.iter_mut().zip(lines) {
            *v = line[k];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The tile in AVX-512 and AVX2.
    use super::{MR, Part};
    use std::arch::x86_64::*;

    /// 8 rows by `NV` vectors of 16: the loop is one, the instruction that multiplies a step of k is the caller's.
    macro_rules! tile512 {
        ($name:ident, $features:literal, $step:expr) => {
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $name<const NV: usize>(parts: &[Part], c: *mut f32, ldc: usize, add: bool) {
                // SAFETY: the caller promises the extents of a, b and c.
                unsafe {
                    let mut sum = [[_mm512_setzero_ps(); NV]; MR];
                    for Part { a, b, k } in parts {
                        let (mut left, mut right) = (a.start, b.start);
                        for _ in 0..*k {
                            let mut bv = [_mm512_setzero_ps(); NV];
                            for (j, v) in bv.iter_mut().enumerate() {
                                *v = _mm512_loadu_ps(right.add(16 * j));
                            }
                            for (i, row) in sum.iter_mut().enumerate() {
                                let av = _mm512_set1_ps(*left.add(i * a.row_step));
                                for (s, &v) in row.iter_mut().zip(&bv) {
                                    *s = $step(*s, av, v);
                                }
                            }
                            left = left.add(a.k_step);
                            right = right.add(b.k_step);
                        }
                    }
                    for (i, row) in sum.iter().enumerate() {
                        for (j, &s) in row.iter().enumerate() {
                            let at = c.add(i * ldc + 16 * j);
                            let s = if add { _mm512_add_ps(s, _mm512_loadu_ps(at)) } else { s };
                            _mm512_storeu_ps(at, s);
                        }
                    }
                }
            }
        };
    }
    tile512!(tile512, "avx512f", |s, a, b| _mm512_fmadd_ps(a, b, s));
    tile512!(tile_pairs, "avx512f,avx512bf16", |s, a: __m512, b: __m512| _mm512_dpbf16_ps(
        s,
        std::mem::transmute::<__m512, __m512bh>(a),
        std::mem::transmute::<__m512, __m512bh>(b)
    ));

    /// 8 rows by 48 columns, as 4 by 16 pieces that fit the sixteen registers.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn tile256(cols: usize, parts: &[Part], c: *mut f32, ldc: usize, add: bool) {
        // SAFETY: the caller promises the extents of a, b and c.
        unsafe {
            for j0 in (0..cols).step_by(16) {
                for i0 in (0..MR).step_by(4) {
                    let mut sum = [[_mm256_setzero_ps(); 2]; 4];
                    // Two plain loops: one iterator over both is called for each k, and then the sums do not stay in registers.
                    for &Part { a, b, k } in parts {
                        for kk in 0..k {
                            let (left, right) = (a.start.add(kk * a.k_step + i0 * a.row_step), b.start.add(kk * b.k_step + j0));
                            let bv = [_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(8))];
                            for (i, row) in sum.iter_mut().enumerate() {
                                let av = _mm256_set1_ps(*left.add(i * a.row_step));
                                row[0] = _mm256_fmadd_ps(av, bv[0], row[0]);
                                row[1] = _mm256_fmadd_ps(av, bv[1], row[1]);
                            }
                        }
                    }
                    for (i, row) in sum.iter().enumerate() {
                        for (j, &s) in row.iter().enumerate() {
                            let at = c.add((i0 + i) * ldc + j0 + 8 * j);
                            let s = if add { _mm256_add_ps(s, _mm256_loadu_ps(at)) } else { s };
                            _mm256_storeu_ps(at, s);
                        }
                    }
                }
            }
        }
    }

    /// Squares of 8 x 8, each in three rounds: pairs, fours, halves.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn turn(out: *mut f32, step: usize, lines: [*const f32; 8], k: usize) {
        for at in (0..k).step_by(8) {
            // SAFETY: the caller promises k floats a line, k a multiple of 8, and 8 floats at each of k steps in out.
            unsafe {
                let l = lines.map(|p| _mm256_loadu_ps(p.add(at)));
                let pair = |a, b| (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let ((a0, a1), (a2, a3)) = (pair(l[0], l[1]), pair(l[2], l[3]));
                let ((a4, a5), (a6, a7)) = (pair(l[4], l[5]), pair(l[6], l[7]));
                let four = |a, b| (_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b));
                let ((b0, b1), (b2, b3)) = (four(a0, a2), four(a1, a3));
                let ((b4, b5), (b6, b7)) = (four(a4, a6), four(a5, a7));
                let low = |a, b| _mm256_permute2f128_ps::<0x20>(a, b);
                let high = |a, b| _mm256_permute2f128_ps::<0x31>(a, b);
                let rows = [low(b0, b4), low(b1, b5), low(b2, b6), low(b3, b7), high(b0, b4), high(b1, b5), high(b2, b6), high(b3, b7)];
                for (i, row) in rows.into_iter().enumerate() {
                    _mm256_storeu_ps(out.add(step * (at + i)), row);
                }
            }
        }
    }
}
