//! Rows to examples to tokens, and every way in which a row can be wrong.

#[path = "all/draw.rs"]
mod draw;
#[path = "all/emit.rs"]
mod emit;
#[path = "all/freeze.rs"]
mod freeze;

use std::path::Path;

use data::{Error, Example, PackOptions, ReadOptions, TooLong};
use text::{Chat, RenderOptions, Template, Tokenizer, Vocab};

fn parse(content: &str) -> Result<Vec<Example>, Error> {
    data::parse(content.as_bytes(), Path::new("tickets.jsonl"), &ReadOptions::default())
}

fn says(content: &str) -> String {
    parse(content).expect_err("this is refused").to_string()
}

/// "role:content" of every message.
fn spoken(example: &Example) -> Vec<String> {
    example.messages.iter().map(|message| format!("{}:{}", message.role, message.content)).collect()
}

#[test]
fn every_shape_is_read() {
    let rows = [
        (r#"{"instruction":"q","response":"a"}"#, vec!["user:q", "assistant:a"]),
        (r#"{"instruction":"q","input":"i","output":"a"}"#, vec!["user:q\n\ni", "assistant:a"]),
        (r#"{"instruction":"q","input":"","output":"a","system":"s"}"#, vec!["system:s", "user:q", "assistant:a"]),
        (r#"{"prompt":"q","completion":"a"}"#, vec!["user:q", "assistant:a"]),
        (
            r#"{"prompt":[{"role":"system","content":"s"},{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}]}"#,
            vec!["system:s", "user:q", "assistant:a"],
        ),
        (r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#, vec!["user:q", "assistant:a"]),
        (
            r#"{"conversations":[{"from":"system","value":"s"},{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}"#,
            vec!["system:s", "user:q", "assistant:a"],
        ),
    ];
    for (row, expected) in rows {
        assert_eq!(spoken(&parse(row).unwrap()[0]), expected, "{row}");
    }
}

#[test]
fn tool_calls_tags_and_lines_are_kept() {
    let row = r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":{}}}]},
{"role":"tool","content":"r"},{"role":"assistant","content":"a","weight":0.5}],"tools":"[{\"name\":\"f\"}]","id":7,"label":"x"}"#.replace('\n', "");
    let content = format!("\u{feff}\r\n{{\"prompt\":\"q\",\"completion\":\"a\"}}\r\n\n   \n{row}\r\n");
    let examples = parse(&content).unwrap();
    assert_eq!(examples.iter().map(|example| example.source.line).collect::<Vec<_>>(), [2, 5]);
    let example = &examples[1];
    assert!(example.messages[1].extra["content"].is_null() && example.messages[1].extra["tool_calls"].is_array());
    assert_eq!(example.messages[3].extra["weight"], 0.5);
    assert_eq!(example.tools.as_ref().unwrap()[0]["name"], "f");
    assert_eq!(serde_json::to_string(&example.tags).unwrap(), r#"{"id":7,"label":"x"}"#);
}

#[test]
fn a_json_array_is_read_with_its_lines() {
    let content = "[\n {\"prompt\":\"q\",\n  \"completion\":\"a\"},\n\n {\"prompt\":\"r\",\"completion\":\"b\"}\n]\n";
    let examples = parse(content).unwrap();
    assert_eq!(
        examples.iter().map(|example| (example.source.line, example.messages[1].content.as_str())).collect::<Vec<_>>(),
        [(2, "a"), (5, "b")]
    );
    let broken = says("[\n {\"prompt\":\"q\",\"completion\":\"a\"},\n {\"prompt\":\"q\" \"completion\":\"a\"}\n]");
    assert_eq!(
        broken,
        "tickets.jsonl: 1 of 2 rows cannot be used\n  line 3: column 16: not valid JSON: expected `,` or `}`; found \"\\\"completion\\\":\\\"a\\\"}\""
    );
    assert!(says("[{\"prompt\":\"q\",\"completion\":\"a\"}").contains("the array has no closing bracket"));
    assert!(
        says("[{\"prompt\":\"q\",\"completion\":\"a\"} 5]")
            .contains("column 34: not valid JSON: expected `,` or `]` after an element; found \"5]\"")
    );
    assert!(says("[]").contains("found no row"));
}

#[test]
fn a_system_prompt_is_put_in_front_where_there_is_none() {
    let content = r#"{"prompt":"q","completion":"a"}
{"messages":[{"role":"system","content":"own"},{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#;
    let options = ReadOptions { system: Some("given".into()) };
    let examples = data::parse(content.as_bytes(), Path::new("x"), &options).unwrap();
    assert_eq!(examples[0].messages[0].content, "given");
    assert_eq!((examples[1].messages.len(), examples[1].messages[0].content.as_str()), (3, "own"));
}

#[test]
fn each_fault_names_line_found_and_expected() {
    let row = |messages: &str| format!("{{\"messages\":[{messages}]}}");
    let user = r#"{"role":"user","content":"q"}"#;
    let cases = [
        (
            r#"{"prompt":"q", completion:"a"}"#.to_string(),
            "line 1: column 16: not valid JSON: key must be a string; found \"completion:\\\"a\\\"}\"",
        ),
        (r#"{"prompt":"q","#.to_string(), "line 1: column 14: not valid JSON: EOF while parsing a value; found"),
        ("\n5".to_string(), "line 2: found a number, expected a JSON object"),
        (
            r#"{"question":"q","answer":"a"}"#.to_string(),
            "line 1: found the fields [question, answer], expected one of: messages | conversations | contents | prompt + completion",
        ),
        (r#"{"text":"q","label":"a"}"#.to_string(), "line 1: found the fields [text, label], expected one of"),
        (r#"{"instruction":"q","response":5}"#.to_string(), "line 1: field `response`: found a number, expected text"),
        (r#"{"instruction":"q","response":"  "}"#.to_string(), "line 1: message 1: the assistant's answer is empty"),
        (r#"{"messages":"q"}"#.to_string(), "line 1: field `messages`: found text, expected a list of messages"),
        (row(""), "line 1: no message in the conversation"),
        (
            row(r#"{"role":"user","content":[{"type":"text"}]}"#),
            "line 1: field `messages[0].content[0]`: found text, expected a part with text",
        ),
        (row(r#"{"role":"assistant","content":null}"#), "line 1: field `messages[0].content`: found null, expected text"),
        (
            row(r#"{"speaker":"user","content":"q"}"#),
            "line 1: found the fields [speaker, content], expected `role` and `content` (or `from` and `value`) in messages[0]",
        ),
        (row(user), "line 1: the conversation ends with the role `user`, expected `assistant`"),
        (row(&format!("{user},{user}")), "line 1: message 1: found the role `user`, expected `assistant`"),
        (
            row(r#"{"role":"assistant","content":"a"}"#),
            "line 1: message 0: found the role `assistant`, expected `system` or `developer` or `user`",
        ),
        (row(r#"{"role":"wizard","content":"a"}"#), "line 1: message 0: found the role `wizard`, expected"),
        (
            row(&format!(r#"{user},{{"role":"assistant","content":"a","weight":0}}"#)),
            "line 1: no answer to learn: every assistant message has the weight 0",
        ),
        (r#"{"prompt":"q","completion":"a","tools":5}"#.to_string(), "line 1: field `tools`: found a number, expected a list of tools"),
    ];
    for (content, expected) in cases {
        let message = says(&content);
        assert!(message.contains(expected), "{content}\n gave {message}\n not  {expected}");
    }
}

#[test]
fn all_broken_lines_are_counted_and_five_are_told() {
    let content = format!("{}{{\"prompt\":\"q\",\"completion\":\"a\"}}\n", "{]\n".repeat(7));
    let message = says(&content);
    assert!(message.starts_with("tickets.jsonl: 7 of 8 rows cannot be used\n  line 1: column 2: not valid JSON"), "{message}");
    assert!(message.contains("\n  line 5: ") && !message.contains("line 6") && message.ends_with("\n  and 2 more"), "{message}");
}

#[test]
fn files_that_are_no_text_are_told_apart() {
    let read = |bytes: &[u8]| data::parse(bytes, Path::new("x"), &ReadOptions::default()).unwrap_err().to_string();
    assert_eq!(read(b"\xFF\xFE{\0"), "x: found text in UTF-16 (little endian), expected UTF-8");
    assert_eq!(read(b"{\"prompt\":\"\xE9\"}"), "x: 1 of 1 rows cannot be used\n  line 1: byte 12 of the line: found 0xe9, expected UTF-8");
    assert_eq!(read(b" \r\n\n"), "x: found no row, expected one JSON object a line or a JSON array of objects");
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.jsonl");
    let message = data::read(&missing, &ReadOptions::default()).unwrap_err().to_string();
    assert!(message.starts_with(&format!("cannot read {}: ", missing.display())), "{message}");
}

const TEMPLATE: &str = "{% for m in messages %}<s>{{ m.role }}:{% if m.role == 'assistant' and not loop.last and short is defined %}-{% else %}{{ m.content }}{% endif %}</s>{% endfor %}{% if add_generation_prompt %}<s>assistant:{% endif %}";

/// A tokenizer of single bytes and two special tokens.
fn chat() -> Chat {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = (0x100..).filter_map(char::from_u32);
    let bytes = (0..=255u8).map(|byte| if printable(byte) { char::from(byte) } else { others.next().unwrap() });
    let tokens: Vec<String> = ["<s>", "</s>"].into_iter().map(String::from).chain(bytes.map(String::from)).collect();
    let mut token_types = vec![1; tokens.len()];
    token_types[..2].fill(3);
    let vocab = Vocab { model: "gpt2".into(), pre: "smollm".into(), tokens, token_types, ..Vocab::default() };
    Chat { template: Template::new(TEMPLATE, None, Some("</s>")).unwrap(), tokenizer: Tokenizer::from_vocab(&vocab).unwrap(), eos: vec![1] }
}

fn options(context: usize, too_long: TooLong) -> PackOptions {
    PackOptions { context, too_long, render: RenderOptions::default() }
}

#[test]
fn packing_marks_answers_and_counts() {
    let examples = parse("{\"prompt\":\"q\",\"completion\":\"yes\"}\n\n{\"prompt\":\"qqqqqqqq\",\"completion\":\"no\"}").unwrap();
    let packed = data::pack(&examples, &chat(), &options(64, TooLong::Refuse)).unwrap();
    // <s>user:q</s><s>assistant:yes</s>: 8 tokens, 11 tokens, then y, e, s and the end of the turn.
    assert_eq!(packed.examples[0].ids.len(), 23);
    assert_eq!(packed.examples[0].learned, [vec![false; 19], vec![true; 4]].concat());
    assert_eq!(packed.examples[1].source_line, 3);
    let facts = &packed.facts;
    assert_eq!((facts.rows, facts.examples, facts.tokens, facts.learned_tokens, facts.longest), (2, 2, 52, 7, 29));
    assert_eq!((facts.ends_with_eot, facts.eot.as_slice()), (2, [1].as_slice()));
    assert!((facts.learned_share() - 7.0 / 52.0).abs() < 1e-12);
    assert!(facts.too_long.is_empty() && facts.rewritten.is_empty() && facts.split_at_border.is_empty());
}

#[test]
fn an_example_longer_than_the_context_is_refused_or_dropped() {
    let examples = parse("{\"prompt\":\"q\",\"completion\":\"yes\"}\n{\"prompt\":\"qqqqqqqq\",\"completion\":\"no\"}").unwrap();
    let message = data::pack(&examples, &chat(), &options(28, TooLong::Refuse)).unwrap_err().to_string();
    assert_eq!(message, "tickets.jsonl line 2: 29 tokens, longer than the context of 28 tokens (1 of 2 examples are too long)");
    let packed = data::pack(&examples, &chat(), &options(28, TooLong::Drop)).unwrap();
    assert_eq!((packed.examples.len(), packed.facts.too_long), (1, vec![(2, 29)]));
    let message = data::pack(&examples, &chat(), &options(3, TooLong::Drop)).unwrap_err().to_string();
    assert_eq!(message, "no example is left: 2 rows read, 2 longer than the context of 3 tokens");
}

#[test]
fn a_template_that_rewrites_history_makes_an_example_of_each_answer() {
    let content = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}"#;
    let examples = parse(content).unwrap();
    let mut options = options(100, TooLong::Refuse);
    assert_eq!(data::pack(&examples, &chat(), &options).unwrap().examples.len(), 1);
    options.render.extra.insert("short".into(), true.into());
    let packed = data::pack(&examples, &chat(), &options).unwrap();
    assert_eq!((packed.examples.len(), packed.facts.rows, packed.facts.turns, packed.facts.rewritten), (2, 1, 2, vec![1]));
    // Each answer is learned after the very prompt that generation gives, the earlier answer rewritten in it.
    let chat = chat();
    for (example, answers) in packed.examples.iter().zip([1, 2]) {
        let before = &examples[0].messages[..2 * answers - 1];
        let prompt = chat.prompt_ids(before, &options.render).unwrap();
        assert_eq!(example.ids[..prompt.len()], prompt);
        assert!(example.learned.iter().enumerate().all(|(at, learned)| *learned == (at >= prompt.len())));
    }
    assert_eq!(
        chat.tokenizer.decode(&packed.examples[1].ids, false).unwrap(),
        "<s>user:a</s><s>assistant:-</s><s>user:c</s><s>assistant:d</s>"
    );
}

#[test]
fn a_row_that_cannot_be_rendered_names_its_line() {
    let mut chat = chat();
    chat.template = Template::new("{{ raise_exception('no ' + messages[0].content) }}", None, None).unwrap();
    let examples = parse("\n{\"prompt\":\"q\",\"completion\":\"a\"}").unwrap();
    let message = data::pack(&examples, &chat, &options(64, TooLong::Refuse)).unwrap_err().to_string();
    assert_eq!(message, "tickets.jsonl line 2: the chat template refuses this conversation (template line 1): no q");
}

#[test]
fn samples_show_what_is_learned() {
    let content: String = (0..5).map(|n| format!("{{\"prompt\":\"q{n}\",\"completion\":\"a{n}\"}}\n")).collect();
    let samples = data::sample(&parse(&content).unwrap(), &chat(), &RenderOptions::default(), 3).unwrap();
    assert_eq!(samples.iter().map(|sample| sample.source.line).collect::<Vec<_>>(), [1, 3, 5]);
    let shown: Vec<(&str, bool)> = samples[1].segments.iter().map(|segment| (segment.text.as_str(), segment.learned)).collect();
    assert_eq!(shown, [("<s>user:q2</s><s>assistant:", false), ("a2</s>", true)]);
    assert_eq!((samples[1].tokens, samples[1].learned_tokens), (23, 3));
    assert_eq!(data::sample(&[], &chat(), &RenderOptions::default(), 3).unwrap(), []);
}

fn pairs(content: &str) -> Result<Vec<data::Pair>, Error> {
    data::parse_pairs(content.as_bytes(), Path::new("votes.jsonl"), &ReadOptions::default())
}

#[test]
fn pairs_are_read_in_every_shape() {
    let turns = |answer: &str| {
        format!(
            r#"[{{"role":"user","content":"q"}},{{"role":"assistant","content":"b"}},{{"role":"user","content":"r"}},{{"role":"assistant","content":"{answer}"}}]"#
        )
    };
    let rows = [
        (r#"{"prompt":"q","chosen":"good","rejected":"bad"}"#.to_string(), vec!["user:q"]),
        (r#"{"prompt":"q","system":"s","chosen":"good","rejected":"bad","id":7}"#.to_string(), vec!["system:s", "user:q"]),
        (
            r#"{"prompt":[{"role":"user","content":"q"}],"chosen":[{"role":"assistant","content":"good"}],"rejected":[{"role":"assistant","content":"bad"}]}"#.to_string(),
            vec!["user:q"],
        ),
        (format!(r#"{{"chosen":{},"rejected":{}}}"#, turns("good"), turns("bad")), vec!["user:q", "assistant:b", "user:r"]),
        // Some datasets write the prompt before each answer once more.
        (
            r#"{"prompt":"q","chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"good"}],"rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"bad"}]}"#.to_string(),
            vec!["user:q"],
        ),
    ];
    for (row, prompt) in rows {
        let pair = pairs(&row).unwrap().remove(0);
        assert_eq!(spoken(&pair.chosen), [prompt.as_slice(), &["assistant:good"]].concat(), "{row}");
        assert_eq!(spoken(&pair.rejected), [prompt.as_slice(), &["assistant:bad"]].concat(), "{row}");
    }
}

#[test]
fn each_fault_of_a_pair_names_line_found_and_expected() {
    let cases = [
        (r#"{"prompt":"q","completion":"a"}"#, "found the fields [prompt, completion], expected `chosen` and `rejected`"),
        (r#"{"prompt":"q","chosen":"a","rejected":"a"}"#, "`chosen` and `rejected` are the same answer"),
        (r#"{"prompt":"q","chosen":"a","rejected":" "}"#, "message 1: the assistant's answer is empty"),
        (r#"{"prompt":"q","chosen":5,"rejected":"a"}"#, "field `chosen`: found a number, expected text"),
        (r#"{"chosen":"a","rejected":"b"}"#, "message 0: found the role `assistant`, expected `system`"),
    ];
    for (row, part) in cases {
        let message = pairs(&format!("\n{row}")).unwrap_err().to_string();
        assert!(message.starts_with("votes.jsonl: 1 of 1 rows cannot be used\n  line 2: ") && message.contains(part), "{message}");
    }
    let message = says(r#"{"prompt":"q","chosen":"a","rejected":"b"}"#);
    assert!(message.contains("found a pair of `chosen` and `rejected`") && message.contains("train.objective"), "{message}");
}

#[test]
fn pairs_are_packed_side_by_side_and_only_what_differs_is_learned() {
    let turns = |answer: &str| {
        format!(
            r#"[{{"role":"user","content":"q"}},{{"role":"assistant","content":"b"}},{{"role":"user","content":"r"}},{{"role":"assistant","content":"{answer}"}}]"#
        )
    };
    let long = "x".repeat(90);
    let content = format!(
        "{{\"prompt\":\"q\",\"chosen\":\"good\",\"rejected\":\"bad\"}}\n{{\"chosen\":{},\"rejected\":{}}}\n{{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"{long}\"}}",
        turns("good"),
        turns("bad")
    );
    let all = pairs(&content).unwrap();
    let packed = data::pack_pairs(&all, &chat(), &options(90, TooLong::Drop)).unwrap();
    assert_eq!(packed.examples.iter().map(|e| e.source_line).collect::<Vec<_>>(), [1, 1, 2, 2]);
    let learned = |at: usize| packed.examples[at].learned.iter().filter(|l| **l).count();
    // The letters of the last answer and the end of its turn.
    assert_eq!([learned(0), learned(1), learned(2), learned(3)], [5, 4, 5, 4]);
    assert_eq!((packed.facts.rows, packed.facts.pairs, packed.facts.examples), (3, 2, 4));
    assert_eq!(packed.facts.too_long.iter().map(|t| t.0).collect::<Vec<_>>(), [3], "a pair goes whole");
    let message = data::pack_pairs(&all, &chat(), &options(90, TooLong::Refuse)).unwrap_err().to_string();
    assert!(message.starts_with("votes.jsonl line 3: ") && message.ends_with("(1 of 3 examples are too long)"), "{message}");
}
