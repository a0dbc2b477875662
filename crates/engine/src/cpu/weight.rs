//! A frozen weight in the form that the product reads.

use super::coded::Coded;
use super::gemm::{Mat, pack_panel};
use super::lanes::{Level, NR, turn};
use super::shared::Shared;
use super::{Cx, for_each, pairs};

/// A frozen weight (outputs, inputs), held only in the panels that the product reads, or as it is coded.
pub struct Weight {
    pub(super) panels: Panelled,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
}

/// How a weight's panels lie. Zero beyond the last output, input or k.
pub(super) enum Panelled {
    /// (ceil(outputs / 48), inputs, 48); its transpose is packed at each call.
    Singles(Vec<f32>),
    /// Words of two: (ceil(outputs / 48), ceil(inputs / 2), 48), and for the transpose (ceil(inputs / 48), ceil(outputs / 2), 48).
    Pairs { forward: Vec<f32>, back: Vec<f32> },
    /// None are held: they are decoded at each call, block by block of k.
    Coded(Box<dyn Coded>),
}

impl Weight {
    /// Packs a row-major (outputs, inputs) matrix as it is.
    pub fn pack(cx: &Cx, data: &[f32], outputs: usize, inputs: usize) -> Weight {
        assert_eq!(data.len(), outputs * inputs);
        let source = Mat::new(data, outputs, inputs);
        let panels = panels(cx, outputs, inputs, |panel, p| pack_panel(panel, source, p * NR, 0, inputs));
        Weight { panels: Panelled::Singles(panels), outputs, inputs }
    }

    /// Packs it rounded to bfloat16: its products round the other operand as well, and add up in f32.
    pub fn pack_rounded(cx: &Cx, data: &[f32], outputs: usize, inputs: usize) -> Weight {
        assert_eq!(data.len(), outputs * inputs);
        let forward = panels(cx, outputs, inputs.div_ceil(2), |panel, p| {
            pairs::panel_of_rows(cx.level(), panel, data, inputs, p * NR, outputs);
        });
        let back = panels(cx, inputs, outputs.div_ceil(2), |panel, p| {
            pairs::panel_of_columns(cx.level(), panel, data, inputs, p * NR);
        });
        Weight { panels: Panelled::Pairs { forward, back }, outputs, inputs }
    }

    /// Keeps it as it is coded. Its products are those of the decoded matrix, bit for bit.
    pub fn coded(coded: Box<dyn Coded>) -> Weight {
        let (outputs, inputs, align) = (coded.outputs(), coded.inputs(), coded.align());
        assert!(align > 0 && 256 % align == 0, "runs of {align}");
        Weight { panels: Panelled::Coded(coded), outputs, inputs }
    }

    /// (outputs, inputs).
    pub fn shape(&self) -> (usize, usize) {
        (self.outputs, self.inputs)
    }

    /// Copies row `row` into `out` (inputs floats): the embedding table is read this way.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.outputs && out.len() == self.inputs);
        let (panel, lane) = (row / NR, row % NR);
        match &self.panels {
            Panelled::Singles(all) => {
                for (o, chunk) in out.iter_mut().zip(all[panel * self.inputs * NR..].chunks_exact(NR)) {
                    *o = chunk[lane];
                }
            }
            Panelled::Pairs { forward, .. } => {
                let words = &forward[panel * self.inputs.div_ceil(2) * NR..];
                for (o, chunk) in out.chunks_mut(2).zip(words.chunks_exact(NR)) {
                    let (first, second) = pairs::split(chunk[lane]);
                    o.copy_from_slice(&[first, second][..o.len()]);
                }
            }
            Panelled::Coded(coded) => coded.decode(row, 0, out),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panelled::Singles(all) => all.len() * size_of::<f32>(),
            Panelled::Pairs { forward, back } => (forward.len() + back.len()) * size_of::<f32>(),
            Panelled::Coded(coded) => coded.bytes(),
        }
    }

    /// The storage, where no panels are held.
    pub(super) fn code(&self) -> Option<&dyn Coded> {
        match &self.panels {
            Panelled::Coded(coded) => Some(&**coded),
            _ => None,
        }
    }
}

/// Makes the panels of `rows` rows, each (steps, 48), on all threads.
fn panels(cx: &Cx, rows: usize, steps: usize, pack: impl Fn(&mut [f32], usize) + Sync + Send) -> Vec<f32> {
    let count = rows.div_ceil(NR);
    let mut all = vec![0f32; count * steps * NR];
    let shared = Shared::new(&mut all);
    for_each(cx, count, |p| {
        // SAFETY: panel p is written by this task alone.
        pack(unsafe { shared.part(p * steps * NR, steps * NR) }, p);
    });
    all
}

/// Packs inputs `row..row+48` of a weight as rows, outputs `from..from+k` as k: its panels turned by 90 degrees.
pub(super) fn pack_transposed(level: Level, out: &mut [f32], w: &Weight, row: usize, from: usize, k: usize) {
    let Panelled::Singles(panels) = &w.panels else { return };
    let cols = NR.min(w.inputs - row);
    if cols < NR {
        out.fill(0.0);
    }
    let mut done = 0;
    while done < k {
        let output = from + done;
        let (panel, lane) = (output / NR, output % NR);
        let run = (NR - lane).min(k - done);
        let source = &panels[(panel * w.inputs + row) * NR..][..cols * NR];
        let line = |j: usize| &source[j * NR + lane..][..run];
        let whole = if run.is_multiple_of(8) { cols / 8 * 8 } else { 0 };
        for j in (0..whole).step_by(8) {
            turn(level, &mut out[done * NR + j..], NR, std::array::from_fn(|i| line(j + i)));
        }
        for j in whole..cols {
            for (o, &v) in out[done * NR + j..].iter_mut().step_by(NR).zip(line(j)) {
                *o = v;
            }
        }
        done += run;
    }
}
