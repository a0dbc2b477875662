//! Together AI: conversations in turns, one format a file and no other columns.

use super::openai;
use super::rules::{Count, Images, Order, Rules, Tools, Weight};

pub const RULES: Rules = Rules {
    name: "together",
    title: "Together AI fine-tuning",
    sources: &[
        "https://docs.together.ai/docs/fine-tuning/data-preparation",
        "https://docs.together.ai/docs/fine-tuning/function-calling",
        "together 1.5.35 on PyPI (utils/files.py, its last check of rows before upload)",
    ],
    read_on: "2026-11-29",
    examples: Count { least: 1, advised: 50, most: None },
    bytes: Some(100_000_000_000),
    // Each base has its own; `--max-tokens` names it.
    tokens: None,
    order: Order::Alternate,
    tools: Tools::Text,
    weight: Weight::Whole,
    images: Images::Data { most: 10 },
    parallel: false,
    named: false,
    texts: true,
    usage: "check and upload it: together files upload FILE",
    ..openai::RULES
};
