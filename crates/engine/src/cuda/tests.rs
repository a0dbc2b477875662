//! What the judges of kernels share: the GPU if there is one, rows between guards, the size of bf16's rounding.

use super::{Buffer, Error, Gpu, Rows};
use half::bf16;
use std::sync::{Arc, OnceLock};

/// The most that rounding to bf16 is off, in eps of float32: 2^-8 of the value.
pub(crate) const HALF: f64 = 32_768.0;

/// The GPU of this machine. Without one its judges are skipped, unless `TUNESMITH_GPU=1` says that there must be one.
pub(crate) fn gpu() -> Option<Arc<Gpu>> {
    static GPU: OnceLock<Result<Arc<Gpu>, Error>> = OnceLock::new();
    match GPU.get_or_init(|| Gpu::open(0)) {
        Ok(gpu) => Some(gpu.clone()),
        Err(e) => {
            assert!(std::env::var_os("TUNESMITH_GPU").is_none_or(|v| v != "1"), "TUNESMITH_GPU=1 and no GPU: {e}");
            eprintln!("skipped: no GPU");
            None
        }
    }
}

/// The values as bf16 has them.
pub(crate) fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| bf16::from_f32(*v).to_f32()).collect()
}

/// How rows lie in their buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lie {
    /// One after another.
    Dense,
    /// With gaps, at multiples of sixteen bytes if their width is one.
    Even,
    /// With gaps, nowhere at a multiple.
    Odd,
}

pub(crate) const LIES: [Lie; 3] = [Lie::Dense, Lie::Even, Lie::Odd];

/// What lies between and around the rows: a large number, should it be read.
const GUARD: u16 = 0x7b7b;

/// Rows on the device between guards.
pub(crate) struct Sheet {
    buffer: Buffer<bf16>,
    rows: usize,
    width: usize,
    from: usize,
    stride: usize,
}

impl Sheet {
    /// Rows that hold `values`, which bf16 has.
    pub(crate) fn of(gpu: &Arc<Gpu>, values: &[f32], width: usize, lie: Lie) -> Sheet {
        let rows = values.len() / width;
        let (from, stride) = match lie {
            Lie::Dense => (0, width),
            Lie::Even => (8, width.next_multiple_of(8) + 16),
            Lie::Odd => (3, width + 5),
        };
        let mut all = vec![bf16::from_bits(GUARD); rows * stride + 64];
        for (row, values) in values.chunks(width).enumerate() {
            for (to, v) in all[row * stride + from..].iter_mut().zip(values) {
                *to = bf16::from_f32(*v);
                assert!(to.to_f32() == *v || v.is_nan(), "{v} is no bf16");
            }
        }
        Sheet { buffer: Buffer::of(gpu, &all).unwrap(), rows, width, from, stride }
    }

    /// For an output that is overwritten.
    pub(crate) fn unwritten(gpu: &Arc<Gpu>, rows: usize, width: usize, lie: Lie) -> Sheet {
        Sheet::of(gpu, &vec![f32::NAN; rows * width], width, lie)
    }

    /// For an output that is added to.
    pub(crate) fn threes(gpu: &Arc<Gpu>, rows: usize, width: usize, lie: Lie) -> Sheet {
        Sheet::of(gpu, &vec![3.0; rows * width], width, lie)
    }

    /// As a call takes them.
    pub(crate) fn rows(&self) -> Rows {
        self.buffer.rows(self.rows, self.from, self.width, self.stride)
    }

    /// The values, if nothing else was written.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<f32>, String> {
        let all = self.buffer.read().map_err(|e| format!("{name}: {e}"))?;
        let mut values = Vec::new();
        for (at, v) in all.iter().enumerate() {
            let (row, column) = (at / self.stride, (at % self.stride).wrapping_sub(self.from));
            match row < self.rows && column < self.width {
                true => values.push(v.to_f32()),
                false if v.to_bits() != GUARD => return Err(format!("{name}: {v} was written beside row {row}, at {column}")),
                false => {}
            }
        }
        Ok(values)
    }
}

/// Runs `run` twice and compares the bits of what it gives.
pub(crate) fn twice<const N: usize>(name: &str, run: impl Fn() -> Result<[Vec<f32>; N], String>) -> Result<[Vec<f32>; N], String> {
    let (first, second) = (run()?, run()?);
    for (i, (a, b)) in first.iter().zip(&second).enumerate() {
        testkit::same_bits(&format!("{name}: output {i} of the same call again"), a, b)?;
    }
    Ok(first)
}

mod speed;
