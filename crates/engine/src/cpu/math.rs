//! Elementary functions and sums in a form that the compiler can vectorise, with the same bits at every level.

/// Lanes of a partial sum: fixed, so that a sum does not depend on the vector width.
pub(crate) const LANES: usize = 16;

/// e^x for f32, relative error below 2 eps for results in the normal range; 0 below -87.3, capped above 88.3.
///
/// x = n ln2 + r with |r| <= ln2 / 2 (ln2 in two parts), e^r by its Taylor series to the 7th power, 2^n by exponent bits.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOG2E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer without a call.
    const ROUND: f32 = 12_582_912.0;
    let capped = x.clamp(-87.3, 88.3);
    let rounded = capped * LOG2E + ROUND;
    let n = rounded - ROUND;
    let r = (capped - n * LN2_HIGH) - n * LN2_LOW;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * (r * r) + r + 1.0;
    // The last bits of `rounded` are n: shifted to where the exponent lies, they need no conversion.
    let scale = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.3 { 0.0 } else { p * scale }
}

/// Adds the lanes in a fixed tree.
#[inline(always)]
pub(crate) fn fold(lanes: [f32; LANES]) -> f32 {
    let mut l = lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            l[i] += l[i + half];
        }
        half /= 2;
    }
    l[0]
}

/// Sum over i of `f(i)` for `i < n`, in sixteen partial sums.
#[inline(always)]
pub(crate) fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = n / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += f(i + l);
        }
        i += LANES;
    }
    for (l, lane) in lanes.iter_mut().enumerate().take(n - whole) {
        *lane += f(whole + l);
    }
    fold(lanes)
}

/// Sum over i of `x[i] * y[i]`.
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (xc, xr) = x.as_chunks::<LANES>();
    let (yc, yr) = y[..x.len()].as_chunks::<LANES>();
    for (a, b) in xc.iter().zip(yc) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(xr).zip(yr) {
        *lane += a * b;
    }
    fold(lanes)
}

/// The largest element; minus infinity for none.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for c in chunks {
        for (lane, &v) in lanes.iter_mut().zip(c) {
            *lane = if v > *lane { v } else { *lane };
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = if v > *lane { v } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_eps() {
        let mut worst = 0f64;
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let truth = (x as f64).exp();
            worst = worst.max(((exp(x) as f64 - truth) / truth).abs());
        }
        // Measured worst: 8.3e-8.
        assert!(worst < 2.0 * f32::EPSILON as f64, "{worst:e}");
        assert_eq!(exp(-1e4), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) == 0.0);
    }

    #[test]
    fn sums_take_every_element_once() {
        for n in [0, 1, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let ones = vec![1f32; n];
            let want = (n * n.saturating_sub(1) / 2) as f32;
            assert_eq!(dot(&x, &ones), want);
            assert_eq!(sum(n, |i| x[i]), want);
            assert_eq!(max(&x), if n == 0 { f32::NEG_INFINITY } else { (n - 1) as f32 });
        }
    }
}
