//! The models whose configuration is built in, as their authors published it, cut to what a plan needs.

use crate::Error;
use formats::ModelConfig;
use std::path::Path;

macro_rules! models {
    ($($name:literal),* $(,)?) => {
        /// The built-in names.
        pub const NAMES: &[&str] = &[$($name),*];
        const TEXTS: &[&str] = &[$(include_str!(concat!("models/", $name, ".json"))),*];
    };
}

models!(
    "llama-3.1-8b",
    "llama-3.1-70b",
    "mistral-7b",
    "phi-3-mini",
    "mixtral-8x7b",
    "qwen2.5-0.5b",
    "qwen2.5-1.5b",
    "qwen2.5-3b",
    "qwen2.5-7b",
    "qwen2.5-14b",
    "qwen2.5-32b",
    "qwen2.5-72b",
    "qwen3-8b",
    "smollm2-135m",
);

/// The configuration of a built-in model; capitals do not matter.
///
/// # Errors
/// `Model`, with the names there are.
pub fn builtin(name: &str) -> Result<ModelConfig, Error> {
    let low = name.to_ascii_lowercase();
    let text = NAMES.iter().position(|n| *n == low).map(|at| TEXTS[at]);
    // A text that cannot be read would be a fault of this file; the tests read all of them.
    let config = text.and_then(|text| ModelConfig::from_text(Path::new(name), text).ok());
    config.ok_or_else(|| Error::Model { found: name.to_string(), expected: NAMES.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{adapted, parameters};

    #[test]
    fn every_model_has_the_parameters_that_its_weights_have() {
        // The element counts of the published safetensors files.
        for (name, count) in [
            ("llama-3.1-8b", 8_030_261_248),
            ("llama-3.1-70b", 70_553_706_496),
            ("mistral-7b", 7_241_732_096),
            ("phi-3-mini", 3_821_079_552),
            ("mixtral-8x7b", 46_702_792_704),
            ("qwen2.5-0.5b", 494_032_768),
            ("qwen2.5-1.5b", 1_543_714_304),
            ("qwen2.5-3b", 3_085_938_688),
            ("qwen2.5-7b", 7_615_616_512),
            ("qwen2.5-14b", 14_770_033_664),
            ("qwen2.5-32b", 32_763_876_352),
            ("qwen2.5-72b", 72_706_203_648),
            ("qwen3-8b", 8_190_735_360),
            ("smollm2-135m", 134_515_008),
        ] {
            assert_eq!(parameters(&builtin(name).unwrap()), count, "{name}");
        }
        assert_eq!(NAMES.len(), 14);
    }

    #[test]
    fn an_adapter_has_as_many_parameters_as_pefts() {
        // PEFT prints 41,943,040 for r=16 on all linear layers of Llama-3.1-8B, and 4,884,480 on SmolLM2-135M.
        assert_eq!(adapted(&builtin("llama-3.1-8b").unwrap(), 16), 41_943_040);
        assert_eq!(adapted(&builtin("SmolLM2-135M").unwrap(), 16), 4_884_480);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let said = builtin("llama-4").unwrap_err().to_string();
        assert!(said.contains("\"llama-4\"") && said.contains("qwen2.5-14b"), "{said}");
    }
}
