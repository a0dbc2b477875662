//! Every shape, in the words of those who publish it.

use super::*;

fn read(row: Value) -> Result<(&'static str, Content, Map<String, Value>), String> {
    let Value::Object(mut row) = row else { panic!("an object") };
    let shape = of(&row).expect("a shape");
    let content = shape.take(&mut row)?;
    Ok((shape.name, content, row))
}

fn chat(row: Value) -> (&'static str, Vec<(String, String)>) {
    let (name, content, _) = read(row).unwrap();
    let said = |m: &Value| (m["role"].as_str().unwrap().to_string(), m["content"].as_str().unwrap().to_string());
    (name, content.fields["messages"].as_array().unwrap().iter().map(said).collect())
}

fn turns(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(role, text)| (role.to_string(), text.to_string())).collect()
}

#[test]
fn every_shape_becomes_messages() {
    let plain = turns(&[("user", "q"), ("assistant", "a")]);
    assert_eq!(chat(json!({"instruction": "q", "response": "a"})), ("instruction_response", plain.clone()));
    assert_eq!(chat(json!({"prompt": "q", "completion": "a"})), ("prompt_completion", plain.clone()));
    let lists = json!({"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]});
    assert_eq!(chat(lists), ("prompt_completion", plain.clone()));
    assert_eq!(chat(json!({"instruction": "q", "input": "", "output": "a"})), ("alpaca", plain));
    let alpaca = json!({"instruction": "q", "input": "i", "output": "a", "system": "s", "history": [["q0", "a0"]]});
    let expected = turns(&[("system", "s"), ("user", "q0"), ("assistant", "a0"), ("user", "q\n\ni"), ("assistant", "a")]);
    assert_eq!(chat(alpaca), ("alpaca", expected));
    let sharegpt = json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"});
    assert_eq!(chat(sharegpt), ("sharegpt", turns(&[("system", "s"), ("user", "q"), ("assistant", "a")])));
    // A table can only hold a list as text.
    let text = json!({"messages": "[{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"a\"}]"});
    assert_eq!(chat(text), ("messages", turns(&[("user", "q"), ("assistant", "a")])));
}

#[test]
fn tools_weights_and_other_columns_are_kept() {
    let call = json!([{"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}]);
    let row = json!({"messages": [
        {"role": "user", "content": "q", "name": null},
        {"role": "assistant", "content": null, "tool_calls": call},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "assistant", "content": "a", "weight": 0}
    ], "tools": [{"type": "function"}], "topic": "x"});
    let (_, content, left) = read(row).unwrap();
    let messages = content.fields["messages"].as_array().unwrap();
    assert_eq!(messages[0], json!({"role": "user", "content": "q"}));
    assert_eq!((&messages[1]["tool_calls"], &messages[1]["content"]), (&call, &Value::Null));
    assert_eq!((&messages[2]["tool_call_id"], &messages[3]["weight"]), (&json!("1"), &json!(0)));
    assert_eq!(content.fields["tools"], json!([{"type": "function"}]));
    assert_eq!(Value::Object(left), json!({"topic": "x"}));
}

#[test]
fn preferences_become_prompt_chosen_and_rejected() {
    let openai = json!({
        "input": {"messages": [{"role": "user", "content": "q"}], "tools": []},
        "preferred_output": [{"role": "assistant", "content": "a"}],
        "non_preferred_output": [{"role": "assistant", "content": "b"}]
    });
    let (name, content, _) = read(openai).unwrap();
    assert_eq!(name, "openai_preference");
    let expected = json!({
        "prompt": [{"role": "user", "content": "q"}],
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}]
    });
    assert_eq!(Value::Object(content.fields), expected);
    let (name, content, _) = read(json!({"prompt": "q", "chosen": "a", "rejected": "b"})).unwrap();
    assert_eq!((name, Value::Object(content.fields)), ("preference", expected));
    for (row, why) in [
        (json!({"chosen": "a", "rejected": "a"}), "the same answer"),
        (json!({"chosen": "a", "rejected": ""}), "field `rejected`: found no answer"),
    ] {
        let found = read(row).unwrap_err();
        assert!(found.contains(why), "{found}");
    }
}

#[test]
fn conversations_are_mended_and_it_is_told_how() {
    let row = json!({"messages": [
        {"role": "system", "content": "s"}, {"role": "agent", "content": "Hello!"}, {"role": "customer", "content": "I have"},
        {"role": "customer", "content": "a question"}, {"role": "agent", "content": "Yes?"}, {"role": "customer", "content": "Bye"}
    ]});
    let (_, content, _) = read(row).unwrap();
    let fixes: Vec<&str> = content.fixed.iter().map(|fix| fix.what).collect();
    assert_eq!(fixes, ["turns_joined", "unanswered_cut", "opening_cut"]);
    assert_eq!(content.fixed[1].before, "user: Bye");
    let expected = json!([
        {"role": "system", "content": "s"}, {"role": "user", "content": "I have\n\na question"}, {"role": "assistant", "content": "Yes?"}
    ]);
    assert_eq!(content.fields["messages"], expected);
    let parts = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"}]});
    let (_, content, _) = read(parts).unwrap();
    assert_eq!((&content.fields["messages"][0]["content"], content.fixed[0].what), (&json!("a\nb"), "parts_joined"));
    let (_, content, _) = read(json!({"instruction": "q", "output": {"label": "x"}})).unwrap();
    assert_eq!(content.fields["messages"][1]["content"], "{\"label\":\"x\"}");
    assert_eq!(content.fixed[0].what, "json_to_text");
}

#[test]
fn what_cannot_be_mended_is_named() {
    for (row, why) in [
        (json!({"messages": "x"}), "field `messages`: found text, expected a list of messages"),
        (json!({"messages": [{"role": "user", "content": "q"}]}), "found no answer"),
        (json!({"messages": [{"role": "assistant", "content": "q"}]}), "an answer to nothing"),
        (json!({"messages": [{"role": "pirate", "content": "q"}]}), "`messages[0]`: found the role `pirate`"),
        (json!({"messages": [{"text": "q"}]}), "found the fields [text], expected `role` and `content`"),
        (json!({"instruction": "q", "output": " "}), "message 2: found an empty text of the assistant"),
        (json!({"instruction": null, "output": "a"}), "field `instruction`: found null, expected text"),
        (json!({"instruction": "q", "output": "a", "history": ["x"]}), "field `history[0]`: found text"),
        (json!({"prompt": "q", "completion": "a", "label": false}), "marked as not wanted"),
        (json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), "a part that is no text"),
    ] {
        let found = read(row.clone()).map(|(_, content, _)| content).unwrap_err();
        assert!(found.contains(why), "{row}: {found}");
    }
}
