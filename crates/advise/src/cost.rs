//! What each way costs over the months: API, managed fine-tuning, own hardware; where they meet; how sure that is.

mod book;
mod case;
mod chance;
mod day;
mod error;
mod given;
mod letter;
mod meet;
mod money;
mod name;
mod page;
mod plot;
mod retold;
mod swing;
mod value;
mod ways;
pub mod words;
mod workbook;

pub use book::{Book, FRESH_DAYS, INPUTS, Meaning, PRICES};
pub use case::{Case, Facts};
pub use chance::{Chance, Percentiles, draw};
pub use error::{Error, Result};
pub use given::{CHOICES, Given, SETTINGS, Scenario};
pub use letter::{markdown, named};
pub use meet::{Meeting, meet, payback};
pub use money::{Cents, grouped, plain};
pub use name::{Name, nearest};
pub use page::page;
pub use retold::{MODEL, hash, json};
pub use swing::{SCENARIOS, Swing, Told, tornado};
pub use value::{Basis, Spread, Value};
pub use ways::{Bill, LINES, Row, Way, bill, exact};
pub use workbook::workbook;

/// Payback is looked for through so many months.
pub const PAYBACK_MONTHS: usize = 60;

/// A case, counted in every way.
#[derive(Clone, Debug)]
pub struct Cost {
    /// What it was computed from.
    pub case: Case,
    /// The day of the computation.
    pub day: String,
    /// A bill for each way.
    pub bills: Vec<Bill>,
    /// Where self-hosting is no dearer than the API.
    pub meeting: Meeting,
    /// Where managed fine-tuning is no dearer than the API.
    pub managed: Option<Meeting>,
    /// Where self-hosting is no dearer than managed fine-tuning.
    pub above_managed: Option<Meeting>,
    /// The month in which self-hosting has paid back.
    pub payback: Option<usize>,
    /// The month in which managed fine-tuning has paid back.
    pub managed_payback: Option<usize>,
    /// What the uncertainty makes of it.
    pub chance: Chance,
    /// What matters most, first.
    pub tornado: Vec<Swing>,
    /// What else might be.
    pub scenarios: Vec<Told>,
    /// What should be known before this is believed.
    pub warnings: Vec<String>,
}

/// Counts all of it.
///
/// # Errors
/// As [`Case::of`] has.
pub fn count(given: &Given, book: &Book, today: &str) -> Result<Cost> {
    let case = Case::of(given, book)?;
    let (facts, months) = (case.facts(), case.months);
    let asked = case.managed.is_some();
    let bills: Vec<Bill> = case.ways().into_iter().map(|way| bill(&facts, way, months)).collect();
    let mut warnings = case.warnings(today);
    let meeting = meet(&facts, months, Way::Api, Way::Hosted);
    if meeting.intervals.first().is_some_and(|first| first.0 == 0) {
        let what = "at no calls at all self-hosting is no dearer than the API: the inputs say that calling an API is more work than running machines";
        warnings.push(what.to_string());
    }
    Ok(Cost {
        day: today.to_string(),
        bills,
        meeting,
        managed: asked.then(|| meet(&facts, months, Way::Api, Way::Managed)),
        above_managed: asked.then(|| meet(&facts, months, Way::Managed, Way::Hosted)),
        payback: payback(&facts, PAYBACK_MONTHS, Way::Api, Way::Hosted),
        managed_payback: if asked { payback(&facts, PAYBACK_MONTHS, Way::Api, Way::Managed) } else { None },
        chance: draw(&case, book),
        tornado: tornado(&case, book),
        scenarios: swing::told(given, &case, book)?,
        warnings,
        case,
    })
}

impl Cost {
    /// The bill of a way, if that way was counted.
    pub fn bill(&self, way: Way) -> Option<&Bill> {
        self.bills.iter().find(|bill| bill.way == way)
    }

    /// The total of a way.
    pub fn total(&self, way: Way) -> Cents {
        self.bill(way).map_or(Cents(0), |bill| bill.total)
    }

    /// The way that costs least.
    pub fn cheapest(&self) -> Way {
        self.bills.iter().min_by_key(|bill| bill.total).map_or(Way::Api, |bill| bill.way)
    }
}
