//! The recipe: every setting of a run, each with a default and a reason.
//!
//! ```toml
//! [model]
//! base = "smollm2-135m-instruct"
//! [train]
//! lr = 1e-3
//! ```
//! Paths in a file are relative to that file; paths of an override are relative to where
//! the program was started.

mod checks;
mod keys;
mod read;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Place, Result};
use crate::hash;
use keys::{KEYS, Key, SYNONYMS};
use value::{Refusal, Value};

/// Everything that a run is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub model: Model,
    pub data: Data,
    pub adapter: Adapter,
    pub train: Train,
    pub eval: Eval,
    pub track: Track,
    /// Settings that do not stand at their default, by key.
    origins: BTreeMap<&'static str, Origin>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// A known name, a folder, a `.gguf` file or a Hugging Face id.
    pub base: String,
    pub storage: Storage,
}

/// How the base's frozen matrices lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Decoded, to the precision of the run.
    Full,
    /// Four bits a number in the NF4 code, scales quantised once more (QLoRA).
    Nf4,
    /// Eight bits a number, one scale a row.
    Int8,
    /// 8-bit floats with a scale a row, multiplied as such; on a GPU alone.
    Fp8,
    /// As they lie on disk: blocks of a GGUF file, or what bitsandbytes wrote.
    Stored,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    pub train: PathBuf,
    pub eval: PathBuf,
    /// A text file with the system prompt of every example.
    pub system: Option<PathBuf>,
    /// A JSON Schema of the answers.
    pub schema: Option<PathBuf>,
    /// The field of the answer that is a label.
    pub label: Option<String>,
    /// The longest example; none: the model's context.
    pub max_tokens: Option<u32>,
    pub over_long: OverLong,
    /// Examples of older tasks that are mixed in, against forgetting.
    pub replay: Option<PathBuf>,
    /// The share of a step's examples that comes from `replay`, above 0 and below 1.
    pub replay_weight: f64,
    /// Examples whose loss is measured during training.
    pub validation: Option<PathBuf>,
    /// The share of `train` that is held out for that where there is no file; 0: none.
    pub validation_share: f64,
    /// The day, `2026-03-31`, that a template is told; none: the day on which the recipe is settled.
    pub clock: Option<String>,
}

/// What happens to an example that is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverLong {
    Refuse,
    Drop,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    pub rank: u32,
    pub alpha: f64,
    pub dropout: f64,
    pub rslora: bool,
    pub targets: Targets,
    /// Ranks of some modules: regular expressions over the end of a name; the first, by the alphabet, that matches counts.
    pub rank_pattern: Vec<(String, u32)>,
    /// The same for `alpha`.
    pub alpha_pattern: Vec<(String, f64)>,
    /// Modules that are trained and stored whole.
    pub modules_to_save: Vec<String>,
    /// The folder of an adapter to train on; none: a fresh one.
    pub from: Option<PathBuf>,
}

/// Which linear layers get an adapter, as in PEFT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Every linear layer but the head.
    AllLinear,
    /// Layers whose name is, or ends with a dot and, one of these.
    Suffixes(Vec<String>),
    /// Layers whose whole name this regular expression matches.
    Pattern(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Train {
    pub method: Method,
    pub objective: Objective,
    /// How far a preference may lead away from the reference model (DPO).
    pub beta: f64,
    /// Passes over the examples; half a pass is half of them.
    pub epochs: f64,
    pub lr: f64,
    pub schedule: Schedule,
    /// Share of the steps, 0 to 1.
    pub warmup: f64,
    /// Examples a step.
    pub batch: u32,
    /// Tokens a micro-batch at most.
    pub micro_tokens: u32,
    pub weight_decay: f64,
    /// Largest L2 norm of the gradient; 0: no bound.
    pub clip: f64,
    pub betas: [f64; 2],
    pub eps: f64,
    pub seed: u64,
    pub share_prefix: bool,
    pub precision: Precision,
    pub device: Device,
    pub recompute: Recompute,
    /// Factor of the load-balancing loss of a model with experts; 0: without.
    pub router_loss: f64,
    /// Steps between two validations; 0: one at the end of each pass.
    pub validate_every: u32,
    /// Validations without a better one after which a run ends; 0: never.
    pub patience: u32,
    /// Robust deviations above the usual at which loss or gradient counts as a spike; 0: never.
    pub spike: f64,
    pub on_spike: OnSpike,
    /// Steps between two checkpoints.
    pub checkpoint_every: u32,
    /// Checkpoints kept.
    pub keep: u32,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Low-rank additions to frozen matrices.
    Lora,
    /// The same with a learned length of each row (weight-decomposed).
    Dora,
    /// Every weight.
    Full,
}

/// What a step makes smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// The loss of the answers.
    Sft,
    /// The preference loss of pairs of answers, against the model as it was at the start.
    Dpo,
}

/// What happens to a step whose loss or gradient is a spike, or no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSpike {
    /// It changes nothing.
    Skip,
    /// The run goes back to its last checkpoint and passes the step's examples over.
    Rewind,
    /// It counts like any other; what is no number is skipped even so.
    Keep,
}

/// Where a run is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The first GPU where there is one and the recipe runs on it, else the CPU; a run's own recipe names the one that it was.
    Auto,
    Cpu,
    /// An NVIDIA GPU: activations in bfloat16, frozen weights in bfloat16 or as model.storage holds them.
    Cuda,
}

/// In what the products with frozen weights are computed; on the CPU all else is float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Bf16 where the CPU multiplies it faster, else F32; a run's own recipe names the one that it was.
    Auto,
    F32,
    /// Both factors rounded to bfloat16, sums in float32.
    Bf16,
}

/// Which layers keep only their input, and are computed again for the backward pass: less memory, more time, the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recompute {
    /// As few as make the run fit this machine's memory.
    Auto,
    None,
    All,
    /// So many, from the first one on.
    First(u32),
}

/// How the learning rate goes on after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    Cosine,
    Linear,
    Constant,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Eval {
    pub few_shot: u32,
    pub max_new_tokens: u32,
    pub batch: u32,
}

/// Who else is told what happens in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Address of an MLflow server.
    pub mlflow: Option<String>,
    /// The experiment at MLflow; none: the run's name without its number.
    pub experiment: Option<String>,
    /// The registered model that a finished adapter becomes a version of.
    pub mlflow_model: Option<String>,
    /// The project of a Weights & Biases offline file.
    pub wandb: Option<String>,
    pub tensorboard: bool,
}

/// Who chose a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Default,
    File,
    Flag,
}

/// One setting, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub key: &'static str,
    /// As it would stand in the file; `none` when unset.
    pub value: String,
    pub from: Origin,
    /// Why the default is what it is.
    pub reason: &'static str,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            model: Model { base: "smollm2-135m-instruct".to_string(), storage: Storage::Full },
            data: Data {
                train: "data/train.jsonl".into(),
                eval: "data/eval.jsonl".into(),
                system: None,
                schema: None,
                label: None,
                max_tokens: None,
                over_long: OverLong::Refuse,
                replay: None,
                replay_weight: 0.1,
                validation: None,
                validation_share: 0.0,
                clock: None,
            },
            adapter: Adapter {
                rank: 16,
                alpha: 32.0,
                dropout: 0.0,
                rslora: false,
                targets: Targets::AllLinear,
                rank_pattern: Vec::new(),
                alpha_pattern: Vec::new(),
                modules_to_save: Vec::new(),
                from: None,
            },
            train: Train {
                method: Method::Lora,
                objective: Objective::Sft,
                beta: 0.1,
                epochs: 2.0,
                lr: 2e-4,
                schedule: Schedule::Cosine,
                warmup: 0.03,
                batch: 16,
                micro_tokens: 4096,
                weight_decay: 0.0,
                clip: 1.0,
                betas: [0.9, 0.999],
                eps: 1e-8,
                seed: 42,
                share_prefix: true,
                precision: Precision::F32,
                device: Device::Auto,
                recompute: Recompute::Auto,
                router_loss: 0.0,
                validate_every: 0,
                patience: 0,
                spike: 8.0,
                on_spike: OnSpike::Skip,
                checkpoint_every: 50,
                keep: 2,
            },
            eval: Eval { few_shot: 8, max_new_tokens: 64, batch: 32 },
            track: Track { mlflow: None, experiment: None, mlflow_model: None, wandb: None, tensorboard: false },
            origins: BTreeMap::new(),
        }
    }
}

impl Recipe {
    /// Reads a file; what it does not name stands at its default.
    pub fn read(path: &Path) -> Result<Recipe> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::io("read the recipe", path, source))?;
        Recipe::parse(&text, path)
    }

    /// As [`Recipe::read`], from text; `path` is named in errors, and its folder is where
    /// relative paths begin.
    pub fn parse(text: &str, path: &Path) -> Result<Recipe> {
        let place = |at: usize| Place::File { path: path.to_path_buf(), line: line_of(text, at) };
        let document = DeTable::parse(text).map_err(|cause| Error::Syntax {
            place: place(cause.span().map_or(0, |span| span.start)),
            message: cause.message().to_string(),
        })?;
        let mut recipe = Recipe::default();
        for (section, content) in document.get_ref() {
            let name = section.get_ref();
            if !is_section(name) {
                return Err(unknown(place(section.span().start), name));
            }
            let DeValue::Table(entries) = content.get_ref() else {
                return Err(Error::WrongType {
                    place: place(section.span().start),
                    key: name.to_string(),
                    found: Value::of(content.get_ref()).described(),
                    expected: format!("a section, as in [{name}]"),
                });
            };
            for (key, content) in entries {
                let name = format!("{name}.{}", key.get_ref());
                let value = Value::of(content.get_ref());
                recipe.apply(&name, &value, place(key.span().start), Origin::File)?;
            }
        }
        recipe.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(recipe)
    }

    /// Overrides one setting: `train.lr=1e-3`. Text needs no quotes; `none` clears an
    /// optional setting.
    pub fn set(&mut self, change: &str) -> Result<()> {
        let (key, text) = change.split_once('=').ok_or_else(|| Error::NotASetting { found: change.to_string() })?;
        let (key, text) = (key.trim(), text.trim());
        if key.is_empty() || text.is_empty() {
            return Err(Error::NotASetting { found: change.to_string() });
        }
        self.apply(key, &value_of_flag(text), Place::Flag, Origin::Flag)
    }

    /// Every setting with its value, its origin and the reason of its default, in order.
    pub fn explain(&self) -> Vec<Line> {
        let line = |key: &'static Key| Line {
            key: key.name,
            value: (key.get)(self).to_toml(),
            from: self.origins.get(key.name).copied().unwrap_or(Origin::Default),
            reason: key.reason,
        };
        KEYS.iter().map(line).collect()
    }

    /// Every setting as a file; unset ones stand as a comment.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for key in KEYS {
            let (of, name) = key.name.split_once('.').unwrap_or(("", key.name));
            if of != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                out.push_str(&format!("{gap}[{of}]\n"));
                section = of;
            }
            match (key.get)(self) {
                Value::Unset => out.push_str(&format!("# {name} is not set\n")),
                value => out.push_str(&format!("{name} = {}\n", value.to_toml())),
            }
        }
        out
    }

    /// The same recipe with every path made absolute, so that it means the same wherever
    /// it is stored.
    pub fn with_absolute_paths(&self) -> Result<Recipe> {
        let start = std::path::absolute(".").map_err(|source| Error::io("find the folder", Path::new("."), source))?;
        let mut recipe = self.clone();
        recipe.resolve(&start);
        Ok(recipe)
    }

    /// The settings on which the trained bits depend, as one line of JSON with ordered keys.
    ///
    /// The data count through the pack, which has a hash of its own.
    pub fn canonical(&self) -> String {
        let entries = KEYS.iter().filter(|key| key.bits);
        let object = entries.map(|key| (key.name.to_string(), (key.get)(self).to_json())).collect();
        hash::canonical(&Json::Object(object))
    }

    /// SHA-256 of [`Recipe::canonical`]: two runs with the same fingerprint, pack and base
    /// give the same bits.
    pub fn fingerprint(&self) -> String {
        hash::sha256(self.canonical().as_bytes())
    }

    fn apply(&mut self, name: &str, value: &Value, place: Place, origin: Origin) -> Result<()> {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            return Err(unknown(place, name));
        };
        match (key.set)(self, value) {
            Ok(()) => {
                self.origins.insert(key.name, origin);
                Ok(())
            }
            Err(Refusal::Type(expected)) => Err(Error::WrongType { place, key: name.to_string(), found: value.described(), expected }),
            Err(Refusal::Range(expected)) => Err(Error::OutOfRange { place, key: name.to_string(), found: value.described(), expected }),
        }
    }

    /// Puts `folder` before every relative path; a base is a path when it begins with a dot.
    fn resolve(&mut self, folder: &Path) {
        for key in KEYS {
            let Value::Text(text) = (key.get)(self) else { continue };
            let dotted = key.name == "model.base" && (text.starts_with("./") || text.starts_with("../"));
            if !(key.path || dotted) || Path::new(&text).is_absolute() {
                continue;
            }
            let kept = if dotted { text.as_str() } else { text.trim_start_matches("./") };
            let joined = if folder.as_os_str().is_empty() { PathBuf::from(kept) } else { folder.join(kept) };
            // A joined path is as long as its parts at least, so it is never refused.
            let _ = (key.set)(self, &Value::Text(joined.to_string_lossy().into_owned()));
        }
    }
}

/// An override's value: TOML where it is TOML, else plain text.
fn value_of_flag(text: &str) -> Value {
    if text == "none" {
        return Value::Unset;
    }
    // A line feed would start a second setting.
    if !text.contains('\n')
        && let Ok(document) = DeTable::parse(&format!("v = {text}"))
        && let Some((_, content)) = document.get_ref().iter().next()
    {
        return Value::of(content.get_ref());
    }
    Value::Text(text.to_string())
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.split_once('.').is_some_and(|(section, _)| section == name))
}

fn unknown(place: Place, name: &str) -> Error {
    Error::UnknownKey { place, key: name.to_string(), nearest: nearest(name) }
}

/// The known key, or section, that was most likely meant.
fn nearest(name: &str) -> Option<String> {
    let last = name.rsplit('.').next().unwrap_or(name);
    if let Some((_, ours)) = SYNONYMS.iter().find(|(theirs, _)| *theirs == last) {
        return Some((*ours).to_string());
    }
    let last_of = |key: &&Key| key.name.rsplit('.').next() == Some(last);
    if let Some(key) = KEYS.iter().find(last_of) {
        return Some(key.name.to_string());
    }
    let sections = ["model", "data", "adapter", "train", "eval", "track"];
    let known = KEYS.iter().map(|key| key.name).chain(sections);
    let best = known.map(|key| (distance(name, key), key)).min()?;
    (best.0 <= 2.max(name.len() / 3)).then(|| best.1.to_string())
}

/// Letters to insert, delete or replace until `a` is `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
