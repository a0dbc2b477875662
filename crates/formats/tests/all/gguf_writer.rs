//! Writing GGUF: every family comes back as it was, and nothing half-written stays.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use formats::config::Content;
use formats::gguf::{Entry, File, Metadata, Writer, encode};
use formats::{Dtype, ModelConfig, Rope, Weights};
use serde_json::{Value, json};

use crate::{golden, words};

fn entry(name: &str, dtype: Dtype, shape: &[usize]) -> Entry {
    Entry { name: name.to_string(), dtype, shape: shape.to_vec() }
}

fn listed(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The configurations that transformers made, and variants of rotary scaling and of tied heads.
fn configs() -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> = serde_json::from_slice(&fs::read(golden("configs.json")).unwrap()).unwrap();
    let mut variant = |name: &str, of: &str, set: &[(&str, Value)]| {
        let mut config = all[of].clone();
        set.iter().for_each(|(key, value)| config[*key] = value.clone());
        all.insert(name.to_string(), config);
    };
    let untied =
        [("tie_word_embeddings", json!(false)), ("rope_parameters", json!({"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}))];
    variant("llama, linear, untied", "llama", &untied);
    variant(
        "llama, biases",
        "llama",
        &[("mlp_bias", json!(true)), ("rope_parameters", json!({"rope_type": "default", "rope_theta": 1e4}))],
    );
    variant(
        "phi3, window",
        "phi3",
        &[
            ("sliding_window", json!(16)),
            ("rope_parameters", json!({"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75})),
        ],
    );
    variant("qwen2, untied", "qwen2", &[("tie_word_embeddings", json!(false))]);
    all
}

fn open(config: &Value, folder: &Path) -> ModelConfig {
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    ModelConfig::open(folder).unwrap()
}

/// A value that tells its tensor and place, exact in 16 bits.
fn value(tensor: usize, i: usize) -> f32 {
    ((tensor * 37 + i * 11) % 2047) as f32 - 1000.0
}

fn values_of(config: &ModelConfig) -> BTreeMap<String, Vec<f32>> {
    let one = |(t, (name, shape)): (usize, (String, Vec<usize>))| {
        let elements = shape.iter().product();
        (name, (0..elements).map(|i| value(t, i)).collect())
    };
    config.tensors().into_iter().enumerate().map(one).collect()
}

fn write(config: &ModelConfig, values: &BTreeMap<String, Vec<f32>>, path: &Path) {
    let mut metadata = Metadata::default();
    config.gguf_metadata(&mut metadata);
    let tensors = config.gguf_tensors();
    let dtype = |shape: &[usize]| if shape.len() > 1 { Dtype::F16 } else { Dtype::F32 };
    let entries: Vec<Entry> = tensors.iter().map(|t| entry(&t.name, dtype(&t.shape), &t.shape)).collect();
    let mut writer = Writer::create(path, &entries, &metadata).unwrap();
    for t in &tensors {
        match &t.content {
            Content::Factors(list) => writer.put_part_f32(&t.name, list).unwrap(),
            Content::Weights { names, order } => {
                for name in names {
                    let mut stored = values[name].clone();
                    let rows = if t.shape.len() == 1 { t.shape[0] } else { t.shape[t.shape.len() - 2] };
                    order.store(rows, &mut stored);
                    writer.put_part_f32(&t.name, &stored).unwrap();
                }
            }
        }
    }
    writer.seal().unwrap().publish().unwrap();
}

#[test]
fn every_family_comes_back() {
    for (name, config) in configs() {
        let folder = tempfile::tempdir().unwrap();
        let config = open(&config, folder.path());
        let path = folder.path().join("m.gguf");
        let values = values_of(&config);
        write(&config, &values, &path);
        let read = Weights::open(&path).unwrap();
        assert_eq!(read.names().collect::<Vec<_>>(), values.keys().map(String::as_str).collect::<Vec<_>>(), "{name}");
        for (tensor, shape) in config.tensors() {
            let mut out = vec![f32::NAN; values[&tensor].len()];
            read.load_f32(&tensor, &shape, &mut out).unwrap();
            assert_eq!(out, values[&tensor], "{name}: {tensor}");
        }
        let back = ModelConfig::open(&path).unwrap();
        let sizes =
            |c: &ModelConfig| (c.family, c.vocab, c.hidden, c.layers, c.heads, c.kv_heads, c.head_dim, c.intermediate, c.max_context);
        assert_eq!(sizes(&back), sizes(&config), "{name}");
        let choices = |c: &ModelConfig| (c.tied_embeddings, c.qkv_bias, c.o_bias, c.mlp_bias, c.qk_norm, c.sliding_window, c.rotary_dim());
        assert_eq!(choices(&back), choices(&config), "{name}");
        assert_eq!((back.rms_eps, back.rope_theta), (config.rms_eps, config.rope_theta), "{name}");
        assert_eq!(
            back.experts.as_ref().map(|e| (e.count, e.per_token)),
            config.experts.as_ref().map(|e| (e.count, e.per_token)),
            "{name}"
        );
        same_rotation(&name, &back, &config);
    }
}

/// The file holds frequencies, not the rule behind them, in single precision.
fn same_rotation(name: &str, back: &ModelConfig, config: &ModelConfig) {
    for tokens in [8, 100] {
        let of = |c: &ModelConfig| c.rope.inverse_frequencies(c.rope_theta, c.rotary_dim(), tokens);
        for (a, b) in of(back).iter().zip(&of(config)) {
            assert!((a / b - 1.0).abs() < 1e-6, "{name}: {a} and {b} at {tokens} tokens");
        }
    }
    let scale = |c: &ModelConfig| c.rope.attention_scale(c.max_context);
    assert!((scale(back) / scale(config) - 1.0).abs() < 1e-6, "{name}");
    assert_eq!(matches!(back.rope, Rope::Plain), matches!(config.rope, Rope::Plain), "{name}");
}

#[test]
fn experts_are_stacked_and_rows_of_llama_paired() {
    let folder = tempfile::tempdir().unwrap();
    let config = open(&configs()["mixtral"], folder.path());
    let tensors = config.gguf_tensors();
    let up = tensors.iter().find(|t| t.name == "blk.1.ffn_up_exps.weight").unwrap();
    assert_eq!(up.shape, [4, config.intermediate, config.hidden]);
    let Content::Weights { names, .. } = &up.content else { panic!("{up:?}") };
    assert_eq!(names[3], "model.layers.1.block_sparse_moe.experts.3.w3.weight");
    // Row j of a head of four lies at 2j, row j + 2 at 2j + 1.
    let mut rows = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
    formats::RowOrder::Paired { heads: 2 }.store(8, &mut rows);
    assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 10.0, 12.0, 11.0, 13.0]);
}

#[test]
fn metadata_is_carried_over_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let base = File::open(&golden("tiny_llama.gguf")).unwrap();
    let mut metadata = Metadata::default();
    metadata.text("general.name", "other");
    metadata.carry(&base, |key| key != "general.name");
    metadata.number("general.file_type", 7);
    let path = folder.path().join("m.gguf");
    let writer = Writer::create(&path, &[], &metadata).unwrap();
    writer.seal().unwrap().publish().unwrap();
    let file = File::open(&path).unwrap();
    assert_eq!(
        (file.version(), file.string("general.name").unwrap(), file.unsigned("general.file_type").unwrap()),
        (3, Some("other"), Some(7))
    );
    assert_eq!(file.vocab().unwrap(), base.vocab().unwrap());
    assert!(base.keys().all(|key| file.get(key).is_some()));
    // The vocabulary written anew is the same.
    let mut metadata = Metadata::default();
    metadata.vocab(&base.vocab().unwrap());
    Writer::create(&path, &[], &metadata).unwrap().seal().unwrap().publish().unwrap();
    assert_eq!(File::open(&path).unwrap().vocab().unwrap(), base.vocab().unwrap());
}

#[test]
fn blocks_and_alignment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let entries = [entry("odd", Dtype::F32, &[3]), entry("q", Dtype::Q8_0, &[2, 2, 32])];
    let mut writer = Writer::create(&path, &entries, &Metadata::default()).unwrap();
    writer.put_part_f32("odd", &[1.0, 2.0, 3.0]).unwrap();
    let values: Vec<f32> = (0..128).map(|i| value(3, i)).collect();
    values.chunks(64).for_each(|part| writer.put_part_f32("q", part).unwrap());
    writer.seal().unwrap().publish().unwrap();
    let file = File::open(&path).unwrap();
    let mut expected = Vec::new();
    encode("q", Dtype::Q8_0, &values, &mut expected).unwrap();
    assert_eq!(file.tensor("q").unwrap().bytes, expected);
    assert_eq!(file.tensor("q").unwrap().shape, [2, 2, 32]);
    assert_eq!(fs::metadata(&path).unwrap().len() % 32, 0);
}

#[test]
fn a_writer_that_stops_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let path = at.join("m.gguf");
    fs::write(&path, b"older").unwrap();
    let entries = [entry("a", Dtype::F32, &[2]), entry("b", Dtype::F16, &[1])];
    let mut writer = Writer::create(&path, &entries, &Metadata::default()).unwrap();
    assert_eq!(words(writer.put_part("b", &[0; 2]), at), "m.gguf: tensor 0: found `b`, expected `a`");
    writer.put_part("a", &[0; 6]).unwrap();
    assert_eq!(words(writer.put_part("a", &[0; 3]), at), "m.gguf: tensor `a`: found 3 bytes, expected at most 2 bytes");
    writer.put_part("a", &[0; 2]).unwrap();
    assert_eq!(words(writer.put_part_f32("b", &[1e6]), at), "tensor `b`: element 0 is 1000000, which F16 cannot hold");
    assert_eq!(words(writer.seal(), at), "m.gguf: tensor `b` is missing");
    assert_eq!(listed(at), ["m.gguf"]);
    // A file that was whole but not good enough.
    let mut writer = Writer::create(&path, &entries[..1], &Metadata::default()).unwrap();
    writer.put_part_f32("a", &[1.0, 2.0]).unwrap();
    let sealed = writer.seal().unwrap();
    assert!(File::open(sealed.path()).unwrap().tensor("a").is_some());
    assert_eq!(listed(at).len(), 2);
    drop(sealed);
    assert_eq!(listed(at), ["m.gguf"]);
    assert_eq!(fs::read(&path).unwrap(), b"older");
    let cases = [
        (vec![entry("a", Dtype::Q8_0, &[2, 33])], "expected a size that fits, its last dimension a multiple of 32"),
        (vec![entry("a", Dtype::U8, &[2])], "tensor `a` is stored as U8; supported: F32"),
        (vec![entry("a", Dtype::F32, &[2]), entry("a", Dtype::F32, &[2])], "found the name twice"),
    ];
    for (entries, part) in cases {
        let error = words(Writer::create(&path, &entries, &Metadata::default()), at);
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(listed(at), ["m.gguf"]);
}
