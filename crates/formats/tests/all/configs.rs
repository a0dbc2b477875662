//! config.json in both spellings, GGUF metadata, and what we write from either.

use std::fs;
use std::path::Path;

use formats::{Error, Experts, Family, ModelConfig, Rope};
use serde_json::{Value, json};

use crate::builder::Gguf;
use crate::{golden, words};

fn read(config: &Value, generation: Option<&Value>, folder: &Path) -> Result<ModelConfig, Error> {
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let path = folder.join("generation_config.json");
    match generation {
        Some(value) => fs::write(path, value.to_string()).unwrap(),
        None => drop(fs::remove_file(path)),
    }
    ModelConfig::open(folder)
}

fn newer() -> Value {
    serde_json::from_slice(&fs::read(golden("configs.json")).unwrap()).unwrap()
}

#[test]
fn newer_spelling_of_every_family() {
    let folder = tempfile::tempdir().unwrap();
    let all = newer();
    let of = |name: &str| read(&all[name], None, folder.path()).unwrap();
    let llama = of("llama");
    assert_eq!(llama.family, Family::Llama);
    assert_eq!((llama.vocab, llama.hidden, llama.layers, llama.heads, llama.kv_heads), (64, 32, 2, 4, 2));
    assert_eq!((llama.head_dim, llama.intermediate, llama.max_context, llama.rms_eps), (8, 48, 128, 1e-6));
    assert_eq!((llama.bos, llama.eos.as_slice(), llama.pad), (Some(1), &[2][..], None));
    assert!(llama.tied_embeddings && llama.qkv_bias && llama.o_bias && !llama.mlp_bias && !llama.qk_norm);
    assert_eq!((llama.rope_theta, llama.dtype.as_deref()), (500_000.0, Some("bfloat16")));
    let rope = Rope::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 64 };
    assert_eq!(llama.rope, rope);
    let mistral = of("mistral");
    assert_eq!((mistral.sliding_window, mistral.head_dim, mistral.rope), (Some(32), 16, Rope::Plain));
    let phi3 = of("phi3");
    assert_eq!((phi3.partial_rotary, phi3.rotary_dim(), phi3.pad, phi3.fused_projections), (0.75, 6, Some(0), true));
    assert_eq!((phi3.rms_eps, phi3.sliding_window), (1e-5, None));
    let Rope::Longrope { short, long, original_context, .. } = &phi3.rope else { panic!("{:?}", phi3.rope) };
    assert_eq!((short.as_slice(), long[2], *original_context), (&[1.0, 1.1, 1.2][..], 4.0, 32));
    let mixtral = of("mixtral");
    assert_eq!(mixtral.experts, Some(Experts { count: 4, per_token: 2, aux_coef: 0.02 }));
    assert_eq!((mixtral.rope_theta, mixtral.rms_eps, mixtral.sliding_window), (1e6, 1e-5, None));
    let qwen2 = of("qwen2");
    assert!(qwen2.qkv_bias && !qwen2.o_bias && qwen2.sliding_window.is_none());
    let qwen3 = of("qwen3");
    assert!(!qwen3.qkv_bias && qwen3.qk_norm && qwen3.head_dim == 16);
}

/// A Llama 3.2 file as published, in the older spelling, with small sizes.
fn older() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1, "eos_token_id": [2, 3],
        "head_dim": 8, "hidden_act": "silu", "hidden_size": 32, "intermediate_size": 48,
        "max_position_embeddings": 128, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 4,
        "num_hidden_layers": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 64, "rope_type": "llama3"},
        "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true,
        "vocab_size": 64, "of_ours_unknown": 7
    })
}

#[test]
fn older_spelling_and_generation_config() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let config = read(&older(), None, at).unwrap();
    assert_eq!(config.eos, [2, 3]);
    assert_eq!((config.rope_theta, config.rms_eps, config.tied_embeddings), (5e5, 1e-5, true));
    assert!(matches!(config.rope, Rope::Llama3 { factor: 32.0, original_context: 64, .. }));
    let generation = json!({"eos_token_id": 5, "pad_token_id": 4, "temperature": 0.6});
    let config = read(&older(), Some(&generation), at).unwrap();
    assert_eq!((config.eos.as_slice(), config.pad, config.bos), (&[5][..], Some(4), Some(1)));
    assert_eq!(config.generation_config_json(), generation);

    let mut sparse = older();
    for key in ["tie_word_embeddings", "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "rope_scaling"] {
        sparse.as_object_mut().unwrap().remove(key);
    }
    let config = read(&sparse, None, at).unwrap();
    assert!(!config.tied_embeddings);
    assert_eq!((config.kv_heads, config.head_dim, config.rms_eps), (4, 8, 1e-6));
    assert_eq!((config.rope_theta, config.rope), (1e4, Rope::Plain));

    let mut phi = older();
    (phi["architectures"], phi["model_type"]) = (json!(["Phi3ForCausalLM"]), json!("phi3"));
    phi["original_max_position_embeddings"] = json!(32);
    phi["rope_scaling"] = json!({"type": "su", "short_factor": [1, 1, 1, 1], "long_factor": [2, 2, 2, 2]});
    assert!(matches!(read(&phi, None, at).unwrap().rope, Rope::Longrope { original_context: 32, .. }));

    let mut mistral = older();
    (mistral["architectures"], mistral["model_type"]) = (json!(["MistralForCausalLM"]), json!("mistral"));
    mistral["rope_scaling"] = Value::Null;
    assert_eq!(read(&mistral, None, at).unwrap().sliding_window, Some(4096));
    mistral["sliding_window"] = Value::Null;
    assert_eq!(read(&mistral, None, at).unwrap().sliding_window, None);
}

#[test]
fn what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let longrope = json!({"rope_type": "longrope", "short_factor": [1], "long_factor": [1, 1, 1, 1]});
    let cases = [
        (
            "architectures",
            json!(["GemmaForCausalLM"]),
            "`architectures` is [\"GemmaForCausalLM\"]; supported: LlamaForCausalLM, MistralForCausalLM, Phi3ForCausalLM, MixtralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM",
        ),
        (
            "model_type",
            json!("qwen2"),
            "field `model_type`: found \"qwen2\", expected \"llama\", since `architectures` says LlamaForCausalLM",
        ),
        ("hidden_act", json!("gelu"), "field `hidden_act`: found \"gelu\", expected \"silu\""),
        ("hidden_size", Value::Null, "field `hidden_size`: found nothing, expected a whole number above 0"),
        ("num_hidden_layers", json!("two"), "field `num_hidden_layers`: found \"two\", expected a whole number from 0 to 2147483647"),
        ("vocab_size", json!(1u64 << 40), "field `vocab_size`: found 1099511627776, expected a whole number from 0"),
        ("num_key_value_heads", json!(3), "field `num_key_value_heads`: found 3, expected a divisor of the 4 attention heads"),
        ("num_key_value_heads", json!(0), "field `num_key_value_heads`: found 0, expected a whole number above 0"),
        ("head_dim", json!(7), "field `head_dim`: found 7, expected an even number above 0"),
        ("rms_norm_eps", json!(-1.0), "field `rms_norm_eps`: found -1, expected a number between 0 and 1"),
        (
            "rope_scaling",
            json!({"rope_type": "yarn", "factor": 4.0}),
            "field `rope_scaling.rope_type`: found \"yarn\", expected \"default\", \"linear\", \"llama3\" or \"longrope\"",
        ),
        ("rope_scaling", json!({"type": "linear"}), "field `rope_scaling.factor`: found nothing, expected a number"),
        ("rope_scaling", longrope, "field `rope_scaling.short_factor`: found 1 numbers, expected 4, one for each rotated pair"),
        (
            "quantization_config",
            json!({"quant_method": "gptq"}),
            "field `quantization_config.quant_method`: found \"gptq\", expected \"bitsandbytes\", or weights that are not quantised",
        ),
        ("quantization_config", json!({}), "field `quantization_config.quant_method`: found nothing, expected \"bitsandbytes\""),
        (
            "quantization_config",
            json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "fp4"}),
            "field `quantization_config.bnb_4bit_quant_type`: found \"fp4\", expected \"nf4\"",
        ),
        (
            "quantization_config",
            json!({"load_in_4bit": true, "load_in_8bit": true}),
            "field `quantization_config.load_in_8bit`: found true, expected false, since `load_in_4bit` is true",
        ),
        (
            "quantization_config",
            json!({"quant_method": "bitsandbytes"}),
            "field `quantization_config.load_in_4bit`: found nothing, expected true, or `load_in_8bit` true",
        ),
        (
            "quantization_config",
            json!({"load_in_8bit": true, "llm_int8_skip_modules": "lm_head"}),
            "field `quantization_config.llm_int8_skip_modules`: found \"lm_head\", expected a list of texts",
        ),
        ("tie_word_embeddings", json!(1), "field `tie_word_embeddings`: found 1, expected true or false"),
        ("eos_token_id", json!("</s>"), "field `eos_token_id`: found \"</s>\", expected a token id or a list of them"),
    ];
    for (field, value, expected) in cases {
        let mut config = older();
        config[field] = value;
        let found = words(read(&config, None, at), at);
        assert!(found.starts_with("config.json: ") && found.contains(expected), "{found}\n  wanted {expected}");
    }
    let mut unnamed = older();
    unnamed.as_object_mut().unwrap().remove("architectures");
    assert_eq!(read(&unnamed, None, at).unwrap().family, Family::Llama);
    unnamed["model_type"] = json!("bert");
    assert!(words(read(&unnamed, None, at), at).starts_with("config.json: `model_type` is \"bert\"; supported: "));
    fs::write(at.join("config.json"), "{\n\"a\": }").unwrap();
    assert_eq!(words(ModelConfig::open(at), at), "config.json: not valid JSON: expected value at line 2 column 6");
    fs::write(at.join("config.json"), "[1]").unwrap();
    assert_eq!(words(ModelConfig::open(at), at), "config.json: the content: found [1], expected a JSON object");
}

/// Everything but the raw text must survive being written and read again, in either spelling.
#[test]
fn written_configs_read_the_same_in_both_spellings() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut all: Vec<Value> = newer().as_object().unwrap().values().cloned().collect();
    all.push(older());
    for original in &all {
        let config = read(original, None, at).unwrap();
        for synthesise in [false, true] {
            let mut source = config.clone();
            if synthesise {
                source.raw = Value::Null;
            }
            let written = source.to_hf_json("float32");
            assert_eq!((&written["torch_dtype"], &written["dtype"]), (&json!("float32"), &json!("float32")));
            for dropped in ["rope_parameters", "rope_scaling"] {
                let mut one = written.clone();
                one.as_object_mut().unwrap().remove(dropped);
                let mut back = read(&one, None, at).unwrap();
                back.raw = config.raw.clone();
                back.dtype.clone_from(&config.dtype);
                assert_eq!(back, config, "without {dropped}, synthesised {synthesise}");
            }
        }
    }
    assert_eq!(read(&older(), None, at).unwrap().to_hf_json("float32")["of_ours_unknown"], 7);
}

#[test]
fn gguf_metadata() {
    let config = ModelConfig::open(&golden("tiny_llama.gguf")).unwrap();
    assert_eq!((config.family, config.architecture.as_str()), (Family::Llama, "LlamaForCausalLM"));
    assert_eq!((config.vocab, config.hidden, config.layers, config.heads, config.kv_heads), (12, 32, 1, 4, 2));
    assert_eq!((config.head_dim, config.intermediate, config.max_context), (8, 32, 64));
    assert_eq!((config.rms_eps, config.rope_theta, config.partial_rotary), (1e-5, 1e4, 1.0));
    assert_eq!((config.eos.as_slice(), config.bos, config.tied_embeddings), (&[0][..], None, true));
    let folder = tempfile::tempdir().unwrap();
    let back = read(&config.to_hf_json("float32"), Some(&config.generation_config_json()), folder.path()).unwrap();
    let same = ModelConfig { raw: Value::Null, raw_generation: Value::Null, dtype: None, ..back };
    assert_eq!(same, config);
}

/// The metadata that every model of one architecture has; `more` further values follow.
fn stated(architecture: &str, tensors: u64, more: u64) -> Gguf {
    let key = |k: &str| format!("{architecture}.{k}");
    Gguf::new(tensors, 8 + more)
        .value("general.architecture", architecture)
        .number(&key("block_count"), 1)
        .number(&key("context_length"), 131_072)
        .number(&key("embedding_length"), 16)
        .number(&key("feed_forward_length"), 6)
        .number(&key("attention.head_count"), 2)
        .float(&key("attention.layer_norm_rms_epsilon"), 1e-6)
        .float(&key("rope.freq_base"), 500_000.0)
}

#[test]
fn gguf_rotary_scaling_and_experts() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let config = |gguf: Gguf| ModelConfig::open(&gguf.write(at));
    let embedding = |gguf: Gguf| gguf.floats("token_embd.weight", &[16, 4], &[0.0; 64]);

    // Llama 3.1 keeps its scaling as divisors; of these four frequencies the first is kept, the second blended.
    let rope = Rope::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
    let frequencies = rope.inverse_frequencies(5e5, 8, 1);
    let divisors: Vec<f32> = (0..4).map(|i| (5e5f64.powf(f64::from(i) / -4.0) / frequencies[i as usize]) as f32).collect();
    assert!(divisors[0] == 1.0 && divisors[3] == 8.0);
    let gguf = embedding(stated("llama", 2, 0)).floats("rope_freqs.weight", &[4], &divisors);
    assert_eq!(config(gguf).unwrap().rope, rope);

    let gguf = embedding(
        stated("phi3", 3, 3)
            .number("phi3.rope.scaling.original_context_length", 4096)
            .float("phi3.rope.scaling.attn_factor", 1.19)
            .number("phi3.attention.sliding_window", 0),
    )
    .floats("rope_factors_short.weight", &[4], &[1.0, 1.05, 1.1, 1.2])
    .floats("rope_factors_long.weight", &[4], &[2.0; 4]);
    let phi = config(gguf).unwrap();
    assert_eq!((phi.sliding_window, phi.kv_heads, phi.rms_eps), (None, 2, 1e-6));
    let Rope::Longrope { short, attention_factor, .. } = phi.rope else { panic!("{:?}", phi.rope) };
    assert_eq!((short, attention_factor), (vec![1.0, 1.05, 1.1, 1.2], Some(1.19)));

    // Two experts of a 6 by 16 gate: numbers 0.. in order of the file.
    let gate: Vec<f32> = (0..192).map(|i| i as f32).collect();
    let gguf = embedding(stated("llama", 2, 2).number("llama.expert_count", 2).number("llama.expert_used_count", 1)).floats(
        "blk.0.ffn_gate_exps.weight",
        &[16, 6, 2],
        &gate,
    );
    let path = gguf.write(at);
    let mixtral = ModelConfig::open(&path).unwrap();
    assert_eq!((mixtral.family, mixtral.experts), (Family::Mixtral, Some(Experts { count: 2, per_token: 1, aux_coef: 0.001 })));
    let mut out = vec![0f32; 96];
    let weights = formats::Weights::open(&path).unwrap();
    weights.load_f32("model.layers.0.block_sparse_moe.experts.1.w1.weight", &[6, 16], &mut out).unwrap();
    assert_eq!(out, gate[96..]);
}

#[test]
fn gguf_faults_name_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let fault = |gguf: Gguf| words(ModelConfig::open(&gguf.floats("token_embd.weight", &[16, 4], &[0.0; 64]).write(at)), at);
    assert_eq!(
        fault(stated("gemma3", 1, 0)),
        "m.gguf: `general.architecture` is \"gemma3\"; supported: llama (Llama, Mistral, Mixtral), phi3, qwen2, qwen3"
    );
    assert_eq!(
        fault(Gguf::new(1, 1).value("general.architecture", "llama")),
        "m.gguf: field `llama.embedding_length`: found nothing, expected a whole number above 0"
    );
    assert_eq!(
        fault(stated("llama", 1, 1).value("llama.rope.scaling.type", "yarn")),
        "m.gguf: field `llama.rope.scaling.type`: found \"yarn\", expected \"none\", \"linear\" or \"longrope\""
    );
    assert_eq!(
        fault(stated("phi3", 1, 1).value("phi3.rope.scaling.type", "longrope")),
        "m.gguf: tensor `rope_factors_short.weight` is missing"
    );
    assert_eq!(
        fault(stated("llama", 1, 1).number("llama.rope.dimension_count", 4)),
        "m.gguf: field `llama.rope.dimension_count`: found 4, expected 8, the whole head"
    );
    assert_eq!(
        fault(stated("llama", 1, 1).number("llama.vocab_size", 5)),
        "m.gguf: tensor `token_embd.weight` has shape [4, 16], expected [5, 16]"
    );
    assert_eq!(
        fault(stated("llama", 1, 1).value("llama.vocab_size", "5")),
        "m.gguf: field `llama.vocab_size`: found \"5\", expected a whole number"
    );
}
