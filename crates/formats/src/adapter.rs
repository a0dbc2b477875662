//! PEFT adapters: adapter_config.json, which modules it reaches, and the names of its tensors.

mod file;
mod names;
mod targets;

use std::path::Path;

use serde_json::{Map, Value};

use crate::Error;

pub use names::{Part, parse_tensor_name, tensor_name};

/// The name of the configuration in an adapter's folder.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The name of the weights in an adapter's folder.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// Modules by name: a list of endings, one regular expression over the whole name, or all linear layers.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// A module is meant if its name is an item or ends with a dot and an item.
    List(Vec<String>),
    /// A module is meant if the expression (Python's syntax) matches its whole name.
    Regex(String),
    /// Every linear layer but the output layer.
    AllLinear,
}

/// Layers by number.
pub type Layers = Vec<usize>;

/// adapter_config.json of a LoRA adapter as PEFT writes it.
///
/// Module names are those of the model, such as `model.layers.0.self_attn.q_proj`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterConfig {
    /// The rank.
    pub r: usize,
    /// The scale is `lora_alpha / r`, or `lora_alpha / sqrt(r)` with `use_rslora`.
    pub lora_alpha: f64,
    pub lora_dropout: f64,
    pub target_modules: Targets,
    pub exclude_modules: Option<Targets>,
    /// Parameters that are no module of their own, such as `mlp.experts.gate_up_proj`: endings of their names.
    pub target_parameters: Vec<String>,
    pub use_rslora: bool,
    pub use_dora: bool,
    /// Ranks of some modules: regular expressions over the end of the name; the first that matches counts.
    pub rank_pattern: Vec<(String, usize)>,
    /// As `rank_pattern`, for `lora_alpha`.
    pub alpha_pattern: Vec<(String, f64)>,
    /// Modules that are trained and stored whole; never targets themselves.
    pub modules_to_save: Vec<String>,
    /// "none", "all" or "lora_only".
    pub bias: String,
    pub fan_in_fan_out: bool,
    pub base_model_name_or_path: Option<String>,
    pub revision: Option<String>,
    pub task_type: Option<String>,
    /// Only these layers; none means all. Has no effect on a regular expression, as in PEFT.
    pub layers_to_transform: Option<Layers>,
    /// Names of the module list whose index is the layer's number; empty means any.
    pub layers_pattern: Vec<String>,
    /// true, false, or the name of an initialisation.
    pub init_lora_weights: Value,
    /// Every other key of the file, kept for writing.
    pub extra: Map<String, Value>,
}

impl AdapterConfig {
    /// A plain LoRA configuration; set further fields as needed.
    pub fn new(r: usize, lora_alpha: f64, target_modules: Targets) -> AdapterConfig {
        AdapterConfig {
            r,
            lora_alpha,
            lora_dropout: 0.0,
            target_modules,
            exclude_modules: None,
            target_parameters: Vec::new(),
            use_rslora: false,
            use_dora: false,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            modules_to_save: Vec::new(),
            bias: "none".to_string(),
            fan_in_fan_out: false,
            base_model_name_or_path: None,
            revision: None,
            task_type: Some("CAUSAL_LM".to_string()),
            layers_to_transform: None,
            layers_pattern: Vec::new(),
            init_lora_weights: Value::Bool(true),
            extra: Map::new(),
        }
    }

    /// Reads adapter_config.json, given itself or its folder.
    ///
    /// # Errors
    /// `Io`, `Json`; `Field` for a value of the wrong kind, a `peft_type` other than LORA, a pattern that is no
    /// regular expression, a rank of 0.
    pub fn read(path: &Path) -> Result<AdapterConfig, Error> {
        if path.is_dir() { file::read(&path.join(CONFIG_FILE)) } else { file::read(path) }
    }

    /// Writes adapter_config.json, given itself or its folder, with the keys that PEFT writes.
    ///
    /// # Errors
    /// `Io`; `Field` for patterns that are no regular expressions and a rank of 0.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        if path.is_dir() { file::write(self, &path.join(CONFIG_FILE)) } else { file::write(self, path) }
    }

    /// Settings that change the result and that we do not compute; empty for a plain LoRA or rsLoRA adapter.
    ///
    /// `use_dora` and `modules_to_save` have fields of their own and are left to the caller.
    pub fn unsupported(&self) -> Vec<String> {
        file::unsupported(self)
    }

    /// Whether PEFT would put an adapter on this module (a linear layer). A pattern that is no regular expression
    /// matches nothing; `read` and `write` refuse one.
    pub fn matches(&self, module: &str) -> bool {
        targets::matches(self, module)
    }

    /// Whether PEFT would put an adapter on this parameter (the stacked weights of all experts).
    pub fn matches_parameter(&self, parameter: &str) -> bool {
        targets::ends_with_item(&self.target_parameters, parameter)
    }

    /// The rank on this module.
    pub fn rank_of(&self, module: &str) -> usize {
        targets::first_match(&self.rank_pattern, module).copied().unwrap_or(self.r)
    }

    /// The alpha on this module.
    pub fn alpha_of(&self, module: &str) -> f64 {
        targets::first_match(&self.alpha_pattern, module).copied().unwrap_or(self.lora_alpha)
    }

    /// What B·A is multiplied by on this module: alpha / r, or alpha / sqrt(r) with rsLoRA.
    pub fn scale_of(&self, module: &str) -> f64 {
        let rank = self.rank_of(module) as f64;
        self.alpha_of(module) / if self.use_rslora { rank.sqrt() } else { rank }
    }
}
