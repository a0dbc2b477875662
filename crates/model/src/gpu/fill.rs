//! What fills the frozen weights on the GPU: a model's files, or random numbers for measuring speed.

use crate::gpu::weights::{Coded, Held, Linear, Weights};
use crate::modules::{EMBED, HEAD, LAST_NORM, norm, on_disk, router, shape};
use crate::random::{self, Stream};
use crate::{Dims, Error};
use engine::cuda::{Buffer, Element, Gpu, bf16};
use engine::ops::fp8::{self, Quantised};
use engine::ops::rows::{noise, zero};
use engine::ops::unpack::Scales;
use formats::Dtype;
use formats::bnb::{Raw, RawScales, Scheme};
use std::sync::Arc;

/// Where the numbers come from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// A model's files.
    Files(&'a formats::Weights),
    /// The same, the matrices of the layers quantised and decoded again: a quantised base that is held in bfloat16.
    Decoded(&'a formats::Weights, Scheme),
    /// Random numbers of the size that trained weights have: for measuring speed.
    Random(u64),
}

impl Weights {
    /// Fills them; `progress(done, of)` counts layers.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or is damaged; a copy that fails.
    pub fn fill(&mut self, gpu: &Arc<Gpu>, source: &Source, d: &Dims, progress: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
        self.begin()?;
        match source {
            Source::Random(seed) => self.fill_at_random(gpu, *seed),
            Source::Files(files) => Filler::new(gpu, files, None).fill(self, d, progress),
            Source::Decoded(files, scheme) => Filler::new(gpu, files, Some(*scheme)).fill(self, d, progress),
        }
    }

    /// What does not depend on the model.
    fn begin(&mut self) -> Result<(), Error> {
        let Some(first) = self.groups().next() else { return Ok(()) };
        first.desk.ones.write(&vec![1.0; first.desk.ones.len()])?;
        Ok(())
    }

    fn fill_at_random(&mut self, gpu: &Arc<Gpu>, seed: u64) -> Result<(), Error> {
        let ones = |to: &Buffer<f32>| to.write(&vec![1f32; to.len()]);
        noise(gpu, &self.embed, seed, 0.02);
        noise(gpu, &self.head, seed + 1, 0.02);
        ones(&self.norm)?;
        for layer in &self.layers {
            layer.norms.iter().try_for_each(ones)?;
            let draw = |i: u64| 0.04 * random::uniform(seed, Stream::Adapter(0), i) as f32 - 0.02;
            layer.router.write(&(0..layer.router.len() as u64).map(draw).collect::<Vec<_>>())?;
        }
        for (i, linear) in self.groups().enumerate() {
            linear.fill_at_random(gpu, seed + 2 + i as u64)?;
        }
        Ok(())
    }
}

impl Linear {
    fn fill_at_random(&mut self, gpu: &Arc<Gpu>, seed: u64) -> Result<(), Error> {
        if let Some(bias) = &self.bias {
            bias.fill_bytes(0);
        }
        let bits = |to: &Buffer<u8>| noise(gpu, &to.view(to.len() / 2), seed, 1.0);
        match &mut self.held {
            Held::Around(whole) => {
                noise(gpu, whole, seed, 0.02);
                self.around().into_iter().for_each(|around| zero(gpu, around));
            }
            Held::Fp8 { w, scales, a, b } => {
                // Any bits but those of no number: a quantised row of noise, again and again.
                let (rows, width) = (self.outputs, self.inputs);
                let mut some = self.desk.q.len() / 2 / width * width;
                some = some.min(rows * width);
                let values = self.desk.q.view::<bf16>(some);
                noise(gpu, &values, seed, 0.02);
                for from in (0..rows).step_by(some / width) {
                    let n = (some / width).min(rows - from);
                    let to = Quantised { q: &w.part(from * width..(from + n) * width), scales: &scales.part(from..from + n) };
                    fp8::quantise(gpu, to, values.rows(n, 0, width, width), None);
                }
                a.fill_bytes(0);
                b.fill_bytes(0);
            }
            Held::Coded(modules) => {
                for (_, coded) in modules {
                    match coded {
                        Coded::Int8(codes, scales) => {
                            bits(codes);
                            scales.write(&vec![0.06; scales.len()])?;
                        }
                        Coded::Nf4(w) => {
                            bits(&w.packed);
                            if let Scales::Double { codes, absmax, map, offset, .. } = &mut w.scales {
                                codes.fill_bytes(128);
                                absmax.write(&vec![0.02; absmax.len()])?;
                                map.write(&(0..256).map(|i| i as f32 / 128.0 - 1.0).collect::<Vec<_>>())?;
                                *offset = 0.04;
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Reads a model's files and copies them to the GPU.
struct Filler<'a> {
    gpu: &'a Arc<Gpu>,
    files: &'a formats::Weights,
    decoded: Option<Scheme>,
    floats: Vec<f32>,
    rows: Vec<bf16>,
}

impl<'a> Filler<'a> {
    fn new(gpu: &'a Arc<Gpu>, files: &'a formats::Weights, decoded: Option<Scheme>) -> Filler<'a> {
        Filler { gpu, files, decoded, floats: Vec::new(), rows: Vec::new() }
    }

    fn fill(mut self, w: &mut Weights, d: &Dims, progress: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
        let total = d.layers + 1;
        self.table(&w.embed, EMBED, d)?;
        if w.head.address() != w.embed.address() {
            self.table(&w.head, if d.tied { EMBED } else { HEAD }, d)?;
        }
        self.vector(&w.norm, &format!("{LAST_NORM}.weight"))?;
        progress(1, total);
        for (l, layer) in w.layers.iter_mut().enumerate() {
            for (g, linear) in layer.groups.iter_mut().enumerate() {
                self.group(linear, d, l, g)?;
            }
            for (which, to) in layer.norms.iter().enumerate() {
                self.vector(to, &norm(l, which))?;
            }
            if let Some(e) = &d.experts {
                layer.router.write(self.read(&router(l), &[e.count, d.hidden])?)?;
            }
            progress(2 + l, total);
        }
        Ok(())
    }

    fn vector(&mut self, to: &Buffer<f32>, name: &str) -> Result<(), Error> {
        let n = to.len();
        Ok(to.write(self.read(name, &[n])?)?)
    }

    fn read(&mut self, name: &str, shape: &[usize]) -> Result<&[f32], Error> {
        let n = shape.iter().product();
        if self.floats.len() < n {
            self.floats.resize(n, 0.0);
        }
        self.files.load_f32(name, shape, &mut self.floats[..n])?;
        self.files.release();
        Ok(&self.floats[..n])
    }

    /// A matrix of a layer, as it is or quantised and decoded.
    fn matrix(&mut self, name: &str, (rows, width): (usize, usize)) -> Result<&[f32], Error> {
        let Some(scheme) = self.decoded else { return self.read(name, &[rows, width]) };
        let coded = self.files.quantised(name, (rows, width), scheme, Dtype::F32)?;
        self.files.release();
        self.floats.resize(self.floats.len().max(rows * width), 0.0);
        for (row, to) in self.floats.chunks_exact_mut(width).take(rows).enumerate() {
            coded.decode(row, 0, to);
        }
        Ok(&self.floats[..rows * width])
    }

    fn table(&mut self, to: &Buffer<bf16>, name: &str, d: &Dims) -> Result<(), Error> {
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        rows.extend(self.read(&format!("{name}.weight"), &[d.vocab, d.hidden])?.iter().map(|&v| bf16::from_f32(v)));
        self.rows = rows;
        Ok(to.write(&self.rows)?)
    }

    fn group(&mut self, to: &mut Linear, d: &Dims, l: usize, g: usize) -> Result<(), Error> {
        let on_disk = on_disk(d, l, g);
        let rows_of = |m: &crate::modules::Module| m.linears.clone().map(|i| shape(d, i).0).sum::<usize>();
        if let Some(to) = &to.bias {
            let mut bias = Vec::new();
            for m in &on_disk {
                bias.extend(self.read(&format!("{}.bias", m.name), &[rows_of(m)])?.iter().map(|&v| bf16::from_f32(v)));
            }
            to.write(&bias)?;
        }
        let shape_of = (to.outputs, to.inputs, to.pad);
        if let Held::Coded(modules) = &mut to.held {
            for (m, (range, coded)) in on_disk.iter().zip(modules) {
                self.coded(coded, &format!("{}.weight", m.name), (range.len(), to.inputs))?;
            }
            return Ok(());
        }
        let pad = if let Held::Around(_) = to.held { shape_of.2 } else { 0 };
        let (stride, outputs) = (to.inputs + pad, to.outputs);
        let mut all = std::mem::take(&mut self.rows);
        all.clear();
        all.resize((outputs + pad) * stride, bf16::ZERO);
        let mut first = 0;
        for m in &on_disk {
            let values = self.matrix(&format!("{}.weight", m.name), (rows_of(m), to.inputs))?;
            for (line, from) in all[first * stride..].chunks_mut(stride).zip(values.chunks(to.inputs)) {
                line.iter_mut().zip(from).for_each(|(t, &f)| *t = bf16::from_f32(f));
            }
            first += rows_of(m);
        }
        match &to.held {
            Held::Around(whole) => whole.write(&all)?,
            _ => self.eight(to, &all)?,
        }
        self.rows = all;
        Ok(())
    }

    /// Rows of bfloat16 to 8-bit floats, as many at a time as the desk holds.
    fn eight(&self, to: &Linear, all: &[bf16]) -> Result<(), Error> {
        let Held::Fp8 { w, scales, a, b } = &to.held else { return Ok(()) };
        let width = to.inputs;
        let some = (to.desk.q.len() / 2 / width).max(1);
        for (i, rows) in all.chunks(some * width).enumerate() {
            let (from, n) = (i * some, rows.len() / width);
            let place = to.desk.q.view::<bf16>(rows.len());
            place.write(rows)?;
            let to = Quantised { q: &w.part(from * width..(from + n) * width), scales: &scales.part(from..from + n) };
            fp8::quantise(self.gpu, to, place.rows(n, 0, width, width), None);
        }
        a.fill_bytes(0);
        b.fill_bytes(0);
        Ok(())
    }

    /// Quantises a module as the CPU does, and copies its numbers.
    fn coded(&self, to: &mut Coded, name: &str, shape: (usize, usize)) -> Result<(), Error> {
        let scheme = match to {
            Coded::Nf4(_) => Scheme::Nf4 { double: true },
            Coded::Int8(..) => Scheme::Int8,
        };
        let from = self.files.quantised(name, shape, scheme, Dtype::F32)?;
        self.files.release();
        match (to, from.raw()) {
            (Coded::Int8(codes, scales), Some(Raw::Int8 { codes: c, scales: s })) => {
                put(codes, c)?;
                put(scales, s)
            }
            (Coded::Nf4(w), Some(Raw::Nf4 { packed, scales: RawScales::Double { codes, absmax, map, offset, nested }, block })) => {
                put(&w.packed, packed)?;
                w.block = block;
                if let Scales::Double { codes: c, absmax: a, map: m, offset: o, nested: n } = &mut w.scales {
                    put(c, codes)?;
                    put(a, absmax)?;
                    put(m, map)?;
                    (*o, *n) = (offset, nested);
                }
                Ok(())
            }
            _ => {
                let found = format!("{name} as {}", from.kind());
                Err(Error::Unsupported {
                    what: "a quantised matrix on a GPU".into(),
                    found,
                    supported: "NF4 with quantised scales, int8".into(),
                })
            }
        }
    }
}

/// Copies exactly what a buffer holds.
fn put<T: Element>(to: &Buffer<T>, from: &[T]) -> Result<(), Error> {
    assert_eq!(to.len(), from.len(), "what was counted and what is there");
    Ok(to.write(from)?)
}
