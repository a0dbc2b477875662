//! What the user said: in a file, in an earlier result, on the command line.

use super::book::Book;
use super::day;
use super::error::{Error, Result};
use super::name::{Name, nearest};
use super::value::{Basis, Spread, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// What is chosen by its name.
pub const CHOICES: &[&str] = &["api", "base", "gpu", "managed"];

/// How it is computed, each with its default and what it may be.
pub const SETTINGS: &[(&str, u64, u64, u64)] = &[("months", 12, 1, 60), ("draws", 10_000, 100, 100_000), ("seed", 1, 0, 1 << 53)];

/// All that was said; what is said later takes precedence.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub(super) choices: BTreeMap<&'static str, String>,
    pub(super) settings: BTreeMap<&'static str, u64>,
    pub(super) values: BTreeMap<Name, Value>,
    pub(super) scenarios: Vec<Scenario>,
}

/// Inputs that are changed together, to see what that does.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it is about.
    pub name: String,
    /// Input or choice, and its new value: a number, `x2` for twice what it was, or a name.
    pub set: Vec<(String, String)>,
}

impl Given {
    /// Reads a file of inputs, or the result of an earlier run with all that it was made of.
    ///
    /// # Errors
    /// `File` for what is neither, and all that [`Given::set`] finds.
    pub fn read(&mut self, file: &str, text: &str, book: &Book) -> Result<()> {
        let broken = |why: String| Error::File { file: file.to_string(), why: why.trim_end().to_string() };
        let whole: Json = if text.trim_start().starts_with('{') {
            let earlier: Json = serde_json::from_str(text).map_err(|e| broken(e.to_string()))?;
            earlier.get("inputs").cloned().ok_or_else(|| broken("found no \"inputs\", expected the result of an earlier run".into()))?
        } else {
            toml::from_str(text).map_err(|e| broken(e.to_string()))?
        };
        let Json::Object(entries) = whole else { return Err(broken("found no table, expected name = value".into())) };
        entries.into_iter().try_for_each(|(key, value)| self.take(file, &key, value, book))
    }

    /// Takes one `name=value`, or `name=value:low:high`.
    ///
    /// # Errors
    /// `Unknown` for a name that is none, `Absurd` for a value that makes no sense.
    pub fn set(&mut self, place: &str, change: &str, book: &Book) -> Result<()> {
        let Some((key, text)) = change.split_once('=') else {
            return Err(absurd(place, change, "without a value".into(), "NAME=VALUE or NAME=VALUE:LOW:HIGH".into()));
        };
        let (key, text) = (key.trim(), text.trim());
        if CHOICES.contains(&key) {
            return self.take(place, key, Json::from(text), book);
        }
        let number = |text: &str| -> Result<Json> {
            let clear = text.replace('_', "");
            let number: f64 = clear.parse().map_err(|_| absurd(place, key, format!("`{text}`"), "a number".into()))?;
            Ok(serde_json::Number::from_f64(number)
                .ok_or_else(|| absurd(place, key, format!("`{text}`"), "a finite number".into()))?
                .into())
        };
        let value = match text.split(':').collect::<Vec<_>>().as_slice() {
            [value] => number(value)?,
            [value, low, high] => serde_json::json!({ "value": number(value)?, "low": number(low)?, "high": number(high)? }),
            _ => return Err(absurd(place, key, format!("`{text}`"), "VALUE or VALUE:LOW:HIGH".into())),
        };
        self.take(place, key, value, book)
    }

    fn take(&mut self, place: &str, key: &str, value: Json, book: &Book) -> Result<()> {
        if key == "scenario" {
            self.scenarios.extend(scenarios(place, value, book)?);
        } else if let Some(choice) = CHOICES.iter().find(|choice| **choice == key) {
            let Json::String(name) = value else { return Err(absurd(place, key, value.to_string(), "a name in quotes".into())) };
            self.choices.insert(choice, name);
        } else if let Some((setting, _, min, max)) = SETTINGS.iter().find(|setting| setting.0 == key) {
            let number = value.as_f64().filter(|n| n.fract() == 0.0 && (*min as f64..=*max as f64).contains(n));
            let expected = || absurd(place, key, plainly(&value), format!("a whole number from {min} to {max}"));
            self.settings.insert(setting, number.ok_or_else(expected)? as u64);
        } else {
            let name = named(place, key)?;
            self.values.insert(name, figure(place, name, &value, book)?);
        }
        Ok(())
    }
}

fn named(place: &str, key: &str) -> Result<Name> {
    let known = || Name::ALL.iter().map(|name| name.text()).chain(CHOICES.iter().copied()).chain(SETTINGS.iter().map(|s| s.0));
    Name::of(key).ok_or_else(|| Error::Unknown {
        place: place.to_string(),
        kind: "input",
        found: key.to_string(),
        nearest: nearest(key, known()),
        known: known().map(str::to_string).collect(),
    })
}

/// A number, or a table of `value` and what is known about it.
fn figure(place: &str, name: Name, json: &Json, book: &Book) -> Result<Value> {
    const KEYS: &[&str] = &["value", "low", "high", "least", "most", "certain", "why", "source", "as_of", "basis", "region"];
    let meaning = book.meaning(name);
    let wrong = |found: String, expected: &str| absurd(place, name.text(), found, expected.to_string());
    let get = |key: &str| json.get(key).filter(|value| !value.is_null());
    if let Some(key) = json.as_object().and_then(|table| table.keys().find(|key| !KEYS.contains(&key.as_str()))) {
        return Err(wrong(format!("a table with `{key}`"), &format!("a number, or a table of {}", KEYS.join(", "))));
    }
    let number = |key: &str| get(key).map(|n| n.as_f64().ok_or_else(|| wrong(format!("{key} = {n}"), "a number"))).transpose();
    let value = if json.is_object() { number("value")? } else { json.as_f64() };
    let value = value.ok_or_else(|| wrong(json.to_string(), &meaning.bounds()))?;
    if !meaning.allows(value) {
        return Err(wrong(value.to_string(), &meaning.bounds()));
    }
    let text = |key: &str| get(key).and_then(Json::as_str).map(str::to_string);
    let as_of = text("as_of");
    if let Some(day) = as_of.as_ref().filter(|day| day::number(day).is_none()) {
        return Err(wrong(format!("of {day}"), "a day such as 2026-11-29"));
    }
    let within = |low: f64, high: f64| low <= value && value <= high && low < high && low >= meaning.min && high <= meaning.max;
    let spread = match (number("low")?, number("high")?, number("least")?, number("most")?) {
        (None, None, None, None) if get("certain").is_some() => Spread::Certain,
        (None, None, None, None) => meaning.spread_of(value),
        (Some(low), Some(high), None, None) if within(low, high) && low > 0.0 => Spread::Lognormal { low, high },
        (None, None, Some(least), Some(most)) if within(least, most) => Spread::Triangle { least, most },
        _ => {
            return Err(wrong(
                json.to_string(),
                &format!("low and high above 0, or least and most, around the value, each {}", meaning.bounds()),
            ));
        }
    };
    let basis = get("basis").map_or(Ok(Basis::Given), |basis| {
        serde_json::from_value(basis.clone())
            .map_err(|_| wrong(format!("of the basis {basis}"), "given, measured, published, secondary or assumption"))
    })?;
    Ok(Value {
        name,
        value,
        spread,
        basis,
        why: text("why").unwrap_or_default(),
        source: text("source").unwrap_or_else(|| place.to_string()),
        as_of,
        region: text("region"),
    })
}

/// Scenarios, as a list of tables.
pub(super) fn scenarios(place: &str, json: Json, book: &Book) -> Result<Vec<Scenario>> {
    let wrong = |found: &Json| absurd(place, "scenario", found.to_string(), "tables of `name` and `set = { NAME = VALUE }`".into());
    let Json::Array(all) = json else { return Err(wrong(&json)) };
    all.iter()
        .map(|one| {
            let (Some(name), Some(set)) = (one.get("name").and_then(Json::as_str), one.get("set").and_then(Json::as_object)) else {
                return Err(wrong(one));
            };
            let word = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_string);
            let set: Vec<(String, String)> = set.iter().map(|(key, value)| (key.clone(), word(value))).collect();
            for (key, value) in &set {
                let times = value.strip_prefix('x').and_then(|n| n.parse::<f64>().ok()).is_some();
                if times {
                    named(place, key)?;
                } else {
                    Given::default().set(place, &format!("{key}={value}"), book)?;
                }
            }
            Ok(Scenario { name: name.to_string(), set })
        })
        .collect()
}

/// A number without the `.0` of a whole one.
fn plainly(value: &Json) -> String {
    value.as_f64().map_or_else(|| value.to_string(), |number| number.to_string())
}

fn absurd(place: &str, name: &str, found: String, expected: String) -> Error {
    Error::Absurd { place: place.to_string(), name: name.to_string(), found, expected }
}
