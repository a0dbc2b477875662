//! What this crate promises, checked against golden files that transformers made.

#[path = "cases/families.rs"]
mod families;
#[path = "cases/refusals.rs"]
mod refusals;
#[path = "cases/tokens.rs"]
mod tokens;

use text::{Chat, Template, Tokenizer};

/// The small byte-level tokenizer of `golden/make.py`.
const TINY: &[u8] = include_bytes!("golden/tiny.json");

fn tiny() -> Tokenizer {
    Tokenizer::from_json(TINY).expect("the golden tokenizer loads")
}

fn chat(template: &str, bos: Option<&str>, eos: Option<&str>) -> Chat {
    let tokenizer = tiny();
    let eos_id = eos.and_then(|eos| tokenizer.id(eos));
    Chat { template: Template::new(template, bos, eos).expect("the template compiles"), tokenizer, eos: eos_id.into_iter().collect() }
}
