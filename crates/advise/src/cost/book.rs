//! What is known beforehand: the dated prices and throughputs, and what each input means.

use super::day;
use super::error::{Error, Result};
use super::name::Name;
use super::value::{Basis, Spread, Value};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Prices older than this are told with their age.
pub const FRESH_DAYS: i64 = 90;

/// The built-in price file, as it is.
pub const PRICES: &str = include_str!("../../prices.toml");
/// What each input means, what it may be, and its default.
pub const INPUTS: &str = include_str!("../../inputs.toml");

/// One price, as the file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    value: f64,
    currency: String,
    #[serde(rename = "unit")]
    _unit: String,
    basis: Basis,
    source: String,
    as_of: String,
    region: String,
    low: Option<f64>,
    high: Option<f64>,
}

/// How fast a base is on a GPU.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Speed {
    gpus: f64,
    train_gpus: f64,
    decode: f64,
    prefill: f64,
    train: f64,
    basis: Basis,
    source: String,
    as_of: String,
}

type Section = BTreeMap<String, BTreeMap<String, Price>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Prices {
    api: Section,
    gpu: Section,
    managed: Section,
    people: BTreeMap<String, Price>,
    running: BTreeMap<String, Price>,
    throughput: BTreeMap<String, BTreeMap<String, Speed>>,
}

/// What an input means, what it may be, and its default if it has one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meaning {
    /// In words.
    pub what: String,
    /// Of its figure.
    pub unit: String,
    pub(super) min: f64,
    pub(super) max: f64,
    #[serde(default)]
    pub(super) whole: bool,
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    least: Option<f64>,
    most: Option<f64>,
    low_times: Option<f64>,
    high_times: Option<f64>,
    #[serde(default)]
    pub(super) why: String,
    source: Option<String>,
    as_of: Option<String>,
    basis: Option<Basis>,
}

/// All that is known beforehand.
#[derive(Debug)]
pub struct Book {
    prices: Prices,
    meanings: BTreeMap<String, Meaning>,
}

impl Book {
    /// The built-in book.
    ///
    /// # Errors
    /// `File` if it is broken, which a test excludes.
    pub fn builtin() -> Result<Book> {
        let meanings = toml::from_str(INPUTS).map_err(|e| broken("inputs.toml", &e))?;
        Ok(Book { prices: parse("prices.toml", PRICES)?, meanings })
    }

    /// Puts the entries of another price file in the place of ours.
    ///
    /// # Errors
    /// `File` for text that is no price file, `Absurd` for a price or day that makes no sense.
    pub fn add(&mut self, file: &str, text: &str) -> Result<()> {
        let theirs = parse(file, text)?;
        let join =
            |ours: &mut Section, theirs: Section| theirs.into_iter().for_each(|(name, all)| ours.entry(name).or_default().extend(all));
        join(&mut self.prices.api, theirs.api);
        join(&mut self.prices.gpu, theirs.gpu);
        join(&mut self.prices.managed, theirs.managed);
        self.prices.people.extend(theirs.people);
        self.prices.running.extend(theirs.running);
        theirs.throughput.into_iter().for_each(|(base, all)| self.prices.throughput.entry(base).or_default().extend(all));
        Ok(())
    }

    /// What `name` means.
    pub fn meaning(&self, name: Name) -> &Meaning {
        // A test holds names and table together.
        &self.meanings[name.text()]
    }

    /// Names of hosted models.
    pub fn apis(&self) -> Vec<String> {
        self.prices.api.keys().cloned().collect()
    }

    /// Names of managed services.
    pub fn services(&self) -> Vec<String> {
        self.prices.managed.keys().cloned().collect()
    }

    /// Bases whose speed is known on some GPU.
    pub fn bases(&self) -> Vec<String> {
        self.prices.throughput.keys().cloned().collect()
    }

    /// GPUs with a price or a speed.
    pub fn gpus(&self) -> Vec<String> {
        let timed = self.prices.throughput.values().flat_map(BTreeMap::keys);
        let mut all: Vec<String> = self.prices.gpu.keys().chain(timed).cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    /// GPUs on which the speed of `base` is known.
    pub fn timed_on(&self, base: &str) -> Vec<String> {
        self.prices.throughput.get(base).map_or(Vec::new(), |gpus| gpus.keys().cloned().collect())
    }

    /// Which prices are known of a hosted model, a GPU or a managed service.
    pub(super) fn fields(&self, section: &str, of: &str) -> Vec<String> {
        let section = match section {
            "api" => &self.prices.api,
            "gpu" => &self.prices.gpu,
            _ => &self.prices.managed,
        };
        section.get(of).map_or(Vec::new(), |fields| fields.keys().cloned().collect())
    }

    /// A price of a hosted model, a managed service or a GPU, or what everybody pays.
    pub(super) fn price(&self, section: &str, of: &str, field: &str, name: Name) -> Option<Value> {
        let found = match section {
            "api" => self.prices.api.get(of)?.get(field)?,
            "gpu" => self.prices.gpu.get(of)?.get(field)?,
            "managed" => self.prices.managed.get(of)?.get(field)?,
            "people" => self.prices.people.get(field)?,
            _ => self.prices.running.get(field)?,
        };
        let spread = match (found.low, found.high) {
            (Some(low), Some(high)) if low < high && found.value > 0.0 => Spread::Lognormal { low, high },
            _ => Spread::Certain,
        };
        Some(Value {
            name,
            value: found.value,
            spread,
            basis: found.basis,
            why: if of.is_empty() { String::new() } else { format!("price of {of}") },
            source: found.source.clone(),
            as_of: Some(found.as_of.clone()),
            region: Some(found.region.clone()),
        })
    }

    /// A speed of `base` on `gpu`.
    pub(super) fn speed(&self, base: &str, gpu: &str, name: Name) -> Option<Value> {
        let found = self.prices.throughput.get(base)?.get(gpu)?;
        let value = match name {
            Name::Gpus => found.gpus,
            Name::TrainGpus => found.train_gpus,
            Name::Decode => found.decode,
            Name::Prefill => found.prefill,
            _ => found.train,
        };
        let meaning = self.meaning(name);
        Some(Value {
            name,
            value,
            spread: meaning.spread_of(value),
            basis: found.basis,
            why: format!("{base} on {gpu}{}", if meaning.why.is_empty() { String::new() } else { format!("; {}", meaning.why) }),
            source: found.source.clone(),
            as_of: Some(found.as_of.clone()),
            region: None,
        })
    }

    /// The default of an input, if there is one.
    pub(super) fn default(&self, name: Name) -> Option<Value> {
        let meaning = self.meaning(name);
        let value = meaning.value?;
        Some(Value {
            name,
            value,
            spread: meaning.spread_of(value),
            basis: meaning.basis.unwrap_or(Basis::Assumption),
            why: meaning.why.clone(),
            source: meaning.source.clone().unwrap_or_else(|| "default of tunesmith".to_string()),
            as_of: meaning.as_of.clone(),
            region: None,
        })
    }
}

impl Meaning {
    /// How sure `value` is where nobody said so: as sure as the default, at its scale.
    pub(super) fn spread_of(&self, value: f64) -> Spread {
        let (low, high) = match (self.value, self.low, self.high, self.low_times, self.high_times) {
            (Some(usual), Some(low), Some(high), ..) if usual > 0.0 => (low / usual, high / usual),
            (.., Some(low), Some(high)) => (low, high),
            _ => return self.triangle(value),
        };
        if value > 0.0 { Spread::Lognormal { low: value * low, high: (value * high).min(self.max) } } else { Spread::Certain }
    }

    fn triangle(&self, value: f64) -> Spread {
        let (Some(usual), Some(least), Some(most)) = (self.value, self.least, self.most) else { return Spread::Certain };
        let (least, most) = if usual == 0.0 { (value + least, value + most) } else { (least / usual * value, most / usual * value) };
        let (least, most) = (least.clamp(self.min, self.max).min(value), most.clamp(self.min, self.max).max(value));
        if least < most { Spread::Triangle { least, most } } else { Spread::Certain }
    }

    /// What values it may have, in words.
    pub(super) fn bounds(&self) -> String {
        let whole = if self.whole { "a whole number" } else { "a number" };
        format!("{whole} from {} to {} ({})", self.min, self.max, self.unit)
    }

    pub(super) fn allows(&self, value: f64) -> bool {
        value.is_finite() && (self.min..=self.max).contains(&value) && (!self.whole || value.fract() == 0.0)
    }
}

fn parse(file: &str, text: &str) -> Result<Prices> {
    let prices: Prices = toml::from_str(text).map_err(|e| broken(file, &e))?;
    for (section, all) in [("api", &prices.api), ("gpu", &prices.gpu), ("managed", &prices.managed)] {
        for (of, fields) in all {
            fields.iter().try_for_each(|(field, price)| judge(file, &format!("{section}.{of}"), field, price, fields_of(section)))?;
        }
    }
    for (section, fields) in [("people", &prices.people), ("running", &prices.running)] {
        fields.iter().try_for_each(|(field, price)| judge(file, section, field, price, fields_of(section)))?;
    }
    for (base, gpus) in &prices.throughput {
        for (gpu, speed) in gpus {
            let numbers = [speed.gpus, speed.train_gpus, speed.decode, speed.prefill, speed.train];
            if let Some(wrong) = numbers.into_iter().find(|n| !(n.is_finite() && *n > 0.0)) {
                return Err(absurd(file, format!("throughput.{base}.{gpu}"), wrong, "numbers above 0"));
            }
            if day::number(&speed.as_of).is_none() {
                return Err(absurd(file, format!("throughput.{base}.{gpu}.as_of"), &speed.as_of, "a day such as 2026-11-29"));
            }
        }
    }
    Ok(prices)
}

fn fields_of(section: &str) -> &'static [&'static str] {
    match section {
        "api" => &["input", "cached", "output"],
        "gpu" => &["hour"],
        "managed" => &["train", "input", "output", "hosting"],
        "people" => &["engineer"],
        _ => &["monitoring", "storage"],
    }
}

fn judge(file: &str, of: &str, field: &str, price: &Price, known: &[&str]) -> Result<()> {
    let place = format!("{of}.{field}");
    if !known.contains(&field) {
        let nearest = super::name::nearest(field, known.iter().copied());
        let known = known.iter().map(ToString::to_string).collect();
        return Err(Error::Unknown { place: file.to_string(), kind: "price", found: place, nearest, known });
    }
    if !(price.value.is_finite() && price.value >= 0.0) {
        return Err(absurd(file, place, price.value, "0 or more"));
    }
    if price.currency != "USD" {
        return Err(absurd(file, format!("{place}.currency"), &price.currency, "USD: convert it, and say at which rate in its source"));
    }
    if day::number(&price.as_of).is_none() {
        return Err(absurd(file, format!("{place}.as_of"), &price.as_of, "a day such as 2026-11-29"));
    }
    let ordered = [price.low.unwrap_or(price.value), price.value, price.high.unwrap_or(price.value)];
    if !(ordered.is_sorted() && ordered[0] >= 0.0) || price.low.is_some() != price.high.is_some() {
        return Err(absurd(file, place, format!("{ordered:?}"), "low, value and high in this order, or neither low nor high"));
    }
    Ok(())
}

fn absurd(file: &str, name: String, found: impl ToString, expected: &str) -> Error {
    Error::Absurd { place: file.to_string(), name, found: found.to_string(), expected: expected.to_string() }
}

fn broken(file: &str, why: &toml::de::Error) -> Error {
    Error::File { file: file.to_string(), why: why.to_string().trim_end().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_inputs_and_the_names_are_the_same() {
        let book = Book::builtin().unwrap();
        let ours: Vec<&str> = Name::ALL.iter().map(|name| name.text()).collect();
        assert!(book.meanings.keys().all(|key| ours.contains(&key.as_str())));
        for name in Name::ALL {
            let meaning = book.meanings.get(name.text()).unwrap_or_else(|| panic!("{name:?}"));
            assert!(meaning.value.is_none_or(|value| meaning.allows(value) && !meaning.why.is_empty()), "{name:?}");
        }
    }

    #[test]
    fn every_price_has_its_day_and_its_source() {
        let book = Book::builtin().unwrap();
        assert!(book.apis().len() >= 7 && book.gpus().len() >= 6 && book.bases().len() >= 3);
        let price = book.price("gpu", "h100-80", "hour", Name::GpuHour).unwrap();
        assert!(price.source.contains("RunPod") && price.as_of.as_deref() == Some("2026-11-09") && price.uncertain());
    }

    #[test]
    fn a_file_of_ones_own_takes_precedence_and_is_judged() {
        let mut book = Book::builtin().unwrap();
        let ours = |value: &str, rest: &str| {
            format!(
                "[gpu.h200]\nhour = {{ value = {value}, currency = \"USD\", unit = \"GPU hour\", basis = \"given\", source = \"our contract\", as_of = \"2026-11-01\", region = \"eu\"{rest} }}"
            )
        };
        book.add("our.toml", &ours("2.2", "")).unwrap();
        assert_eq!(book.price("gpu", "h200", "hour", Name::GpuHour).unwrap().value, 2.2);
        let said = |text: String| Book::builtin().unwrap().add("our.toml", &text).unwrap_err().to_string();
        assert!(said(ours("-1", "")).contains("`gpu.h200.hour` is -1, expected 0 or more"));
        assert!(said(ours("2", ", low = 3, high = 4")).contains("in this order"));
        assert!(said(ours("2", "").replace("2026-11-01", "last week")).contains("a day such as"));
        assert!(said(ours("2", "").replace("USD", "EUR")).contains("convert it"));
        assert!(said(ours("2", "").replace("hour", "hours")).contains("did you mean `hour`"));
        assert!(said(ours("2", ", colour = 3")).contains("colour"));
    }
}
