//! What matters: each input by itself from low to high, and scenarios that change several.

use super::book::Book;
use super::case::{Case, Facts};
use super::error::Result;
use super::given::{Given, Scenario, scenarios};
use super::meet::{Meeting, meet};
use super::money::Cents;
use super::name::Name;
use super::ways::{Way, bill, exact};

/// The built-in scenarios.
pub const SCENARIOS: &str = include_str!("../../scenarios.toml");

/// One input alone, at its tenth and at its ninetieth percentile.
#[derive(Clone, Debug, PartialEq)]
pub struct Swing {
    /// Which.
    pub name: Name,
    /// Its values.
    pub low: f64,
    /// Its values.
    pub high: f64,
    /// What self-hosting saves over the API with them, in US dollars.
    pub at_low: f64,
    /// What self-hosting saves over the API with them, in US dollars.
    pub at_high: f64,
}

impl Swing {
    /// How far it moves the saving.
    pub fn width(&self) -> f64 {
        (self.at_high - self.at_low).abs()
    }

    /// Whether it alone changes which of the two is cheaper.
    pub fn flips(&self) -> bool {
        (self.at_low < 0.0) != (self.at_high < 0.0)
    }
}

/// Every uncertain input, the one that moves most first.
pub fn tornado(case: &Case, book: &Book) -> Vec<Swing> {
    let facts = case.facts();
    let saving = |facts: &Facts| exact(facts, Way::Api, case.months) - exact(facts, Way::Hosted, case.months);
    let uncertain = case.values.iter().filter(|value| value.uncertain() && case.counts(value.name));
    let mut all: Vec<Swing> = uncertain
        .map(|value| {
            let at = |p: f64| {
                let x = value.quantile(p);
                if book.meaning(value.name).whole { x.round() } else { x }
            };
            let (low, high) = (at(0.1), at(0.9));
            let saved = |x: f64| saving(&facts.with(value.name, x));
            Swing { name: value.name, low, high, at_low: saved(low), at_high: saved(high) }
        })
        .filter(|swing| swing.width() > 0.0)
        .collect();
    all.sort_by(|a, b| b.width().total_cmp(&a.width()));
    all
}

/// A scenario, counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What it is about.
    pub name: String,
    /// What is set.
    pub set: Vec<(String, String)>,
    /// The totals of the ways.
    pub totals: Vec<(Way, Cents)>,
    /// Where self-hosting is no dearer than the API.
    pub meeting: Option<Meeting>,
    /// Why it cannot be counted, if it cannot.
    pub why_not: Option<String>,
}

/// The built-in scenarios and those that were given.
///
/// # Errors
/// `Unknown` and `Absurd` for scenarios that name or set what cannot be.
pub fn told(given: &Given, case: &Case, book: &Book) -> Result<Vec<Told>> {
    let builtin = toml::from_str::<serde_json::Value>(SCENARIOS)
        .map_err(|e| super::Error::File { file: "scenarios.toml".to_string(), why: e.to_string() })?;
    let mut all = scenarios("scenarios.toml", builtin["scenario"].clone(), book)?;
    all.extend(given.scenarios.iter().cloned());
    Ok(all.iter().map(|scenario| one(scenario, given, case, book)).collect())
}

fn one(scenario: &Scenario, given: &Given, case: &Case, book: &Book) -> Told {
    let (name, set) = (scenario.name.clone(), scenario.set.clone());
    let case = match changed(scenario, given, case, book) {
        Ok(case) => case,
        Err(why) => return Told { name, set, totals: Vec::new(), meeting: None, why_not: Some(why.to_string()) },
    };
    let facts = case.facts();
    let totals = case.ways().into_iter().map(|way| (way, bill(&facts, way, case.months).total)).collect();
    let meeting = Some(meet(&facts, case.months, Way::Api, Way::Hosted));
    Told { name, set, totals, meeting, why_not: None }
}

fn changed(scenario: &Scenario, given: &Given, case: &Case, book: &Book) -> Result<Case> {
    let mut changed = given.clone();
    let place = format!("scenario \"{}\"", scenario.name);
    for (key, value) in &scenario.set {
        if key == "api" {
            // Another model has its own prices.
            [Name::ApiInput, Name::ApiCached, Name::ApiOutput].iter().for_each(|name| drop(changed.values.remove(name)));
        }
        let times = value.strip_prefix('x').and_then(|n| n.parse::<f64>().ok());
        let value = match (times, Name::of(key)) {
            (Some(times), Some(name)) => (case.value(name).value * times).to_string(),
            _ => value.clone(),
        };
        changed.set(&place, &format!("{key}={value}"), book)?;
    }
    Case::of(&changed, book)
}
