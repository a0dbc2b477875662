//! Derivatives of anything made of a few matrix operations, in float64: a tape that is written forward and read backward.
//!
//! For references of whole models, where a gradient written by hand would be as likely wrong as what it judges.
//! Slow and simple on purpose. Matrices are row-major; a value is named by a [`Var`].

/// A value on the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var(usize);

type Backward = Box<dyn Fn(&[&[f64]], &[f64]) -> Vec<Vec<f64>>>;

struct Node {
    value: Vec<f64>,
    columns: usize,
    inputs: Vec<Var>,
    backward: Option<Backward>,
}

/// What was computed so far, in order.
#[derive(Default)]
pub struct Tape {
    nodes: Vec<Node>,
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Tape {
        Tape::default()
    }

    /// A matrix that comes from outside.
    pub fn leaf(&mut self, columns: usize, value: Vec<f64>) -> Var {
        self.push(columns, value, &[], None)
    }

    /// The numbers of `x`, row-major.
    pub fn value(&self, x: Var) -> &[f64] {
        &self.nodes[x.0].value
    }

    /// Columns of `x`.
    pub fn columns(&self, x: Var) -> usize {
        self.nodes[x.0].columns
    }

    fn rows(&self, x: Var) -> usize {
        self.value(x).len() / self.columns(x)
    }

    fn push(&mut self, columns: usize, value: Vec<f64>, inputs: &[Var], backward: Option<Backward>) -> Var {
        assert!(columns > 0 && value.len().is_multiple_of(columns), "{} numbers in rows of {columns}", value.len());
        self.nodes.push(Node { value, columns, inputs: inputs.to_vec(), backward });
        Var(self.nodes.len() - 1)
    }

    /// A value with its own derivative: `backward(inputs, gradient of the value)` answers one gradient per input.
    pub fn op(
        &mut self,
        columns: usize,
        value: Vec<f64>,
        inputs: &[Var],
        backward: impl Fn(&[&[f64]], &[f64]) -> Vec<Vec<f64>> + 'static,
    ) -> Var {
        self.push(columns, value, inputs, Some(Box::new(backward)))
    }

    /// a (n, k) times the transpose of b (m, k): a linear layer's product.
    pub fn times_transposed(&mut self, a: Var, b: Var) -> Var {
        let (n, m, k) = (self.rows(a), self.rows(b), self.columns(a));
        assert_eq!(k, self.columns(b));
        let value = product(self.value(a), &transposed(self.value(b), k), n, k, m);
        self.op(m, value, &[a, b], move |x, dy| vec![product(dy, x[1], n, m, k), product(&transposed(dy, m), x[0], m, n, k)])
    }

    /// a (n, k) times b (k, m).
    pub fn times(&mut self, a: Var, b: Var) -> Var {
        let (n, k, m) = (self.rows(a), self.columns(a), self.columns(b));
        assert_eq!(k, self.rows(b));
        let value = product(self.value(a), self.value(b), n, k, m);
        self.op(m, value, &[a, b], move |x, dy| {
            vec![product(dy, &transposed(x[1], m), n, m, k), product(&transposed(x[0], k), dy, k, n, m)]
        })
    }

    /// a + factor * b.
    pub fn add(&mut self, a: Var, b: Var, factor: f64) -> Var {
        let value = zip(self.value(a), self.value(b), |a, b| a + factor * b);
        self.op(self.columns(a), value, &[a, b], move |_, dy| vec![dy.to_vec(), dy.iter().map(|d| factor * d).collect()])
    }

    /// a * b, number by number.
    pub fn multiply(&mut self, a: Var, b: Var) -> Var {
        let value = zip(self.value(a), self.value(b), |a, b| a * b);
        self.op(self.columns(a), value, &[a, b], |x, dy| vec![zip(dy, x[1], |d, b| d * b), zip(dy, x[0], |d, a| d * a)])
    }

    /// x / (1 + e^-x).
    pub fn silu(&mut self, x: Var) -> Var {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let value = self.value(x).iter().map(|&x| x * sigmoid(x)).collect();
        self.op(self.columns(x), value, &[x], move |x, dy| {
            vec![zip(dy, x[0], |d, x| d * (sigmoid(x) + x * sigmoid(x) * (1.0 - sigmoid(x))))]
        })
    }

    /// Each row divided by the root of its mean square plus `eps`, times `weight` (columns).
    pub fn rms_norm(&mut self, x: Var, weight: Vec<f64>, eps: f64) -> Var {
        let n = self.columns(x);
        assert_eq!(n, weight.len());
        let inverse = move |row: &[f64]| 1.0 / (row.iter().map(|v| v * v).sum::<f64>() / n as f64 + eps).sqrt();
        let normed = |row: &[f64]| zip(row, &weight, |v, w| v * inverse(row) * w);
        let value = self.value(x).chunks(n).flat_map(normed).collect();
        self.op(n, value, &[x], move |x, dy| {
            let row = |(x, dy): (&[f64], &[f64])| {
                let r = inverse(x);
                let weighted = zip(dy, &weight, |d, w| d * w);
                let along = weighted.iter().zip(x).map(|(d, v)| d * v).sum::<f64>() * r * r * r / n as f64;
                zip(&weighted, x, |d, v| d * r - along * v)
            };
            vec![x[0].chunks(n).zip(dy.chunks(n)).flat_map(row).collect()]
        })
    }

    /// The rows of `x` with these indices; an index may come more than once.
    pub fn pick_rows(&mut self, x: Var, rows: &[usize]) -> Var {
        let (n, rows, size) = (self.columns(x), rows.to_vec(), self.value(x).len());
        let value = rows.iter().flat_map(|&r| self.value(x)[r * n..(r + 1) * n].to_vec()).collect();
        self.op(n, value, &[x], move |_, dy| {
            let mut dx = vec![0.0; size];
            for (&r, dy) in rows.iter().zip(dy.chunks(n)) {
                dx[r * n..(r + 1) * n].iter_mut().zip(dy).for_each(|(x, d)| *x += d);
            }
            vec![dx]
        })
    }

    /// Columns `from..from + width` of `x`.
    pub fn pick_columns(&mut self, x: Var, from: usize, width: usize) -> Var {
        let (n, size) = (self.columns(x), self.value(x).len());
        let value = self.value(x).chunks(n).flat_map(|row| row[from..from + width].to_vec()).collect();
        self.op(width, value, &[x], move |_, dy| {
            let mut dx = vec![0.0; size];
            dx.chunks_mut(n).zip(dy.chunks(width)).for_each(|(x, d)| x[from..from + width].copy_from_slice(d));
            vec![dx]
        })
    }

    /// Matrices of the same number of rows, side by side.
    pub fn beside(&mut self, parts: &[Var]) -> Var {
        let widths: Vec<usize> = parts.iter().map(|&p| self.columns(p)).collect();
        let mut value = Vec::new();
        for r in 0..self.rows(parts[0]) {
            parts.iter().zip(&widths).for_each(|(&p, &w)| value.extend(&self.value(p)[r * w..(r + 1) * w]));
        }
        let n = widths.iter().sum();
        self.op(n, value, parts, move |_, dy| {
            let starts = widths.iter().scan(0, |at, w| Some(std::mem::replace(at, *at + w)));
            starts.zip(&widths).map(|(at, &w)| dy.chunks(n).flat_map(|row| row[at..at + w].to_vec()).collect()).collect()
        })
    }

    /// Softmax of each row over the columns where `seen(row, column)`; 0 elsewhere.
    pub fn softmax(&mut self, x: Var, seen: impl Fn(usize, usize) -> bool) -> Var {
        let n = self.columns(x);
        let row = |(i, row): (usize, &[f64])| {
            let most = row.iter().enumerate().filter(|(j, _)| seen(i, *j)).map(|(_, &v)| v).fold(f64::NEG_INFINITY, f64::max);
            let e: Vec<f64> = row.iter().enumerate().map(|(j, v)| if seen(i, j) { (v - most).exp() } else { 0.0 }).collect();
            let sum: f64 = e.iter().sum();
            e.into_iter().map(move |e| e / sum)
        };
        let value: Vec<f64> = self.value(x).chunks(n).enumerate().flat_map(row).collect();
        let p = value.clone();
        self.op(n, value, &[x], move |_, dy| {
            let row = |(p, dy): (&[f64], &[f64])| {
                let mean: f64 = p.iter().zip(dy).map(|(p, d)| p * d).sum();
                zip(p, dy, |p, d| p * (d - mean))
            };
            vec![p.chunks(n).zip(dy.chunks(n)).flat_map(row).collect()]
        })
    }

    /// The sum over rows of weight * (log of the sum of exponentials - the target's logit): (1, 1).
    pub fn cross_entropy(&mut self, logits: Var, targets: &[(usize, f64)]) -> Var {
        let n = self.columns(logits);
        assert_eq!(self.rows(logits), targets.len());
        let spread = |row: &[f64]| {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            most + row.iter().map(|v| (v - most).exp()).sum::<f64>().ln()
        };
        let loss: f64 = self.value(logits).chunks(n).zip(targets).map(|(row, &(t, w))| w * (spread(row) - row[t])).sum();
        let targets = targets.to_vec();
        self.op(1, vec![loss], &[logits], move |x, dy| {
            let row = |(row, &(t, w)): (&[f64], &(usize, f64))| {
                let all = spread(row);
                let of = move |(j, v): (usize, &f64)| dy[0] * w * ((v - all).exp() - f64::from(u8::from(j == t)));
                row.iter().enumerate().map(of).collect::<Vec<_>>()
            };
            vec![x[0].chunks(n).zip(&targets).flat_map(row).collect()]
        })
    }

    /// The derivative of `of`, a single number, with respect to each of `wanted`.
    ///
    /// # Panics
    /// When `of` is not a single number.
    pub fn gradients(&self, of: Var, wanted: &[Var]) -> Vec<Vec<f64>> {
        assert_eq!(self.value(of).len(), 1);
        let mut all: Vec<Option<Vec<f64>>> = self.nodes.iter().map(|_| None).collect();
        all[of.0] = Some(vec![1.0]);
        for at in (0..=of.0).rev() {
            let node = &self.nodes[at];
            let (Some(backward), Some(dy)) = (&node.backward, all[at].clone()) else { continue };
            let inputs: Vec<&[f64]> = node.inputs.iter().map(|&i| self.value(i)).collect();
            for (&i, dx) in node.inputs.iter().zip(backward(&inputs, &dy)) {
                match &mut all[i.0] {
                    Some(sum) => sum.iter_mut().zip(&dx).for_each(|(s, d)| *s += d),
                    empty => *empty = Some(dx),
                }
            }
        }
        wanted.iter().map(|w| all[w.0].clone().unwrap_or_else(|| vec![0.0; self.value(*w).len()])).collect()
    }
}

fn zip(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

/// (rows, columns) turned over, for the number of columns given.
fn transposed(x: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|j| x.iter().skip(j).step_by(columns).copied()).collect()
}

/// a (n, k) times b (k, m).
fn product(a: &[f64], b: &[f64], n: usize, k: usize, m: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * m];
    for (out, a) in out.chunks_mut(m).zip(a.chunks(k)) {
        for (a, b) in a.iter().zip(b.chunks(m)) {
            out.iter_mut().zip(b).for_each(|(o, b)| *o += a * b);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Random, gradient};

    /// Every operation once, on a (3, 4), b (5, 4) and c (4, 2), into one number.
    fn all_operations(x: &[Vec<f64>]) -> (f64, Vec<Vec<f64>>) {
        let mut t = Tape::new();
        let (a, b, c) = (t.leaf(4, x[0].clone()), t.leaf(4, x[1].clone()), t.leaf(2, x[2].clone()));
        let normed = t.rms_norm(a, vec![0.5, 1.5, -1.0, 2.0], 1e-3);
        let scores = t.times_transposed(normed, b); // (3, 5)
        let p = t.softmax(scores, |i, j| j <= i + 1);
        let mixed = t.times(p, b); // (3, 4)
        let gate = t.silu(mixed);
        let gated = t.multiply(gate, a);
        let residual = t.add(a, gated, -0.7);
        let left = t.pick_columns(residual, 1, 2);
        let right = t.times(residual, c); // (3, 2)
        let wide = t.beside(&[left, right, left]); // (3, 6)
        let rows = t.pick_rows(wide, &[2, 0, 2]);
        let loss = t.cross_entropy(rows, &[(1, 1.0), (5, 2.5), (0, 0.5)]);
        (t.value(loss)[0], t.gradients(loss, &[a, b, c]))
    }

    #[test]
    fn every_operation_has_the_derivative_that_differences_show() {
        let mut random = Random::new(11);
        let x = vec![random.doubles(12), random.doubles(20), random.doubles(8)];
        let (_, gradients) = all_operations(&x);
        gradient::check(&mut random, &x, &gradients, |x| all_operations(x).0).unwrap();
        let mut wrong = gradients;
        wrong[2].iter_mut().for_each(|v| *v *= 1.000_001);
        crate::must_catch("a factor", gradient::check(&mut random, &x, &wrong, |x| all_operations(x).0));
    }

    #[test]
    fn what_is_hidden_has_no_weight_and_what_is_not_used_no_gradient() {
        let mut t = Tape::new();
        let (x, unused) = (t.leaf(3, vec![1.0, 2.0, 50.0]), t.leaf(1, vec![4.0]));
        let p = t.softmax(x, |_, j| j < 2);
        assert_eq!(t.value(p)[2], 0.0);
        assert!((t.value(p)[1] - 1.0 / (1.0 + (-1f64).exp())).abs() < 1e-15);
        let loss = t.cross_entropy(p, &[(0, 1.0)]);
        assert_eq!(t.gradients(loss, &[unused]), [vec![0.0]]);
    }
}
