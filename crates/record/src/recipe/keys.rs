//! The table of settings: name, reason of the default, and how each is read and checked.
//!
//! A new setting is a field in `mod.rs` and a row here; reading, overriding, explaining,
//! writing and the fingerprint follow from the row.

use std::path::PathBuf;

use super::read::*;
use super::value::{Refusal, Value};
use super::{Recipe, Recompute, Targets};

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
    ("load_in_4bit", "model.storage"),
    ("load_in_8bit", "model.storage"),
    ("quantization", "model.storage"),
    ("quantization_bit", "model.storage"),
    ("bnb_4bit_quant_type", "model.storage"),
    ("use_dora", "train.method"),
    ("peft_use_dora", "train.method"),
    ("finetuning_type", "train.method"),
    ("full_finetuning", "train.method"),
    ("rl", "train.objective"),
    ("stage", "train.objective"),
    ("loss_type", "train.objective"),
    ("pref_beta", "train.beta"),
    ("dpo_beta", "train.beta"),
    ("lora_modules_to_save", "adapter.modules_to_save"),
    ("additional_target", "adapter.modules_to_save"),
    ("lora_model_dir", "adapter.from"),
    ("adapter_name_or_path", "adapter.from"),
    ("router_aux_loss_coef", "train.router_loss"),
    ("moe_aux_loss_coef", "train.router_loss"),
    ("gradient_checkpointing", "train.recompute"),
    ("use_gradient_checkpointing", "train.recompute"),
    ("activation_checkpointing", "train.recompute"),
    ("recompute_granularity", "train.recompute"),
    ("eval_dataset", "data.validation"),
    ("val_set_size", "data.validation_share"),
    ("val_size", "data.validation_share"),
    ("eval_steps", "train.validate_every"),
    ("evals_per_epoch", "train.validate_every"),
    ("early_stopping_patience", "train.patience"),
    ("loss_watchdog_threshold", "train.spike"),
];

/// Every setting, in the order in which a recipe is written.
pub(super) const KEYS: &[Key] = &[
    bits(
        "model.base",
        "small enough to be trained on two CPU cores in minutes",
        |r| Value::Text(r.model.base.clone()),
        |r, v| put(&mut r.model.base, v.text("a model's name, folder or .gguf file")),
    ),
    bits(
        "model.storage",
        "full loses nothing by a code; nf4 and int8 hold the base in far less memory; fp8 takes half of bf16's and multiplies faster, on GPUs from Hopper on, but takes 3 % more held-out loss on a model of 135 million parameters: keep small ones in bf16; stored trains on what lies on disk, on the CPU",
        |r| word(STORAGES, r.model.storage),
        |r, v| put(&mut r.model.storage, v.choice(STORAGES)),
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
    path(
        "data.replay",
        "a base that should forget nothing needs none; name examples of older tasks where it should not",
        |r| of_optional_path(&r.data.replay),
        |r, v| put(&mut r.data.replay, optional(v, |v| v.text("a path")).map(|text| text.map(PathBuf::from))),
    ),
    bits(
        "data.replay_weight",
        "share of the examples that data.replay gives; 5 to 30 % is what keeps older skills",
        |r| Value::Real(r.data.replay_weight),
        |r, v| put(&mut r.data.replay_weight, v.real("a share above 0 and below 1", |x| x > 0.0 && x < 1.0)),
    ),
    path(
        "data.validation",
        "without one, training knows its own examples only; data.eval stays untouched for the final measurement",
        |r| of_optional_path(&r.data.validation),
        |r, v| put(&mut r.data.validation, optional(v, |v| v.text("a path")).map(|text| text.map(PathBuf::from))),
    ),
    free(
        "data.validation_share",
        "small sets need every example; 0.1 and more pays from about a thousand on",
        |r| Value::Real(r.data.validation_share),
        |r, v| put(&mut r.data.validation_share, v.real("a share from 0 to 0.5", |x| (0.0..=0.5).contains(&x))),
    ),
    free(
        "data.clock",
        "some templates write the day into each prompt; the day of the first start is pinned in the run's recipe",
        |r| r.data.clock.clone().map_or(Value::Unset, Value::Text),
        |r, v| put(&mut r.data.clock, optional(v, day)),
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
        "short trainings gain nothing from it; above 0 common beginnings are computed for each example",
        |r| Value::Real(r.adapter.dropout),
        |r, v| put(&mut r.adapter.dropout, v.real("a share from 0 to below 1", |x| (0.0..1.0).contains(&x))),
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
        "adapter.rank_pattern",
        "one rank everywhere; a table such as { \"down_proj\" = 32 } gives some modules another",
        |r| table(&r.adapter.rank_pattern, |rank| Value::Whole(i64::from(*rank))),
        |r, v| put(&mut r.adapter.rank_pattern, pattern(v, |v| narrow(v, 1, 4096))),
    ),
    bits(
        "adapter.alpha_pattern",
        "one alpha everywhere; a table such as { \"down_proj\" = 64 } gives some modules another",
        |r| table(&r.adapter.alpha_pattern, |alpha| Value::Real(*alpha)),
        |r, v| put(&mut r.adapter.alpha_pattern, pattern(v, |v| v.real("a number above 0", |x| x > 0.0))),
    ),
    bits(
        "adapter.modules_to_save",
        "whole modules are large; [\"lm_head\", \"embed_tokens\"] pays when new tokens are learned",
        |r| Value::List(r.adapter.modules_to_save.iter().cloned().map(Value::Text).collect()),
        |r, v| put(&mut r.adapter.modules_to_save, names(v)),
    ),
    path(
        "adapter.from",
        "a fresh adapter changes nothing at first; name a folder to train an older one on",
        |r| of_optional_path(&r.adapter.from),
        |r, v| put(&mut r.adapter.from, optional(v, |v| v.text("an adapter's or a run's folder")).map(|text| text.map(PathBuf::from))),
    ),
    bits(
        "train.method",
        "lora trains a hundredth of the weights and comes close to full; dora adds some quality and time",
        |r| word(METHODS, r.train.method),
        |r, v| put(&mut r.train.method, v.choice(METHODS)),
    ),
    bits(
        "train.objective",
        "answers are learned; dpo learns from pairs of a chosen and a rejected one",
        |r| word(OBJECTIVES, r.train.objective),
        |r, v| put(&mut r.train.objective, v.choice(OBJECTIVES)),
    ),
    bits(
        "train.beta",
        "dpo only: the value of the paper and of TRL; lower ones lead further from the start",
        |r| Value::Real(r.train.beta),
        |r, v| put(&mut r.train.beta, v.real("a number above 0 and at most 10", |x| x > 0.0 && x <= 10.0)),
    ),
    bits(
        "train.epochs",
        "small sets are learned in two passes; a third mostly memorises",
        |r| count(r.train.epochs),
        |r, v| put(&mut r.train.epochs, v.real("a number above 0 and at most 10000", |x| x > 0.0 && x <= 10_000.0)),
    ),
    bits(
        "train.lr",
        "LoRA wants about 10x the rate of full fine-tuning, which takes 1e-5 to 5e-5, as dpo does; Unsloth and Surogate use 2e-4",
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
    bits(
        "train.device",
        "an NVIDIA GPU where there is one, else the CPU; cpu or cuda says which. A GPU always trains in bf16",
        |r| word(DEVICES, r.train.device),
        |r, v| put(&mut r.train.device, v.choice(DEVICES)),
    ),
    free(
        "train.recompute",
        "layers are computed a second time only where memory would not do; the same bits either way. all, or a number of layers, fits more",
        |r| r.train.recompute.to_value(),
        |r, v| put(&mut r.train.recompute, Recompute::of(v)),
    ),
    bits(
        "train.router_loss",
        "a frozen router keeps its balance; 0.001 to 0.02 where experts are trained",
        |r| Value::Real(r.train.router_loss),
        |r, v| put(&mut r.train.router_loss, v.real("a number from 0 to 1", |x| (0.0..=1.0).contains(&x))),
    ),
    bits(
        "train.validate_every",
        "steps; 0 is once at the end of each pass, where overfitting shows first",
        |r| Value::Whole(i64::from(r.train.validate_every)),
        |r, v| put(&mut r.train.validate_every, narrow(v, 0, u32::MAX)),
    ),
    bits(
        "train.patience",
        "validations without a better one; 0 trains to the end and still publishes the best",
        |r| Value::Whole(i64::from(r.train.patience)),
        |r, v| put(&mut r.train.patience, narrow(v, 0, 100_000)),
    ),
    bits(
        "train.spike",
        "robust deviations above the recent steps, and half above the largest of them: never reached by mere noise",
        |r| Value::Real(r.train.spike),
        |r, v| put(&mut r.train.spike, v.real("0, or a number from 3 on", |x| x == 0.0 || x >= 3.0)),
    ),
    bits(
        "train.on_spike",
        "a step that is left out costs little; rewind also undoes what led to it",
        |r| word(ON_SPIKE, r.train.on_spike),
        |r, v| put(&mut r.train.on_spike, v.choice(ON_SPIKE)),
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
