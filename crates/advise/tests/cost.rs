//! Costs as users get them: refusals, properties over random cases, and the typical case.

use advise::cost::{Book, Case, Cents, Error, Facts, Given, Name, PAYBACK_MONTHS, Way};
use advise::cost::{bill, count, exact, hash, json, markdown, meet, page, payback, workbook};

const TYPICAL: &str = include_str!("../../../examples/cost/typical.toml");
const DAY: &str = "2026-11-29";

fn given(changes: &[&str]) -> Given {
    let book = Book::builtin().unwrap();
    let mut given = Given::default();
    given.read("typical.toml", TYPICAL, &book).unwrap();
    changes.iter().for_each(|change| given.set("--set", change, &book).unwrap());
    given
}

fn case(changes: &[&str]) -> Case {
    Case::of(&given(changes), &Book::builtin().unwrap()).unwrap()
}

fn refused(changes: &[&str]) -> String {
    let book = Book::builtin().unwrap();
    let mut given = Given::default();
    given.read("typical.toml", TYPICAL, &book).unwrap();
    let set = changes.iter().try_for_each(|change| given.set("--set", change, &book));
    set.and_then(|()| Case::of(&given, &book).map(|_| ())).unwrap_err().to_string()
}

/// The same numbers everywhere, for a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.next()
    }

    fn log(&mut self, low: f64, high: f64) -> f64 {
        (low.ln() + (high / low).ln() * self.next()).exp()
    }
}

/// A case of any kind, in which running machines is no less work than calling an API.
fn random_case(random: &mut Random) -> (Facts, usize) {
    let mut facts = case(&[]).facts();
    let mut set = |name, value| facts = facts.with(name, value);
    let setup = random.between(0.0, 4.0);
    let people = random.between(0.0, 0.5);
    set(Name::ApiSetupWeeks, setup);
    set(Name::ApiPeople, people);
    set(Name::SetupWeeks, setup + random.between(0.0, 8.0));
    set(Name::People, people + random.between(0.0, 1.0));
    set(Name::Calls, random.log(1e3, 1e8).round());
    set(Name::TokensIn, random.log(10.0, 20_000.0));
    set(Name::TokensOut, random.log(1.0, 4_000.0));
    set(Name::ApiInput, random.log(0.02, 20.0));
    set(Name::ApiOutput, random.log(0.05, 80.0));
    set(Name::Growth, random.between(-0.05, 0.15));
    set(Name::PriceDrift, random.between(-0.5, 0.3));
    set(Name::GpuDrift, random.between(-0.3, 0.3));
    set(Name::GpuHour, random.log(0.3, 12.0));
    set(Name::Decode, random.log(50.0, 20_000.0));
    set(Name::Prefill, random.log(500.0, 80_000.0));
    set(Name::Peak, random.between(1.0, 15.0));
    set(Name::Target, random.between(0.05, 1.0));
    set(Name::MinReplicas, (3.0 * random.next()).floor());
    set(Name::OpenHours, random.between(50.0, 730.0));
    set(Name::Gpus, 1.0 + (3.0 * random.next()).floor());
    set(Name::TunedWrong, random.between(0.0, 0.02));
    set(Name::ApiWrong, random.between(0.0, 0.05));
    set(Name::Rework, random.between(0.0, 0.5));
    (facts, 1 + (36.0 * random.next()) as usize)
}

fn gap(facts: &Facts, months: usize, calls: f64) -> f64 {
    let facts = facts.with(Name::Calls, calls);
    exact(&facts, Way::Api, months) - exact(&facts, Way::Hosted, months)
}

#[test]
fn totals_are_the_sums_of_their_lines() {
    let mut random = Random(11);
    for _ in 0..200 {
        let (facts, months) = random_case(&mut random);
        for way in Way::ALL {
            let bill = bill(&facts, way, months);
            assert_eq!(bill.rows.iter().map(|row| row.total()).sum::<Cents>(), bill.total);
            assert_eq!(bill.months.iter().copied().sum::<Cents>(), bill.total);
            assert_eq!(bill.paid().last(), Some(&bill.total));
            // Every amount is off by half a cent at most.
            let rounded = (bill.total.usd() - exact(&facts, way, months)).abs();
            let scale = 1e-12 * bill.total.usd().abs();
            assert!(rounded <= 0.005 * (bill.rows.len() * months) as f64 + scale, "{way:?}: {rounded}");
        }
    }
}

#[test]
fn intervals_are_where_self_hosting_is_no_dearer_and_nowhere_else() {
    let mut random = Random(12);
    let (mut stay, mut islands) = (0, 0);
    for _ in 0..300 {
        let (facts, months) = random_case(&mut random);
        let meeting = meet(&facts, months, Way::Api, Way::Hosted);
        stay += usize::from(meeting.stays.is_some());
        islands += usize::from(meeting.intervals.len() > 1);
        let within = |calls: u64| meeting.intervals.iter().any(|(from, to)| *from <= calls && to.is_none_or(|to| calls <= to));
        let edges = meeting
            .intervals
            .iter()
            .take(20)
            .flat_map(|(from, to)| [*from, from.saturating_sub(1), to.unwrap_or(*from), to.unwrap_or(*from) + 1]);
        let mut probes: Vec<u64> = edges.collect();
        probes.extend((0..60).map(|_| random.log(1.0, 1e10) as u64));
        for calls in probes.into_iter().filter(|calls| meeting.searched.is_none_or(|all| *calls < all)) {
            let gap = gap(&facts, months, calls as f64);
            let bound = 1e-9 * exact(&facts.with(Name::Calls, calls as f64), Way::Hosted, months);
            if gap.abs() > bound {
                assert_eq!(within(calls), gap > 0.0, "{calls} calls, gap {gap}: {meeting:?}");
            }
        }
    }
    assert!(stay > 100 && islands > 10, "the cases are too much alike: {stay} stay, {islands} with islands");
}

#[test]
fn more_volume_never_favours_the_api_but_by_the_gpus_that_it_asks_for() {
    let mut random = Random(13);
    for _ in 0..300 {
        let (facts, months) = random_case(&mut random);
        // What calls cost beside GPUs has to favour tuning; a tuned model that errs more can lose by volume.
        let facts = facts.with(Name::TunedWrong, 0.0);
        let calls = random.log(1e3, 1e8);
        let more = calls * random.between(1.0, 30.0);
        let serving = |calls: f64| {
            let bill = bill(&facts.with(Name::Calls, calls), Way::Hosted, months);
            bill.rows
                .iter()
                .filter(|row| row.title == "GPUs for serving" || row.title == "disks, network, support")
                .map(|row| row.total())
                .sum::<Cents>()
        };
        let steps = serving(more) - serving(calls);
        let (before, after) = (gap(&facts, months, calls), gap(&facts, months, more));
        let rounding = 0.01 * (2 * months) as f64 + 1e-9 * after.abs();
        assert!(after >= before - steps.usd() - rounding, "{calls} to {more}: {before} to {after}, GPUs {steps}");
        // Where it stays cheaper, it stays so.
        if let Some(stays) = meet(&facts, months, Way::Api, Way::Hosted).stays {
            let beyond = gap(&facts, months, stays as f64 * random.between(1.0, 100.0) + 1.0);
            assert!(beyond >= -1e-6 * beyond.abs().max(1.0) - 1e-3, "{stays}: {beyond}");
        }
    }
}

#[test]
fn no_volume_never_favours_self_hosting() {
    let mut random = Random(14);
    for _ in 0..300 {
        let (facts, months) = random_case(&mut random);
        let none = facts.with(Name::Calls, 0.0);
        assert!(bill(&none, Way::Hosted, months).total > bill(&none, Way::Api, months).total);
        assert!(meet(&facts, months, Way::Api, Way::Hosted).intervals.iter().all(|(from, _)| *from > 0));
    }
}

#[test]
fn a_dearer_api_never_moves_the_break_even_up() {
    let mut random = Random(15);
    let mut compared = 0;
    for _ in 0..300 {
        let (facts, months) = random_case(&mut random);
        let dearer = facts
            .with(Name::ApiInput, facts[Name::ApiInput] * random.between(1.0, 5.0))
            .with(Name::ApiOutput, facts[Name::ApiOutput] * random.between(1.0, 5.0));
        let (before, after) = (meet(&facts, months, Way::Api, Way::Hosted), meet(&dearer, months, Way::Api, Way::Hosted));
        if let Some(before) = before.stays {
            compared += 1;
            assert!(after.stays.is_some_and(|after| after <= before), "{before} to {after:?}");
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn where_steps_cannot_all_be_looked_at_it_says_how_far_it_looked() {
    let facts = case(&["peak=1", "target=1"]).facts();
    // A GPU that costs, when full, a ten-millionth less than the API: they meet after many millions of GPUs.
    let far =
        |facts: &Facts| exact(&facts.with(Name::Calls, 1e12), Way::Hosted, 12) - exact(&facts.with(Name::Calls, 0.0), Way::Hosted, 12);
    let api = exact(&facts.with(Name::Calls, 1e12), Way::Api, 12) - exact(&facts.with(Name::Calls, 0.0), Way::Api, 12);
    let dear = facts.with(Name::GpuHour, facts[Name::GpuHour] * api / far(&facts) * (1.0 - 1e-7));
    let meeting = meet(&dear, 12, Way::Api, Way::Hosted);
    assert_eq!(meeting.stays, None);
    assert!(meeting.searched.is_some_and(|calls| calls > 1_000_000_000), "{meeting:?}");
}

#[test]
fn payback_is_when_the_sums_cross_and_not_before() {
    let facts = case(&["calls=6000000"]).facts();
    let month = payback(&facts, PAYBACK_MONTHS, Way::Api, Way::Hosted).unwrap();
    let paid = |way| bill(&facts, way, PAYBACK_MONTHS).paid();
    let (api, hosted) = (paid(Way::Api), paid(Way::Hosted));
    assert!(month > 1 && hosted[month - 1] <= api[month - 1] && hosted[month - 2] > api[month - 2]);
    assert_eq!(payback(&case(&["calls=1000"]).facts(), PAYBACK_MONTHS, Way::Api, Way::Hosted), None);
}

#[test]
fn bad_input_is_refused_with_the_reason() {
    for (changes, said) in [
        (&["calls=-5"][..], "`calls` is -5, expected a whole number from 0 to 100000000000 (calls a month)"),
        (&["calls=1.5"], "`calls` is 1.5"),
        (&["calls=many"], "`calls` is `many`, expected a number"),
        (&["target=1.5"], "`target` is 1.5, expected a number from 0.01 to 1 (share)"),
        (&["tokens_in=nan"], "expected a finite number"),
        (&["peak=0.5"], "`peak` is 0.5"),
        (&["gpu=h300"], "there is no GPU `h300`, did you mean `h200`?"),
        (&["api=claude-haiku"], "did you mean `claude-haiku-4.5`?"),
        (&["base=llama-3.1-80b"], "did you mean `llama-3.1-"),
        (&["token_in=5"], "there is no input `token_in`, did you mean `tokens_in`?"),
        (&["months=0"], "`months` is 0, expected a whole number from 1 to 60"),
        (&["gpu=b200"], "decode (output tokens that one replica makes, tokens a second)"),
        (&["managed=ori-8b"], "no figure for managed_input"),
        (&["cached=0.3"], "no figure for api_cached"),
        (&["tokens_in=0", "tokens_out=0"], "a call without tokens"),
        (&["managed=none", "managed_train=3"], "no managed service is named"),
        (&["calls=5:9:3"], "around the value"),
        (&["calls"], "NAME=VALUE"),
    ] {
        let found = refused(changes);
        assert!(found.contains(said), "{changes:?}: {found}");
    }
    let nothing = Case::of(&Given::default(), &Book::builtin().unwrap()).unwrap_err();
    let Error::Needed { facts } = nothing else { panic!("{nothing}") };
    assert_eq!(facts.iter().map(|fact| fact.0.as_str()).collect::<Vec<_>>(), ["api", "base", "gpu", "calls", "tokens_in", "tokens_out"]);
}

#[test]
fn a_model_of_ones_own_needs_its_own_figures() {
    let own = case(&[
        "api=ours",
        "api_input=1",
        "api_output=2",
        "cached=0.5",
        "api_cached=0.1",
        "gpu=b200",
        "gpu_hour=5",
        "gpus=1",
        "train_gpus=1",
        "decode=9000",
        "prefill=40000",
        "train_speed=9000",
    ]);
    assert_eq!((own.facts()[Name::ApiInput], own.facts()[Name::GpuHour]), (1.0, 5.0));
}

#[test]
fn old_prices_are_told_with_their_age() {
    let lines = case(&[]).warnings(DAY).join("\n");
    assert!(lines.contains("api_input, api_output are 253 days old: deploybase.ai"), "{lines}");
    assert!(lines.contains("managed_train") && !lines.contains("gpu_hour"), "{lines}");
    assert!(case(&[]).warnings("2027-11-29").join("\n").contains("gpu_hour"));
}

#[test]
fn the_same_seed_makes_the_same_draws() {
    let book = Book::builtin().unwrap();
    let once = count(&given(&["draws=500", "seed=7"]), &book, DAY).unwrap();
    let twice = count(&given(&["draws=500", "seed=7"]), &book, DAY).unwrap();
    let other = count(&given(&["draws=500", "seed=8"]), &book, DAY).unwrap();
    assert_eq!(once.chance, twice.chance);
    assert_ne!(once.chance, other.chance);
    let p = once.chance.saving;
    assert!(p.p10 < p.p50 && p.p50 < p.p90);
}

#[test]
fn the_typical_case_breaks_even_above_what_the_guide_says_and_a_dear_api_brings_it_there() {
    let stays = |changes: &[&str]| meet(&case(changes).facts(), 12, Way::Api, Way::Hosted).stays;
    assert_eq!(stays(&[]), Some(5_551_736));
    // One GPU and half an engineer over what a call costs at the API, by hand: the bulk of it.
    let by_hand = (4.45 * 730.0 * 1.3 + 206_000.0 * (0.5 - 0.1) / 12.0) / (1_000.0 * 1e-6 + 300.0 * 5e-6);
    assert!((4_000_000.0..5_551_736.0).contains(&by_hand), "{by_hand}");
    let guide = 500_000..=2_000_000;
    assert!(guide.contains(&stays(&["api=claude-sonnet-4.6"]).unwrap()));
    for outside in [&["tokens_in=80", "tokens_out=10"][..], &["api=gpt-6-luna"], &["target=0.1"], &["people=1"]] {
        assert!(stays(outside).unwrap() > *guide.end(), "{outside:?}");
    }
}

#[test]
fn a_result_is_made_again_from_itself() {
    let book = Book::builtin().unwrap();
    let own = "[[scenario]]\nname = \"the <merger>\"\nset = { calls = \"x3\", people = 1 }\n";
    let mut first = given(&["draws=300", "calls=900000:700000:1500000", "gpu_hour=2.5"]);
    first.read("own.toml", own, &book).unwrap();
    let once = count(&first, &book, DAY).unwrap();
    let text = json(&once).to_string();
    let mut again = Given::default();
    again.read("cost.json", &text, &book).unwrap();
    let twice = count(&again, &book, DAY).unwrap();
    assert_eq!(hash(&once.case), hash(&twice.case));
    let same = json(&twice).to_string();
    assert!(same == text, "the same inputs gave another result");
    again.set("--set", "calls=900001", &book).unwrap();
    assert_ne!(hash(&count(&again, &book, DAY).unwrap().case), hash(&once.case));
}

#[test]
fn documents_hold_all_and_load_nothing() {
    let book = Book::builtin().unwrap();
    let script = "<script>alert(1)</script>";
    let cost = count(&given(&["draws=300", &format!("api={script}"), "api_input=1", "api_output=5"]), &book, DAY).unwrap();
    let page = page(&cost, &book, "tunesmith cost");
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;") && page.contains("default-src 'none'"));
    assert_eq!(page.matches("<svg").count(), 4);
    assert!(!page.contains("NaN") && !page.contains("inf,") && !page.contains("src="));
    let letter = markdown(&cost, "tunesmith cost");
    for value in cost.case.values.iter().filter(|value| cost.case.counts(value.name)) {
        let row = format!("| {} | ", value.name.text());
        assert!(letter.contains(&row) && page.contains(value.name.text()), "{row}");
    }
    assert!(letter.contains(&cost.total(Way::Hosted).to_string()) && letter.contains(&hash(&cost.case)));
    let bytes = workbook(&cost, &book).unwrap();
    assert!(bytes.starts_with(b"PK") && workbook(&cost, &book).unwrap() == bytes);
}

#[test]
fn a_case_without_a_managed_service_or_with_one_month_is_told_too() {
    let book = Book::builtin().unwrap();
    for changes in [&["managed=none"][..], &["months=1"], &["calls=0"], &["growth=1", "months=60"], &["tokens_out=0", "prefix=1"]] {
        let changes = [changes, &["draws=100"]].concat();
        let cost = count(&given(&changes), &book, DAY).unwrap();
        let page = page(&cost, &book, "");
        assert!(!page.contains("NaN") && !page.contains("\"inf"), "{changes:?}");
        assert!(!workbook(&cost, &book).unwrap().is_empty() && !markdown(&cost, "").contains("NaN"));
    }
}
