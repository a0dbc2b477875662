//! Files for other platforms: every planted mistake is found in one pass, nothing is invented, and what is written is read back.

use std::path::Path;

use data::emit::{Emitted, Level, Options, PLATFORMS, emit, rules};
use data::{Content, parse_items};
use serde_json::{Value, json};

fn tool(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name, "description": "The weather.", "parameters": { "type": "object", "properties": { "city": { "type": "string" } } } } })
}

fn call(name: &str, arguments: Value) -> Value {
    json!({ "id": "call_1", "type": "function", "function": { "name": name, "arguments": arguments } })
}

fn asked(n: usize) -> Value {
    json!({ "role": "user", "content": format!("Where is my order NW-{n}?") })
}

fn answered() -> Value {
    json!({ "role": "assistant", "content": "It left our house on Monday." })
}

fn plain(n: usize) -> Value {
    json!({ "messages": [{ "role": "system", "content": "You help." }, asked(n), answered()] })
}

/// A conversation with one call of a tool and its result.
fn calling(call: Value, result: Value, tools: Value) -> Value {
    let user = json!({ "role": "user", "content": "Is it warm in Oslo?" });
    let asks = json!({ "role": "assistant", "content": null, "tool_calls": [call] });
    json!({ "messages": [user, asks, result, { "role": "assistant", "content": "Yes, 21 degrees." }], "tools": tools })
}

fn result() -> Value {
    json!({ "role": "tool", "tool_call_id": "call_1", "content": "{\"celsius\": 21}" })
}

fn file(rows: &[Value]) -> Vec<u8> {
    rows.iter().map(|row| format!("{row}\n")).collect::<String>().into_bytes()
}

fn judged(bytes: &[u8], platform: &str) -> Emitted {
    let rules = rules(platform).unwrap();
    // The platforms whose limit depends on the model get one, as a user would give it.
    let max_tokens = rules.tokens.or(Some(8000));
    emit(bytes, Path::new("chats.jsonl"), rules, Options { max_tokens })
}

/// A mistake: its line, and for each platform in the order of [`PLATFORMS`] what is told of it: `x` refused, `m` mended,
/// `a` advice, `-` taken as it is. With it the rule's short name.
struct Planted {
    line: Vec<u8>,
    rule: &'static str,
    told: &'static str,
    field: &'static str,
}

fn planted() -> Vec<Planted> {
    let good = |name: &str| calling(call(name, json!("{\"city\": \"Oslo\"}")), result(), json!([tool(name)]));
    let text = json!("{\"city\": \"Oslo\"}");
    let long = "word ".repeat(140_000);
    let image = json!({ "type": "image_url", "image_url": { "url": "http://pictures.example/box.png" } });
    let row = |rule, told, field, value: Value| Planted { line: value.to_string().into_bytes(), rule, told, field };
    vec![
        //                              o a t b v t a
        row("messages", "xxxxxxx", "messages", json!({ "question": "q", "reply": "r" })),
        row("messages", "xxxxxxx", "messages", json!({ "messages": [] })),
        row("role", "xxxxxxx", "messages[0].role", json!({ "messages": [{ "role": "operator", "content": "q" }, answered()] })),
        row("content", "xxxxxxx", "messages[1].content", json!({ "messages": [asked(1), { "role": "assistant", "content": "" }] })),
        row("last", "xxxxxaa", "messages[2].role", json!({ "messages": [asked(2), answered(), asked(3)] })),
        row(
            "weight",
            "xxxxxxx",
            "messages[1].weight",
            json!({ "messages": [asked(4), { "role": "assistant", "content": "a", "weight": 2 }] }),
        ),
        row(
            "arguments",
            "mmm----",
            "messages[1].tool_calls[0].function.arguments",
            calling(call("get_weather", json!({ "city": "Oslo" })), result(), json!([tool("get_weather")])),
        ),
        row(
            "arguments",
            "xxx-xxx",
            "messages[1].tool_calls[0].function.arguments",
            calling(call("get_weather", json!("city=Oslo")), result(), json!([tool("get_weather")])),
        ),
        row(
            "tool_call_id",
            "xxx----",
            "messages[2].tool_call_id",
            calling(call("get_weather", text.clone()), json!({ "role": "tool", "content": "21" }), json!([tool("get_weather")])),
        ),
        row(
            "unknown_tool",
            "xxx-xaa",
            "messages[1].tool_calls[0].function.name",
            calling(call("get_wether", text), result(), json!([tool("get_weather")])),
        ),
        row("function_name", "xxx-x--", "tools[0].function.name", good("get weather!")),
        row("function_name", "xxx-x--", "tools[0].function.name", good(&"w".repeat(65))),
        row("duplicate", "aaaaaaa", "", plain(100)),
        row("tokens", "xxxxxxx", "", json!({ "messages": [{ "role": "user", "content": long }, answered()] })),
        Planted {
            line: b"{\"messages\": [{\"role\": \"user\", \"content\": \"caf\xE9\"}]}".to_vec(),
            rule: "encoding",
            told: "xxxxxxx",
            field: "",
        },
        Planted { line: b"{\"messages\": [{\"role\": \"user\", \"content\": \"cut off".to_vec(), rule: "json", told: "xxxxxxx", field: "" },
        row("unknown_key", "mmmmmmm", "ticket", json!({ "messages": [asked(5), answered()], "ticket": 17 })),
        row(
            "content_part",
            "xxxxxxx",
            "messages[0].content[1]",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Hear this." }, { "type": "video", "video": "x" }] }, answered()] }),
        ),
        row(
            "image",
            "--xxxxx",
            "messages[0].content[1].image_url.url",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "What is it?" }, image] }, answered()] }),
        ),
        row(
            "parallel_tool_calls",
            "xx-----",
            "parallel_tool_calls",
            json!({ "messages": [asked(6), answered()], "parallel_tool_calls": "no" }),
        ),
        row(
            "tool_call_id",
            "xxx----",
            "messages[2].tool_call_id",
            calling(
                call("get_weather", json!("{}")),
                json!({ "role": "tool", "tool_call_id": "call_9", "content": "21" }),
                json!([tool("get_weather")]),
            ),
        ),
        row("order", "--xxx--", "messages[1].role", json!({ "messages": [asked(7), { "role": "user", "content": "Hello?" }, answered()] })),
        row(
            "reserved",
            "---x---",
            "messages[0].content",
            json!({ "messages": [{ "role": "user", "content": "User: where is it?" }, answered()] }),
        ),
        row(
            "weight",
            "---xxxm",
            "messages[1].weight",
            json!({ "messages": [asked(8), { "role": "assistant", "content": "a", "weight": 0 }, asked(9), answered()] }),
        ),
        row("no_answer", "xxxxxxx", "messages", json!({ "messages": [asked(10)] })),
        row(
            "function_call",
            "xxxxxxx",
            "messages[1].function_call",
            json!({ "messages": [asked(11), { "role": "assistant", "content": "a", "function_call": { "name": "f", "arguments": "{}" } }, answered()] }),
        ),
        row("tools", "---x---", "tools", good("get_weather")),
    ]
}

#[test]
fn all_planted_mistakes_are_told_in_one_pass_by_line_and_field() {
    let planted = planted();
    let clean: Vec<Value> = (100..160).map(plain).collect();
    let mut bytes = file(&clean);
    for mistake in &planted {
        bytes.extend_from_slice(&mistake.line);
        bytes.push(b'\n');
    }
    for (platform, rules) in PLATFORMS.iter().enumerate() {
        let judged = judged(&bytes, rules.name);
        for (index, mistake) in planted.iter().enumerate() {
            let line = (clean.len() + index + 1) as u32;
            let here: Vec<_> = judged.violations.iter().filter(|v| v.line == Some(line)).collect();
            let expected = mistake.told.as_bytes()[platform];
            let told = here.iter().find(|v| v.rule == mistake.rule && (v.field == mistake.field));
            let level = told.map_or(b'-', |v| match v.level {
                Level::Refused => b'x',
                Level::Mended => b'm',
                Level::Advice => b'a',
            });
            let name = rules.name;
            assert_eq!(level as char, expected as char, "{name} {} {}: {here:#?}", mistake.rule, mistake.field);
            assert_eq!(judged.bad.contains(&line), here.iter().any(|v| v.level == Level::Refused), "{name}: {here:#?}");
        }
        // Nothing is told of the clean lines.
        let invented: Vec<_> = judged.violations.iter().filter(|v| v.line.is_none_or(|line| line as usize <= clean.len())).collect();
        let only_advice = |v: &&&data::emit::Violation| v.rule == "examples" && v.level == Level::Advice;
        assert_eq!(invented.len(), invented.iter().filter(only_advice).count(), "{}: {invented:#?}", rules.name);
    }
}

#[test]
fn too_few_examples_a_mark_and_a_foreign_encoding_are_told_of_the_file() {
    let few = file(&(0..9).map(plain).collect::<Vec<_>>());
    for rules in PLATFORMS {
        let judged = judged(&few, rules.name);
        let told = judged.violations.iter().find(|v| v.rule == "examples").map(|v| v.level);
        let expected = if rules.examples.least > 9 { Level::Refused } else { Level::Advice };
        assert_eq!(told, Some(expected), "{}", rules.name);
        let marked = [b"\xEF\xBB\xBF".as_slice(), &few].concat();
        let mark =
            super::emit::judged(&marked, rules.name).violations.iter().any(|v| v.rule == "byte_order_mark" && v.level == Level::Mended);
        assert_eq!(mark, rules.name != "azure");
        let foreign = super::emit::judged(&[0xFF, 0xFE, b'{', 0], rules.name);
        assert_eq!(foreign.violations[0].rule, "encoding");
    }
}

#[test]
fn bad_rows_can_be_left_out_and_are_named() {
    let mut rows: Vec<Value> = (0..60).map(plain).collect();
    rows[4] = json!({ "messages": [] });
    let judged = judged(&file(&rows), "openai");
    assert_eq!((judged.refused(), judged.bad.clone()), (1, vec![5]));
    let kept = judged.without_bad(rules("openai").unwrap());
    assert_eq!((kept.refused(), kept.good.len(), kept.bad), (0, 59, vec![5]));
    // What is left over must still be enough.
    let few = super::emit::judged(&file(&rows[..10]), "openai").without_bad(rules("openai").unwrap());
    assert!(few.violations.iter().any(|v| v.rule == "examples" && v.level == Level::Refused), "{:?}", few.violations);
}

/// "role:content:calls" of every message, arguments as values; ids are not everywhere.
fn spoken(messages: &[text::Message]) -> Vec<String> {
    let called = |call: &Value| {
        let arguments = &call["function"]["arguments"];
        let value: Value = arguments.as_str().map_or_else(|| arguments.clone(), |text| serde_json::from_str(text).unwrap());
        format!("{}{value}", call["function"]["name"])
    };
    let calls =
        |m: &text::Message| m.extra.get("tool_calls").and_then(Value::as_array).map(|calls| calls.iter().map(called).collect::<Vec<_>>());
    // A result that is an object has no spelling of its own.
    let said = |m: &text::Message| serde_json::from_str::<Value>(&m.content).map_or_else(|_| m.content.clone(), |value| value.to_string());
    messages.iter().map(|m| format!("{}:{}:{:?}", m.role, said(m), calls(m))).collect()
}

#[test]
fn what_is_written_is_read_back_as_the_same_conversations() {
    let text = json!("{\"city\": \"Oslo\"}");
    let mut rows: Vec<Value> = (0..60).map(plain).collect();
    rows.push(json!({ "instruction": "How long?", "input": "NW-1", "output": "Two days." }));
    rows.push(
        json!({ "conversations": [{ "from": "human", "value": "q \u{1F600} \u{e9}\n" }, { "from": "gpt", "value": "\"quoted\"\t\\" }] }),
    );
    let tools = [rows.clone(), vec![calling(call("get_weather", text), result(), json!([tool("get_weather")]))]].concat();
    for rules in PLATFORMS {
        let rows = if rules.name == "bedrock" { &rows } else { &tools };
        let judged = judged(&file(rows), rules.name);
        assert_eq!(judged.refused(), 0, "{}: {:#?}", rules.name, judged.violations);
        let before = parse_items(&file(rows), Path::new("in")).unwrap();
        let after = parse_items(&judged.bytes(rules), Path::new("out")).unwrap();
        assert_eq!(before.len(), after.len());
        for (a, b) in before.iter().zip(&after) {
            let (Content::Chat { messages: a, tools: ta, .. }, Content::Chat { messages: b, tools: tb, .. }) = (&a.content, &b.content)
            else {
                panic!("{}: {:?} {:?}", rules.name, a.content, b.content);
            };
            assert_eq!(spoken(a), spoken(b), "{}", rules.name);
            assert_eq!(ta, tb, "{}", rules.name);
        }
        // What was written is right: judged again, nothing is found.
        let again = super::emit::judged(&judged.bytes(rules), rules.name);
        assert_eq!(again.refused(), 0, "{}: {:#?}", rules.name, again.violations);
        assert!(again.bytes(rules) == judged.bytes(rules), "{}", rules.name);
    }
}

#[test]
fn pairs_go_to_every_platform_and_back() {
    let pair = |n: usize| {
        let prompt = json!([{ "role": "system", "content": "You help." }, asked(n)]);
        json!({ "prompt": prompt, "chosen": [answered()], "rejected": [{ "role": "assistant", "content": "No idea." }], "score": 3 })
    };
    let rows: Vec<Value> = (0..60).map(pair).collect();
    let before = data::parse_pairs(&file(&rows), Path::new("in"), &data::ReadOptions::default()).unwrap();
    for rules in PLATFORMS {
        let judged = judged(&file(&rows), rules.name);
        assert_eq!(judged.refused(), 0, "{}: {:#?}", rules.name, judged.violations);
        assert!(judged.violations.iter().any(|v| v.rule == "unknown_key" && v.field == "score" && v.more == 59), "{}", rules.name);
        let after = data::parse_pairs(&judged.bytes(rules), Path::new("out"), &data::ReadOptions::default()).unwrap();
        for (a, b) in before.iter().zip(&after) {
            assert_eq!(spoken(&a.chosen.messages), spoken(&b.chosen.messages), "{}", rules.name);
            assert_eq!(spoken(&a.rejected.messages), spoken(&b.rejected.messages), "{}", rules.name);
        }
    }
    let same = json!({ "prompt": "q", "chosen": "a", "rejected": "a" });
    let mixed = [rows, (0..10).map(plain).collect(), vec![same]].concat();
    let judged = judged(&file(&mixed), "together");
    assert!(judged.violations.iter().any(|v| v.rule == "mixed" && v.line.is_none()), "{:#?}", judged.violations);
    assert!(judged.violations.iter().any(|v| v.rule == "pair" && v.line == Some(71)), "{:#?}", judged.violations);
}
