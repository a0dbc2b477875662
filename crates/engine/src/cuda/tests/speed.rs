//! Bytes a second of the kernels that move more than they compute, at the shapes of an 8B model and 8,192 tokens.

use super::gpu;
use crate::cuda::timer::Mark;
use crate::cuda::{Buffer, Gpu, Rows};
use crate::ops::{adamw, bias, cross_entropy, dropout, embed, fp8, rmsnorm, rope, rows, swiglu, unpack};
use half::bf16;
use std::sync::Arc;

const TOKENS: usize = 8192;
const HIDDEN: usize = 4096;
const INTER: usize = 14_336;
const VOCAB: usize = 128_256;
/// Sets of inputs that are taken in turn, so that none lies in the cache.
const SETS: usize = 4;

/// One line: the median of eleven times of `SETS` calls, `bytes` each.
fn line(gpu: &Arc<Gpu>, name: &str, bytes: usize, call: impl Fn(usize)) {
    (0..SETS).for_each(&call);
    let mut times: Vec<f32> = (0..11)
        .map(|_| {
            let start = Mark::now(gpu).unwrap();
            (0..SETS).for_each(&call);
            Mark::now(gpu).unwrap().since(&start).unwrap() / SETS as f32
        })
        .collect();
    times.sort_by(f32::total_cmp);
    eprintln!("{name:<28} {:>9.1} us {:>8.0} GB/s", times[5] * 1e3, bytes as f64 / f64::from(times[5]) / 1e6);
}

struct Pool {
    all: Buffer<bf16>,
}

impl Pool {
    /// Rows number `which` of set `set`; two that are asked for with other numbers share nothing.
    fn rows(&self, set: usize, which: usize, width: usize) -> Rows {
        let at = (set * 4 + which) * TOKENS * 2 * INTER;
        self.all.part(at..at + TOKENS * width).rows(TOKENS, 0, width, width)
    }
}

#[test]
#[ignore = "measures: needs an idle GPU of 40 GB"]
fn gpu_speed() {
    let Some(gpu) = gpu() else { return };
    eprintln!("{:?}", gpu.about());
    let pool = Pool { all: Buffer::new(&gpu, SETS * 4 * TOKENS * 2 * INTER).unwrap() };
    for part in 0..4 {
        let n = pool.all.len() / 4;
        rows::noise(&gpu, &pool.all.part(part * n..(part + 1) * n), part as u64, 1.0);
    }
    let floats = |n: usize| Buffer::of(&gpu, &(0..n).map(|i| (i % 97) as f32 * 0.01 + 0.1).collect::<Vec<f32>>()).unwrap();
    let n = TOKENS * HIDDEN;
    let part = |set: usize, which: usize| {
        let at = (set * 4 + which) * 2 * TOKENS * INTER;
        pool.all.part(at..at + 2 * TOKENS * INTER)
    };
    line(&gpu, "copy by the driver", 4 * 2 * TOKENS * INTER, |s| part(s, 0).copy_from(&part(s, 1)));
    let hidden = |s: usize, which: usize| pool.rows(s, which, HIDDEN);
    line(&gpu, "rows copy 4096", 4 * n, |s| rows::copy(&gpu, hidden(s, 0), hidden(s, 1)));
    let (w, r, eps) = (floats(HIDDEN), floats(TOKENS), 1e-5);
    line(&gpu, "rmsnorm forward", 4 * n, |s| rmsnorm::gpu::forward(&gpu, hidden(s, 0), &r, hidden(s, 1), &w, eps));
    line(&gpu, "rmsnorm backward", 8 * n, |s| rmsnorm::gpu::backward(&gpu, hidden(s, 0), hidden(s, 1), hidden(s, 2), &w, &r));
    let scratch = floats(64 * HIDDEN);
    line(&gpu, "rmsnorm weight", 4 * n, |s| rmsnorm::gpu::weight(&gpu, &w, hidden(s, 0), hidden(s, 1), &r, &scratch));
    line(&gpu, "bias", 2 * n, |s| bias::gpu::backward(&gpu, &w, hidden(s, 0), &scratch));
    let (w, r) = (floats(128), floats(TOKENS * 40));
    let heads = |s: usize, which: usize| Rows { width: 5120, stride: 6144, ..pool.rows(s, which, 6144) };
    let n = TOKENS * 5120;
    line(&gpu, "norm of heads", 4 * n, |s| rmsnorm::gpu::heads_forward(&gpu, heads(s, 0), &r, heads(s, 1), &w, eps));
    line(&gpu, "norm of heads, backward", 6 * n, |s| rmsnorm::gpu::heads_backward(&gpu, heads(s, 0), heads(s, 1), heads(s, 2), &w, &r));
    let table = rope::Table::new(&(0..64).map(|i| 5e5f64.powf(f64::from(i) / -64.0)).collect::<Vec<_>>(), 2048, 1.0);
    let table = rope::gpu::Table::new(&gpu, &table).unwrap();
    let angles = Buffer::of(&gpu, &(0..TOKENS as u32).map(|i| i % 2048).collect::<Vec<_>>()).unwrap();
    line(&gpu, "rope of q and k", 4 * n, |s| rope::gpu::turn(&gpu, heads(s, 3), 128, &table, &angles, rope::Turn::Forward));
    let n = TOKENS * INTER;
    let (gate_up, act) = (|s| pool.rows(s, 0, 2 * INTER), |s| pool.rows(s, 1, INTER));
    line(&gpu, "swiglu forward", 6 * n, |s| swiglu::gpu::forward(&gpu, act(s), gate_up(s)));
    line(&gpu, "swiglu backward", 12 * n, |s| swiglu::gpu::backward(&gpu, gate_up(s), act(s)));
    let keys = Buffer::of(&gpu, &(0..TOKENS as u64).collect::<Vec<_>>()).unwrap();
    let drop = dropout::Drop { seed: 1, stream: 2, p: 0.1 };
    let base = Buffer::of(&gpu, &[drop.base()]).unwrap();
    let n = TOKENS * HIDDEN;
    line(&gpu, "dropout forward", 4 * n, |s| dropout::gpu::forward(&gpu, hidden(s, 0), hidden(s, 1), &keys, &base, drop));
    line(&gpu, "dropout backward", 6 * n, |s| dropout::gpu::backward(&gpu, hidden(s, 0), hidden(s, 1), &keys, &base, drop));
    let index: Vec<u32> = (0..TOKENS as u32).map(|i| i.wrapping_mul(2_654_435_761) % TOKENS as u32).collect();
    let picked = Buffer::of(&gpu, &index).unwrap();
    line(&gpu, "rows pick 4096", 4 * n, |s| rows::pick(&gpu, hidden(s, 0), hidden(s, 1), &picked));
    let mut places = embed::gpu::Places::new(&gpu, TOKENS).unwrap();
    places.set(&index.iter().map(|i| i % 2500).collect::<Vec<_>>()).unwrap();
    let dtable = floats(2500 * HIDDEN);
    line(&gpu, "embed backward", 2 * n + 8 * dtable.len(), |s| embed::gpu::backward(&gpu, &dtable, hidden(s, 0), &places));
    let count = 1024;
    let logits = |s: usize| pool.all.part(s * count * VOCAB..(s + 1) * count * VOCAB).rows(count, 0, VOCAB, VOCAB);
    let (losses, weights) = (floats(count), floats(count));
    let targets = Buffer::of(&gpu, &(0..count as u32).map(|i| i * 125).collect::<Vec<_>>()).unwrap();
    let n = count * VOCAB;
    line(&gpu, "cross-entropy (r + w)", 4 * n, |s| {
        cross_entropy::gpu::forward_backward(&gpu, logits(s), &losses, &targets, &weights, &weights);
    });
    line(&gpu, "cross-entropy, losses", 2 * n, |s| cross_entropy::gpu::forward(&gpu, logits(s), &losses, &targets, &weights));
    adam(&gpu, &pool);
    eight_bits(&gpu, &pool);
}

fn eight_bits(gpu: &Arc<Gpu>, pool: &Pool) {
    let q: Vec<Buffer<u8>> =
        (0..SETS).map(|s| pool.all.part((s * 4 + 3) * TOKENS * 2 * INTER..(s * 4 + 4) * TOKENS * 2 * INTER).view(TOKENS * INTER)).collect();
    let (scales, r) = (Buffer::new(gpu, TOKENS).unwrap(), Buffer::new(gpu, TOKENS).unwrap());
    let w = Buffer::of(gpu, &vec![0.7f32; HIDDEN]).unwrap();
    let to = |s: usize| fp8::Quantised { q: &q[s], scales: &scales };
    let rows = |s: usize, which: usize, width: usize| pool.rows(s, which, width);
    let n = TOKENS * HIDDEN;
    line(gpu, "fp8 of rows of 4096", 3 * n, |s| fp8::quantise(gpu, to(s), rows(s, 0, HIDDEN), None));
    line(gpu, "fp8, columns times", 3 * n, |s| fp8::quantise(gpu, to(s), rows(s, 0, HIDDEN), Some(&w)));
    line(gpu, "rmsnorm and fp8", 5 * n, |s| fp8::rmsnorm(gpu, to(s), rows(s, 0, HIDDEN), &r, rows(s, 1, HIDDEN), &w, 1e-5));
    let n = TOKENS * INTER;
    line(gpu, "fp8 of rows of 14336", 3 * n, |s| fp8::quantise(gpu, to(s), rows(s, 0, INTER), None));
    line(gpu, "swiglu and fp8", 7 * n, |s| fp8::swiglu(gpu, to(s), rows(s, 0, INTER), rows(s, 1, 2 * INTER)));
    // A weight of the model as rows: those of gate and up.
    let (count, n) = (2 * INTER, 2 * INTER * HIDDEN);
    line(gpu, "fp8 transpose", 2 * n, |s| fp8::transpose(gpu, &q[s], &q[(s + 1) % SETS], (count, HIDDEN)));
    let out = |s: usize| pool.all.part(s * n..(s + 1) * n).rows(count, 0, HIDDEN, HIDDEN);
    let map = Buffer::of(gpu, &(0..256).map(|i| i as f32 / 255.0).collect::<Vec<_>>()).unwrap();
    let absmax = Buffer::of(gpu, &vec![0.01f32; n / 64 / 256]).unwrap();
    let double = |s: usize| unpack::Scales::Double {
        codes: q[s].part(n / 2..n / 2 + n / 64),
        absmax: absmax.clone(),
        map: map.clone(),
        offset: 0.01,
        nested: 256,
    };
    let nf4 = |s: usize| unpack::Nf4 { packed: q[s].part(0..n / 2), scales: double(s), block: 64 };
    line(gpu, "NF4 to bf16", n * 5 / 2 + n / 64, |s| unpack::nf4(gpu, out(s), &nf4(s)));
    let scales = Buffer::of(gpu, &vec![0.01f32; count]).unwrap();
    line(gpu, "int8 to bf16", 3 * n, |s| unpack::int8(gpu, out(s), &q[s], &scales));
}

fn adam(gpu: &Arc<Gpu>, pool: &Pool) {
    let rates = adamw::gpu::Rates::new(gpu).unwrap();
    rates.set(&adamw::Settings { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }, 1e-4, 1, 7).unwrap();
    let clip = Buffer::of(gpu, &[1f32, 1.0]).unwrap();
    // The adapters of an 8B model with rank 16; the second moment must not be negative.
    let n = 41_943_040;
    let flat = |which: usize| pool.all.part(which * 2 * n..(which + 1) * 2 * n).view::<f32>(n);
    flat(2).fill_bytes(0);
    line(gpu, "adamw float32", 28 * n, |_| adamw::gpu::step(gpu, &flat(0), &flat(1), &flat(2), &flat(3), &rates, &clip));
    let parts = Buffer::new(gpu, adamw::gpu::parts(n)).unwrap();
    let norm = |s: usize| {
        adamw::gpu::squares(gpu, &parts, adamw::gpu::Grads::Wide(&flat(s % 2)));
        adamw::gpu::norm(gpu, &clip, &parts, 1.0);
    };
    line(gpu, "norm float32", 4 * n, norm);
    let n = 4 * n;
    let flat = |which: usize| pool.all.part(which * n..(which + 1) * n);
    flat(2).fill_bytes(0);
    let grads = flat(3);
    line(gpu, "adamw dithered, bf16", 14 * n, |_| {
        adamw::gpu::dithered(gpu, &flat(0), &flat(1), &flat(2), adamw::gpu::Grads::Narrow(&grads), 0, &rates, &clip);
    });
    let n = n / 2;
    let (wide, flat) = (grads.view::<f32>(n), |which: usize| flat(which).part(0..n));
    line(gpu, "adamw dithered, float32", 16 * n, |_| {
        adamw::gpu::dithered(gpu, &flat(0), &flat(1), &flat(2), adamw::gpu::Grads::Wide(&wide), 0, &rates, &clip);
    });
    let parts = Buffer::new(gpu, adamw::gpu::parts(n)).unwrap();
    line(gpu, "squares, bf16", 2 * n, |s| adamw::gpu::squares(gpu, &parts, adamw::gpu::Grads::Narrow(&flat(s % 3))));
}
