//! Values against the gguf package and a model in both layouts.

use std::collections::BTreeMap;
use std::fs;

use formats::safetensors::{Entry, File, Writer};
use formats::{Dtype, RowOrder, Tensor, TokenizerSource, Weights, gguf};

use crate::{golden, words};

#[test]
fn every_block_type_is_bit_equal_to_the_reference() {
    let file = File::open(&golden("blocks.safetensors")).unwrap();
    let kinds =
        [Dtype::F16, Dtype::BF16, Dtype::Q4_0, Dtype::Q4_1, Dtype::Q5_0, Dtype::Q5_1, Dtype::Q8_0, Dtype::Q4K, Dtype::Q5K, Dtype::Q6K];
    for dtype in kinds {
        let stored = file.tensor(&format!("{dtype}.stored")).unwrap();
        let expected = file.tensor(&format!("{dtype}.values")).unwrap();
        let mut values = vec![0f32; expected.elements()];
        expected.read_f32(&mut values).unwrap();
        let rows = values.len() / dtype.block_elements();
        let tensor = Tensor { name: "x", dtype, shape: vec![rows, dtype.block_elements()], bytes: stored.bytes };
        let mut out = vec![f32::NAN; values.len()];
        tensor.read_f32(&mut out).unwrap();
        for (i, (a, b)) in out.iter().zip(&values).enumerate() {
            assert_eq!(a.to_bits(), b.to_bits(), "{dtype} element {i}: {a} and {b}");
        }
        let mut row = vec![f32::NAN; dtype.block_elements()];
        tensor.read_rows_f32(rows - 1, 1, &mut row).unwrap();
        assert_eq!(row, values[values.len() - row.len()..], "{dtype}");
    }
}

#[test]
fn gguf_gives_the_hugging_face_layout() {
    let hf = Weights::open(&golden("tiny_llama.gguf")).unwrap();
    let judge = File::open(&golden("tiny_llama.safetensors")).unwrap();
    assert_eq!(hf.names().collect::<Vec<_>>().len(), judge.names().count());
    for name in judge.names() {
        let tensor = judge.tensor(name).unwrap();
        let (mut expected, mut out) = (vec![0f32; tensor.elements()], vec![f32::NAN; tensor.elements()]);
        tensor.read_f32(&mut expected).unwrap();
        hf.load_f32(name, &tensor.shape, &mut out).unwrap();
        assert_eq!(out, expected, "{name}");
        let stored = hf.tensor(name).unwrap();
        let (rows, width) = (stored.tensor.rows(), stored.tensor.width());
        let mut row = vec![0f32; width];
        for r in 0..rows {
            stored.tensor.read_rows_f32(stored.order.stored_row(r, rows), 1, &mut row).unwrap();
            assert_eq!(row, expected[r * width..(r + 1) * width], "{name} row {r}");
        }
    }
    let order = |name: &str| hf.tensor(name).unwrap().order;
    assert_eq!(order("model.layers.0.self_attn.q_proj.weight"), RowOrder::Paired { heads: 4 });
    assert_eq!(order("model.layers.0.self_attn.k_proj.weight"), RowOrder::Paired { heads: 2 });
    assert!(!hf.has("lm_head.weight"));
    assert!(matches!(hf.tokenizer_source(), TokenizerSource::Gguf(_)));
    assert!(
        words(hf.load_f32("model.norm.weight", &[33], &mut [0.0; 33]), &golden(""))
            .ends_with("tiny_llama.gguf: tensor `model.norm.weight` has shape [32], expected [33]")
    );
    assert!(words(hf.tensor("lm_head.weight"), &golden("")).ends_with("tensor `lm_head.weight` is missing"));
}

#[test]
fn gguf_vocabulary() {
    let vocab = gguf::File::open(&golden("tiny_llama.gguf")).unwrap().vocab().unwrap();
    assert_eq!((vocab.model.as_str(), vocab.pre.as_deref()), ("gpt2", Some("smollm")));
    assert_eq!(vocab.tokens[..2], ["<|end|>", "a"]);
    assert_eq!((vocab.tokens.len(), vocab.scores[11], vocab.token_types[0]), (12, -11.0, 3));
    assert_eq!((vocab.merges.as_slice(), vocab.eos, vocab.bos), (&["a b".to_string()][..], Some(0), None));
    assert_eq!((vocab.add_bos, vocab.add_eos), (Some(false), None));
    assert_eq!(vocab.chat_template.as_deref(), Some("{{ messages }}"));
}

fn write(path: &std::path::Path, tensors: &[(&str, Vec<usize>)]) {
    let entries: Vec<Entry> =
        tensors.iter().map(|(name, shape)| Entry { name: name.to_string(), dtype: Dtype::F32, shape: shape.clone() }).collect();
    let mut writer = Writer::create(path, &entries, &BTreeMap::new()).unwrap();
    for entry in &entries {
        let values: Vec<f32> = (0..entry.shape.iter().product()).map(|i: usize| i as f32).collect();
        writer.put_f32(&entry.name, &values).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn shards_and_what_they_promise() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("model-1.safetensors"), &[("a", vec![2]), ("b", vec![1])]);
    write(&at.join("model-2.safetensors"), &[("c", vec![3])]);
    let index = at.join("model.safetensors.index.json");
    let put = |map: &str| fs::write(&index, format!("{{\"weight_map\":{map}}}")).unwrap();
    put(r#"{"a":"model-1.safetensors","b":"model-1.safetensors","c":"model-2.safetensors"}"#);
    let weights = Weights::open(at).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    let mut out = [9.0; 3];
    weights.load_f32("c", &[3], &mut out).unwrap();
    assert_eq!(out, [0.0, 1.0, 2.0]);
    assert!(weights.file_of("c").ends_with("model-2.safetensors"));
    assert!(matches!(weights.tokenizer_source(), TokenizerSource::Folder(_)));

    put(r#"{"a":"model-1.safetensors","c":"model-3.safetensors"}"#);
    assert_eq!(words(Weights::open(at), at), "model-3.safetensors is missing, but model.safetensors.index.json names it");
    put(r#"{"a":"model-2.safetensors"}"#);
    assert_eq!(words(Weights::open(at), at), "model-2.safetensors: tensor `a` is missing");
    put(r#"{"a":"../model-2.safetensors"}"#);
    assert!(words(Weights::open(at), at).contains("field `weight_map.a`"));
    put("[]");
    assert!(words(Weights::open(at), at).contains("expected an object of tensor names to file names"));
}

#[test]
fn fused_experts_come_apart() {
    let folder = tempfile::tempdir().unwrap();
    let moe = "model.layers.0.mlp";
    let (up, down, gate) = (format!("{moe}.experts.gate_up_proj"), format!("{moe}.experts.down_proj"), format!("{moe}.gate.weight"));
    // 2 experts, 3 inner, 2 hidden.
    let tensors = [(up.as_str(), vec![2, 6, 2]), (down.as_str(), vec![2, 2, 3]), (gate.as_str(), vec![2, 2])];
    write(&folder.path().join("model.safetensors"), &tensors);
    let weights = Weights::open(folder.path()).unwrap();
    let load = |name: &str, shape: [usize; 2]| {
        let mut out = vec![0f32; shape[0] * shape[1]];
        weights.load_f32(&format!("model.layers.0.block_sparse_moe.{name}.weight"), &shape, &mut out).unwrap();
        out
    };
    assert_eq!(load("experts.0.w1", [3, 2]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(load("experts.0.w3", [3, 2])[0], 6.0);
    assert_eq!(load("experts.1.w1", [3, 2])[0], 12.0);
    assert_eq!(load("experts.1.w3", [3, 2]), [18.0, 19.0, 20.0, 21.0, 22.0, 23.0]);
    assert_eq!(load("experts.1.w2", [2, 3]), [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
    assert_eq!(load("gate", [2, 2]), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(weights.names().count(), 7);
}

#[test]
fn folders_without_a_model_say_what_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let tail = "expected model.safetensors, model.safetensors.index.json or one .gguf file";
    assert_eq!(words(Weights::open(at), at), format!("{} holds no model: found no weights, {tail}", at.display()));
    fs::write(at.join("pytorch_model.bin"), b"x").unwrap();
    assert!(words(Weights::open(at), at).contains("weights that are Python pickles (pytorch_model.bin)"));
    fs::copy(golden("tiny_llama.gguf"), at.join("a.gguf")).unwrap();
    assert!(Weights::open(at).unwrap().has("model.norm.weight"));
    fs::copy(golden("tiny_llama.gguf"), at.join("b.gguf")).unwrap();
    assert!(words(Weights::open(at), at).contains("found 2 GGUF files (a.gguf, b.gguf)"));
    assert!(words(Weights::open(&at.join("none")), at).starts_with("cannot open none: No such file"));
    fs::write(at.join("notes.txt"), b"x").unwrap();
    assert!(words(Weights::open(&at.join("notes.txt")), at).contains("found another file"));
}

/// Pages of files that this process holds, in KiB.
#[cfg(target_os = "linux")]
fn file_pages() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("RssFile:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn pages_of_a_decoded_tensor_are_given_back() {
    let folder = tempfile::tempdir().unwrap();
    // 64 MiB: far more than other tests of this process map meanwhile.
    let rows = 1 << 14;
    let entries = [Entry { name: "w".to_string(), dtype: Dtype::F32, shape: vec![rows, 1024] }];
    let mut writer = Writer::create(&folder.path().join("model.safetensors"), &entries, &BTreeMap::new()).unwrap();
    let values: Vec<f32> = (0..rows * 1024).map(|i| i as f32).collect();
    writer.put_f32("w", &values).unwrap();
    writer.finish().unwrap();
    let weights = Weights::open(folder.path()).unwrap();
    let before = file_pages();
    let mut out = vec![0f32; rows * 1024];
    weights.tensor("w").unwrap().read_f32(&mut out).unwrap();
    let held = file_pages();
    weights.release();
    let after = file_pages();
    assert!(held > before + 50_000 && after < before + 10_000, "{before}, {held}, {after} KiB");
    // What is read again is the same.
    weights.load_f32("w", &[rows, 1024], &mut out).unwrap();
    assert!(out == values);
}
