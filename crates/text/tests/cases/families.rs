//! Literate tests: `templates/*.md` hold a family's template, conversations, and what transformers makes of them.

use serde_json::Value;
use text::{Message, RenderOptions};

/// One conversation of a family's file.
#[derive(Default)]
struct Case {
    prose: String,
    messages: Vec<Message>,
    options: RenderOptions,
    prompt: String,
    /// Text with marks, ids with marks, and whether the parts were tokenised apart.
    examples: Vec<(String, String, bool)>,
}

struct Family {
    template: String,
    tokens: Value,
    cases: Vec<Case>,
}

/// Reads a file: fenced blocks of `~~~~`, told by their name; `##` begins a case.
fn family(file: &str) -> Family {
    let mut family = Family { template: String::new(), tokens: Value::Null, cases: Vec::new() };
    let mut lines = file.lines();
    while let Some(line) = lines.next() {
        if let Some(prose) = line.strip_prefix("## ") {
            family.cases.push(Case { prose: prose.to_string(), ..Case::default() });
        }
        let Some(name) = line.strip_prefix("~~~~") else { continue };
        let body = lines.by_ref().take_while(|line| *line != "~~~~").collect::<Vec<_>>().join("\n");
        match name {
            "jinja" => family.template = body,
            "tokens" => family.tokens = serde_json::from_str(&body).unwrap(),
            _ => block(family.cases.last_mut().unwrap(), name, body),
        }
    }
    family
}

fn block(case: &mut Case, name: &str, body: String) {
    match name {
        "json" => {
            let mut given: Value = serde_json::from_str(&body).unwrap();
            case.messages = serde_json::from_value(given["messages"].take()).unwrap();
            case.options.tools = Some(given["tools"].take()).filter(|tools| !tools.is_null());
            case.options.extra = given["extra"].as_object().cloned().unwrap_or_default();
        }
        "prompt" => case.prompt = body,
        "text" => case.examples.push((body, String::new(), false)),
        "ids" | "ids-apart" => {
            let example = case.examples.last_mut().unwrap();
            (example.1, example.2) = (body, name == "ids-apart");
        }
        other => panic!("unknown block `{other}`"),
    }
}

fn marked_text(rendered: &text::Rendered) -> String {
    let mut text = rendered.text.clone();
    for span in rendered.spans.iter().rev() {
        text.insert(span.end, '⟧');
        text.insert(span.start, '⟦');
    }
    text
}

fn marked_ids(rendered: &text::Rendered) -> String {
    let mut out = String::new();
    let mut inside = false;
    for (id, learned) in rendered.ids.iter().zip(&rendered.learned) {
        if inside && !learned {
            out.push(']');
        }
        if !out.is_empty() {
            out.push(' ');
        }
        if *learned && !inside {
            out.push('[');
        }
        inside = *learned;
        out.push_str(&id.to_string());
    }
    if inside {
        out.push(']');
    }
    out
}

fn check(file: &str) -> usize {
    let family = family(file);
    let chat = super::chat(&family.template, family.tokens["bos"].as_str(), family.tokens["eos"].as_str());
    let eot = chat.tokenizer.id(family.tokens["eot"].as_str().unwrap()).unwrap();
    for case in &family.cases {
        let prose = &case.prose;
        let first = case.messages.iter().position(|message| message.role == "assistant").unwrap();
        let prompt = chat.prompt(&case.messages[..first], &case.options).unwrap();
        assert_eq!(prompt, case.prompt, "{prose}");
        let prompt_ids = chat.prompt_ids(&case.messages[..first], &case.options).unwrap();
        let examples = chat.learn(&case.messages, &case.options).unwrap();
        assert_eq!(examples.len(), case.examples.len(), "{prose}");
        for (example, (text, ids, apart)) in examples.iter().zip(&case.examples) {
            assert_eq!(&marked_text(example), text, "{prose}");
            assert_eq!(&marked_ids(example), ids, "{prose}");
            assert_eq!(example.split_at_border, *apart, "{prose}");
            assert_eq!(example.rewrites_history, case.examples.len() > 1, "{prose}");
            assert_eq!((example.eot, example.ends_with_eot), (eot, true), "{prose}");
            if example.spans[0].start == prompt.len() {
                let start = example.learned.iter().position(|learned| *learned).unwrap();
                assert_eq!(example.ids[..start], prompt_ids, "{prose}: training reads the prompt as generation does");
            }
        }
    }
    family.cases.len()
}

macro_rules! families {
    ($($name:ident: $cases:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            assert_eq!(check(include_str!(concat!("../templates/", stringify!($name), ".md"))), $cases);
        }
    )*};
}

families! { chatml: 5, generation: 1, tools: 2, thinking: 3, llama3: 2, mistral: 1, mistral_late_system: 2, phi3: 2 }
