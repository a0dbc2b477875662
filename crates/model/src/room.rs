//! All buffers of training: named, counted before they exist, taken from one arena, used for every step.

use crate::experts::Routing;
use crate::modules::{DOWN, GATE_UP, OUT, QKV};
use crate::{Dims, MicroBatch, Places};
use engine::ops::rope::Table;
use engine::{Arena, Block};
use std::sync::Arc;

/// Rows of logits that exist at a time.
pub(crate) const LOGIT_ROWS: usize = 256;

/// What a room is made for: the most rows that a micro-batch may have, and what is kept of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Tokens.
    pub tokens: usize,
    /// Supervised positions.
    pub targets: usize,
    /// Positions of one sequence.
    pub positions: usize,
    /// Micro-batches of one step, whose gradients are added up.
    pub micro_batches: usize,
    /// Layers, from the first on, that keep only their input and are computed again for the backward pass.
    pub recompute: usize,
    /// Coefficient of the experts' load-balancing loss; 0 without.
    pub balance: f64,
    /// What is to be done.
    pub purpose: Purpose,
}

/// Training keeps what the backward pass reads; answering keeps nothing of a layer once it has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Forward and backward.
    Training,
    /// Forward only.
    Answering,
}

impl Limits {
    /// Room for nothing; to be widened.
    pub const NONE: Limits =
        Limits { tokens: 1, targets: 1, positions: 1, micro_batches: 1, recompute: 0, balance: 0.0, purpose: Purpose::Training };

    /// The limits that fit a step of `batches`.
    pub fn of<'a>(batches: impl IntoIterator<Item = &'a MicroBatch>) -> Limits {
        let mut l = Limits::NONE;
        l.widen_to_step(batches);
        l
    }

    /// Makes room for one more step.
    pub fn widen_to_step<'a>(&mut self, batches: impl IntoIterator<Item = &'a MicroBatch>) {
        let count = batches.into_iter().map(|b| self.widen(b)).count();
        self.micro_batches = self.micro_batches.max(count);
    }

    /// Makes room for one more micro-batch, of whatever step.
    pub fn widen(&mut self, b: &MicroBatch) {
        self.tokens = self.tokens.max(b.tokens.len());
        self.targets = self.targets.max(b.targets.len());
        self.positions = self.positions.max(b.layout.positions().iter().max().map_or(1, |&p| p as usize + 1));
    }
}

/// What one layer keeps for its backward pass, beside its input.
pub(crate) struct Saved<T> {
    pub r1: T,     // (tokens)
    pub q: T,      // (tokens, heads * head_dim), turned; raw if heads are normed
    pub k: T,      // (tokens, kv_heads * head_dim), likewise
    pub v: T,      // (tokens, kv_heads * head_dim)
    pub rq: T,     // (tokens, heads), if heads are normed
    pub rk: T,     // (tokens, kv_heads), likewise
    pub o: T,      // (tokens, heads * head_dim)
    pub l: T,      // (tokens, heads)
    pub mid: T,    // (rows, hidden): the residual stream after attention
    pub r2: T,     // (rows)
    pub gate: T,   // (rows * blocks per token, intermediate)
    pub up: T,     // likewise
    pub u: [T; 4], // (rows, ranks) of QKV, OUT, GATE_UP, DOWN
}

/// Buffers that only some methods need.
pub(crate) struct Spare<T> {
    pub dropped: T, // (rows, widest input): what dropout leaves of an input, and its gradient
    pub y: T,       // (rows, widest output): a layer's output before its magnitudes
    pub squares: T, // (outputs of all adapted layers): squared length of each row of W
    pub factors: T, // likewise: magnitude over length
    pub lengths: T, // likewise: length of each row of W + s·BA
    pub p: T,       // (widest rank, widest output): A·Wᵀ
}

/// Buffers of a model with experts.
pub(crate) struct Sorted<T> {
    pub x: T,       // (rows * blocks per token, hidden): inputs by expert
    pub dy: T,      // likewise: gradients by expert
    pub weights: T, // (rows, blocks per token): what each expert counts for
    pub dw: T,      // likewise: its gradient, by expert
    pub dlogits: T, // (rows, experts)
}

/// All buffers of training. `T` is [`Block`]; counting uses other types.
pub struct Room<T = Block> {
    pub(crate) xs: Vec<T>,      // of each layer (tokens, hidden): the residual stream as it comes in
    pub(crate) routers: Vec<T>, // of each layer (rows, experts): the router's logits
    pub(crate) saved: Vec<Saved<T>>,
    pub(crate) spare: Spare<T>,
    pub(crate) sorted: Sorted<T>,
    pub(crate) scaled: T,   // (rows, hidden): a gradient times DoRA's factors
    pub(crate) turned_q: T, // (tokens, heads * head_dim), if heads are normed
    pub(crate) turned_k: T, // (tokens, kv_heads * head_dim), likewise
    pub(crate) norm: T,     // (tokens, hidden)
    pub(crate) wide: T,     // (tokens * blocks per token, intermediate)
    pub(crate) v: T,        // (rows, ranks)
    pub(crate) dq: T,       // (tokens, heads * head_dim)
    pub(crate) d_o: T,      // (tokens, heads * head_dim)
    pub(crate) dk: T,       // (tokens, kv_heads * head_dim)
    pub(crate) dv: T,       // (tokens, kv_heads * head_dim)
    pub(crate) dx: T,       // (tokens, hidden): gradient of the residual stream
    pub(crate) picked: T,   // (rows, hidden): supervised rows, and their gradient
    pub(crate) o_rows: T,   // (rows, heads * head_dim)
    pub(crate) r: T,        // (rows)
    pub(crate) logits: T,   // (LOGIT_ROWS, vocab)
    pub(crate) table: Arc<Table>,
    pub(crate) routing: Routing,
    pub(crate) limits: Limits,
    pub(crate) measured: bool, // whether `spare.squares` are known
    floats: usize,
}

/// A buffer of a room, by name; those of several layers together.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// What it is called.
    pub name: &'static str,
    /// Its size.
    pub bytes: usize,
    /// What it is for.
    pub why: &'static str,
}

/// Every buffer that a room for `limits` consists of; their bytes add up to the arena.
pub fn buffers(d: &Dims, places: &Places, limits: Limits) -> Vec<Buffer> {
    let mut all: Vec<Buffer> = Vec::new();
    let empty = Arc::new(Table::new(&[], 0, 1.0));
    lay(d, places, limits, empty, &mut |name, why, floats| {
        let bytes = floats * size_of::<f32>();
        match all.iter_mut().find(|b| b.name == name) {
            Some(known) => known.bytes += bytes,
            None => all.push(Buffer { name, bytes, why }),
        }
    });
    all.retain(|b| b.bytes > 0);
    all
}

impl Room {
    /// Takes everything that micro-batches within `limits` need.
    pub fn new(d: &Dims, places: &Places, limits: Limits) -> Room {
        let bytes: usize = buffers(d, places, limits).iter().map(|b| b.bytes).sum();
        let mut arena = Arena::new(bytes / size_of::<f32>());
        let table = Arc::new(d.table(limits.positions));
        let mut room = lay(d, places, limits, table, &mut |_, _, floats| arena.take(floats));
        room.floats = arena.given();
        assert_eq!(arena.given(), arena.size(), "the plan and the room are one list");
        room
    }

    /// Bytes of the arena, all of them handed out.
    pub fn bytes(&self) -> usize {
        self.floats * size_of::<f32>()
    }
}

/// Bytes that a room holds beside its arena: cosines and sines, and who does which rows.
pub fn bytes_beside(d: &Dims, limits: Limits) -> usize {
    let pairs = d.experts.as_ref().map_or(0, |e| limits.tokens.max(limits.targets) * e.per_token);
    d.table_bytes(limits.positions) + 3 * pairs * size_of::<u32>()
}

impl<T> Room<T> {
    /// Which of `xs` is the input of layer `i`: when answering, two take turns.
    pub(crate) fn input(&self, i: usize) -> usize {
        if self.limits.purpose == Purpose::Training { i } else { i % 2 }
    }

    /// Where layer `i` keeps what it saves: those that are computed again share one place.
    pub(crate) fn place(&self, i: usize) -> usize {
        match self.limits.recompute {
            _ if self.limits.purpose == Purpose::Answering => 0,
            0 => i,
            n => (i + 1).saturating_sub(n),
        }
    }
}

/// The one list of buffers: `take(name, why, floats)` makes each.
fn lay<T>(
    d: &Dims,
    places: &Places,
    limits: Limits,
    table: Arc<Table>,
    take: &mut dyn FnMut(&'static str, &'static str, usize) -> T,
) -> Room<T> {
    let (t, per) = (limits.tokens, d.blocks_per_token());
    let rows_of = |layer: usize| if layer + 1 == d.layers && limits.balance == 0.0 { limits.targets } else { t };
    let training = usize::from(limits.purpose == Purpose::Training);
    let recompute = if training == 1 { limits.recompute } else { d.layers };
    let inputs = if training == 1 { d.layers } else { 2 };
    let xs =
        (0..inputs).map(|_| take("residual", "each layer's input: norms and projections are made again from it", t * d.hidden)).collect();
    let mut saved = Vec::new();
    if recompute > 0 {
        saved.push(save(d, places, t, t, 0..recompute, take));
    }
    for l in recompute..d.layers {
        saved.push(save(d, places, t, rows_of(l), l..l + 1, take));
    }
    let rows = t.max(limits.targets);
    let ranks = |groups: &[usize]| max_ranks(d, places, 0..d.layers, groups);
    let (dense, moe) = (ranks(&[QKV, OUT]), ranks(&[GATE_UP, DOWN]));
    let experts = d.experts.as_ref().map_or(0, |e| e.count);
    let sorted_rows = if experts > 0 { rows * per } else { 0 };
    let heads = if d.qk_norm { t } else { 0 };
    let routers = (0..d.layers).map(|l| take("router logits", "routing is made again from them", rows_of(l) * experts)).collect();
    Room {
        xs,
        routers,
        saved,
        spare: spare(d, places, rows, take),
        sorted: Sorted {
            x: take("expert inputs", "rows sorted by the expert that they are sent to", sorted_rows * d.hidden),
            dy: take("expert gradients", "gradients of the same rows", sorted_rows * d.hidden),
            weights: take("expert weights", "what each chosen expert counts for", sorted_rows),
            dw: take("expert weights", "what each chosen expert counts for", training * sorted_rows),
            dlogits: take("router gradient", "gradient of the router's logits", training * rows * experts),
        },
        scaled: take(
            "scaled gradient",
            "a gradient times the magnitudes' factors",
            if places.is_dora() { training * rows * d.hidden } else { 0 },
        ),
        turned_q: take("turned queries", "normed and turned; made again for backward", heads * d.q_width()),
        turned_k: take("turned keys", "normed and turned; made again for backward", heads * d.kv_width()),
        norm: take("normed", "a layer's normed input, and its gradient", rows * d.hidden),
        wide: take("silu(gate)*up", "the feed-forward block's inside, and its gradient", rows * per * d.intermediate),
        v: take("adapter gradient", "dy·B of one group", training * rows * dense.max(moe * per)),
        dq: take("dq", "gradient of the queries", training * t * d.q_width()),
        d_o: take("do", "gradient of the attention output", training * t * d.q_width()),
        dk: take("dk", "gradient of the keys", training * t * d.kv_width()),
        dv: take("dv", "gradient of the values", training * t * d.kv_width()),
        dx: take("dx", "gradient of the residual stream", training * t * d.hidden),
        picked: take("supervised rows", "what the head reads, and its gradient", limits.targets * d.hidden),
        o_rows: take("supervised attention", "attention output of the last layer's supervised rows", limits.targets * d.q_width()),
        r: take("last norm", "one factor a supervised row", limits.targets),
        logits: take("logits", "of a chunk of supervised rows", LOGIT_ROWS.min(limits.targets) * d.vocab),
        table,
        routing: Routing::new(d.experts.as_ref(), rows),
        limits,
        measured: false,
        floats: 0,
    }
}

/// What layers `layers` save, in one place.
fn save<T>(
    d: &Dims,
    places: &Places,
    t: usize,
    rows: usize,
    layers: std::ops::Range<usize>,
    take: &mut dyn FnMut(&'static str, &'static str, usize) -> T,
) -> Saved<T> {
    let per = d.blocks_per_token();
    let heads = if d.qk_norm { t } else { 0 };
    let ranks = |g: usize| max_ranks(d, places, layers.clone(), &[g]);
    Saved {
        r1: take("norm factors", "one a row", t),
        q: take("queries", "for attention's backward", t * d.q_width()),
        k: take("keys", "for attention's backward", t * d.kv_width()),
        v: take("values", "for attention's backward", t * d.kv_width()),
        rq: take("norm factors", "one a row", heads * d.heads),
        rk: take("norm factors", "one a row", heads * d.kv_heads),
        o: take("attention output", "for attention's backward and the adapter of o", t * d.q_width()),
        l: take("attention sums", "logarithm of each query's sum", t * d.heads),
        mid: take("residual after attention", "the second norm is made again from it", rows * d.hidden),
        r2: take("norm factors", "one a row", rows),
        gate: take("gate", "for the activation's backward", rows * per * d.intermediate),
        up: take("up", "for the activation's backward", rows * per * d.intermediate),
        u: [
            take("adapter inside", "x·A of each group", t * ranks(QKV)),
            take("adapter inside", "x·A of each group", rows * ranks(OUT)),
            take("adapter inside", "x·A of each group", rows * per * ranks(GATE_UP)),
            take("adapter inside", "x·A of each group", rows * per * ranks(DOWN)),
        ],
    }
}

fn spare<T>(d: &Dims, places: &Places, rows: usize, take: &mut dyn FnMut(&'static str, &'static str, usize) -> T) -> Spare<T> {
    let per = d.blocks_per_token();
    let widest = |f: fn((usize, usize)) -> usize| (0..7).map(|i| f(crate::modules::shape(d, i))).max().unwrap_or(0);
    let dropped = if places.dropout() > 0.0 { (rows * d.hidden.max(d.q_width())).max(rows * per * d.intermediate) } else { 0 };
    let dora = if places.is_dora() { 1 } else { 0 };
    let outputs = dora * places.magnitudes();
    let ranks = max_ranks(d, places, 0..d.layers, &[QKV, OUT, GATE_UP, DOWN]);
    Spare {
        dropped: take("dropped input", "what dropout leaves of an input, and its gradient", dropped),
        y: take("unscaled output", "a layer's output before its magnitudes", dora * rows * widest(|s| s.0)),
        squares: take("row lengths", "of W, and with its update", outputs),
        factors: take("row lengths", "of W, and with its update", outputs),
        lengths: take("row lengths", "of W, and with its update", outputs),
        p: take("A·W", "for the rows' lengths", dora * ranks * widest(|s| s.0)),
    }
}

/// The largest rank sum among groups of these kinds; every expert counts as the first.
fn max_ranks(d: &Dims, places: &Places, layers: std::ops::Range<usize>, kinds: &[usize]) -> usize {
    let groups = crate::modules::groups(d);
    let kind = |g: usize| if g < GATE_UP { g } else { GATE_UP + g % 2 };
    layers
        .flat_map(|l| (0..groups).map(move |g| (l, g)))
        .filter(|(_, g)| kinds.contains(&kind(*g)))
        .map(|(l, g)| places.ranks(l, g))
        .max()
        .unwrap_or(0)
}
