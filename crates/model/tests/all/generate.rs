//! Generation against the training pass: the cache, the common prefix and the batch change no token.

use engine::Cx;
use model::batch::{Sequence, Sharing};
use model::decoder::{self, Limits, Room};
use model::generate::{Answer, Options, Progress, Who, generate};
use model::random::{Stream, bits};
use model::weights::Hold;
use model::{Adapter, Dims, MicroBatch, Weights};
use std::path::Path;

fn open(cx: &Cx, name: &str) -> (Weights, Adapter) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name);
    let dims = Dims::of(&formats::ModelConfig::open(&folder.join("model")).expect("config")).expect("dims");
    let files = formats::Weights::open(&folder.join("model")).expect("files");
    let weights = Weights::load(cx, &files, &dims, Hold::F32, &mut |_, _| {}).expect("weights");
    let adapter = Adapter::load(&dims, &folder.join("adapter")).expect("adapter");
    (weights, adapter)
}

/// The next token by the training pass over the whole sequence.
fn next(cx: &Cx, weights: &Weights, adapter: &Adapter, ids: &[u32]) -> u32 {
    let mut longer = ids.to_vec();
    longer.push(0);
    let mut learned = vec![false; ids.len()];
    learned.push(true);
    let b = MicroBatch::new(&[Sequence { ids: &longer, learned: &learned }], Sharing::None);
    let mut room = Room::new(&weights.dims, &adapter.places, Limits::of([&b]));
    let logits = decoder::logits(cx, weights, adapter, &mut room, &b);
    logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |b, (i, &v)| if v > b.1 { (i, v) } else { b }).0 as u32
}

fn slowly(cx: &Cx, weights: &Weights, adapter: &Adapter, prompt: &[u32], o: &Options) -> Answer {
    let mut ids = prompt.to_vec();
    let mut answer = Answer::default();
    while answer.ids.len() < o.max_new {
        let id = next(cx, weights, adapter, &ids);
        if o.stop.contains(&id) {
            answer.stopped = true;
            break;
        }
        answer.ids.push(id);
        ids.push(id);
    }
    answer
}

fn prompts(shared: usize) -> Vec<Vec<u32>> {
    let token = |i: u64| (3 + bits(5, Stream::Order(1), i) % 90) as u32;
    let prefix: Vec<u32> = (0..shared as u64).map(token).collect();
    (0..7).map(|p| prefix.iter().copied().chain((0..1 + p * 3 % 8).map(|i| token(1000 + p * 50 + i))).collect()).collect()
}

#[test]
fn cached_batched_and_shared_generation_gives_the_tokens_of_the_full_pass() {
    let cx = Cx::new(2).expect("threads");
    for name in ["parity-llama", "parity-llama3", "parity-mistral"] {
        let (weights, adapter) = open(&cx, name);
        for shared in [0, 5, 40] {
            let prompts = prompts(shared);
            let o = Options { max_new: 12, stop: vec![], batch: 3 };
            // A token that does come up, so that at least one answer stops early and the batch shrinks.
            let stop = slowly(&cx, &weights, &adapter, &prompts[2], &o).ids[4];
            let o = Options { stop: vec![stop], ..o };
            let want: Vec<Answer> = prompts.iter().map(|p| slowly(&cx, &weights, &adapter, p, &o)).collect();
            assert!(want[2].stopped);
            for batch in [1, 3, 16] {
                let mut done = 0;
                let o = Options { batch, ..o.clone() };
                let mut see = |p: Progress| {
                    done += usize::from(matches!(p, Progress::Done { .. }));
                    true
                };
                let got = generate(Who::Cpu(&cx, &weights, Some(&adapter)), &prompts, &o, &mut see).expect("answers");
                assert_eq!(got, want, "{name}, {shared} shared, batch {batch}");
                assert_eq!(done, prompts.len());
            }
        }
    }
}

#[test]
fn a_prompt_that_fills_the_context_is_refused_and_stopping_keeps_what_is_there() {
    let cx = Cx::new(1).expect("threads");
    let (weights, _) = open(&cx, "parity-llama");
    let o = Options { max_new: 5, stop: vec![], batch: 2 };
    let long = vec![5u32; 256];
    let error = generate(Who::Cpu(&cx, &weights, None), &[vec![4], long], &o, &mut |_| true).expect_err("too long");
    assert_eq!(error.to_string(), "prompt 1 has 256 tokens; the model's context holds 256");
    // Up to the last position of the context and no further.
    let near = generate(Who::Cpu(&cx, &weights, None), &[vec![5u32; 253]], &o, &mut |_| true).expect("fits");
    assert_eq!(near[0].ids.len(), 3);
    let mut seen = 0;
    let mut see = |_| {
        seen += 1;
        seen < 3
    };
    let part = generate(Who::Cpu(&cx, &weights, None), &[vec![4, 9]], &o, &mut see).expect("stopped");
    assert_eq!(part[0].ids.len(), 3);
}
