//! How values of settings are read and written: words, bounds, lists; and what other trainers call them.

use std::path::PathBuf;

use super::value::{Refusal, Value};
use super::{Device, Method, Objective, OnSpike, OverLong, Precision, Recompute, Schedule, Storage, Targets};

pub(super) const SCHEDULES: &[(&str, Schedule)] =
    &[("cosine", Schedule::Cosine), ("linear", Schedule::Linear), ("constant", Schedule::Constant)];
pub(super) const PRECISIONS: &[(&str, Precision)] = &[("auto", Precision::Auto), ("f32", Precision::F32), ("bf16", Precision::Bf16)];
pub(super) const DEVICES: &[(&str, Device)] = &[("auto", Device::Auto), ("cpu", Device::Cpu), ("cuda", Device::Cuda)];
pub(super) const RECOMPUTE: &[(&str, Recompute)] = &[("auto", Recompute::Auto), ("none", Recompute::None), ("all", Recompute::All)];
pub(super) const OVER_LONG: &[(&str, OverLong)] = &[("refuse", OverLong::Refuse), ("drop", OverLong::Drop)];
pub(super) const STORAGES: &[(&str, Storage)] =
    &[("full", Storage::Full), ("nf4", Storage::Nf4), ("int8", Storage::Int8), ("fp8", Storage::Fp8), ("stored", Storage::Stored)];
pub(super) const METHODS: &[(&str, Method)] = &[("lora", Method::Lora), ("dora", Method::Dora), ("full", Method::Full)];
pub(super) const OBJECTIVES: &[(&str, Objective)] = &[("sft", Objective::Sft), ("dpo", Objective::Dpo)];
pub(super) const ON_SPIKE: &[(&str, OnSpike)] = &[("skip", OnSpike::Skip), ("rewind", OnSpike::Rewind), ("keep", OnSpike::Keep)];

/// Stores what was read; a refused value changes nothing.
pub(super) fn put<T>(field: &mut T, read: Result<T, Refusal>) -> Result<(), Refusal> {
    *field = read?;
    Ok(())
}

pub(super) fn narrow(value: &Value, low: u32, high: u32) -> Result<u32, Refusal> {
    let found = value.whole(u64::from(low), u64::from(high))?;
    // `whole` has bounded it by a u32.
    u32::try_from(found).map_err(|_| Refusal::Range(format!("at most {high}")))
}

pub(super) fn optional<T>(value: &Value, read: fn(&Value) -> Result<T, Refusal>) -> Result<Option<T>, Refusal> {
    match value {
        Value::Unset => Ok(None),
        set => read(set).map(Some),
    }
}

/// A day of the calendar, `2026-03-31`.
pub(super) fn day(value: &Value) -> Result<String, Refusal> {
    let wanted = "a day, as in \"2026-03-31\"";
    let text = match value {
        Value::Date(text) => text.clone(),
        other => other.text(wanted)?,
    };
    let parts: Vec<&str> = text.split('-').collect();
    let digits = |part: &&str| part.bytes().all(|b| b.is_ascii_digit());
    let widths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let number = |at: usize| parts[at].parse::<u32>().unwrap_or(0);
    let fits = widths == [4, 2, 2] && parts.iter().all(digits) && (1..=12).contains(&number(1)) && {
        let leap = number(0).is_multiple_of(4) && (!number(0).is_multiple_of(100) || number(0).is_multiple_of(400));
        let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][number(1) as usize - 1];
        number(0) > 0 && (1..=days).contains(&number(2))
    };
    if fits { Ok(text) } else { Err(Refusal::Range(wanted.to_string())) }
}

impl Recompute {
    pub(super) fn of(value: &Value) -> Result<Recompute, Refusal> {
        let wanted = || "\"auto\" or \"none\" or \"all\", or a number of layers".to_string();
        match value {
            Value::Whole(_) => narrow(value, 0, 100_000).map(Recompute::First),
            Value::Text(_) => value.choice(RECOMPUTE).map_err(|_| Refusal::Range(wanted())),
            // An override's `none`.
            Value::Unset => Ok(Recompute::None),
            _ => Err(Refusal::Type(wanted())),
        }
    }

    pub(super) fn to_value(self) -> Value {
        match self {
            Recompute::First(layers) => Value::Whole(i64::from(layers)),
            other => word(RECOMPUTE, other),
        }
    }
}

/// A table of regular expressions over names; which of several counts is decided by the order of the alphabet.
pub(super) fn pattern<T>(value: &Value, read: fn(&Value) -> Result<T, Refusal>) -> Result<Vec<(String, T)>, Refusal> {
    let wanted = "a table from names of modules, or regular expressions, to numbers, as in { \"down_proj\" = 32 }";
    let Value::Table(entries) = value else {
        return Err(Refusal::Type(wanted.to_string()));
    };
    // A control character could not be written back as a key on one line.
    if entries.iter().any(|(key, _)| key.trim().is_empty() || key.chars().any(char::is_control)) {
        return Err(Refusal::Range(wanted.to_string()));
    }
    entries.iter().map(|(key, item)| Ok((key.clone(), read(item)?))).collect()
}

pub(super) fn table<T>(entries: &[(String, T)], write: fn(&T) -> Value) -> Value {
    Value::Table(entries.iter().map(|(key, item)| (key.clone(), write(item))).collect())
}

/// A list of names; it may be empty.
pub(super) fn names(value: &Value) -> Result<Vec<String>, Refusal> {
    let wanted = "a list of names, as in [\"lm_head\"]";
    match value {
        Value::List(items) => items.iter().map(|item| item.text(wanted)).collect(),
        _ => Err(Refusal::Type(wanted.to_string())),
    }
}

/// An address of HTTP without a password in it: a recipe is copied to where it would be read.
pub(super) fn address(value: &Value) -> Result<String, Refusal> {
    let wanted = "an address as in \"http://mlflow:5000\", without user and password (the environment holds those)";
    let text = value.text(wanted)?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let plain = !host.is_empty() && !text.contains(['@', '?', '#']) && !text.contains(char::is_whitespace);
    if plain { Ok(text) } else { Err(Refusal::Range(wanted.to_string())) }
}

/// A name that MLflow's registry takes and that needs no quoting in its searches.
pub(super) fn registered(value: &Value) -> Result<String, Refusal> {
    let wanted = "a model's name of letters, digits, `-`, `_`, `.` and spaces";
    let text = value.text(wanted)?;
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    if text.chars().all(fits) { Ok(text) } else { Err(Refusal::Range(wanted.to_string())) }
}

pub(super) fn betas(value: &Value) -> Result<[f64; 2], Refusal> {
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
pub(super) fn count(x: f64) -> Value {
    if x.fract() == 0.0 { Value::Whole(x as i64) } else { Value::Real(x) }
}

pub(super) fn word<T: Copy + PartialEq>(words: &[(&str, T)], value: T) -> Value {
    let hit = words.iter().find(|(_, known)| *known == value);
    hit.map_or(Value::Unset, |(word, _)| Value::Text((*word).to_string()))
}

pub(super) fn of_path(path: &std::path::Path) -> Value {
    Value::Text(path.to_string_lossy().into_owned())
}

pub(super) fn of_optional_path(path: &Option<PathBuf>) -> Value {
    path.as_deref().map_or(Value::Unset, of_path)
}

impl Targets {
    pub(super) fn of(value: &Value) -> Result<Targets, Refusal> {
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

    pub(super) fn to_value(&self) -> Value {
        match self {
            Targets::AllLinear => Value::Text("all-linear".to_string()),
            Targets::Suffixes(names) => Value::List(names.iter().cloned().map(Value::Text).collect()),
            Targets::Pattern(pattern) => Value::Text(pattern.clone()),
        }
    }
}
