//! One case, complete: every input with its value, its spread and its source.

use super::book::{Book, FRESH_DAYS};
use super::day;
use super::error::{Error, Result};
use super::given::{Given, SETTINGS, Scenario};
use super::name::{Name, nearest};
use super::value::{Basis, Spread, Value};
use super::ways::Way;
use std::ops::Index;

/// The source of a figure that stands for one that nobody knows and nothing depends on.
pub(super) const NOT_KNOWN: &str = "not known";

/// All that a cost is computed from.
#[derive(Clone, Debug)]
pub struct Case {
    /// The hosted model.
    pub api: String,
    /// The model that would be tuned.
    pub base: String,
    /// The GPU that it would run on.
    pub gpu: String,
    /// The managed service, where one is asked about.
    pub managed: Option<String>,
    /// How long it is counted.
    pub months: usize,
    /// Draws of the uncertainty.
    pub draws: usize,
    /// What they begin from.
    pub seed: u64,
    /// One for each name, in their order.
    pub values: Vec<Value>,
    /// Scenarios beside the built-in ones.
    pub scenarios: Vec<Scenario>,
}

/// The plain numbers of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts(Vec<f64>);

impl Index<Name> for Facts {
    type Output = f64;
    fn index(&self, name: Name) -> &f64 {
        &self.0[name as usize]
    }
}

impl Facts {
    /// With another value of `name`.
    pub fn with(&self, name: Name, value: f64) -> Facts {
        let mut all = self.0.clone();
        all[name as usize] = value;
        Facts(all)
    }
}

impl Case {
    /// Joins what was said with the book.
    ///
    /// # Errors
    /// `Needed` for facts that only the team knows, `Unknown` for names that no file has, `Missing` for a price, `Contradiction`.
    pub fn of(given: &Given, book: &Book) -> Result<Case> {
        let chosen = |choice: &str| given.choices.get(choice).cloned();
        let needed = needed(given, book);
        if !needed.is_empty() {
            return Err(Error::Needed { facts: needed });
        }
        let all = |choice: &str| chosen(choice).unwrap_or_default();
        let managed = chosen("managed").filter(|name| name != "none");
        let setting = |name: &str| {
            let usual = SETTINGS.iter().find(|setting| setting.0 == name).map_or(0, |setting| setting.1);
            given.settings.get(name).copied().unwrap_or(usual)
        };
        let mut case = Case {
            api: all("api"),
            base: all("base"),
            gpu: all("gpu"),
            managed,
            months: setting("months") as usize,
            draws: setting("draws") as usize,
            seed: setting("seed"),
            values: Vec::new(),
            scenarios: given.scenarios.clone(),
        };
        case.known(given, book)?;
        let found: Vec<Option<Value>> = Name::ALL.iter().map(|name| case.find(*name, given, book)).collect();
        let missing: Vec<Name> = Name::ALL.iter().zip(&found).filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
        if !missing.is_empty() {
            let of = case.has(&missing, book);
            return Err(Error::Missing { facts: missing.into_iter().map(|name| described(name, book)).collect(), of });
        }
        case.values = found.into_iter().flatten().collect();
        case.agree(given)?;
        Ok(case)
    }

    /// The plain numbers.
    pub fn facts(&self) -> Facts {
        Facts(self.values.iter().map(|value| value.value).collect())
    }

    /// The plain numbers, with the uncertain ones at what `quantile` says.
    pub fn facts_at(&self, mut quantile: impl FnMut(&Value) -> f64, book: &Book) -> Facts {
        let whole = |value: &Value, x: f64| if book.meaning(value.name).whole { x.round() } else { x };
        Facts(self.values.iter().map(|value| if value.uncertain() { whole(value, quantile(value)) } else { value.value }).collect())
    }

    /// The ways that are counted.
    pub fn ways(&self) -> Vec<Way> {
        Way::ALL.into_iter().filter(|way| *way != Way::Managed || self.managed.is_some()).collect()
    }

    /// One input.
    pub fn value(&self, name: Name) -> &Value {
        &self.values[name as usize]
    }

    /// Whether `name` counts in this case.
    pub fn counts(&self, name: Name) -> bool {
        self.managed.is_some() || !name.managed()
    }

    /// Names that no file has are refused, unless all their figures are given.
    fn known(&self, given: &Given, book: &Book) -> Result<()> {
        let has = |names: &[Name]| names.iter().all(|name| given.values.contains_key(name));
        let judge = |kind: &'static str, found: &str, known: Vec<String>, figures: &[Name]| {
            if known.iter().any(|one| one == found) || has(figures) {
                return Ok(());
            }
            let nearest = nearest(found, known.iter().map(String::as_str));
            Err(Error::Unknown { place: "the price file".to_string(), kind, found: found.to_string(), nearest, known })
        };
        judge("hosted model", &self.api, book.apis(), &[Name::ApiInput, Name::ApiOutput])?;
        let speed = [Name::Decode, Name::Prefill, Name::TrainSpeed, Name::Gpus, Name::TrainGpus];
        judge("base", &self.base, book.bases(), &speed)?;
        judge("GPU", &self.gpu, book.gpus(), &[&speed[..], &[Name::GpuHour]].concat())?;
        let service = [Name::ManagedTrain, Name::ManagedInput, Name::ManagedOutput, Name::ManagedHosting];
        self.managed.as_ref().map_or(Ok(()), |name| judge("managed service", name, book.services(), &service))
    }

    /// What the price file has beside what is missing.
    fn has(&self, missing: &[Name], book: &Book) -> String {
        let list = |section: &str, of: &str| match book.fields(section, of) {
            none if none.is_empty() => format!("no price of {of}"),
            fields => format!("of {of} the price of {}", fields.join(", ")),
        };
        let mut parts: Vec<String> = missing
            .iter()
            .map(|name| match name {
                Name::ApiInput | Name::ApiCached | Name::ApiOutput => list("api", &self.api),
                Name::GpuHour => list("gpu", &self.gpu),
                name if name.managed() => list("managed", self.managed.as_deref().unwrap_or_default()),
                _ => format!("throughputs of {} on {}", self.base, book.timed_on(&self.base).join(", ")),
            })
            .collect();
        parts.dedup();
        parts.join("; ")
    }

    fn find(&self, name: Name, given: &Given, book: &Book) -> Option<Value> {
        if let Some(value) = given.values.get(&name) {
            return Some(value.clone());
        }
        let service = self.managed.as_deref().unwrap_or_default();
        let found = match name {
            Name::ApiInput => book.price("api", &self.api, "input", name),
            Name::ApiOutput => book.price("api", &self.api, "output", name),
            Name::ApiCached => book.price("api", &self.api, "cached", name).or_else(|| self.uncached(given, book)),
            Name::Cached if book.price("api", &self.api, "cached", name).is_none() && !given.values.contains_key(&Name::ApiCached) => {
                let why = format!("no price of cached input is known for {}, so all of it is paid in full", self.api);
                book.default(name).map(|value| Value { spread: Spread::Certain, why, ..value })
            }
            Name::ManagedTrain => book.price("managed", service, "train", name),
            Name::ManagedInput => book.price("managed", service, "input", name),
            Name::ManagedOutput => book.price("managed", service, "output", name),
            Name::ManagedHosting => book.price("managed", service, "hosting", name),
            Name::GpuHour => book.price("gpu", &self.gpu, "hour", name),
            Name::Engineer => book.price("people", "", "engineer", name),
            Name::Monitoring => book.price("running", "", "monitoring", name),
            Name::Storage => book.price("running", "", "storage", name),
            Name::Gpus | Name::TrainGpus | Name::Decode | Name::Prefill | Name::TrainSpeed => book.speed(&self.base, &self.gpu, name),
            _ => book.default(name),
        };
        found.or_else(|| (!self.counts(name)).then(|| unasked(name)))
    }

    /// Where no price of cached input is known and none is said to be cached, it does not matter.
    fn uncached(&self, given: &Given, book: &Book) -> Option<Value> {
        let full = given.values.get(&Name::ApiInput).cloned().or_else(|| book.price("api", &self.api, "input", Name::ApiInput))?;
        let none = given.values.get(&Name::Cached).is_none_or(|cached| cached.value == 0.0 && !cached.uncertain());
        let why = "the full price stands here, on which nothing depends".to_string();
        let (name, spread, basis, source) = (Name::ApiCached, Spread::Certain, Basis::Assumption, NOT_KNOWN.to_string());
        none.then_some(Value { name, value: full.value, spread, basis, why, source, as_of: None, region: None })
    }

    fn agree(&self, given: &Given) -> Result<()> {
        let refuse = |what: String| Err(Error::Contradiction { what });
        let facts = self.facts();
        if facts[Name::TokensIn] + facts[Name::TokensOut] == 0.0 {
            return refuse("tokens_in and tokens_out are both 0: a call without tokens costs nothing anywhere".into());
        }
        if self.managed.is_none()
            && let Some(name) = given.values.keys().find(|name| name.managed() && given.values[name].basis == Basis::Given)
        {
            return refuse(format!("`{}` is given, but no managed service is named", name.text()));
        }
        Ok(())
    }

    /// What should be known before the result is believed: old figures, figures that nobody looked up, inputs without effect.
    pub fn warnings(&self, today: &str) -> Vec<String> {
        let facts = self.facts();
        let mut lines = self.ages(today);
        if facts[Name::Rework] == 0.0 && facts[Name::ApiWrong] + facts[Name::TunedWrong] > 0.0 {
            lines.push("shares of wrong answers are given, but `rework`, the cost of mending one, is 0: they count for nothing".into());
        }
        for name in [Name::ApiRetires, Name::ManagedRetires] {
            if facts[name] > self.months as f64 && self.counts(name) {
                lines.push(format!("`{}` is month {}, after the {} months that are counted", name.text(), facts[name], self.months));
            }
        }
        if facts[Name::People] == 0.0 {
            lines.push("`people` is 0: nobody looks after the machines".into());
        }
        lines
    }

    fn ages(&self, today: &str) -> Vec<String> {
        let Some(now) = day::number(today) else { return Vec::new() };
        let mut old: Vec<(i64, &str, Vec<&str>)> = Vec::new();
        for value in self.values.iter().filter(|value| self.counts(value.name)) {
            let Some(age) = value.as_of.as_deref().and_then(day::number).map(|day| now - day) else { continue };
            if age <= FRESH_DAYS {
                continue;
            }
            match old.iter_mut().find(|one| one.0 == age && one.1 == value.source) {
                Some(one) => one.2.push(value.name.text()),
                None => old.push((age, &value.source, vec![value.name.text()])),
            }
        }
        let is = |names: &[&str]| if names.len() == 1 { "is" } else { "are" };
        old.iter().map(|(age, source, names)| format!("{} {} {age} days old: {source}", names.join(", "), is(names))).collect()
    }
}

/// Facts without a default that nobody gave.
fn needed(given: &Given, book: &Book) -> Vec<(String, String)> {
    let choices = [
        ("api", format!("the hosted model that you would use: {}", book.apis().join(", "))),
        ("base", format!("the model that you would tune: {}", book.bases().join(", "))),
        ("gpu", format!("the GPU that it would run on: {}", book.gpus().join(", "))),
    ];
    let choices = choices.into_iter().filter(|(name, _)| !given.choices.contains_key(name)).map(|(name, what)| (name.to_string(), what));
    let facts = [Name::Calls, Name::TokensIn, Name::TokensOut];
    let facts = facts.into_iter().filter(|name| !given.values.contains_key(name)).map(|name| described(name, book));
    choices.chain(facts).collect()
}

fn described(name: Name, book: &Book) -> (String, String) {
    let meaning = book.meaning(name);
    (name.text().to_string(), format!("{}, {}", meaning.what, meaning.unit))
}

/// Of a way that is left out.
fn unasked(name: Name) -> Value {
    let why = "no managed service was asked about".to_string();
    Value { name, value: 0.0, spread: Spread::Certain, basis: Basis::Assumption, why, source: String::new(), as_of: None, region: None }
}
