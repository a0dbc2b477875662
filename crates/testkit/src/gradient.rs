//! The gradient check: a reference's backward against differences of its forward, along random directions.

use crate::{Random, dot};

/// Largest error that a correct gradient in f64 shows here, relative to the size of the derivative's terms.
///
/// The five-point formula with a step of 1e-3 is off by step^4 / 30 times the fifth derivative (3e-14 of it)
/// and by the rounding of f, 1e-16 / 1e-3 times its terms: together near 1e-12 for functions of order one.
/// A wrong factor or a lost term shows as 1e-3 and more; the limit stands between.
pub const LIMIT: f64 = 1e-8;

/// Random directions tried for every input.
const DIRECTIONS: usize = 4;

/// Compares `gradients` with the derivatives of `f` at `inputs`, each input by itself so that none hides another.
///
/// `f` is the op's outputs times a random cotangent, added up. A derivative along direction d is
/// `gradient · d`; the error is taken relative to the root of the sum of squares of its terms.
///
/// # Errors
/// The input, the seed, the derivative found and the one expected.
///
/// # Panics
/// When the gradients do not have the shapes of the inputs.
pub fn check(random: &mut Random, inputs: &[Vec<f64>], gradients: &[Vec<f64>], f: impl Fn(&[Vec<f64>]) -> f64) -> Result<(), String> {
    assert_eq!(inputs.len(), gradients.len());
    for (i, gradient) in gradients.iter().enumerate() {
        assert_eq!(gradient.len(), inputs[i].len(), "the gradient of input {i}");
        for _ in 0..DIRECTIONS {
            let direction = random.doubles(gradient.len());
            let expected = derivative(inputs, i, &direction, &f);
            let found = dot(gradient, &direction);
            let size = gradient.iter().zip(&direction).map(|(g, d)| (g * d).powi(2)).sum::<f64>().sqrt();
            let error = (found - expected).abs() / size.max(expected.abs()).max(f64::MIN_POSITIVE);
            if error.is_nan() || error > LIMIT {
                let seed = random.seed();
                return Err(format!(
                    "input {i} (seed {seed}): derivative {found:e}, by differences {expected:e}, off by {error:.1e} of its size"
                ));
            }
        }
    }
    Ok(())
}

/// The derivative of `f` along a direction of one input, by the five-point formula.
fn derivative(inputs: &[Vec<f64>], which: usize, direction: &[f64], f: &impl Fn(&[Vec<f64>]) -> f64) -> f64 {
    const STEP: f64 = 1e-3;
    let at = |t: f64| {
        let mut moved = inputs.to_vec();
        for (x, d) in moved[which].iter_mut().zip(direction) {
            *x += t * d;
        }
        f(&moved)
    };
    (8.0 * (at(STEP) - at(-STEP)) - (at(2.0 * STEP) - at(-2.0 * STEP))) / (12.0 * STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// f = sum of a_i^2 b_i, times e^(b_0).
    fn f(x: &[Vec<f64>]) -> f64 {
        x[0].iter().zip(&x[1]).map(|(a, b)| a * a * b).sum::<f64>() * x[1][0].exp()
    }

    fn gradients(x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let e = x[1][0].exp();
        let da = x[0].iter().zip(&x[1]).map(|(a, b)| 2.0 * a * b * e).collect();
        let mut db: Vec<f64> = x[0].iter().map(|a| a * a * e).collect();
        db[0] += f(x);
        vec![da, db]
    }

    #[test]
    fn accepts_the_derivative_and_refuses_others() {
        let mut r = Random::new(3);
        let x = vec![r.doubles(5), r.doubles(5)];
        let g = gradients(&x);
        check(&mut r, &x, &g, f).unwrap();
        // A lost term, a factor that is off by a millionth, a gradient of zeros.
        let mut lost = g.clone();
        lost[1][0] -= f(&x);
        assert!(check(&mut r, &x, &lost, f).unwrap_err().contains("input 1 (seed 3)"));
        let mut off = g.clone();
        off[0].iter_mut().for_each(|v| *v *= 1.000_001);
        assert!(check(&mut r, &x, &off, f).is_err());
        assert!(check(&mut r, &x, &[vec![0.0; 5], g[1].clone()], f).is_err());
    }
}
