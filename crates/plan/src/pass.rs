//! One forward and backward pass as moments, and every buffer with the moments at which it is alive.
//!
//! The moments of n layers: attention and feed-forward of layer 0, of layer 1, …, the head, then feed-forward and
//! attention of the last layer, …, of layer 0, and the update. Buffers are born and freed like a stack, so one arena
//! as large as the peak holds them without gaps.

use crate::buffer::{Item, Life, What};
use crate::keep::{Choice, Keep};
use crate::sizes::Sizes;

macro_rules! what {
    ($($id:ident $life:ident $name:literal $why:literal)*) => {
        $(static $id: What = What { name: $name, life: Life::$life, why: $why };)*
    };
}

what! {
    WEIGHTS Run "weights of the blocks" "read by every pass"
    TABLE Run "embedding" "the rows of the tokens; the head too, where a model ties them"
    HEAD Run "head" "makes logits; stays in bf16 under every method"
    MASTER Run "trained parameters" "what the optimizer steps"
    COPY Run "trained parameters in bf16" "what the products read"
    GRADIENT Run "gradient" "summed over the micro-batches of a step"
    FIRST Run "Adam's first moment" "the optimizer's memory"
    SECOND Run "Adam's second moment" "the optimizer's memory"
    NORMS Run "DoRA's norms" "of each row of weight and update, constants of a step"
    CONTEXT Run "CUDA context and cuBLAS" "measured on an H100 and an H200: 527 MiB for the context, 685 with kernels and cuBLAS loaded"
    WORKSPACE Run "cuBLASLt workspace" "32 MiB, as NVIDIA advises for Hopper"
    NCCL Run "NCCL" "measured on two H100: 864 MiB after all-gather and reduce-scatter"
    NEIGHBOURS Run "NCCL, neighbours" "measured on two H100: 324 MiB for send and receive"
    BATCH Run "tokens, positions, targets, losses" "20 bytes a token for the batch, 8 for its losses"
    ANGLES Run "rotary table" "sine and cosine of every position"
    WRITTEN Run "one group of matrices in bf16" "packed weights are written out before they are multiplied"
    OTHERS Run "the other micro-batches in flight" "what they keep until their backward pass comes back"
    STREAM Layer "residual stream" "after the last layer; then its gradient, through all layers"
    X Pass "layer input" "the residual stream as it comes in; backward begins from it"
    QKV Pass "q, k, v" "turned by position; attention's backward reads them"
    OUT Pass "attention result" "with the logarithm of each sum, so that attention can be made again tile by tile"
    MID Pass "residual stream after attention" "the norm before the feed-forward block is made again from it"
    GATE_UP Pass "gate and up" "SwiGLU's backward reads them and writes its gradients in their place"
    SMALL Pass "reciprocal norms, adapter intermediates" "small, and they save a product each"
    DORA Pass "results before DoRA's magnitude" "the gradient of the magnitude reads them"
    AGAIN Layer "the layer in work, made again" "what was not kept of it"
    NORMED Layer "normed input" "made again where it is read"
    WIDE Layer "silu(gate) * up" "backward holds its gradient in the same place"
    SENT Layer "rows of the experts" "tokens sorted by expert, and what comes back"
    ATTENTION Layer "attention gradients" "of its result, of q, k and v, and one sum a head"
    RANKS Layer "adapter intermediates, backward" "of the group in work"
    QK Layer "normed q and k" "made again from what is kept"
    LOGITS Head "logits" "in pieces of rows; softmax and gradient in the same place"
    HEAD_ROWS Head "normed rows of the head" "of the same pieces"
    GATHERED Layer "gathered blocks" "the block in work and the next on its way, in one piece each"
    GATHERED_TABLE Head "gathered head" "in one piece while logits are made"
    BLOCK_GRADIENT Layer "gradient of gathered blocks" "before it is summed over the GPUs and cut"
}

/// Rows of logits that exist at a time.
const LOGIT_ROWS: u64 = 1024;
const MIB: u64 = 1 << 20;

/// The part of a run that one GPU does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Layers on this GPU.
    pub layers: usize,
    /// It has the embedding.
    pub first: bool,
    /// It has the head.
    pub last: bool,
    /// Micro-batches of which it keeps activations at the same time.
    pub in_flight: u64,
    /// GPUs that share weights, gradients and moments; 1: nobody does.
    pub shard: u64,
    /// How GPUs talk to each other.
    pub talk: Talk,
    /// Rows of a micro-batch.
    pub rows: u64,
    /// The longest sequence.
    pub longest: u64,
}

/// How GPUs talk to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Not at all.
    None,
    /// All with all.
    All,
    /// Each with the next.
    Neighbours,
}

struct Builder<'a> {
    s: &'a Sizes,
    p: Part,
    items: Vec<Item>,
}

/// Every buffer of this part under this choice.
pub(crate) fn items(s: &Sizes, p: Part, choice: Choice) -> Vec<Item> {
    let mut b = Builder { s, p, items: Vec::with_capacity(24 * p.layers + 24) };
    b.whole_run();
    b.exchange();
    let kept: u64 = (0..p.layers).map(|l| b.layer(l, choice.of(l))).sum();
    b.add(&OTHERS, (p.in_flight - 1) * kept, 0, b.update());
    b.head();
    b.items
}

impl Builder<'_> {
    fn add(&mut self, what: &'static What, bytes: u64, from: usize, to: usize) {
        self.items.push(Item { what, bytes, from, to });
    }

    /// The moment of the head.
    fn middle(&self) -> usize {
        2 * self.p.layers
    }

    fn update(&self) -> usize {
        4 * self.p.layers + 1
    }

    /// What lives from the start to the end.
    fn whole_run(&mut self) {
        let (s, p, end) = (self.s, self.p, self.update());
        let shared = |bytes: u64| bytes.div_ceil(p.shard);
        let layers = p.layers as u64;
        let has_table = p.first || (p.last && s.tied);
        let tables = u64::from(p.first) + u64::from(p.last && !s.tied);
        self.add(&WEIGHTS, shared(layers * s.block.weights), 0, end);
        self.add(&TABLE, if has_table { shared(s.table) } else { 0 }, 0, end);
        self.add(&HEAD, if p.last && !s.tied { shared(s.table) } else { 0 }, 0, end);
        // Adapters are small: every GPU has all of those of its layers.
        let trained = layers * s.block.trained + tables * s.table_trained;
        let own = if s.table_trained > 0 { trained.div_ceil(p.shard) } else { trained };
        let [master, gradient, moment, copy] = s.state;
        for (what, each) in [(&MASTER, master), (&COPY, copy), (&GRADIENT, gradient), (&FIRST, moment), (&SECOND, moment)] {
            self.add(what, each * own, 0, end);
        }
        self.add(&NORMS, layers * s.block.norms, 0, end);
        self.add(&CONTEXT, 685 * MIB, 0, end);
        self.add(&WORKSPACE, 32 * MIB, 0, end);
        self.add(&NCCL, if p.talk == Talk::All { 864 * MIB } else { 0 }, 0, end);
        self.add(&NEIGHBOURS, if p.talk == Talk::Neighbours { 324 * MIB } else { 0 }, 0, end);
        self.add(&BATCH, 28 * p.rows, 0, end);
        self.add(&ANGLES, 4 * p.longest * s.rotary, 0, end);
        self.add(&WRITTEN, s.block.written_out, 0, end);
    }

    /// What sharing adds: a block must be whole while it is multiplied.
    fn exchange(&mut self) {
        let (s, p) = (self.s, self.p);
        if p.shard == 1 || p.layers == 0 {
            return;
        }
        let (middle, end) = (self.middle(), self.update());
        self.add(&GATHERED, 2 * s.block.weights, 0, end - 1);
        self.add(&GATHERED_TABLE, s.table, 0, 0);
        self.add(&GATHERED_TABLE, s.table * if s.table_trained > 0 { 2 } else { 1 }, middle, middle);
        if s.table_trained > 0 {
            self.add(&BLOCK_GRADIENT, 2 * s.block.trained * s.state[1], middle + 1, end - 1);
        }
    }

    /// Adds the buffers of layer `l`; returns the bytes that wait for its backward pass.
    fn layer(&mut self, l: usize, keep: Keep) -> u64 {
        let (t, rows) = (&self.s.token, self.p.rows);
        let (attend, feed) = (2 * l, 2 * l + 1);
        let back_feed = self.middle() + 1 + 2 * (self.p.layers - 1 - l);
        let back_attend = back_feed + 1;
        // What is kept: until its last reader. What is not: at its two ends.
        let kept = [
            (&X, t.stream, Keep::Input, (attend, attend), (back_feed, back_attend)),
            (&QKV, t.qkv, Keep::Narrow, (attend, attend), (if keep == Keep::Input { back_feed } else { back_attend }, back_attend)),
            (&OUT, t.out, Keep::Attention, (attend, attend), (back_feed, back_attend)),
            (&MID, t.stream, Keep::Narrow, (attend, feed), (back_feed, back_feed)),
            (&GATE_UP, t.gate_up, Keep::All, (feed, feed), (back_feed, back_feed)),
            (&SMALL, t.small, Keep::Attention, (attend, feed), (back_feed, back_attend)),
            (&DORA, t.dora, Keep::Attention, (attend, feed), (back_feed, back_attend)),
        ];
        let mut waiting = 0;
        for (what, each, most, ahead, back) in kept {
            if keep <= most {
                waiting += each * rows;
                self.add(what, each * rows, ahead.0, back.1);
            } else {
                self.add(&AGAIN, each * rows, ahead.0, ahead.1);
                self.add(&AGAIN, each * rows, back.0, back.1);
            }
        }
        self.scratch(&[(&NORMED, t.stream), (&RANKS, t.ranks)], attend);
        self.scratch(&[(&NORMED, t.stream), (&WIDE, t.wide), (&SENT, t.sent)], feed);
        self.scratch(&[(&NORMED, t.stream), (&WIDE, t.wide), (&SENT, 2 * t.sent), (&RANKS, t.ranks)], back_feed);
        self.scratch(&[(&NORMED, t.stream), (&ATTENTION, t.attention), (&QK, t.normed), (&RANKS, t.ranks)], back_attend);
        waiting
    }

    fn scratch(&mut self, all: &[(&'static What, u64)], moment: usize) {
        for &(what, each) in all {
            self.add(what, each * self.p.rows, moment, moment);
        }
    }

    fn head(&mut self) {
        let (s, p, middle) = (self.s, self.p, self.middle());
        self.add(&STREAM, s.token.stream * p.rows, middle.saturating_sub(1), self.update() - 1);
        if p.last {
            let rows = LOGIT_ROWS.min(p.rows);
            self.add(&LOGITS, 4 * rows * s.vocab, middle, middle);
            self.add(&HEAD_ROWS, s.token.stream * rows, middle, middle);
        }
    }
}
