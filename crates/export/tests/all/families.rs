//! Families × methods: every model of the matrix is merged, written as a folder and as a GGUF file, and answers alike.

use engine::Cx;
use export::{Precision, Store, Tuned, gguf, merge};
use formats::bnb::Scheme;
use model::weights::Hold;
use model::{Adapter, Dims, Folder, Places, Weights};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use text::{Chat, Template, Tokenizer, Vocab};

fn matrix() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/matrix")
}

/// The models of the matrix have 48 tokens and no tokenizer; this one has fewer.
fn chat() -> Chat {
    let letters = ('a'..='z').chain(['Ġ', 'Ċ', ':', '.']).map(String::from);
    let tokens: Vec<String> = ["<s>", "</s>", "<|end|>", "th"].map(String::from).into_iter().chain(letters).collect();
    let vocab = Vocab {
        model: "gpt2".into(),
        pre: "gpt-2".into(),
        token_types: (0..tokens.len()).map(|id| if id < 3 { 3 } else { 1 }).collect(),
        tokens,
        merges: vec!["t h".into()],
        ..Vocab::default()
    };
    let source =
        "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
    let template = Template::new(source, None, None).expect("template");
    Chat { template, tokenizer: Tokenizer::from_vocab(&vocab).expect("tokenizer"), eos: Vec::new() }
}

fn open(path: &Path) -> Folder {
    let config = formats::ModelConfig::open(path).expect("config");
    let dims = Dims::of(&config).expect("dims");
    let files = formats::Weights::open(path).expect("files");
    let chat = Chat { eos: config.eos.clone(), ..chat() };
    Folder { path: path.into(), config, dims, files, chat }
}

/// Every different pair of a model and what was trained on it, with its name.
fn cells() -> Vec<(String, PathBuf, Option<PathBuf>)> {
    let all: Vec<Value> = serde_json::from_slice(&std::fs::read(matrix().join("cells.json")).expect("cells")).expect("json");
    let mut seen = BTreeSet::new();
    let path = |v: &Value| v.as_str().map(|name| matrix().join(name));
    let cell = |c: &Value| (format!("{} {}", c["family"], c["method"]), path(&c["model"]).expect("model"), path(&c["adapter"]));
    all.iter().map(cell).filter(|(_, model, adapter)| seen.insert((model.clone(), adapter.clone()))).collect()
}

fn prompts() -> Vec<Vec<u32>> {
    // One is longer than the windows and the original contexts of the matrix.
    [12, 40].map(|n| (0..n).map(|i| (5 + n * 7 + i * 11) % 48).collect()).to_vec()
}

#[test]
fn every_cell_is_merged_and_exported() {
    let cx = Cx::new(2).expect("threads");
    let root = tempfile::tempdir().expect("folder");
    let (mut count, mut worst) = (0, 0f64);
    for (name, path, adapter) in cells() {
        let base = open(&path);
        // GGUF files of the matrix carry a vocabulary of their own or none; that is not what is judged here.
        let is_gguf = base.files.gguf_file().is_some();
        let (weights, adapter) = match &adapter {
            Some(folder) => {
                let weights = Weights::load(&cx, &base.files, &base.dims, Hold::Stored, &mut |_, _| {}).expect("weights");
                (weights, Adapter::load(&base.dims, folder).expect("adapter"))
            }
            None => (Weights::none(&base.dims), Adapter::of_model(&base.dims, &base.files, &mut |_, _| {}).expect("weights")),
        };
        let tuned = Tuned { cx: &cx, base: &base, weights: &weights, hold: Hold::Stored, adapter: &adapter };
        let merged = root.path().join("merged");
        let proof = merge(&tuned, Precision::F32, &prompts(), &merged, &mut |_, _| {}).unwrap_or_else(|e| panic!("{name}: {e}"));
        worst = worst.max(proof.logit);
        let again = Folder::open(&merged).expect("opens");
        let saved = adapter.config.modules_to_save.is_empty();
        assert_eq!(again.config.tied_embeddings, base.config.tied_embeddings && saved, "{name}");
        assert!(again.config.quantization.is_none(), "{name}");
        if !is_gguf {
            let file = root.path().join("m.gguf");
            let done = gguf(&tuned, Store::F32, "m", &prompts(), &file, &mut |_, _| {}).unwrap_or_else(|e| panic!("{name}: {e}"));
            worst = worst.max(done.proof.logit);
        }
        count += 1;
    }
    println!("{count} cells, worst difference {worst:.1e} of the largest logit");
    // Measured 4.2e-6.
    assert!(count > 45 && worst < 2e-5, "{count} {worst:.1e}");
}

#[test]
fn a_base_that_was_quantised_for_training_is_merged_as_it_was_held() {
    let cx = Cx::new(2).expect("threads");
    let root = tempfile::tempdir().expect("folder");
    let base = open(&matrix().join("qwen2/model"));
    let adapter = Adapter::load(&base.dims, &matrix().join("qwen2/adapter-lora")).expect("adapter");
    let held = Hold::Quantised(Scheme::Int8);
    let weights = Weights::load(&cx, &base.files, &base.dims, held, &mut |_, _| {}).expect("weights");
    let merged = |hold| {
        let tuned = Tuned { cx: &cx, base: &base, weights: &weights, hold, adapter: &adapter };
        merge(&tuned, Precision::F32, &prompts(), &root.path().join("merged"), &mut |_, _| {})
    };
    merged(held).expect("merged");
    // The exact base is another model than the one that the adapter was trained on.
    assert!(merged(Hold::F32).expect_err("refused").to_string().contains("the merged model was refused"));
}

#[test]
fn the_list_of_tensors_is_the_models_own() {
    for (name, path, _) in cells() {
        let base = open(&path);
        let places = Places::of_model(&base.dims);
        let own: BTreeSet<_> = places.tensors().iter().map(|t| (t.name.clone(), t.shape.clone())).collect();
        assert_eq!(base.config.tensors().into_iter().collect::<BTreeSet<_>>(), own, "{name}");
    }
}
