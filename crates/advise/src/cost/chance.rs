//! What the uncertainty of the inputs makes of the result: many draws, with a seed.

use super::book::Book;
use super::case::Case;
use super::meet::meet;
use super::ways::{self, Way};

/// A tenth, the middle, and nine tenths; `None` is beyond any volume.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Percentiles<T> {
    /// One in ten is below.
    pub p10: T,
    /// Half are below.
    pub p50: T,
    /// One in ten is above.
    pub p90: T,
}

/// What all draws say.
#[derive(Clone, Debug, PartialEq)]
pub struct Chance {
    /// What each way costs, in US dollars.
    pub totals: Vec<(Way, Percentiles<f64>)>,
    /// What self-hosting saves over the API.
    pub saving: Percentiles<f64>,
    /// Calls of the first month from which self-hosting stays cheaper than the API.
    pub break_even: Percentiles<Option<u64>>,
    /// Share of draws in which each way is the cheapest.
    pub cheapest: Vec<(Way, f64)>,
    /// Share of draws in which self-hosting is no dearer than the API.
    pub pays: f64,
    /// Every draw's saving, sorted.
    pub savings: Vec<f64>,
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    /// In the open interval from 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + f64::EPSILON / 4.0
    }
}

/// Draws every uncertain input of the case, independently of the others, and counts again.
pub fn draw(case: &Case, book: &Book) -> Chance {
    let mut random = Random(case.seed);
    let ways = case.ways();
    let mut totals: Vec<Vec<f64>> = vec![Vec::with_capacity(case.draws); ways.len()];
    let mut meetings = Vec::with_capacity(case.draws);
    let mut cheapest = vec![0usize; ways.len()];
    for _ in 0..case.draws {
        let facts = case.facts_at(|value| value.quantile(random.next()), book);
        let costs: Vec<f64> = ways.iter().map(|way| ways::exact(&facts, *way, case.months)).collect();
        let least = (0..ways.len()).min_by(|a, b| costs[*a].total_cmp(&costs[*b]));
        least.into_iter().for_each(|at| cheapest[at] += 1);
        totals.iter_mut().zip(&costs).for_each(|(all, cost)| all.push(*cost));
        meetings.push(meet(&facts, case.months, Way::Api, Way::Hosted).stays.unwrap_or(u64::MAX));
    }
    let of = |way: Way| ways.iter().position(|one| *one == way).map_or(&[][..], |at| &totals[at]);
    let mut savings: Vec<f64> = of(Way::Api).iter().zip(of(Way::Hosted)).map(|(api, hosted)| api - hosted).collect();
    savings.sort_by(f64::total_cmp);
    meetings.sort_unstable();
    let share = |n: usize| n as f64 / case.draws as f64;
    let pays = share(savings.iter().filter(|saving| **saving >= 0.0).count());
    let cheapest = ways.iter().copied().zip(cheapest.into_iter().map(share)).collect();
    totals.iter_mut().for_each(|all| all.sort_by(f64::total_cmp));
    Chance {
        totals: ways.iter().copied().zip(totals.iter().map(|all| percentiles(all))).collect(),
        saving: percentiles(&savings),
        break_even: {
            let p = percentiles(&meetings);
            let known = |calls: u64| (calls < u64::MAX).then_some(calls);
            Percentiles { p10: known(p.p10), p50: known(p.p50), p90: known(p.p90) }
        },
        cheapest,
        pays,
        savings,
    }
}

/// By nearest rank.
fn percentiles<T: Copy>(sorted: &[T]) -> Percentiles<T> {
    let at = |p: f64| sorted[((p * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1];
    Percentiles { p10: at(0.1), p50: at(0.5), p90: at(0.9) }
}
