//! Prints what is personal in each text of a file of conversations, for `bench/private.py`: one JSON line a row.

use std::io::{BufRead, Write};

use data::Talk;
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("expected a file of {\"id\", \"texts\": [...]} a line")?;
    let mut out = std::io::stdout().lock();
    for line in std::io::BufReader::new(std::fs::File::open(path)?).lines() {
        let row: Value = serde_json::from_str(&line?)?;
        let texts: Vec<&str> = row["texts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut talk = if texts.len() > 1 { Talk::chat() } else { Talk::single() };
        let found: Vec<Value> = texts
            .iter()
            .map(|text| {
                let found = talk.find(text);
                // Python counts characters.
                let chars = |byte: usize| text[..byte].chars().count();
                found.iter().map(|one| json!([chars(one.start), chars(one.end), one.kind.name(), one.sure, one.why])).collect()
            })
            .collect();
        writeln!(out, "{}", json!({ "id": row["id"], "found": found }))?;
    }
    Ok(())
}
