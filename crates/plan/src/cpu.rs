//! What a run on the CPU needs: the base as its products read it, what is trained, the room of a micro-batch, scratch.
//!
//! Two moments can be the highest: the end of loading, when the last matrix lies twice, and training.

use crate::buffer::{Buffer, Life};
use crate::shape::{Matrix, block, block_vectors};
use crate::storage::Storage;
use formats::ModelConfig;

const F32: u64 = 4;
/// Columns of a panel that a product reads.
const PANEL: u64 = 48;
/// Floats that a product packs at a time at most.
const PACKED: u64 = 1 << 20;
/// Floats of the strips that each thread packs: 256 rows of a block of k with a short one joined to it, and padding.
const STRIPS: u64 = 256 * (576 + 64) + 8 * 576;
/// Queries that attention does at a time, and partial sums of its key gradients.
const CHUNK: u64 = 128;
const PARTS: u64 = 4;
/// The binary's own pages and its threads, measured on Linux with glibc.
const PROGRAM: u64 = 16 << 20;
/// The margin: runs never need more than was planned, and what an allocator keeps differs by a few MiB from run to run.
const KEPT: u64 = 4 << 20;
/// Bytes in memory a byte of the tokenizer's text: each piece of it lies in several tables. Measured.
const TOKENIZER: u64 = 20;
/// Bytes a byte of that text that its tables leave free behind them. The base's matrices fill them; measured where there are
/// none, since all are trained.
const HOLES: u64 = 12;

/// How frozen matrices are held on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// f32 in panels of 48 outputs.
    Panels,
    /// bf16 in pairs, once along the inputs and once along the outputs.
    Pairs,
    /// Coded, and decoded while a product packs.
    Coded(Storage),
    /// So many bytes for all of them: coded as the files have them.
    Counted(u64),
    /// Nowhere: trained, and so among what is trained.
    Trained,
}

impl Hold {
    /// Bytes of an (outputs, inputs) matrix.
    pub fn bytes(self, outputs: u64, inputs: u64) -> u64 {
        let panels = |rows: u64, steps: u64| rows.next_multiple_of(PANEL) * steps * F32;
        match self {
            Hold::Panels => panels(outputs, inputs),
            Hold::Pairs => panels(outputs, inputs.div_ceil(2)) + panels(inputs, outputs.div_ceil(2)),
            Hold::Coded(storage) => storage.bytes(outputs, inputs),
            Hold::Counted(_) | Hold::Trained => 0,
        }
    }

    /// What does not come matrix by matrix.
    fn counted(self) -> u64 {
        if let Hold::Counted(bytes) = self { bytes } else { 0 }
    }
}

/// A run on the CPU, in sizes.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// How the matrices of its blocks are held.
    pub blocks: Hold,
    /// How embedding and head are.
    pub tables: Hold,
    /// Parameters that are trained.
    pub trained: u64,
    /// The buffers of a micro-batch, as the model counts them.
    pub room: Vec<Buffer>,
    /// Rows of the largest micro-batch.
    pub tokens: u64,
    /// Tokens that the last token of the longest sequence sees.
    pub positions: u64,
    /// Threads.
    pub threads: u64,
    /// Bytes of the tokenizer's text.
    pub tokenizer: u64,
    /// Tokens of all examples.
    pub examples: u64,
    /// Bytes that an element takes in the model's files.
    pub stored: u64,
}

/// The plan of a run on the CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Bytes of the process at its highest.
    pub peak_bytes: u64,
    /// What is alive then; adds up to it.
    pub buffers: Vec<Buffer>,
    /// When that is.
    pub when: &'static str,
}

/// Counts `job`.
pub fn plan(job: &Job) -> Plan {
    let always = always(job);
    let of = |own: Vec<Buffer>, when| {
        let mut buffers: Vec<Buffer> = always.iter().cloned().chain(own).filter(|b| b.bytes > 0).collect();
        buffers.sort_by_key(|b| std::cmp::Reverse(b.bytes));
        Plan { peak_bytes: buffers.iter().map(|b| b.bytes).sum(), buffers, when }
    };
    let (loading, training) = (of(loading(job), "at the end of loading"), of(training(job), "in training"));
    if loading.peak_bytes > training.peak_bytes { loading } else { training }
}

fn always(job: &Job) -> Vec<Buffer> {
    let c = job.config;
    let (vocab, hidden, layers) = (c.vocab as u64, c.hidden as u64, c.layers as u64);
    let of = |m: &Matrix| m.copies * job.blocks.bytes(m.outputs, m.inputs);
    let vectors = if job.blocks == Hold::Trained { 0 } else { layers * F32 * block_vectors(c) + F32 * hidden };
    let blocks = layers * block(c).iter().map(of).sum::<u64>() + job.blocks.counted() + vectors;
    let table = job.tables.bytes(vocab, hidden);
    let holes = if job.blocks == Hold::Trained { HOLES * job.tokenizer } else { 0 };
    let mut all = vec![
        Buffer::new("weights of the blocks", blocks, Life::Run, "in the order in which products read them"),
        Buffer::new("embedding", table + job.tables.counted(), Life::Run, "the head too, where a model ties them or both lie coded"),
        Buffer::new("tokenizer", TOKENIZER * job.tokenizer, Life::Run, "vocabulary and merges, in tables to look up"),
        // Token and mark of every example: once as prepared, once as read back from the pack.
        Buffer::new("examples", 2 * 5 * job.examples, Life::Run, "tokens and which of them are learned"),
        Buffer::new("the program", PROGRAM, Life::Run, "its own pages and threads"),
        Buffer::new("margin", KEPT, Life::Run, "what an allocator keeps differs from run to run; none may need more than this"),
        Buffer::new("freed and kept", holes, Life::Run, "by the tokenizer's loading; matrices of the base would fill it"),
    ];
    if !c.tied_embeddings {
        all.push(Buffer::new("head", table, Life::Run, "makes logits"));
    }
    all
}

fn loading(job: &Job) -> Vec<Buffer> {
    let c = job.config;
    let (vocab, hidden) = (c.vocab as u64, c.hidden as u64);
    let matrix = block(c).iter().map(|m| m.outputs * m.inputs).max().unwrap_or(0);
    // Embedding and head come first, when no block is there yet, so their pages count for what they exceed the blocks by.
    let blocks = c.layers as u64 * block(c).iter().map(|m| m.copies * job.blocks.bytes(m.outputs, m.inputs)).sum::<u64>();
    let read = (job.stored * matrix).max((job.stored * vocab * hidden).saturating_sub(blocks + job.blocks.counted()));
    let packed = F32 * matrix.max(vocab * hidden);
    vec![
        Buffer::new("a matrix being packed", packed, Life::Layer, "decoded to f32 on its way into panels; as large as the largest"),
        Buffer::new("a matrix being read", read, Life::Layer, "pages of the model's file; given back after each matrix"),
    ]
}

fn training(job: &Job) -> Vec<Buffer> {
    let c = job.config;
    let (dim, kv_heads, n) = (c.head_dim as u64, c.kv_heads as u64, job.positions);
    let four = [
        ("trained parameters", "what the optimizer steps"),
        ("gradient", "summed over the micro-batches of a step"),
        ("Adam's first moment", "the optimizer's memory"),
        ("Adam's second moment", "the optimizer's memory"),
    ];
    let mut all: Vec<Buffer> = four.map(|(name, why)| Buffer::new(name, F32 * job.trained, Life::Run, why)).to_vec();
    all.extend(job.room.iter().cloned());
    let partial = 2 * PARTS * kv_heads * dim * job.tokens;
    all.push(Buffer::new(
        "scratch of the ops",
        F32 * partial.max(PACKED),
        Life::Run,
        "panels of a product, or partial sums of attention's key gradients",
    ));
    let panels = n.next_multiple_of(PANEL) * dim + 2 * dim.next_multiple_of(PANEL) * n.max(CHUNK);
    let attention = panels + 2 * CHUNK * n + n.max(CHUNK) * dim;
    all.push(Buffer::new(
        "scratch of the threads",
        F32 * job.threads * (STRIPS + attention),
        Life::Run,
        "strips of a product, and attention of 128 queries, for each",
    ));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    #[test]
    fn panels_are_padded_to_48() {
        assert_eq!(Hold::Panels.bytes(576, 100), 576 * 400);
        assert_eq!(Hold::Panels.bytes(577, 100), 624 * 400);
        assert_eq!(Hold::Pairs.bytes(48, 3), 48 * 2 * 4 + 48 * 24 * 4);
        assert_eq!(Hold::Coded(Storage::Int8).bytes(48, 3), 144 + 192);
    }

    #[test]
    fn the_higher_of_both_moments_counts_and_adds_up() {
        let config = builtin("smollm2-135m").unwrap();
        let job = |room| Job {
            config: &config,
            blocks: Hold::Panels,
            tables: Hold::Panels,
            trained: 4_884_480,
            room: vec![Buffer::new("room", room, Life::Run, "")],
            tokens: 100,
            positions: 100,
            threads: 2,
            tokenizer: 1 << 20,
            examples: 1000,
            stored: 2,
        };
        let (small, large) = (plan(&job(1)), plan(&job(1 << 30)));
        assert_eq!((small.when, large.when), ("at the end of loading", "in training"));
        for p in [&small, &large] {
            assert_eq!(p.buffers.iter().map(|b| b.bytes).sum::<u64>(), p.peak_bytes);
        }
        // A run may need a little less than was planned, never more.
        assert!([&small, &large].iter().all(|p| p.buffers.iter().any(|b| b.name == "margin" && b.bytes == KEPT)));
        // All of the model in f32, padded nowhere: 576, 192, 1536 and 49,152 are multiples of 48.
        let weights: u64 = small.buffers.iter().filter(|b| b.name == "embedding" || b.name.starts_with("weights")).map(|b| b.bytes).sum();
        assert_eq!(weights, 4 * 134_515_008);
    }
}
