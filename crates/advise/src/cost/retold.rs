//! The result for programs: all that it was made of, so that it can be made again.

use super::case::{Case, NOT_KNOWN};
use super::meet::Meeting;
use super::value::Spread;
use super::{Cost, Way};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

/// Raised when the same inputs would give other results.
pub const MODEL: u32 = 1;

/// All inputs of a case, in a form that [`super::Given::read`] reads.
pub fn inputs(case: &Case) -> Json {
    let mut all = Map::new();
    let managed = case.managed.as_deref().unwrap_or("none");
    for (key, name) in [("api", case.api.as_str()), ("base", &case.base), ("gpu", &case.gpu), ("managed", managed)] {
        all.insert(key.to_string(), json!(name));
    }
    for (key, number) in [("months", case.months as u64), ("draws", case.draws as u64), ("seed", case.seed)] {
        all.insert(key.to_string(), json!(number));
    }
    for value in case.values.iter().filter(|value| case.counts(value.name) && value.source != NOT_KNOWN) {
        let mut one = json!({ "value": value.value });
        match value.spread {
            Spread::Certain => one["certain"] = json!(true),
            Spread::Lognormal { low, high } => (one["low"], one["high"]) = (json!(low), json!(high)),
            Spread::Triangle { least, most } => (one["least"], one["most"]) = (json!(least), json!(most)),
        }
        one["basis"] = json!(value.basis);
        one["why"] = json!(value.why);
        one["source"] = json!(value.source);
        one["as_of"] = json!(value.as_of);
        one["region"] = json!(value.region);
        all.insert(value.name.text().to_string(), one);
    }
    if !case.scenarios.is_empty() {
        let set = |set: &[(String, String)]| set.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<Map<_, _>>();
        all.insert("scenario".into(), case.scenarios.iter().map(|one| json!({ "name": one.name, "set": set(&one.set) })).collect());
    }
    Json::Object(all)
}

/// What names these inputs: the same ones give the same result.
pub fn hash(case: &Case) -> String {
    let text = json!({ "model": MODEL, "inputs": inputs(case) }).to_string();
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All of a result.
pub fn json(cost: &Cost) -> Json {
    let percentiles = |p: &super::Percentiles<f64>| json!({ "p10": cents(p.p10), "p50": cents(p.p50), "p90": cents(p.p90) });
    let ways: Vec<Json> = cost.bills.iter().map(bill).collect();
    let totals: Map<String, Json> = cost.chance.totals.iter().map(|(way, p)| (way.text().to_string(), percentiles(p))).collect();
    let shares: Map<String, Json> = cost.chance.cheapest.iter().map(|(way, share)| (way.text().to_string(), json!(share))).collect();
    json!({
        "model": MODEL,
        "day": cost.day,
        "inputs_sha256": hash(&cost.case),
        "inputs": inputs(&cost.case),
        "currency": "USD",
        "cheapest": cost.cheapest(),
        "ways": ways,
        "break_even": {
            "unit": "calls in the first month",
            "hosted_over_api": meeting(&cost.meeting),
            "managed_over_api": cost.managed.as_ref().map(meeting),
            "hosted_over_managed": cost.above_managed.as_ref().map(meeting),
        },
        "payback_month": { "hosted": cost.payback, "managed": cost.managed_payback, "searched": super::PAYBACK_MONTHS },
        "chance": {
            "draws": cost.case.draws, "seed": cost.case.seed,
            "totals_usd": totals,
            "hosted_saves_usd": percentiles(&cost.chance.saving),
            "break_even_calls": cost.chance.break_even,
            "share_cheapest": shares,
            "share_hosted_pays": cost.chance.pays,
        },
        "tornado": cost.tornado.iter().map(|swing| json!({
            "input": swing.name.text(), "low": swing.low, "high": swing.high,
            "hosted_saves_at_low_usd": cents(swing.at_low), "hosted_saves_at_high_usd": cents(swing.at_high), "flips": swing.flips(),
        })).collect::<Vec<_>>(),
        "scenarios": cost.scenarios.iter().map(scenario).collect::<Vec<_>>(),
        "warnings": cost.warnings,
    })
}

fn bill(bill: &super::Bill) -> Json {
    let usd = |all: &[super::Cents]| all.iter().map(|cents| cents.usd()).collect::<Vec<f64>>();
    let line = |row: &super::Row| json!({ "title": row.title, "total_usd": row.total().usd(), "months_usd": usd(&row.months) });
    json!({
        "way": bill.way, "title": bill.way.title(), "total_usd": bill.total.usd(), "months_usd": usd(&bill.months),
        "lines": bill.rows.iter().map(line).collect::<Vec<_>>(),
    })
}

fn meeting(meeting: &Meeting) -> Json {
    json!({ "stays_from": meeting.stays, "no_dearer": meeting.intervals, "searched_to": meeting.searched })
}

fn scenario(told: &super::Told) -> Json {
    let set: Map<String, Json> = told.set.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let totals: Map<String, Json> =
        told.totals.iter().map(|(way, total): &(Way, super::Cents)| (way.text().to_string(), json!(total.usd()))).collect();
    json!({ "name": told.name, "set": set, "totals_usd": totals, "hosted_over_api": told.meeting.as_ref().map(meeting), "why_not": told.why_not })
}

fn cents(usd: f64) -> f64 {
    super::Cents::round(usd).usd()
}
