//! Merging: the folder loads again and answers alike, and a merge that does not is refused and leaves nothing.

#[path = "all/families.rs"]
mod families;

use engine::Cx;
use export::{Precision, Store, Tuned, gguf, merge};
use model::adapter::{AdapterConfig, Targets};
use model::weights::Hold;
use model::{Adapter, Folder, Weights};
use std::path::Path;

struct Bench {
    cx: Cx,
    folder: Folder,
    weights: Weights,
    root: tempfile::TempDir,
}

impl Bench {
    fn tuned<'a>(&'a self, adapter: &'a Adapter) -> Tuned<'a> {
        Tuned { cx: &self.cx, base: &self.folder, weights: &self.weights, hold: Hold::F32, adapter }
    }
}

fn bench() -> Bench {
    let cx = Cx::new(2).expect("threads");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-chat");
    let folder = Folder::open(&path).expect("model");
    let weights = Weights::load(&cx, &folder.files, &folder.dims, Hold::F32, &mut |_, _| {}).expect("weights");
    Bench { cx, folder, weights, root: tempfile::tempdir().expect("folder") }
}

/// An adapter with B away from zero.
fn adapter(b: &Bench, size: f32) -> Adapter {
    let config = AdapterConfig::new(4, 8.0, Targets::AllLinear);
    let mut a = Adapter::new(&b.folder.dims, config, 3).expect("adapter");
    for (i, p) in a.params.iter_mut().enumerate() {
        *p += size * ((i * 7919 % 1000) as f32 / 500.0 - 1.0);
    }
    a
}

fn prompts() -> Vec<Vec<u32>> {
    (0..4).map(|p| (0..12).map(|i| 5 + (p * 37 + i * 11) % 200).collect()).collect()
}

#[test]
fn a_merged_folder_opens_and_answers_as_base_and_adapter() {
    let b = bench();
    let a = adapter(&b, 0.05);
    for precision in [Precision::F32, Precision::Bf16] {
        let out = b.root.path().join(format!("{precision:?}"));
        let proof = merge(&b.tuned(&a), precision, &prompts(), &out, &mut |_, _| {}).expect("merged");
        println!("{precision:?}: {proof:?}");
        assert_eq!(proof.positions, 44);
        // Relative to logits of this size; measured 7.7e-7 in float32 and 8.0e-3 in bfloat16.
        let bounds = if precision == Precision::F32 { 0.0..1e-5 } else { 1e-5..1e-1 };
        assert!(bounds.contains(&proof.logit), "{proof:?}");
        let again = Folder::open(&out).expect("opens");
        assert_eq!(again.dims.hidden, b.folder.dims.hidden);
        let text = "hello there";
        assert_eq!(again.chat.tokenizer.encode(text).expect("ids"), b.folder.chat.tokenizer.encode(text).expect("ids"));
        assert_eq!(again.chat.template.source(), b.folder.chat.template.source());
        assert!(!leftovers(b.root.path()));
    }
}

#[test]
fn a_merge_of_something_not_finite_is_refused_and_leaves_nothing() {
    let b = bench();
    let mut a = adapter(&b, 0.05);
    a.params[3] = f32::NAN;
    let out = b.root.path().join("nan");
    let error = merge(&b.tuned(&a), Precision::F32, &prompts(), &out, &mut |_, _| {}).expect_err("refused");
    assert!(error.to_string().contains("the merged model was refused"), "{error}");
    assert!(!out.exists() && !leftovers(b.root.path()));
}

#[test]
fn an_adapter_goes_through_its_files_unchanged_and_a_foreign_one_is_refused() {
    let b = bench();
    let a = adapter(&b, 0.1);
    let folder = b.root.path().join("adapter");
    std::fs::create_dir(&folder).expect("folder");
    a.save(&folder).expect("saved");
    let again = Adapter::load(&b.folder.dims, &folder).expect("loaded");
    assert!(a.params.iter().zip(&again.params).all(|(x, y)| x.to_bits() == y.to_bits()));
    let mut wide = b.folder.dims.clone();
    wide.intermediate += 8;
    let error = Adapter::load(&wide, &folder).expect_err("other base").to_string();
    assert!(error.contains("does not fit this base") && error.contains("gate_proj") && error.contains("expected shape"), "{error}");
    let mut deep = b.folder.dims.clone();
    deep.layers -= 1;
    let error = Adapter::load(&deep, &folder).expect_err("other base").to_string();
    assert!(error.contains("no layer of this base takes"), "{error}");
}

/// Whether a temporary file or folder was left.
fn leftovers(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("list").any(|e| e.expect("entry").file_name().to_string_lossy().starts_with('.'))
}

#[test]
fn a_gguf_file_opens_and_answers_as_base_and_adapter() {
    let b = bench();
    let a = adapter(&b, 0.05);
    for (store, within) in [(Store::F32, 0.0..1e-5), (Store::F16, 1e-6..1e-2), (Store::Q8_0, 1e-5..1e-1)] {
        let out = b.root.path().join(format!("{store:?}.gguf"));
        let done = gguf(&b.tuned(&a), store, "tiny", &prompts(), &out, &mut |_, _| {}).expect("written");
        println!("{store:?}: {:?}", done.proof);
        assert!(within.contains(&done.proof.logit), "{store:?}: {:?}", done.proof);
        let again = Folder::open(&out).expect("opens");
        assert_eq!(again.config.eos, b.folder.config.eos);
        assert!(done.templated && done.modelfile.ends_with(format!("{store:?}.Modelfile")));
        let modelfile = std::fs::read_to_string(&done.modelfile).expect("read");
        assert!(modelfile.starts_with(&format!("FROM ./{store:?}.gguf\nTEMPLATE \"\"\"")), "{modelfile}");
        assert!(modelfile.ends_with("PARAMETER stop \"<|im_end|>\"\n"), "{modelfile}");
        // From the GGUF file as base: what it says of itself goes on.
        let weights = Weights::load(&b.cx, &again.files, &again.dims, Hold::F32, &mut |_, _| {}).expect("weights");
        let tuned = Tuned { cx: &b.cx, base: &again, weights: &weights, hold: Hold::F32, adapter: &a };
        let twice = b.root.path().join("twice.gguf");
        gguf(&tuned, Store::F32, "again", &prompts(), &twice, &mut |_, _| {}).expect("written");
        let (once, twice) = (again.files.gguf_file().expect("gguf").vocab(), Folder::open(&twice).expect("opens"));
        assert_eq!(once.expect("vocabulary"), twice.files.gguf_file().expect("gguf").vocab().expect("vocabulary"));
        assert_eq!(twice.files.gguf_file().expect("gguf").string("general.name").expect("name"), Some("again"));
        assert!(!leftovers(b.root.path()));
    }
}

#[test]
fn a_gguf_file_that_is_not_good_enough_is_refused_and_leaves_nothing() {
    let b = bench();
    let out = b.root.path().join("m.gguf");
    let refused = |a: &Adapter, store, prompts: &[Vec<u32>]| {
        let error = gguf(&b.tuned(a), store, "tiny", prompts, &out, &mut |_, _| {}).expect_err("refused").to_string();
        assert_eq!(std::fs::read_dir(b.root.path()).expect("list").count(), 0, "{error}");
        error
    };
    let mut nan = adapter(&b, 0.05);
    nan.params[3] = f32::NAN;
    assert!(refused(&nan, Store::F32, &prompts()).contains("the merged model was refused"));
    assert!(refused(&nan, Store::Q8_0, &prompts()).contains("which Q8_0 cannot hold"));
    assert!(refused(&adapter(&b, 0.05), Store::F32, &[]).contains("positions compared"));
}
