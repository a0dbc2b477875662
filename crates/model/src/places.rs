//! Where every trained matrix lies in one flat vector, and what files call it.
//!
//! The flat vector is what the optimizer steps, what a checkpoint holds and what PEFT's files, or those of a
//! fully trained model, are cut from. Within a group of layers that share an input come: A of every module,
//! B of every module, magnitudes, weights, biases; so that a group's A is one matrix.

use crate::modules::{self, EMBED, HEAD, LAST_NORM, adapted, groups, inputs, members, on_disk, shape};
use crate::{Dims, Error};
use engine::ops::linear::Grads;
use formats::AdapterConfig;
use formats::adapter::{Part, tensor_name};
use std::borrow::Cow;

/// Where the trained parts of a linear layer lie; offsets into the flat vector.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    /// Rank of the update, 0 without one.
    pub rank: usize,
    /// First column of the update in u.
    pub column: usize,
    /// alpha / rank or alpha / sqrt(rank).
    pub scale: f32,
    /// A of the module that it belongs to (rank, inputs).
    pub a: usize,
    /// Its rows of B (outputs, rank).
    pub b: usize,
    /// DoRA's magnitudes (outputs).
    pub magnitude: Option<usize>,
    /// Where its rows are among those of all layers with magnitudes.
    pub magnified: usize,
    /// The weight itself (outputs, inputs).
    pub weight: Option<usize>,
    /// The bias (outputs).
    pub bias: Option<usize>,
}

/// The trained parts of one decoder layer.
#[derive(Clone, Debug, Default)]
struct LayerPlaces {
    slots: Vec<Slot>,
    norms: [Option<usize>; 4],
    router: Option<usize>,
}

/// How a tensor of a file lies in the flat vector.
#[derive(Clone, Debug, PartialEq)]
enum Lie {
    /// In one piece from here.
    Whole(usize),
    /// PEFT's stack of the A of all experts: experts below each other.
    ExpertsA(Vec<usize>),
    /// PEFT's stack of the B of all experts (outputs, rank * experts): the expert is the fastest index.
    ExpertsB(Vec<usize>),
}

/// A trained tensor as files name it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// Its name in adapter_model.safetensors or model.safetensors.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    lie: Lie,
}

/// Places of all trained matrices; depends on the model's sizes and the adapter's configuration alone.
#[derive(Clone, Debug)]
pub struct Places {
    layers: Vec<LayerPlaces>,
    embed: Option<usize>,
    head: Option<usize>,
    norm: Option<usize>,
    dims: Dims,
    len: usize,
    dropout: f64,
    magnitudes: usize,
    tensors: Vec<Trained>,
}

impl Places {
    /// Lays out the adapter that `config` describes.
    ///
    /// # Errors
    /// When no layer of the model matches its targets, or a module to be saved is none that can be.
    pub fn of_adapter(dims: &Dims, config: &AdapterConfig) -> Result<Places, Error> {
        let mut p = Places { dropout: config.lora_dropout, ..Places::nothing(dims) };
        for layer in 0..dims.layers {
            for group in 0..groups(dims) {
                p.adapt(layer, group, config);
            }
        }
        p.stack_experts();
        if p.len == 0 {
            return Err(Error::Unsupported {
                what: "the adapter's target_modules".into(),
                found: format!("{}, which match no layer of this model", config.target_modules.to_json()),
                supported: target_names(dims).join(", "),
            });
        }
        for name in &config.modules_to_save {
            p.save_module(name)?;
        }
        Ok(p)
    }

    /// Lays out every weight of the model: full fine-tuning.
    pub fn of_model(dims: &Dims) -> Places {
        let mut p = Places::nothing(dims);
        p.embed = Some(p.add(format!("{EMBED}.weight"), vec![dims.vocab, dims.hidden]));
        for layer in 0..dims.layers {
            for which in 0..modules::norms(dims) {
                p.layers[layer].norms[which] = Some(p.add(modules::norm(layer, which), vec![modules::norm_width(dims, which)]));
            }
            if let Some(e) = &dims.experts {
                p.layers[layer].router = Some(p.add(modules::router(layer), vec![e.count, dims.hidden]));
            }
            for group in 0..groups(dims) {
                p.whole(layer, group);
            }
        }
        p.norm = Some(p.add(format!("{LAST_NORM}.weight"), vec![dims.hidden]));
        if !dims.tied {
            p.head = Some(p.add(format!("{HEAD}.weight"), vec![dims.vocab, dims.hidden]));
        }
        p
    }

    /// Nothing is trained: the base model as it is.
    pub fn nothing(dims: &Dims) -> Places {
        let layer = LayerPlaces { slots: vec![Slot::default(); modules::linears(dims)], ..LayerPlaces::default() };
        Places {
            layers: vec![layer; dims.layers],
            embed: None,
            head: None,
            norm: None,
            dims: dims.clone(),
            len: 0,
            dropout: 0.0,
            magnitudes: 0,
            tensors: Vec::new(),
        }
    }

    fn add(&mut self, name: String, shape: Vec<usize>) -> usize {
        let at = self.len;
        self.len += shape.iter().product::<usize>();
        self.tensors.push(Trained { name, shape, lie: Lie::Whole(at) });
        at
    }

    fn adapt(&mut self, layer: usize, group: usize, config: &AdapterConfig) {
        let d = self.dims.clone();
        let found: Vec<_> = adapted(&d, layer, group).into_iter().filter(|m| reaches(config, &m.name)).collect();
        let width = inputs(&d, group);
        let (mut column, mut made) = (0, Vec::new());
        for m in &found {
            let rank = config.rank_of(&m.name);
            let a = self.add(tensor_name(&m.name, Part::A), vec![rank, width]);
            for i in m.linears.clone() {
                self.layers[layer].slots[i] = Slot { rank, column, scale: config.scale_of(&m.name) as f32, a, ..Slot::default() };
            }
            column += rank;
            made.push((m, rank));
        }
        for (m, rank) in made {
            let rows = m.linears.clone().map(|i| shape(&d, i).0).sum();
            let mut b = self.add(tensor_name(&m.name, Part::B), vec![rows, rank]);
            for i in m.linears.clone() {
                self.layers[layer].slots[i].b = b;
                b += shape(&d, i).0 * rank;
            }
        }
        for m in found.iter().filter(|_| config.use_dora) {
            let rows = m.linears.clone().map(|i| shape(&d, i).0).sum();
            let mut at = self.add(tensor_name(&m.name, Part::Magnitude), vec![rows]);
            for i in m.linears.clone() {
                let slot = &mut self.layers[layer].slots[i];
                (slot.magnitude, slot.magnified) = (Some(at), self.magnitudes);
                at += shape(&d, i).0;
                self.magnitudes += shape(&d, i).0;
            }
        }
    }

    /// The weights and biases of a group, whole.
    fn whole(&mut self, layer: usize, group: usize) {
        let d = self.dims.clone();
        let all = on_disk(&d, layer, group);
        for m in &all {
            let rows = m.linears.clone().map(|i| shape(&d, i).0).sum();
            let mut at = self.add(format!("{}.weight", m.name), vec![rows, inputs(&d, group)]);
            for i in m.linears.clone() {
                self.layers[layer].slots[i].weight = Some(at);
                at += shape(&d, i).0 * shape(&d, i).1;
            }
        }
        for m in all.iter().filter(|m| modules::has_bias(&d, m.linears.start)) {
            let rows = m.linears.clone().map(|i| shape(&d, i).0).sum();
            let mut at = self.add(format!("{}.bias", m.name), vec![rows]);
            for i in m.linears.clone() {
                self.layers[layer].slots[i].bias = Some(at);
                at += shape(&d, i).0;
            }
        }
    }

    fn save_module(&mut self, name: &str) -> Result<(), Error> {
        let shape = vec![self.dims.vocab, self.dims.hidden];
        match name.rsplit('.').next() {
            Some("lm_head") => self.head = Some(self.add(tensor_name(HEAD, Part::Saved), shape)),
            Some("embed_tokens") => self.embed = Some(self.add(tensor_name(EMBED, Part::Saved), shape)),
            _ => {
                return Err(Error::Unsupported {
                    what: "a module of modules_to_save".into(),
                    found: name.into(),
                    supported: "lm_head, embed_tokens".into(),
                });
            }
        }
        Ok(())
    }

    /// Joins the tensors of the experts into the stacks that PEFT stores.
    fn stack_experts(&mut self) {
        let Some(experts) = self.dims.experts.clone() else { return };
        let mut joined: Vec<Trained> = Vec::new();
        let adapted = |name: &str| self.tensors.iter().any(|t| t.name.contains(name));
        let both = adapted(".experts.gate_up_proj.") && adapted(".experts.down_proj.");
        for t in std::mem::take(&mut self.tensors) {
            let Some((name, b)) = experts_name(&t.name, both) else {
                joined.push(t);
                continue;
            };
            let Lie::Whole(at) = t.lie else { continue };
            if let Some(Trained { lie: Lie::ExpertsA(all) | Lie::ExpertsB(all), .. }) = joined.iter_mut().find(|j| j.name == name) {
                all.push(at);
            } else if b {
                joined.push(Trained { name, shape: vec![t.shape[0], t.shape[1] * experts.count], lie: Lie::ExpertsB(vec![at]) });
            } else {
                joined.push(Trained { name, shape: vec![t.shape[0] * experts.count, t.shape[1]], lie: Lie::ExpertsA(vec![at]) });
            }
        }
        self.tensors = joined;
    }

    /// Number of parameters.
    #[allow(clippy::len_without_is_empty)] // an empty layout is the base model
    pub fn len(&self) -> usize {
        self.len
    }

    /// Sizes of the model.
    pub fn dims(&self) -> &Dims {
        &self.dims
    }

    /// Width of u and v of a group: the sum of its modules' ranks.
    pub fn ranks(&self, layer: usize, group: usize) -> usize {
        members(group).map(|i| self.slot(layer, i)).filter(|s| s.rank > 0).map(|s| s.column + s.rank).max().unwrap_or(0)
    }

    /// Every trained tensor, as files name it.
    pub fn tensors(&self) -> &[Trained] {
        &self.tensors
    }

    /// Whether the weights themselves are trained, as opposed to an adapter beside them.
    pub fn is_model(&self) -> bool {
        self.norm.is_some()
    }

    /// Whether any layer has magnitudes of its own.
    pub fn is_dora(&self) -> bool {
        self.magnitudes > 0
    }

    /// DoRA's magnitudes in all layers together.
    pub(crate) fn magnitudes(&self) -> usize {
        self.magnitudes
    }

    /// The share of an adapter's input that is dropped in training.
    pub fn dropout(&self) -> f64 {
        self.dropout
    }

    pub(crate) fn slot(&self, layer: usize, linear: usize) -> Slot {
        self.layers[layer].slots[linear]
    }

    pub(crate) fn norm(&self, layer: usize, which: usize) -> Option<usize> {
        self.layers[layer].norms[which]
    }

    pub(crate) fn router(&self, layer: usize) -> Option<usize> {
        self.layers[layer].router
    }

    pub(crate) fn embed(&self) -> Option<usize> {
        self.embed
    }

    /// The trained head: its own, or the embedding that it is tied to in full fine-tuning.
    pub(crate) fn head(&self) -> Option<usize> {
        self.head.or(self.embed.filter(|_| self.is_model() && self.dims.tied))
    }

    pub(crate) fn last_norm(&self) -> Option<usize> {
        self.norm
    }

    /// The gradients of one group, cut from a flat vector.
    pub(crate) fn grads<'a>(&self, layer: usize, group: usize, flat: &'a mut [f32]) -> Grads<'a> {
        let width = inputs(&self.dims, group);
        let slots: Vec<(Slot, usize)> = members(group).map(|i| (self.slot(layer, i), shape(&self.dims, i).0)).collect();
        let mut cut = Cut { rest: flat, at: 0 };
        let mut g = Grads::default();
        if let Some((first, _)) = slots.iter().find(|(s, _)| s.rank > 0) {
            g.da = cut.take(first.a, self.ranks(layer, group) * width);
        }
        g.db = slots.iter().map(|(s, rows)| cut.take(s.b, s.rank * rows)).collect();
        g.dw = slots.iter().map(|(s, rows)| s.weight.map_or(&mut [][..], |at| cut.take(at, rows * width))).collect();
        g.dbias = slots.iter().map(|(s, rows)| s.bias.map_or(&mut [][..], |at| cut.take(at, *rows))).collect();
        g
    }
}

/// Whether a configuration puts an adapter on a module; experts are named as parameters.
fn reaches(config: &AdapterConfig, name: &str) -> bool {
    if name.contains(".mlp.experts.") { config.matches_parameter(name) } else { config.matches(name) }
}

/// Cuts parts off a vector, front to back.
struct Cut<'a> {
    rest: &'a mut [f32],
    at: usize,
}

impl<'a> Cut<'a> {
    fn take(&mut self, from: usize, len: usize) -> &'a mut [f32] {
        if len == 0 {
            return &mut [];
        }
        let rest = std::mem::take(&mut self.rest);
        let (part, rest) = rest[from - self.at..].split_at_mut(len);
        (self.rest, self.at) = (rest, from + len);
        part
    }
}

/// PEFT's name for the stack that an expert's tensor belongs to, and whether it is a B: where both parameters are adapted,
/// the wrapper of down_proj lies around that of gate_up_proj, which it calls its base layer.
fn experts_name(name: &str, both: bool) -> Option<(String, bool)> {
    let (before, after) = name.split_once(".mlp.experts.")?;
    let (param, part) = after.split_once('.')?;
    let inner = if param == "gate_up_proj" && both { "base_layer." } else { "" };
    Some((format!("{before}.mlp.experts.{inner}{part}"), part.starts_with("lora_B")))
}

/// The names that an adapter's targets can have for this model.
pub fn target_names(d: &Dims) -> Vec<&'static str> {
    match (d.fused, d.experts.is_some()) {
        (true, _) => vec!["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
        (_, true) => vec!["q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"],
        _ => modules::NAMES.to_vec(),
    }
}

impl Trained {
    /// Its values, cut from a flat vector; copied only where they lie apart in it.
    pub fn read<'a>(&self, flat: &'a [f32]) -> Cow<'a, [f32]> {
        let n: usize = self.shape.iter().product();
        match &self.lie {
            Lie::Whole(at) => flat[*at..at + n].into(),
            Lie::ExpertsA(all) => all.iter().flat_map(|at| &flat[*at..at + n / all.len()]).copied().collect(),
            Lie::ExpertsB(all) => (0..n).map(|i| flat[self.expert_b(all, i)]).collect(),
        }
    }

    /// Puts its values into a flat vector.
    pub fn write(&self, values: &[f32], flat: &mut [f32]) {
        let n = values.len();
        match &self.lie {
            Lie::Whole(at) => flat[*at..at + n].copy_from_slice(values),
            Lie::ExpertsA(all) => {
                for (at, part) in all.iter().zip(values.chunks_exact(n / all.len())) {
                    flat[*at..at + part.len()].copy_from_slice(part);
                }
            }
            Lie::ExpertsB(all) => values.iter().enumerate().for_each(|(i, v)| flat[self.expert_b(all, i)] = *v),
        }
    }

    /// Where element `i` of a stack of B lies.
    fn expert_b(&self, all: &[usize], i: usize) -> usize {
        let (experts, width) = (all.len(), self.shape[1]);
        let (row, column) = (i / width, i % width);
        let (rank, expert) = (column / experts, column % experts);
        all[expert] + row * (width / experts) + rank
    }
}
