//! Equal bits, where a file promises them: the same call twice, other numbers of threads, other vector widths.

use std::fmt::Debug;

/// Compares bit for bit: NaN equals itself, 0 does not equal -0.
///
/// # Errors
/// The first place that differs, with both values.
pub fn same_bits(what: &str, expected: &[f32], found: &[f32]) -> Result<(), String> {
    if expected.len() != found.len() {
        return Err(format!("{what}: {} values, expected {}", found.len(), expected.len()));
    }
    match expected.iter().zip(found).position(|(a, b)| a.to_bits() != b.to_bits()) {
        Some(i) => Err(format!("{what}: element {i} is {:e}, expected {:e}, to the bit", found[i], expected[i])),
        None => Ok(()),
    }
}

/// Runs `run` for every variant (list one twice for "same call, same bits"); all outputs must equal the first's to the bit.
///
/// # Errors
/// The variant and output that differ from the first variant's.
pub fn alike<V: Debug>(what: &str, variants: &[V], mut run: impl FnMut(&V) -> Vec<Vec<f32>>) -> Result<(), String> {
    let mut first: Option<Vec<Vec<f32>>> = None;
    for v in variants {
        let outputs = run(v);
        let Some(expected) = &first else {
            first = Some(outputs);
            continue;
        };
        if expected.len() != outputs.len() {
            return Err(format!("{what}: {} outputs with {v:?}, {} with {:?}", outputs.len(), expected.len(), variants[0]));
        }
        for (i, (e, o)) in expected.iter().zip(&outputs).enumerate() {
            same_bits(&format!("{what}: output {i} with {v:?} against {:?}", variants[0]), e, o)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_is_seen() {
        same_bits("y", &[1.0, f32::NAN], &[1.0, f32::NAN]).unwrap();
        assert!(same_bits("y", &[0.0], &[-0.0]).is_err());
        let text = alike("sum", &[1, 1, 2], |&threads| vec![vec![1.0, 2.0 + (threads - 1) as f32 * f32::EPSILON * 2.0]]).unwrap_err();
        assert!(text.starts_with("sum: output 0 with 2 against 1: element 1"), "{text}");
        alike("sum", &[1, 2], |_| vec![vec![0.1]]).unwrap();
    }
}
