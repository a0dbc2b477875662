//! Azure OpenAI: OpenAI's rows, with a byte order mark at the file's beginning.

use super::openai;
use super::rules::{Count, Rules};

pub const RULES: Rules = Rules {
    name: "azure",
    title: "Azure OpenAI fine-tuning",
    sources: &[
        "https://learn.microsoft.com/en-us/azure/ai-services/openai/how-to/fine-tuning",
        "https://learn.microsoft.com/en-us/azure/ai-services/openai/how-to/fine-tuning-functions",
    ],
    read_on: "2026-11-29",
    examples: Count { least: 10, advised: 50, most: None },
    // Its documents want UTF-8 with a mark; a file without one is not told of as wrong, what is written has it.
    mark: true,
    usage: "upload it with purpose fine-tune; above 100 MB in parts, by the uploads API",
    ..openai::RULES
};
