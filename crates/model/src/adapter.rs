//! LoRA adapters: one flat vector of parameters, and where each matrix lies in it.
//!
//! The flat vector is what the optimizer steps, what a checkpoint holds and what PEFT's files are cut from.

use crate::random::{self, Stream};
use crate::weights::{LINEARS, Layer, linear_shape, module};
use crate::{Dims, Error};
use engine::Cx;
use engine::ops::linear::{Grads, Group, Member};
use formats::Dtype;

pub use formats::adapter::WEIGHTS_FILE;
pub use formats::adapter::{AdapterConfig, Targets};
use formats::safetensors;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Linear layers that share an input, by index into [`LINEARS`].
const GROUPS: [Range<usize>; 4] = [0..3, 3..4, 4..6, 6..7];
/// q, k, v.
pub const QKV: usize = 0;
/// The attention's output projection.
pub const OUT: usize = 1;
/// gate, up.
pub const GATE_UP: usize = 2;
/// down.
pub const DOWN: usize = 3;

/// Where a linear layer's adapter lies.
#[derive(Clone, Copy, Debug)]
struct Slot {
    rank: usize,
    scale: f32,
    a: usize, // offset of A (rank, inputs)
    b: usize, // offset of B (outputs, rank)
}

/// Places of all matrices; depends on the model's sizes and the adapter's configuration alone.
#[derive(Clone, Debug)]
pub struct Places {
    slots: Vec<[Slot; 7]>,
    dims: Dims,
    len: usize,
}

impl Places {
    /// Lays out the adapter that `config` describes.
    ///
    /// # Errors
    /// When no layer of the model matches its targets.
    pub fn new(dims: &Dims, config: &AdapterConfig) -> Result<Places, Error> {
        let mut len = 0;
        let mut slots = Vec::with_capacity(dims.layers);
        for layer in 0..dims.layers {
            let mut row = [Slot { rank: 0, scale: 0.0, a: 0, b: 0 }; 7];
            for group in GROUPS {
                for i in group.clone() {
                    let name = module(layer, i);
                    row[i].rank = if config.matches(&name) { config.rank_of(&name) } else { 0 };
                    row[i].scale = config.scale_of(&name) as f32;
                    row[i].a = len;
                    len += row[i].rank * linear_shape(dims, i).1;
                }
                for i in group {
                    row[i].b = len;
                    len += row[i].rank * linear_shape(dims, i).0;
                }
            }
            slots.push(row);
        }
        if len == 0 {
            let names: Vec<&str> = LINEARS.iter().map(|l| l.0).collect();
            return Err(Error::Unsupported {
                what: "the adapter's target_modules".into(),
                found: format!("{}, which match no layer of this model", config.target_modules.to_json()),
                supported: names.join(", "),
            });
        }
        Ok(Places { slots, dims: dims.clone(), len })
    }

    /// Number of parameters.
    #[allow(clippy::len_without_is_empty)] // an empty layout cannot be made
    pub fn len(&self) -> usize {
        self.len
    }

    /// Width of u and v of a group: the sum of its ranks.
    pub fn ranks(&self, layer: usize, group: usize) -> usize {
        GROUPS[group].clone().map(|i| self.slots[layer][i].rank).sum()
    }

    /// Every matrix as (PEFT tensor name, shape, offset), in order of the offsets within a layer's groups.
    pub fn tensors(&self) -> Vec<(String, [usize; 2], usize)> {
        let mut all = Vec::new();
        for (layer, row) in self.slots.iter().enumerate() {
            for (i, s) in row.iter().enumerate().filter(|(_, s)| s.rank > 0) {
                let (outputs, inputs) = linear_shape(&self.dims, i);
                let name = format!("base_model.model.{}", module(layer, i));
                all.push((format!("{name}.lora_A.weight"), [s.rank, inputs], s.a));
                all.push((format!("{name}.lora_B.weight"), [outputs, s.rank], s.b));
            }
        }
        all
    }
}

/// An adapter: its configuration, its layout and its values.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// As PEFT spells it.
    pub config: AdapterConfig,
    /// Where each matrix lies in `params`.
    pub places: Places,
    /// All values.
    pub params: Vec<f32>,
}

impl Adapter {
    /// A fresh adapter: A uniform in ±1/sqrt(inputs) (PEFT's Kaiming rule with a = sqrt 5), B zero.
    ///
    /// # Errors
    /// As [`Places::new`].
    pub fn new(dims: &Dims, config: AdapterConfig, seed: u64) -> Result<Adapter, Error> {
        let places = Places::new(dims, &config)?;
        let mut params = vec![0f32; places.len];
        for (layer, row) in places.slots.iter().enumerate() {
            for (i, s) in row.iter().enumerate() {
                let inputs = linear_shape(dims, i).1;
                let stream = Stream::Adapter((layer * 7 + i) as u32);
                let bound = 1.0 / (inputs as f64).sqrt();
                for (j, p) in params[s.a..s.a + s.rank * inputs].iter_mut().enumerate() {
                    *p = ((2.0 * random::uniform(seed, stream, j as u64) - 1.0) * bound) as f32;
                }
            }
        }
        Ok(Adapter { config, places, params })
    }

    /// No adapter at all: the base model.
    pub fn none(dims: &Dims) -> Adapter {
        let empty = [Slot { rank: 0, scale: 0.0, a: 0, b: 0 }; 7];
        let places = Places { slots: vec![empty; dims.layers], dims: dims.clone(), len: 0 };
        Adapter { config: AdapterConfig::new(0, 0.0, Targets::List(Vec::new())), places, params: Vec::new() }
    }

    /// Reads a PEFT adapter folder for a model of these sizes.
    ///
    /// # Errors
    /// Settings that we do not run, a tensor that is missing, left over, of another shape or not finite.
    pub fn load(dims: &Dims, folder: &Path) -> Result<Adapter, Error> {
        let config = AdapterConfig::read(&folder.join("adapter_config.json"))?;
        let mut refused = config.unsupported();
        refused.extend(config.use_dora.then(|| "use_dora true".to_string()));
        refused.extend((!config.modules_to_save.is_empty()).then(|| format!("modules_to_save {:?}", config.modules_to_save)));
        if let Some(first) = refused.first() {
            return Err(Error::Unsupported {
                what: format!("a setting of {}", folder.join("adapter_config.json").display()),
                found: first.clone(),
                supported: "LoRA on linear layers without bias, DoRA or full modules".into(),
            });
        }
        let path = folder.join("adapter_model.safetensors");
        let file = safetensors::File::open(&path)?;
        let places = Places::new(dims, &config)?;
        let mut params = vec![0f32; places.len];
        let wrong =
            |what: &str, found: String, expected: String| Error::WrongAdapter { path: path.clone(), what: what.into(), found, expected };
        let tensors = places.tensors();
        for (name, shape, at) in &tensors {
            let t = file.tensor(name).ok_or_else(|| wrong(name, "no such tensor".into(), format!("shape {shape:?}")))?;
            if t.shape != shape {
                return Err(wrong(name, format!("shape {:?}", t.shape), format!("shape {shape:?}")));
            }
            t.read_f32(&mut params[*at..at + shape[0] * shape[1]])?;
        }
        let known: std::collections::HashSet<&str> = tensors.iter().map(|t| t.0.as_str()).collect();
        if let Some(extra) = file.names().find(|n| !known.contains(n)) {
            return Err(wrong(
                extra,
                "a tensor that no layer of this base takes".into(),
                format!("{} tensors of its target layers only", tensors.len()),
            ));
        }
        if params.iter().any(|p| !p.is_finite()) {
            return Err(Error::NotFinite { what: path.display().to_string() });
        }
        Ok(Adapter { config, places, params })
    }

    /// Writes `adapter_config.json` and `adapter_model.safetensors` into an existing folder.
    ///
    /// # Errors
    /// When a file cannot be written, or a value is not finite.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        if self.params.iter().any(|p| !p.is_finite()) {
            return Err(Error::NotFinite { what: "the adapter".into() });
        }
        let mut config = self.config.clone();
        if config.target_modules == Targets::AllLinear {
            // Spelled out, as PEFT does: servers that read only lists find them.
            config.target_modules = Targets::List(LINEARS.iter().map(|l| l.0.to_string()).collect());
        }
        config.write(&folder.join("adapter_config.json"))?;
        write_flat(&folder.join("adapter_model.safetensors"), &self.places, &self.params)
    }

    /// One group of a layer, ready for the engine.
    pub fn group<'a>(&'a self, layer: usize, group: usize, weights: &'a Layer, members: &'a mut Vec<Member<'a>>) -> Group<'a> {
        let all = [&weights.q, &weights.k, &weights.v, &weights.o, &weights.gate, &weights.up, &weights.down];
        let dims = &self.places.dims;
        let row = &self.places.slots[layer];
        for i in GROUPS[group].clone() {
            let s = row[i];
            let b = &self.params[s.b..s.b + s.rank * linear_shape(dims, i).0];
            members.push(Member { weight: all[i], b, rank: s.rank, scale: s.scale });
        }
        let (range, inputs) = self.a_range(layer, group);
        Group { members, a: &self.params[range], inputs }
    }

    fn a_range(&self, layer: usize, group: usize) -> (Range<usize>, usize) {
        let first = GROUPS[group].start;
        let inputs = linear_shape(&self.places.dims, first).1;
        let at = self.places.slots[layer][first].a;
        (at..at + self.places.ranks(layer, group) * inputs, inputs)
    }

    /// The gradients of one group, cut from a flat vector like `params`.
    pub fn grads<'a>(&self, layer: usize, group: usize, flat: &'a mut [f32]) -> Grads<'a> {
        let (range, _) = self.a_range(layer, group);
        let end = range.end;
        let (da, mut rest) = flat[range.start..].split_at_mut(range.len());
        let mut at = end;
        let mut db = Vec::new();
        for i in GROUPS[group].clone() {
            let s = self.places.slots[layer][i];
            debug_assert_eq!(at, s.b);
            let n = s.rank * linear_shape(&self.places.dims, i).0;
            let (head, tail) = rest.split_at_mut(n);
            db.push(head);
            rest = tail;
            at += n;
        }
        Grads { da, db }
    }

    /// Adds `scale * B·A` of linear `i` of `layer` to a row-major (outputs, inputs) matrix.
    pub fn merge_into(&self, cx: &Cx, layer: usize, i: usize, weight: &mut [f32]) {
        use engine::cpu::gemm::{Rhs, Term, Write, product};
        let s = self.places.slots[layer][i];
        if s.rank == 0 {
            return;
        }
        let (outputs, inputs) = linear_shape(&self.places.dims, i);
        let a = engine::Mat::new(&self.params[s.a..s.a + s.rank * inputs], s.rank, inputs);
        let scaled: Vec<f32> = self.params[s.b..s.b + s.rank * outputs].iter().map(|b| b * s.scale).collect();
        product(cx, weight, inputs, Write::Add, &[Term { a: engine::Mat::new(&scaled, outputs, s.rank), b: Rhs::Mat(a.t()) }]);
    }
}

/// Writes a flat vector laid out by `places` under PEFT's tensor names.
///
/// # Errors
/// When the file cannot be written.
pub fn write_flat(path: &Path, places: &Places, flat: &[f32]) -> Result<(), Error> {
    let tensors = places.tensors();
    let entries: Vec<safetensors::Entry> = tensors
        .iter()
        .map(|(name, shape, _)| safetensors::Entry { name: name.clone(), dtype: Dtype::F32, shape: shape.to_vec() })
        .collect();
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    let mut writer = safetensors::Writer::create(path, &entries, &metadata)?;
    for (name, shape, at) in &tensors {
        writer.put_f32(name, &flat[*at..at + shape[0] * shape[1]])?;
    }
    writer.finish()?;
    Ok(())
}

/// Reads what [`write_flat`] wrote.
///
/// # Errors
/// A tensor that is missing or of another shape.
pub fn read_flat(path: &Path, places: &Places) -> Result<Vec<f32>, Error> {
    let file = safetensors::File::open(path)?;
    let mut flat = vec![0f32; places.len];
    for (name, shape, at) in places.tensors() {
        let wrong =
            |found: String| Error::WrongAdapter { path: path.into(), what: name.clone(), found, expected: format!("shape {shape:?}") };
        let t = file.tensor(&name).ok_or_else(|| wrong("no such tensor".into()))?;
        if t.shape != shape {
            return Err(wrong(format!("shape {:?}", t.shape)));
        }
        t.read_f32(&mut flat[at..at + shape[0] * shape[1]])?;
    }
    Ok(flat)
}
