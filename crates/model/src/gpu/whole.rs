//! What is trained whole on the GPU: its gradients, and in full fine-tuning every weight with its moments.
//!
//! In full fine-tuning the weights that products read are the parameters. They and their moments are bfloat16, rounded up or
//! down at random by each step. Norms and biases are few and stay float32; of a bias the product reads a rounded copy.
//! Gradients are as in `gradient.rs`.

use crate::gpu::gradient::{self, Gradient};
use crate::gpu::room::Room;
use crate::gpu::trained::Trained;
use crate::gpu::weights::{Held, Weights};
use crate::modules::members;
use crate::{Dims, Error, Places};
use engine::cuda::product::{Mat, Write, product};
use engine::cuda::{Arena, Buffer, Gpu, Rows, bf16};
use engine::ops::adamw::gpu::Rates;
use engine::ops::rows::{self, Entry};
use engine::ops::{adamw, bias, embed, rmsnorm};
use std::cell::Cell;
use std::sync::Arc;

/// Numbers that are rounded at a time on their way to the GPU.
const CHUNK: usize = 1 << 24;

/// Parameters and both moments.
enum State {
    /// Of a matrix.
    Narrow([Buffer<bf16>; 3]),
    /// Of a norm or a bias.
    Wide([Buffer<f32>; 3]),
}

/// A tensor, or the matrices of a group, which lie one below the other.
struct Piece {
    /// Where it begins in the flat vector.
    at: usize,
    state: State,
    grads: Gradient,
    begins: Begins,
}

/// How a step's gradient begins.
#[derive(Clone, Copy, PartialEq)]
enum Begins {
    /// With 0, to which everything is added.
    Cleared,
    /// With the first product, which overwrites what was there.
    Overwritten,
}

/// Gradients of a layer's weights, in full fine-tuning.
#[derive(Default)]
struct Layer {
    weights: Vec<Gradient>,           // of each group (outputs, inputs)
    biases: Vec<Option<Buffer<f32>>>, // of each group (outputs)
    norms: Vec<Buffer<f32>>,
}

/// What is trained whole.
pub(crate) struct Whole {
    /// Empty but for full fine-tuning: elsewhere the flat vectors of [`Trained`] hold everything.
    pieces: Vec<Piece>,
    layers: Vec<Layer>,
    embed: Option<Gradient>,   // (vocab, hidden)
    head: Option<Buffer<f32>>, // likewise; the embedding's where they are tied
    last: Option<Buffer<f32>>, // (hidden)
    /// Of a table that is trained beside an adapter what is read, and what is trained.
    tables: Vec<(Rows, Buffer<f32>)>,
    /// Of each bias likewise.
    copies: Vec<(Buffer<bf16>, Buffer<f32>)>,
    scratch: Buffer<f32>,
    /// Which rows each token has.
    rows: Option<embed::gpu::Places>,
    /// Whether no micro-batch has left a gradient yet: the first overwrites those of [`Begins::Overwritten`].
    fresh: Cell<bool>,
}

impl Whole {
    /// Takes the buffers, of arbitrary contents.
    pub fn take(arena: &mut Arena, d: &Dims, places: &Places, room: &Room, weights: &Weights, trained: &Trained) -> Whole {
        let table = |at: Option<usize>| at.filter(|_| !places.is_model()).map(|at| trained.grads.part(at..at + d.vocab * d.hidden));
        let widest = d.q_width() + 2 * d.kv_width();
        let scratch = if places.is_model() { rmsnorm::gpu::scratch(d.hidden).max(bias::gpu::scratch(widest)) } else { 0 };
        let mut tables = Vec::new();
        for (at, read) in [(places.embed(), &weights.embed), (places.head(), &weights.head)] {
            let Some(at) = at.filter(|_| !places.is_model()) else { continue };
            tables.push((read.rows(d.vocab, 0, d.hidden, d.hidden), trained.params.part(at..at + d.vocab * d.hidden)));
        }
        let mut w = Whole {
            tables,
            pieces: Vec::new(),
            layers: Vec::new(),
            embed: table(places.embed()).map(Gradient::Wide),
            head: table(places.head()),
            last: None,
            copies: Vec::new(),
            scratch: arena.take("sums of rows", "of gradients of norms and biases", scratch),
            rows: None,
            fresh: Cell::new(false),
        };
        if places.is_model() {
            w.take_all(arena, d, places, room, weights);
        }
        w
    }

    fn take_all(&mut self, arena: &mut Arena, d: &Dims, places: &Places, room: &Room, weights: &Weights) {
        let limits = room.limits;
        if let (Some(at), false) = (places.embed(), d.tied) {
            let grads = Gradient::of_matrix(arena, limits, weights.embed.len());
            self.narrow(arena, at, &weights.embed, grads.clone(), Begins::Cleared);
            self.embed = Some(grads);
        }
        for (l, layer) in weights.layers.iter().enumerate() {
            let (mut grads, mut over) = (Layer::default(), gradient::place(room, l));
            for (which, norm) in layer.norms.iter().enumerate() {
                grads.norms.extend(places.norm(l, which).map(|at| self.wide(arena, at, norm)));
            }
            for (g, linear) in layer.groups.iter().enumerate() {
                let (first, Held::Around(w)) = (places.slot(l, members(g).start), &linear.held) else { continue };
                grads.weights.extend(first.weight.map(|at| {
                    let grads = Gradient::of_matrix(over.as_mut().unwrap_or(arena), limits, w.len());
                    self.narrow(arena, at, w, grads.clone(), Begins::Overwritten);
                    grads
                }));
                let bias = first.bias.zip(linear.bias.as_ref());
                grads.biases.push(bias.map(|(at, read)| {
                    let values = arena.take("biases as they are trained", "float32", read.len());
                    self.copies.push((read.clone(), values.clone()));
                    self.wide(arena, at, &values)
                }));
            }
            self.layers.push(grads);
        }
        self.last = places.last_norm().map(|at| self.wide(arena, at, &weights.norm));
        let head = if d.tied { (places.embed(), &weights.embed) } else { (places.head(), &weights.head) };
        if let (Some(at), values) = head {
            let grads = gradient::of_parts(arena, values.len());
            self.narrow(arena, at, values, Gradient::Wide(grads.clone()), Begins::Overwritten);
            // A tied embedding's rows are added to what the head left.
            self.embed = self.embed.take().or_else(|| d.tied.then(|| Gradient::Wide(grads.clone())));
            self.head = Some(grads);
        }
    }

    /// Room for the moments of a matrix, which begins at `at` in the flat vector.
    fn narrow(&mut self, arena: &mut Arena, at: usize, values: &Buffer<bf16>, grads: Gradient, begins: Begins) {
        let mut moment = || arena.take("weights' moments", "bfloat16, of the optimizer", values.len());
        let state = State::Narrow([values.clone(), moment(), moment()]);
        self.pieces.push(Piece { at, state, grads, begins });
    }

    /// The same of a norm or a bias, and room for its gradient.
    fn wide(&mut self, arena: &mut Arena, at: usize, values: &Buffer<f32>) -> Buffer<f32> {
        let mut moment = || arena.take("moments of norms and biases", "float32, of the optimizer", values.len());
        let state = State::Wide([values.clone(), moment(), moment()]);
        let grads = gradient::of_parts(arena, values.len());
        self.pieces.push(Piece { at, state, grads: Gradient::Wide(grads.clone()), begins: Begins::Cleared });
        grads
    }

    /// Room for the rows of each token of micro-batches of up to `tokens`, where an embedding is trained.
    ///
    /// # Errors
    /// Too little memory.
    pub fn open(&mut self, gpu: &Arc<Gpu>, tokens: usize) -> Result<(), Error> {
        if self.embed.is_some() {
            self.rows = Some(embed::gpu::Places::new(gpu, tokens)?);
        }
        Ok(())
    }

    /// Whether all weights are trained.
    pub fn is_model(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Whether anything below the first layer's projections is trained.
    pub fn goes_below(&self) -> bool {
        self.embed.is_some()
    }

    /// Reads what a backward pass has to know of a micro-batch of these tokens.
    ///
    /// # Errors
    /// A token past the vocabulary; when a copy fails.
    pub fn begin(&mut self, tokens: &[u32], vocab: usize) -> Result<(), Error> {
        let Some(rows) = &mut self.rows else { return Ok(()) };
        if let Some(past) = tokens.iter().find(|&&t| t as usize >= vocab) {
            let (what, found) = ("a token without a row in the embedding".into(), past.to_string());
            return Err(Error::Unsupported { what, found, supported: format!("0 to {}", vocab - 1) });
        }
        Ok(rows.set(tokens)?)
    }

    /// Brings the tables that are trained beside an adapter to where they are read.
    pub fn narrow_tables(&self, gpu: &Gpu) {
        self.tables.iter().for_each(|(read, trained)| rows::narrow(gpu, *read, trained, 1.0));
    }

    /// What brings the biases to where products read them.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |(to, x): &(Buffer<bf16>, Buffer<f32>)| Entry { out: to.rows(1, 0, to.len(), to.len()), x: x.clone(), scale: 1.0 };
        self.copies.iter().map(entry).collect()
    }
}

/// Gradients, added to by a backward pass; nothing where nothing is trained whole.
impl Whole {
    /// Forgets them.
    pub fn clear(&self) {
        self.zero(Begins::Cleared);
        self.fresh.set(self.is_model());
    }

    fn zero(&self, which: Begins) {
        self.pieces.iter().filter(|p| p.begins == which).for_each(|p| p.grads.clear());
    }

    /// A micro-batch was added.
    pub fn done(&self) {
        self.fresh.set(false);
    }

    /// Forgets the rest too, where no micro-batch was added.
    fn settle(&self) {
        if self.fresh.replace(false) {
            self.zero(Begins::Overwritten);
        }
    }

    /// How a product that comes first in a micro-batch is written.
    fn first(&self) -> Write {
        if self.fresh.get() { Write::Set } else { Write::Add }
    }

    /// dW += dyᵀ·x and dbias += the sum of dy's rows, of group `g` of layer `l`.
    pub fn group(&self, gpu: &Gpu, (l, g): (usize, usize), dy: Rows, x: Rows) {
        let Some(layer) = self.layers.get(l) else { return };
        product(gpu, layer.weights[g].mat(dy.width, x.width), self.first(), Mat::from(dy).t(), x.into());
        if let Some(db) = &layer.biases[g] {
            bias::gpu::backward(gpu, db, dy, &self.scratch);
        }
    }

    /// That of a layer's norm, or of each of its heads: `dy` is the gradient of what was normed, `x` what was, `r` its factors.
    pub fn norm(&self, gpu: &Gpu, (l, which): (usize, usize), dy: Rows, x: Rows, r: &Buffer<f32>) {
        let Some(layer) = self.layers.get(l) else { return };
        rmsnorm::gpu::weight(gpu, &layer.norms[which], dy, x, r, &self.scratch);
    }

    /// That of the last norm.
    pub fn last_norm(&self, gpu: &Gpu, dy: Rows, x: Rows, r: &Buffer<f32>) {
        if let Some(dw) = &self.last {
            rmsnorm::gpu::weight(gpu, dw, dy, x, r, &self.scratch);
        }
    }

    /// That of the head, from the gradient of its outputs and its input, of the supervised rows from number `from` on.
    pub fn head(&self, gpu: &Gpu, from: usize, dlogits: Rows, x: Rows) {
        if let Some(dw) = &self.head {
            let write = if from == 0 { self.first() } else { Write::Add };
            product(gpu, Mat::new(dw, dlogits.width, x.width), write, Mat::from(dlogits).t(), x.into());
        }
    }

    /// That of the embedding, from the gradient of its rows.
    pub fn embed(&self, gpu: &Gpu, dx: Rows) {
        match (&self.embed, &self.rows) {
            (Some(Gradient::Narrow(dtable)), Some(rows)) => embed::gpu::backward(gpu, dtable, dx, rows),
            (Some(Gradient::Wide(dtable)), Some(rows)) => embed::gpu::backward(gpu, dtable, dx, rows),
            _ => {}
        }
    }
}

/// The optimizer's side, in full fine-tuning.
impl Whole {
    /// Sums of squares that [`Whole::squares`] leaves.
    pub fn parts(&self) -> usize {
        self.pieces.iter().map(|p| adamw::gpu::parts(p.grads.len())).sum()
    }

    /// Sums of squares of the gradient.
    pub fn squares(&self, gpu: &Gpu, parts: &Buffer<f64>) {
        self.settle();
        let mut from = 0;
        for p in &self.pieces {
            let n = adamw::gpu::parts(p.grads.len());
            adamw::gpu::squares(gpu, &parts.part(from..from + n), p.grads.grads());
            from += n;
        }
    }

    /// One step of every piece.
    pub fn step(&self, gpu: &Gpu, rates: &Rates, clip: &Buffer<f32>) {
        for p in &self.pieces {
            match (&p.state, &p.grads) {
                (State::Narrow([w, m, v]), g) => adamw::gpu::dithered(gpu, w, m, v, g.grads(), p.at as u64, rates, clip),
                (State::Wide([w, m, v]), Gradient::Wide(g)) => adamw::gpu::step(gpu, w, m, v, g, rates, clip),
                (State::Wide(_), Gradient::Narrow(_)) => unreachable!("norms and biases have gradients of float32"),
            }
        }
    }

    /// Begins with `params`, or with the weights as they are if there are none; moments are 0.
    ///
    /// # Errors
    /// When a copy fails.
    pub fn start(&self, params: &[f32]) -> Result<(), Error> {
        for p in &self.pieces {
            match &p.state {
                State::Narrow([_, m, v]) => [m, v].into_iter().for_each(|b| b.fill_bytes(0)),
                State::Wide([_, m, v]) => [m, v].into_iter().for_each(|b| b.fill_bytes(0)),
            }
            if !params.is_empty() {
                p.write(0, params)?;
            }
        }
        if params.is_empty() {
            // Weights of no model have biases of 0.
            self.copies.iter().for_each(|(_, trained)| trained.fill_bytes(0));
        }
        Ok(())
    }

    /// Sets parameters and moments; matrices are rounded, which changes nothing that [`Whole::get`] gave.
    ///
    /// # Errors
    /// When a copy fails.
    pub fn set(&self, flats: [&[f32]; 3]) -> Result<(), Error> {
        self.pieces.iter().try_for_each(|p| (0..3).try_for_each(|which| p.write(which, flats[which])))
    }

    /// Copies parameters and moments to the host.
    ///
    /// # Errors
    /// What failed on the device.
    pub fn get(&self, flats: [&mut [f32]; 3]) -> Result<(), Error> {
        for (which, flat) in flats.into_iter().enumerate() {
            self.pieces.iter().try_for_each(|p| p.read(which, flat))?;
        }
        Ok(())
    }

    /// The gradient as one flat vector.
    ///
    /// # Errors
    /// What failed on the device.
    pub fn gradient(&self) -> Result<Vec<f32>, Error> {
        self.settle();
        let mut flat = vec![0f32; self.pieces.iter().map(|p| p.grads.len()).sum()];
        self.pieces.iter().try_for_each(|p| p.grads.read_into(&mut flat[p.at..p.at + p.grads.len()]))?;
        Ok(flat)
    }
}

impl Piece {
    /// Its part of a flat vector becomes its parameters (0) or a moment (1, 2).
    fn write(&self, which: usize, flat: &[f32]) -> Result<(), Error> {
        let from = &flat[self.at..self.at + self.grads.len()];
        match &self.state {
            State::Wide(all) => all[which].write(from)?,
            State::Narrow(all) => {
                let mut rounded = Vec::with_capacity(CHUNK.min(from.len()));
                for (i, part) in from.chunks(CHUNK).enumerate() {
                    rounded.clear();
                    rounded.extend(part.iter().map(|&v| bf16::from_f32(v)));
                    all[which].part(i * CHUNK..i * CHUNK + part.len()).write(&rounded)?;
                }
            }
        }
        Ok(())
    }

    /// The other way.
    fn read(&self, which: usize, flat: &mut [f32]) -> Result<(), Error> {
        let to = &mut flat[self.at..self.at + self.grads.len()];
        match &self.state {
            State::Wide(all) => all[which].read_into(to)?,
            State::Narrow(all) => gradient::read(&all[which], to)?,
        }
        Ok(())
    }
}
