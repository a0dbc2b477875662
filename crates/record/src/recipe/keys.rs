//! The table of settings: name, reason of the default, and how each is read and checked.
//!
//! A new setting is a field in `mod.rs` and a row here; reading, overriding, explaining,
//! writing and the fingerprint follow from the row.

use std::path::PathBuf;

use super::value::{Refusal, Value};
use super::{OverLong, Precision, Recipe, Schedule, Targets};

/// One setting.
pub(super) struct Key {
    /// `section.name`.
    pub name: &'static str,
    /// Why the default is what it is.
    pub reason: &'static str,
    /// Whether the trained weights depend on it.
    pub bits: bool,
    /// Whether it is a path, so that it is resolved against the recipe's folder.
    pub path: bool,
    pub get: fn(&Recipe) -> Value,
    pub set: fn(&mut Recipe, &Value) -> Result<(), Refusal>,
}

/// A row that the trained bits depend on.
const fn bits(
    name: &'static str,
    reason: &'static str,
    get: fn(&Recipe) -> Value,
    set: fn(&mut Recipe, &Value) -> Result<(), Refusal>,
) -> Key {
    Key { name, reason, bits: true, path: false, get, set }
}

/// A row that does not touch the trained bits, or only through the pack.
const fn free(
    name: &'static str,
    reason: &'static str,
    get: fn(&Recipe) -> Value,
    set: fn(&mut Recipe, &Value) -> Result<(), Refusal>,
) -> Key {
    Key { name, reason, bits: false, path: false, get, set }
}

/// A row that holds a path.
const fn path(
    name: &'static str,
    reason: &'static str,
    get: fn(&Recipe) -> Value,
    set: fn(&mut Recipe, &Value) -> Result<(), Refusal>,
) -> Key {
    Key { name, reason, bits: false, path: true, get, set }
}

const SCHEDULES: &[(&str, Schedule)] = &[("cosine", Schedule::Cosine), ("linear", Schedule::Linear), ("constant", Schedule::Constant)];
const PRECISIONS: &[(&str, Precision)] = &[("auto", Precision::Auto), ("f32", Precision::F32), ("bf16", Precision::Bf16)];
const OVER_LONG: &[(&str, OverLong)] = &[("refuse", OverLong::Refuse), ("drop", OverLong::Drop)];

/// Names that other trainers use, and ours.
pub(super) const SYNONYMS: &[(&str, &str)] = &[
    ("model", "model.base"),
    ("base_model", "model.base"),
    ("model_name_or_path", "model.base"),
    ("max_seq_length", "data.max_tokens"),
    ("max_length", "data.max_tokens"),
    ("r", "adapter.rank"),
    ("lora_r", "adapter.rank"),
    ("lora_alpha", "adapter.alpha"),
    ("lora_dropout", "adapter.dropout"),
    ("use_rslora", "adapter.rslora"),
    ("target_modules", "adapter.targets"),
    ("num_train_epochs", "train.epochs"),
    ("num_epochs", "train.epochs"),
    ("learning_rate", "train.lr"),
    ("lr_scheduler_type", "train.schedule"),
    ("lr_scheduler", "train.schedule"),
    ("warmup_ratio", "train.warmup"),
    ("batch_size", "train.batch"),
    ("per_device_train_batch_size", "train.batch"),
    ("max_grad_norm", "train.clip"),
    ("save_steps", "train.checkpoint_every"),
    ("save_total_limit", "train.keep"),
];

/// Every setting, in the order in which a recipe is written.
pub(super) const KEYS: &[Key] = &[
    bits(
        "model.base",
        "small enough to be trained on two CPU cores in minutes",
        |r| Value::Text(r.model.base.clone()),
        |r, v| put(&mut r.model.base, v.text("a model's name, folder or .gguf file")),
    ),
    path(
        "data.train",
        "the usual name beside a recipe",
        |r| of_path(&r.data.train),
        |r, v| put(&mut r.data.train, v.text("a path").map(PathBuf::from)),
    ),
    path(
        "data.eval",
        "the usual name beside a recipe",
        |r| of_path(&r.data.eval),
        |r, v| put(&mut r.data.eval, v.text("a path").map(PathBuf::from)),
    ),
    path(
        "data.system",
        "examples that carry their own system prompt need none",
        |r| of_optional_path(&r.data.system),
        |r, v| put(&mut r.data.system, optional(v, |v| v.text("a path")).map(|text| text.map(PathBuf::from))),
    ),
    path(
        "data.schema",
        "answers are checked against a JSON Schema only if there is one",
        |r| of_optional_path(&r.data.schema),
        |r, v| put(&mut r.data.schema, optional(v, |v| v.text("a path")).map(|text| text.map(PathBuf::from))),
    ),
    free(
        "data.label",
        "a table by label needs a field that is one",
        |r| r.data.label.clone().map_or(Value::Unset, Value::Text),
        |r, v| put(&mut r.data.label, optional(v, |v| v.text("a field's name"))),
    ),
    free(
        "data.max_tokens",
        "the context of the model is the limit",
        |r| r.data.max_tokens.map_or(Value::Unset, |n| Value::Whole(i64::from(n))),
        |r, v| put(&mut r.data.max_tokens, optional(v, |v| narrow(v, 1, 1 << 24))),
    ),
    free(
        "data.over_long",
        "an example that is cut would teach answers without an end",
        |r| word(OVER_LONG, r.data.over_long),
        |r, v| put(&mut r.data.over_long, v.choice(OVER_LONG)),
    ),
    bits(
        "adapter.rank",
        "the rank with which most LoRA recipes begin",
        |r| Value::Whole(i64::from(r.adapter.rank)),
        |r, v| put(&mut r.adapter.rank, narrow(v, 1, 4096)),
    ),
    bits(
        "adapter.alpha",
        "twice the rank, so the adapter is scaled by 2",
        |r| Value::Real(r.adapter.alpha),
        |r, v| put(&mut r.adapter.alpha, v.real("a number above 0", |x| x > 0.0)),
    ),
    bits(
        "adapter.dropout",
        "what is dropped in a shared prefix would be dropped for all its examples",
        |r| Value::Real(r.adapter.dropout),
        |r, v| {
            let wanted = "0, since what is dropped in a shared prefix would be dropped for all its examples";
            put(&mut r.adapter.dropout, v.real(wanted, |x| x == 0.0))
        },
    ),
    bits(
        "adapter.rslora",
        "scaling by alpha/sqrt(rank) pays at ranks far above 16 only",
        |r| Value::Flag(r.adapter.rslora),
        |r, v| put(&mut r.adapter.rslora, v.flag()),
    ),
    bits(
        "adapter.targets",
        "adapters on every linear layer come closest to full fine-tuning",
        |r| r.adapter.targets.to_value(),
        |r, v| put(&mut r.adapter.targets, Targets::of(v)),
    ),
    bits(
        "train.epochs",
        "small sets are learned in two passes; a third mostly memorises",
        |r| count(r.train.epochs),
        |r, v| put(&mut r.train.epochs, v.real("a number above 0 and at most 10000", |x| x > 0.0 && x <= 10_000.0)),
    ),
    bits(
        "train.lr",
        "LoRA wants about 10x the rate of full fine-tuning; Unsloth and Surogate use 2e-4",
        |r| Value::Real(r.train.lr),
        |r, v| put(&mut r.train.lr, v.real("a number above 0 and at most 1", |x| x > 0.0 && x <= 1.0)),
    ),
    bits(
        "train.schedule",
        "a rate that falls to zero ends at a lower loss than a constant one",
        |r| word(SCHEDULES, r.train.schedule),
        |r, v| put(&mut r.train.schedule, v.choice(SCHEDULES)),
    ),
    bits(
        "train.warmup",
        "a short rise, while Adam's averages are still empty",
        |r| Value::Real(r.train.warmup),
        |r, v| put(&mut r.train.warmup, v.real("a share of the steps from 0 to 1", |x| (0.0..=1.0).contains(&x))),
    ),
    bits(
        "train.batch",
        "examples a step; LoRA loses quality with large batches",
        |r| Value::Whole(i64::from(r.train.batch)),
        |r, v| put(&mut r.train.batch, narrow(v, 1, 1 << 20)),
    ),
    bits(
        "train.micro_tokens",
        "tokens that go through the model at once; bounds the memory, not the result",
        |r| Value::Whole(i64::from(r.train.micro_tokens)),
        |r, v| put(&mut r.train.micro_tokens, narrow(v, 16, 1 << 24)),
    ),
    bits(
        "train.weight_decay",
        "the low rank already limits the adapter",
        |r| Value::Real(r.train.weight_decay),
        |r, v| put(&mut r.train.weight_decay, v.real("a number from 0 to 1", |x| (0.0..=1.0).contains(&x))),
    ),
    bits(
        "train.clip",
        "the usual bound of the gradient's norm; 0 switches it off",
        |r| Value::Real(r.train.clip),
        |r, v| put(&mut r.train.clip, v.real("a number of at least 0", |x| x >= 0.0)),
    ),
    bits(
        "train.betas",
        "Adam's own defaults",
        |r| Value::List(r.train.betas.iter().map(|b| Value::Real(*b)).collect()),
        |r, v| put(&mut r.train.betas, betas(v)),
    ),
    bits(
        "train.eps",
        "Adam's own default",
        |r| Value::Real(r.train.eps),
        |r, v| put(&mut r.train.eps, v.real("a number above 0 and at most 1", |x| x > 0.0 && x <= 1.0)),
    ),
    bits(
        "train.seed",
        "any number; the same one gives the same run",
        // Written as read: the reader admits no seed above i64::MAX.
        |r| Value::Whole(i64::try_from(r.train.seed).unwrap_or(i64::MAX)),
        |r, v| put(&mut r.train.seed, v.whole(0, i64::MAX.unsigned_abs())),
    ),
    bits(
        "train.share_prefix",
        "a system prompt is computed once a micro-batch; the gradient is the same",
        |r| Value::Flag(r.train.share_prefix),
        |r, v| put(&mut r.train.share_prefix, v.flag()),
    ),
    bits(
        "train.precision",
        "f32 has no rounding to argue about; bf16, or auto, trains faster where the CPU multiplies bfloat16",
        |r| word(PRECISIONS, r.train.precision),
        |r, v| put(&mut r.train.precision, v.choice(PRECISIONS)),
    ),
    free(
        "train.checkpoint_every",
        "steps; a crash costs minutes at most",
        |r| Value::Whole(i64::from(r.train.checkpoint_every)),
        |r, v| put(&mut r.train.checkpoint_every, narrow(v, 1, u32::MAX)),
    ),
    free(
        "train.keep",
        "checkpoints kept; one more than needed, in case the newest is damaged",
        |r| Value::Whole(i64::from(r.train.keep)),
        |r, v| put(&mut r.train.keep, narrow(v, 1, 100_000)),
    ),
    free(
        "eval.few_shot",
        "examples in the prompt of the rival arm; more seldom helps small models",
        |r| Value::Whole(i64::from(r.eval.few_shot)),
        |r, v| put(&mut r.eval.few_shot, narrow(v, 0, 1024)),
    ),
    free(
        "eval.max_new_tokens",
        "room for a short label or JSON answer",
        |r| Value::Whole(i64::from(r.eval.max_new_tokens)),
        |r, v| put(&mut r.eval.max_new_tokens, narrow(v, 1, 1 << 20)),
    ),
    free(
        "eval.batch",
        "examples generated at once; bounds the memory",
        |r| Value::Whole(i64::from(r.eval.batch)),
        |r, v| put(&mut r.eval.batch, narrow(v, 1, 65_536)),
    ),
    free(
        "track.mlflow",
        "a run tells nobody unless asked; the address of an MLflow server sends its record there as well",
        |r| r.track.mlflow.clone().map_or(Value::Unset, Value::Text),
        |r, v| put(&mut r.track.mlflow, optional(v, address)),
    ),
    free(
        "track.experiment",
        "the run's name without its number: runs of one recipe stand side by side",
        |r| r.track.experiment.clone().map_or(Value::Unset, Value::Text),
        |r, v| put(&mut r.track.experiment, optional(v, |v| v.text("the name of an experiment"))),
    ),
    free(
        "track.mlflow_model",
        "a model is registered only under a name that somebody chose",
        |r| r.track.mlflow_model.clone().map_or(Value::Unset, Value::Text),
        |r, v| put(&mut r.track.mlflow_model, optional(v, registered)),
    ),
    free(
        "track.wandb",
        "the name of a project writes a file for `wandb sync` into the run's folder",
        |r| r.track.wandb.clone().map_or(Value::Unset, Value::Text),
        |r, v| put(&mut r.track.wandb, optional(v, |v| v.text("the name of a project"))),
    ),
    free(
        "track.tensorboard",
        "files for TensorBoard are written where somebody looks at them",
        |r| Value::Flag(r.track.tensorboard),
        |r, v| put(&mut r.track.tensorboard, v.flag()),
    ),
];

/// Stores what was read; a refused value changes nothing.
fn put<T>(field: &mut T, read: Result<T, Refusal>) -> Result<(), Refusal> {
    *field = read?;
    Ok(())
}

fn narrow(value: &Value, low: u32, high: u32) -> Result<u32, Refusal> {
    let found = value.whole(u64::from(low), u64::from(high))?;
    // `whole` has bounded it by a u32.
    u32::try_from(found).map_err(|_| Refusal::Range(format!("at most {high}")))
}

fn optional<T>(value: &Value, read: fn(&Value) -> Result<T, Refusal>) -> Result<Option<T>, Refusal> {
    match value {
        Value::Unset => Ok(None),
        set => read(set).map(Some),
    }
}

/// An address of HTTP without a password in it: a recipe is copied to where it would be read.
fn address(value: &Value) -> Result<String, Refusal> {
    let wanted = "an address as in \"http://mlflow:5000\", without user and password (the environment holds those)";
    let text = value.text(wanted)?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let plain = !host.is_empty() && !text.contains(['@', '?', '#']) && !text.contains(char::is_whitespace);
    if plain { Ok(text) } else { Err(Refusal::Range(wanted.to_string())) }
}

/// A name that MLflow's registry takes and that needs no quoting in its searches.
fn registered(value: &Value) -> Result<String, Refusal> {
    let wanted = "a model's name of letters, digits, `-`, `_`, `.` and spaces";
    let text = value.text(wanted)?;
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    if text.chars().all(fits) { Ok(text) } else { Err(Refusal::Range(wanted.to_string())) }
}

fn betas(value: &Value) -> Result<[f64; 2], Refusal> {
    let wanted = "two numbers from 0 to below 1, as in [0.9, 0.999]";
    let Value::List(items) = value else {
        return Err(Refusal::Type(wanted.to_string()));
    };
    let [first, second] = items.as_slice() else {
        return Err(Refusal::Range(wanted.to_string()));
    };
    let one = |item: &Value| item.real(wanted, |x| (0.0..1.0).contains(&x));
    Ok([one(first)?, one(second)?])
}

/// A number that is mostly whole, written so when it is.
fn count(x: f64) -> Value {
    if x.fract() == 0.0 { Value::Whole(x as i64) } else { Value::Real(x) }
}

fn word<T: Copy + PartialEq>(words: &[(&str, T)], value: T) -> Value {
    let hit = words.iter().find(|(_, known)| *known == value);
    hit.map_or(Value::Unset, |(word, _)| Value::Text((*word).to_string()))
}

fn of_path(path: &std::path::Path) -> Value {
    Value::Text(path.to_string_lossy().into_owned())
}

fn of_optional_path(path: &Option<PathBuf>) -> Value {
    path.as_deref().map_or(Value::Unset, of_path)
}

impl Targets {
    fn of(value: &Value) -> Result<Targets, Refusal> {
        let wanted = "\"all-linear\", a list of names or a regular expression";
        match value {
            Value::Text(text) if text == "all-linear" => Ok(Targets::AllLinear),
            Value::Text(_) => Ok(Targets::Pattern(value.text(wanted)?)),
            Value::List(items) if !items.is_empty() => {
                items.iter().map(|item| item.text(wanted)).collect::<Result<_, _>>().map(Targets::Suffixes)
            }
            Value::List(_) => Err(Refusal::Range(wanted.to_string())),
            _ => Err(Refusal::Type(wanted.to_string())),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Targets::AllLinear => Value::Text("all-linear".to_string()),
            Targets::Suffixes(names) => Value::List(names.iter().cloned().map(Value::Text).collect()),
            Targets::Pattern(pattern) => Value::Text(pattern.clone()),
        }
    }
}
