//! Answers on a GPU, against those of the CPU and the whole pass. Without a GPU nothing is judged, and said so; where
//! TUNESMITH_GPU is set, one must be there.

use crate::cases::relative;
use crate::gpu::gpu;
use crate::matrix::{Cell, Open, open, read, root};
use engine::Cx;
use engine::cuda::Gpu;
use formats::bnb::Scheme;
use model::batch::{Sequence, Sharing};
use model::decoder::{self, Limits, Room};
use model::generate::{Answer, Options, Progress, Who, generate};
use model::gpu::{Answerer, Engine, Hold, Source, Steps, With, refuse_to_answer};
use model::random::{Stream, bits};
use model::weights::Hold as CpuHold;
use model::{Adapter, Dims, MicroBatch, Weights};
use std::sync::Arc;

/// The cells of LoRA that answer on a GPU.
fn cells() -> Vec<Open> {
    let all: Vec<Cell> = read(&root().join("cells.json"));
    let open = all.iter().filter(|c| c.method == "lora").map(open);
    open.filter(|c| refuse_to_answer(&c.weights.dims, &c.trained.places).is_ok()).collect()
}

fn name(c: &Open) -> String {
    c.model.parent().and_then(|p| p.file_name()).map_or(String::new(), |n| n.to_string_lossy().into_owned())
}

fn answerer(gpu: &Arc<Gpu>, c: &Open, dims: &Dims, hold: Hold) -> Answerer {
    let files = formats::Weights::open(&c.model).expect("files");
    let (places, params) = (&c.trained.places, &c.trained.params);
    Answerer::open(gpu, dims, places, hold, &Source::Files(&files), params, &mut |_, _| {}).expect("opens")
}

/// The same model for longer sequences.
fn weights(c: &Open, dims: &Dims, hold: CpuHold) -> (Cx, Weights) {
    let (cx, files) = (Cx::new(2).expect("threads"), formats::Weights::open(&c.model).expect("files"));
    let weights = Weights::load(&cx, &files, dims, hold, &mut |_, _| {}).expect("weights");
    (cx, weights)
}

/// The larger error; one that is no number is the largest.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b <= a { a } else { b }
}

/// Prompts of 1 to 8 tokens of their own behind `shared` common ones; the last has `long` more.
fn prompts(vocab: usize, shared: usize, long: usize) -> Vec<Vec<u32>> {
    let token = |i: u64| (bits(5, Stream::Order(1), i) % vocab as u64) as u32;
    let prefix: Vec<u32> = (0..shared as u64).map(token).collect();
    let own = |p: u64| 1 + p * 3 % 8 + if p == 6 { long as u64 } else { 0 };
    (0..7).map(|p| prefix.iter().copied().chain((0..own(p)).map(|i| token(1000 + p * 999 + i))).collect()).collect()
}

/// The CPU's logits that lead to each token of an answer, by the training pass over the whole sequence.
fn truth(cx: &Cx, weights: &Weights, adapter: &Adapter, prompt: &[u32], answer: &[u32]) -> Vec<f32> {
    let ids: Vec<u32> = prompt.iter().chain(answer).copied().collect();
    let learned: Vec<bool> = (0..ids.len()).map(|i| i >= prompt.len()).collect();
    let rules = model::batch::Rules { sharing: Sharing::None, long_from: weights.dims.long_from() };
    let b = MicroBatch::new(&[Sequence { ids: &ids, learned: &learned }], rules);
    let mut room = Room::new(&weights.dims, &adapter.places, Limits::of([&b]));
    decoder::logits(cx, weights, adapter, &mut room, &b)
}

/// The loss of each token of a row of logits' answers: ln sum e^x - x_token.
fn losses(logits: &[f32], answer: &[u32], vocab: usize) -> Vec<f64> {
    let one = |(row, &id): (&[f32], &u32)| {
        let top = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        row.iter().map(|&v| f64::from(v - top).exp()).sum::<f64>().ln() + f64::from(top - row[id as usize])
    };
    logits.chunks_exact(vocab).zip(answer).map(one).collect()
}

/// The GPU's own pass over whole sequences: the loss of each token of the answer.
fn whole_pass(gpu: &Arc<Gpu>, c: &Open, dims: &Dims, prompt: &[u32], answer: &[u32]) -> Vec<f64> {
    let ids: Vec<u32> = prompt.iter().chain(answer).copied().collect();
    let learned: Vec<bool> = (0..ids.len()).map(|i| i >= prompt.len()).collect();
    let rules = model::batch::Rules { sharing: Sharing::None, long_from: dims.long_from() };
    let b = MicroBatch::new(&[Sequence { ids: &ids, learned: &learned }], rules);
    let files = formats::Weights::open(&c.model).expect("files");
    let (places, params, limits) = (&c.trained.places, &c.trained.params, Limits::of([&b]));
    let source = Source::Files(&files);
    let mut engine = Engine::open(gpu, dims, places, Hold::Bf16, limits, &source, params, &mut |_, _| {}).expect("opens");
    engine.losses(&b).expect("runs")
}

/// One family's case: its prompts, the CPU's answers to them, and who is judged.
struct Case<'a> {
    cell: &'a Open,
    dims: Dims,
    cx: Cx,
    weights: Weights,
    answerer: Answerer,
    prompts: Vec<Vec<u32>>,
    name: String,
}

impl Case<'_> {
    fn new<'a>(gpu: &Arc<Gpu>, cell: &'a Open, (shared, long, context): (usize, usize, usize)) -> Case<'a> {
        let dims = Dims { context, ..cell.weights.dims.clone() };
        let (cx, weights) = weights(cell, &dims, CpuHold::F32);
        let (answerer, prompts) = (answerer(gpu, cell, &dims, Hold::Bf16), prompts(dims.vocab, shared, long));
        Case { cell, dims, cx, weights, answerer, prompts, name: format!("{:<10} {shared} shared, {long} longer", name(cell)) }
    }

    /// Whether some sequences are on the other side of where angles change than the longest that may come: then the job turns them
    /// otherwise than the whole pass does.
    fn is_divided(&self) -> bool {
        let most = self.prompts.iter().map(Vec::len).max().unwrap_or(0) + NEW;
        self.dims.long_from().is_some_and(|n| most > n && self.prompts.iter().any(|p| p.len() + NEW <= n))
    }

    fn answers_of_the_cpu(&self, adapter: &Adapter) -> Vec<Vec<u32>> {
        let o = Options { max_new: NEW, stop: vec![], batch: 7 };
        let all = generate(Who::Cpu(&self.cx, &self.weights, Some(adapter)), &self.prompts, &o, &mut |_| true).expect("answers");
        all.into_iter().map(|a| a.ids).collect()
    }

    /// The logits of every step, told the CPU's tokens: how far they are, and how many would have chosen the same.
    fn steps(&self, with: With, adapter: &Adapter) -> Result<(), String> {
        let ids = self.answers_of_the_cpu(adapter);
        let found = self.answerer.follow(with, &self.prompts, &ids).expect("follows");
        let (mut far, mut agree, mut all) = (0f64, 0, 0);
        for ((p, a), f) in self.prompts.iter().zip(&ids).zip(&found) {
            far = worse(far, relative(f, &truth(&self.cx, &self.weights, adapter, p, a)));
            let best = |row: &[f32]| row.iter().enumerate().fold((0, f32::NEG_INFINITY), |b, (i, &v)| if v > b.1 { (i, v) } else { b }).0;
            agree += f.chunks_exact(self.dims.vocab).zip(a).filter(|(row, id)| best(row) as u32 == **id).count();
            all += a.len();
        }
        let line = format!("{}, {with:?}: logits {far:.1e}, {agree} of {all} choices", self.name);
        println!("{line}");
        if far < 0.05 && agree * 100 >= all * 90 { Ok(()) } else { Err(line) }
    }

    /// The losses of the longest answer's tokens, of steps and of the GPU's own whole pass: steps are to be no worse.
    fn beside_the_whole_pass(&self, gpu: &Arc<Gpu>) -> Result<(), String> {
        let (adapter, last) = (&self.cell.trained, self.prompts.len() - 1);
        let (prompt, ids) = (&self.prompts[last], &self.answers_of_the_cpu(adapter)[last]);
        let cpu = losses(&truth(&self.cx, &self.weights, adapter, prompt, ids), ids, self.dims.vocab);
        let followed = self.answerer.follow(With::Adapter, std::slice::from_ref(prompt), std::slice::from_ref(ids)).expect("follows");
        let (steps, whole) = (losses(&followed[0], ids, self.dims.vocab), whole_pass(gpu, self.cell, &self.dims, prompt, ids));
        let off = |x: &[f64]| x.iter().zip(&cpu).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let line = format!("{}: losses off the CPU's: steps {:.2e}, whole pass {:.2e}", self.name, off(&steps), off(&whole));
        println!("{line}");
        if off(&steps) <= 2.0 * off(&whole) + 0.05 { Ok(()) } else { Err(line) }
    }
}

/// New tokens of an answer.
const NEW: usize = 12;

/// Every family, step by step over the cache with the CPU's own tokens: with its prompts short, behind a common beginning, and
/// longer than a part of attention.
#[test]
fn gpu_steps_have_the_logits_of_the_whole_pass() {
    let Some(gpu) = gpu() else { return };
    let (cells, mut failed) = (cells(), Vec::new());
    for cell in &cells {
        for shape in [(0, 0, 256), (40, 0, 256), (20, 560, 1024)] {
            let c = Case::new(&gpu, cell, shape);
            if c.is_divided() {
                println!("{}: left out, since its angles depend on the company", c.name);
                continue;
            }
            failed.extend(c.steps(With::Adapter, &cell.trained).err());
            failed.extend(c.steps(With::Base, &Adapter::none(&c.dims)).err());
            failed.extend(c.beside_the_whole_pass(&gpu).err());
        }
    }
    assert!(cells.len() >= 6, "{} cells", cells.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn share(a: &[Answer], b: &[Answer]) -> (usize, usize) {
    let same = a.iter().zip(b).map(|(a, b)| a.ids.iter().zip(&b.ids).take_while(|(a, b)| a == b).count()).sum();
    (same, b.iter().map(|b| b.ids.len()).sum())
}

/// Answers as such: what stops, what is cut, who is told what; for every size of batch. Random weights have many near ties, and
/// after the first other token an answer goes its own way, so the tokens before that are counted.
#[test]
fn gpu_answers_are_those_of_the_cpu_in_nearly_all_tokens() {
    let Some(gpu) = gpu() else { return };
    let (mut same, mut all) = (0, 0);
    for cell in &cells() {
        for shared in [0, 40] {
            let c = Case::new(&gpu, cell, (shared, 0, 256));
            // A token that does come up, so that at least one answer stops early.
            let o = Options { max_new: NEW, stop: vec![c.answers_of_the_cpu(&cell.trained)[2][4]], batch: 3 };
            let want = generate(Who::Cpu(&c.cx, &c.weights, Some(&cell.trained)), &c.prompts, &o, &mut |_| true).expect("answers");
            for batch in [1, 3, 16] {
                let got = told(&c, &Options { batch, ..o.clone() });
                let (s, a) = share(&got, &want);
                println!("{}, batch {batch}: {s} of {a} tokens", c.name);
                (same, all) = (same + s, all + a);
            }
        }
    }
    assert!(same * 100 >= all * 60, "{same} of {all} tokens are those of the CPU");
}

/// The GPU's answers, which are what was told while they were made.
fn told(c: &Case, o: &Options) -> Vec<Answer> {
    let (mut done, mut told) = (0, vec![Vec::new(); c.prompts.len()]);
    let mut see = |p: Progress| {
        match p {
            Progress::Token { index, id } => told[index].push(id),
            Progress::Done { .. } => done += 1,
        }
        true
    };
    let got = generate(Who::Gpu(&c.answerer, With::Adapter), &c.prompts, o, &mut see).expect("answers");
    assert_eq!((done, told), (c.prompts.len(), got.iter().map(|a| a.ids.clone()).collect()), "{}", c.name);
    assert!(got.iter().all(|a| a.stopped || a.ids.len() == o.max_new), "{}", c.name);
    got
}

/// The same call, the same bits; a record is what was recorded; and a sequence that asks alone has the bits that it has in company,
/// where the prompts were computed alike.
#[test]
fn gpu_answers_repeat_themselves() {
    let Some(gpu) = gpu() else { return };
    for c in &cells() {
        let dims = Dims { context: 1024, ..c.weights.dims.clone() };
        let mut on_gpu = answerer(&gpu, c, &dims, Hold::Bf16);
        for (shared, long) in [(0, 0), (40, 0), (20, 560)] {
            let prompts = prompts(dims.vocab, shared, long);
            let ids: Vec<Vec<u32>> = (0..7).map(|p| (0..5 + p).map(|i| (i * 7 + p) % dims.vocab as u32).collect()).collect();
            let bits = |a: &Answerer| -> Vec<Vec<u32>> {
                let found = a.follow(With::Adapter, &prompts, &ids).expect("follows");
                found.iter().map(|f| f.iter().map(|v| v.to_bits()).collect()).collect()
            };
            let first = bits(&on_gpu);
            assert_eq!(first.iter().map(Vec::len).sum::<usize>(), ids.iter().map(Vec::len).sum::<usize>() * dims.vocab);
            assert!(first == bits(&on_gpu), "{}: another time, other bits", name(c));
            on_gpu.steps(Steps::Called);
            assert!(first == bits(&on_gpu), "{}: what is recorded is not what is called", name(c));
            on_gpu.steps(Steps::Recorded);
        }
    }
}

/// A base in NF4 or int8 is decoded for every product, or once: to the same bits. The CPU holds it as well.
#[test]
fn gpu_answers_beside_quantised_weights() {
    let Some(gpu) = gpu() else { return };
    let mut failed = Vec::new();
    for c in &cells() {
        let dims = &c.weights.dims;
        for (hold, scheme) in [(Hold::Nf4, Scheme::Nf4 { double: true }), (Hold::Int8, Scheme::Int8)] {
            let (cx, w) = weights(c, dims, CpuHold::Quantised(scheme));
            let on_gpu = answerer(&gpu, c, dims, hold);
            let files = formats::Weights::open(&c.model).expect("files");
            let (places, source, params) = (&c.trained.places, Source::Decoded(&files, scheme), &c.trained.params);
            let once = Answerer::open(&gpu, dims, places, Hold::Bf16, &source, params, &mut |_, _| {}).expect("opens");
            let prompts = prompts(dims.vocab, 40, 0);
            let ids: Vec<Vec<u32>> = (0..7).map(|p| (0..6).map(|i| (i * 5 + p) % dims.vocab as u32).collect()).collect();
            let none = Adapter::none(dims);
            for (with, adapter) in [(With::Adapter, &c.trained), (With::Base, &none)] {
                let found = on_gpu.follow(with, &prompts, &ids).expect("follows");
                if found != once.follow(with, &prompts, &ids).expect("follows") {
                    failed.push(format!("{} {hold:?} {with:?}: decoded once is not decoded for every product", name(c)));
                }
                let far = prompts.iter().zip(&ids).zip(&found).map(|((p, a), f)| relative(f, &truth(&cx, &w, adapter, p, a)));
                let far = far.fold(0f64, worse);
                println!("{:<10} {hold:?}, {with:?}: logits {far:.1e}", name(c));
                if far.is_nan() || far >= 0.05 {
                    failed.push(format!("{} {hold:?} {with:?}: {far:.1e}", name(c)));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
