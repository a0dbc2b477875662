//! The decoder against PyTorch, transformers and PEFT: logits, loss and every adapter gradient of one batch.

use crate::cases::{Case, cases, open, relative, sequences, values};
use engine::Cx;
use model::MicroBatch;
use model::batch::Sharing;
use model::decoder::{self, Limits, Room, Scale};

fn gradient(cx: &Cx, c: &Case, b: &MicroBatch) -> (f64, Vec<f32>) {
    let mut room = Room::new(&c.weights.dims, &c.adapter.places, Limits::of([b]));
    let mut grads = vec![0f32; c.adapter.params.len()];
    let scale = 1.0 / b.supervised as f64;
    let loss = decoder::loss_and_gradient(cx, &c.weights, &c.adapter, &mut room, b, Scale { tokens: scale, examples: 0.0 }, &mut grads);
    (loss.sum * scale, grads)
}

#[test]
fn logits_loss_and_gradients_agree_with_pytorch() {
    for folder in cases() {
        let cx = Cx::new(2).expect("threads");
        let c = open(&cx, &folder);
        // One example at a time: the rows come in the order in which PyTorch picked them.
        let mut logits = Vec::new();
        for s in sequences(&c.batch) {
            let b = MicroBatch::new(&[s], Sharing::None);
            let mut room = Room::new(&c.weights.dims, &c.adapter.places, Limits::of([&b]));
            logits.extend(decoder::logits(&cx, &c.weights, &c.adapter, &mut room, &b));
        }
        let far_logits = relative(&logits, &values(&c.truth, "logits"));
        let want = values(&c.truth, "loss")[0] as f64;
        for sharing in [Sharing::None, Sharing::From(4), Sharing::From(16)] {
            let b = MicroBatch::new(&sequences(&c.batch), sharing);
            let (loss, grads) = gradient(&cx, &c, &b);
            let far_loss = (loss - want).abs() / want;
            let mut worst = (0.0, String::new());
            let mut count = 0;
            for t in c.adapter.places.tensors() {
                let truth = values(&c.truth, &format!("grad.{}", t.name));
                let far = relative(&t.read(&grads), &truth);
                if far > worst.0 {
                    worst = (far, t.name.clone());
                }
                count += 1;
            }
            println!(
                "{} {sharing:?}: {} of {} tokens computed, logits {far_logits:.1e}, loss {far_loss:.1e}, worst of {count} gradients {:.1e} ({})",
                folder.file_name().and_then(|n| n.to_str()).unwrap_or("?"),
                b.tokens.len(),
                b.unshared,
                worst.0,
                worst.1
            );
            // Both sides round in float32, and each layer adds to it: two layers measured 3e-6 in the gradients, thirty 8e-5.
            let deep = c.weights.dims.layers > 8;
            let (logits_max, loss_max, gradient_max) = if deep { (1e-4, 1e-5, 1e-4) } else { (2e-6, 2e-7, 1e-5) };
            assert!(far_logits < logits_max, "logits {far_logits:e}");
            assert!(far_loss < loss_max, "loss {loss} {want}");
            assert!(worst.0 < gradient_max, "{worst:?}");
            assert!(count >= 6);
        }
    }
}

#[test]
fn sharing_and_threads_change_nothing_that_matters() {
    for folder in cases() {
        let cx = Cx::new(1).expect("threads");
        let c = open(&cx, &folder);
        let plain = MicroBatch::new(&sequences(&c.batch), Sharing::None);
        let shared = MicroBatch::new(&sequences(&c.batch), Sharing::From(4));
        assert!(shared.tokens.len() < plain.tokens.len());
        let (loss, grads) = gradient(&cx, &c, &plain);
        let (shared_loss, shared_grads) = gradient(&cx, &c, &shared);
        assert!((loss - shared_loss).abs() / loss < 1e-6);
        let worst = c.adapter.places.tensors().iter().fold(0f64, |w, t| w.max(relative(&t.read(&shared_grads), &t.read(&grads))));
        println!("{}: shared against unshared gradients {worst:.1e}", folder.display());
        assert!(worst < 2e-5, "{worst:e}");
        let three = Cx::new(3).expect("threads");
        let (again, same) = gradient(&three, &c, &shared);
        assert_eq!(again.to_bits(), shared_loss.to_bits());
        assert!(same.iter().zip(&shared_grads).all(|(a, b)| a.to_bits() == b.to_bits()), "threads changed a bit");
    }
}
