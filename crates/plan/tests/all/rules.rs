//! What must hold for every plan, whatever the model, the method and the GPU.

use crate::{plan_of, plan_with};
use plan::{Ask, Change, Error, GPUS, Gpu, Keep, MODELS, Method, Plan, Recompute, Sharding, States, builtin};

fn sum(p: &Plan) -> u64 {
    p.buffers.iter().map(|b| b.bytes).sum()
}

#[test]
fn buffers_add_up_to_the_peak_and_have_a_reason() {
    for model in MODELS {
        let machines = [("h200", 1), ("l4", 1), ("l4", 8), ("a100-40", 2), ("h100-80", 4), ("48GB", 1)];
        for (method, (gpu, gpus)) in ["full", "lora", "qlora", "int8", "dpo", "gguf-q8_0"].into_iter().zip(machines) {
            let p = plan_of(model, method, gpu, gpus, 4096);
            assert_eq!(sum(&p), p.peak_bytes, "{model} {method} {gpu}");
            assert!(p.buffers.iter().all(|b| b.bytes > 0 && !b.why.is_empty()), "{model} {method} {gpu}");
            let names: std::collections::BTreeSet<&str> = p.buffers.iter().map(|b| b.name.as_str()).collect();
            assert_eq!(names.len(), p.buffers.len(), "two buffers of one name: {model} {method} {gpu}");
            assert!(p.all.iter().map(|b| b.bytes).sum::<u64>() >= p.peak_bytes);
        }
    }
}

#[test]
fn more_tokens_never_need_less_memory_and_never_compute_less_twice() {
    for (model, method, gpu, gpus) in [
        ("llama-3.1-8b", "lora", "a100-40", 1),
        ("llama-3.1-70b", "qlora", "a100-40", 2),
        ("mixtral-8x7b", "lora", "h100-80", 2),
        ("qwen2.5-0.5b", "full", "l4", 1),
    ] {
        let kept = |tokens| plan_with(model, method, gpu, gpus, tokens, Recompute::None).peak_bytes;
        let again = |tokens| plan_with(model, method, gpu, gpus, tokens, Recompute::All).peak_bytes;
        let mut share = 0.0;
        for tokens in [1, 7, 64, 500, 1024, 2048, 4096, 8192, 20_000] {
            assert!(kept(tokens) < kept(tokens + 1) && again(tokens) < again(tokens + 1), "{model} {tokens}");
            assert!(again(tokens) <= kept(tokens), "{model} {tokens}");
            let p = plan_of(model, method, gpu, gpus, tokens);
            assert!(p.estimate.again_share >= share, "{model} {tokens}");
            share = p.estimate.again_share;
        }
    }
}

#[test]
fn max_tokens_is_where_it_stops_to_fit() {
    for (model, method, gpu, gpus) in [
        ("llama-3.1-8b", "lora", "a100-40", 1),
        ("llama-3.1-8b", "full", "h200", 1),
        ("llama-3.1-70b", "qlora", "h200", 1),
        ("phi-3-mini", "dora", "l4", 1),
        ("qwen3-8b", "dpo", "a100-40", 1),
        ("llama-3.1-70b", "qlora", "a100-40", 2),
    ] {
        let most = plan_of(model, method, gpu, gpus, 2048).max_tokens;
        assert!(most > 2048, "{model} {method} {gpu}: {most}");
        // The search's own answer, asked from elsewhere.
        let at = |tokens: usize| plan_of(model, method, gpu, gpus, tokens);
        let (last, next) = (at(most), at(most + 1));
        assert!(
            last.fits && !next.fits,
            "{model} {method} {gpu}: {most}, {} and {} of {}",
            last.peak_bytes,
            next.peak_bytes,
            last.capacity
        );
        assert!(last.max_tokens == most && last.peak_bytes <= last.capacity && next.peak_bytes > next.capacity);
    }
    let none = plan_of("llama-3.1-70b", "full", "h200", 1, 1);
    assert!(!none.fits && none.max_tokens == 0);
}

#[test]
fn nothing_is_computed_twice_that_fits_and_no_more_than_needed() {
    let roomy = plan_of("llama-3.1-8b", "lora", "h200", 1, 8192);
    assert!(roomy.fits && roomy.rebuilt.is_empty() && roomy.estimate.again_share == 0.0);
    // A little too small: one rung for a few layers.
    let kept = plan_with("llama-3.1-8b", "lora", "h200", 1, 8192, Recompute::None).peak_bytes;
    let p = plan_of("llama-3.1-8b", "lora", &format!("{}B", kept - 1), 1, 8192);
    assert!(p.fits && p.rebuilt.len() == 1, "{:?}", p.rebuilt);
    assert_eq!((p.rebuilt[0].keep, p.rebuilt[0].layers), (Keep::Narrow, 1));
    // The least that there is.
    let least = plan_with("llama-3.1-8b", "lora", "h200", 1, 8192, Recompute::All).peak_bytes;
    let p = plan_of("llama-3.1-8b", "lora", &format!("{least}B"), 1, 8192);
    assert!(p.fits && p.rebuilt[0].keep == Keep::Input, "{:?}", p.rebuilt);
    let p = plan_of("llama-3.1-8b", "lora", &format!("{}B", least / 2), 1, 8192);
    assert!(!p.fits && p.peak_bytes <= least);
}

#[test]
fn more_gpus_need_less_each_and_say_how_they_share() {
    let one = plan_of("llama-3.1-8b", "full", "h200", 1, 4096);
    let four = plan_of("llama-3.1-8b", "full", "h200", 4, 4096);
    assert_eq!((one.sharding, four.sharding), (Sharding::None, Sharding::Zero3));
    assert!(four.peak_bytes < one.peak_bytes && four.estimate.tokens_per_second > one.estimate.tokens_per_second);
    let two = plan_of("llama-3.1-70b", "qlora", "a100-40", 2, 4096);
    assert_eq!(two.sharding, Sharding::Pipeline);
    assert!(two.sharding.title(2).contains("2 parts"));
    // Parts of a pipeline that do not divide, and more GPUs than layers.
    assert!(plan_of("qwen3-8b", "qlora", "l4", 5, 1024).fits);
    assert_eq!(plan_of("qwen2.5-0.5b", "qlora", "l4", 40, 1024).sharding, Sharding::Zero3);
}

#[test]
fn methods_differ_as_they_should() {
    let peak = |method| plan_with("llama-3.1-8b", method, "h200", 1, 4096, Recompute::None).peak_bytes;
    assert!(peak("qlora") < peak("int8") && peak("int8") < peak("lora") && peak("lora") < peak("dora") && peak("dora") < peak("full"));
    assert!(peak("gguf-q4_0") < peak("gguf-q6_k") && peak("gguf-q6_k") < peak("gguf-q8_0") && peak("gguf-q8_0") < peak("lora"));
    // Pairs are twice the rows.
    let dpo = plan_with("llama-3.1-8b", "dpo", "h200", 1, 2048, Recompute::None);
    assert_eq!(dpo.peak_bytes, peak("lora"));
    assert!(dpo.estimate.flops_per_token > plan_of("llama-3.1-8b", "lora", "h200", 1, 4096).estimate.flops_per_token);
}

#[test]
fn f32_states_take_eight_bytes_more_a_parameter() {
    let (config, gpu) = (builtin("smollm2-135m").unwrap(), Gpu::named("h200").unwrap());
    let of = |states| {
        let ask = Ask {
            config: &config,
            method: Method::Full,
            gpu: &gpu,
            gpus: 1,
            tokens: 100,
            longest: 100,
            rank: 1,
            states,
            recompute: Recompute::None,
        };
        plan::plan(&ask).unwrap().peak_bytes
    };
    // The last norm is in neither count of the blocks: within a row.
    let more = of(States::F32) - of(States::Bf16);
    assert!(more.abs_diff(8 * 134_515_008) <= 8 * 576, "{more}");
}

#[test]
fn a_gpu_given_by_its_bytes_has_no_speed_and_says_so() {
    let p = plan_of("llama-3.1-8b", "lora", "48GB", 1, 4096);
    assert_eq!((p.estimate.tokens_per_second, p.estimate.bound, p.estimate.usd_per_million), (None, None, None));
    assert!(p.estimate.basis.contains("no speed"));
    for gpu in GPUS {
        let e = plan_of("qwen2.5-1.5b", "lora", gpu, 1, 1024).estimate;
        assert!(e.tokens_per_second.unwrap() < e.bound.unwrap() && e.usd_per_million.unwrap() > 0.0 && e.price.is_some());
    }
}

#[test]
fn what_makes_no_run_is_refused() {
    let gpu = Gpu::named("h200").unwrap();
    let ask = |model: &str, method: &str, gpus, tokens, longest, rank| {
        let config = builtin(model).unwrap();
        let method = Method::named(method).unwrap();
        let states = States::Bf16;
        plan::plan(&Ask { config: &config, method, gpu: &gpu, gpus, tokens, longest, rank, states, recompute: Recompute::Auto }).map(|_| ())
    };
    for (gpus, tokens, longest, rank) in
        [(0, 9, 9, 1), (1, 0, 1, 1), (1, 9, 10, 1), (1, 9, 0, 1), (1, 9, 9, 0), (1, 1 << 23, 9, 1), (1, 9000, 9000, 1)]
    {
        let e = ask("phi-3-mini", "lora", gpus, tokens, longest, rank).unwrap_err();
        assert!(matches!(e, Error::Number { .. }), "{e}");
    }
    assert!(ask("mixtral-8x7b", "dora", 1, 9, 9, 1).unwrap_err().to_string().contains("DoRA"));
    assert!(ask("qwen2.5-0.5b", "gguf-q4_k", 1, 9, 9, 1).unwrap_err().to_string().contains("blocks of 256"));
    assert!(Method::named("prefix").unwrap_err().to_string().contains("qlora"));
    assert!(Method::names().iter().all(|n| Method::named(n).unwrap().name() == *n));
}

#[test]
fn what_is_advised_makes_it_fit() {
    let (config, gpu) = (builtin("llama-3.1-70b").unwrap(), Gpu::named("a100-40").unwrap());
    let (method, states, recompute) = (Method::Full, States::Bf16, Recompute::Auto);
    let ask = Ask { config: &config, method, gpu: &gpu, gpus: 1, tokens: 2048, longest: 2048, rank: 16, states, recompute };
    let changes = plan::changes(&ask).unwrap();
    assert_eq!(changes, [Change::Gpus(32)]);
    let ask = Ask { method: Method::Lora, ..ask };
    assert_eq!(plan::changes(&ask).unwrap(), [Change::Gpus(4), Change::Gpu("h200".into())]);
    let ask = Ask { method: Method::Qlora, ..ask };
    assert_eq!(plan::changes(&ask).unwrap(), [Change::Gpus(2), Change::Gpu("a100-80".into())]);
    let ask = Ask { gpus: 2, tokens: 100_000, ..ask };
    let changes = plan::changes(&ask).unwrap();
    let Change::Tokens(most) = changes[0] else { panic!("{changes:?}") };
    assert!(plan::plan(&Ask { tokens: most, ..ask }).unwrap().fits);
    assert!(plan::changes(&Ask { tokens: most, ..ask }).unwrap().is_empty());
}
