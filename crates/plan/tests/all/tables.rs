//! The tables of the six large models on four GPUs, as they were when they were last looked at.

use crate::plan_of;
use serde_json::{Map, Value, json};

/// Peaks in MiB (rounded up), and the largest micro-batch; 8,192 tokens, r=16.
const TABLES: &str = include_str!("tables.json");

#[test]
fn plans_of_the_large_models_are_those_that_were_looked_at() {
    let mut all = Map::new();
    for model in ["llama-3.1-8b", "llama-3.1-70b", "mistral-7b", "phi-3-mini", "mixtral-8x7b", "qwen2.5-14b"] {
        for method in ["full", "lora", "qlora"] {
            for gpu in ["a100-40", "a100-80", "h100-80", "h200"] {
                let p = plan_of(model, method, gpu, 1, 8192);
                let row = json!({ "mib": p.peak_bytes.div_ceil(1 << 20), "fits": p.fits, "max_tokens": p.max_tokens });
                all.insert(format!("{model} {method} {gpu}"), row);
            }
        }
    }
    let before: Value = serde_json::from_str(TABLES).unwrap();
    let lines: Vec<String> = all.iter().map(|(name, row)| format!("  {name:?}: {row}")).collect();
    assert!(before == Value::Object(all), "plans changed; if that is meant, tables.json becomes:\n{{\n{}\n}}", lines.join(",\n"));
}
