//! Where two ways cost the same: every volume at which one is cheaper, exactly, over the staircase of GPUs.
//!
//! Between two steps of any month's staircase both costs are straight lines in the calls of the first month, so
//! each such piece is solved by itself and the answers are joined.

use super::case::Facts;
use super::name::Name as N;
use super::ways::{self, Way};

/// Pieces that are looked at; beyond them the answer says how far it looked.
const PIECES: usize = 200_000;
/// More calls a month than anybody makes.
const FARTHEST: f64 = 1e12;

/// Volumes, in calls of the first month, at which one way is no dearer than another.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Meeting {
    /// From here on it stays so, however many calls there are.
    pub stays: Option<u64>,
    /// All intervals; one without an end goes on for ever.
    pub intervals: Vec<(u64, Option<u64>)>,
    /// Up to here every volume was looked at; `None` for all there are.
    pub searched: Option<u64>,
}

/// A straight line in calls.
#[derive(Clone, Copy)]
struct Line {
    at_zero: f64,
    slope: f64,
}

/// Where `to` is no dearer than `from` over `months`.
pub fn meet(f: &Facts, months: usize, from: Way, to: Way) -> Meeting {
    let (a, b) = (line(f, from, months), line(f, to, months));
    let gap = Line { at_zero: a.at_zero - b.at_zero, slope: a.slope - b.slope };
    let stairs = Stairs::of(f, months);
    // Only one of two ways climbs; where it is `from`, its steps help `to`.
    let sign = match (from, to) {
        (_, Way::Hosted) if from != Way::Hosted => -1.0,
        (Way::Hosted, _) if to != Way::Hosted => 1.0,
        _ => 0.0,
    };
    search(gap, &stairs, sign)
}

fn search(gap: Line, stairs: &Stairs, sign: f64) -> Meeting {
    let slope = gap.slope + sign * stairs.slope;
    // The steps lie between `slope * v` and that and `rise`: beyond this volume one side has won for good.
    let settled = match gap.at_zero.abs() + sign.abs() * stairs.rise {
        gap if gap > 0.0 => gap / slope.abs(),
        _ => 0.0,
    };
    let (mut steps, reached) = if sign == 0.0 { (Vec::new(), FARTHEST) } else { stairs.steps(settled) };
    let end = settled.min(reached);
    steps.retain(|step| *step < end);
    steps.push(end);
    let mut intervals: Vec<(u64, Option<u64>)> = Vec::new();
    let mut first = 0;
    for high in steps {
        let last = high as u64;
        if first <= last {
            // Within a piece the steps cost what they cost at its first volume.
            let at_zero = gap.at_zero + sign * stairs.cost(first as f64);
            join(&mut intervals, part(Line { at_zero, ..gap }, first, last));
            first = last + 1;
        }
    }
    if settled > reached {
        return Meeting { stays: None, intervals, searched: Some(reached as u64) };
    }
    if slope > 0.0 {
        join(&mut intervals, Some((first, None)));
    }
    let stays = intervals.last().filter(|last| last.1.is_none()).map(|last| last.0);
    Meeting { stays, intervals, searched: None }
}

/// The part of `first..=last` where a line is 0 or more.
fn part(line: Line, first: u64, last: u64) -> Option<(u64, Option<u64>)> {
    let zero = -line.at_zero / line.slope;
    let (start, end) = match line.slope {
        up if up > 0.0 => (first.max(zero.ceil().max(0.0) as u64), last),
        down if down < 0.0 && zero >= first as f64 => (first, last.min(zero as u64)),
        0.0 if line.at_zero >= 0.0 => (first, last),
        _ => return None,
    };
    (start <= end).then_some((start, Some(end)))
}

fn join(intervals: &mut Vec<(u64, Option<u64>)>, next: Option<(u64, Option<u64>)>) {
    let Some((start, end)) = next else { return };
    match intervals.last_mut() {
        Some((_, Some(before))) if *before + 1 >= start => {
            let at = intervals.len() - 1;
            intervals[at].1 = end;
        }
        _ => intervals.push((start, end)),
    }
}

/// What a way costs without its steps.
fn line(f: &Facts, way: Way, months: usize) -> Line {
    // Far out, so that the difference is not lost beside what does not depend on calls.
    const FAR: f64 = 1e9;
    let stairs = Stairs::of(f, months);
    let plain = |calls: f64| {
        let steps = if way == Way::Hosted { stairs.cost(calls) } else { 0.0 };
        ways::exact(&f.with(N::Calls, calls), way, months) - steps
    };
    let at_zero = plain(0.0);
    let slope = (plain(FAR) - at_zero) / FAR;
    // What is left of rounding is no slope.
    let noise = 1e-15 * (1.0 + plain(FAR).abs() / FAR);
    Line { at_zero, slope: if slope.abs() < noise { 0.0 } else { slope } }
}

/// GPUs by volume, in all months.
struct Stairs<'a> {
    f: &'a Facts,
    /// Load of one call of the first month in each month, and what an hour of a GPU costs with all that belongs to it.
    months: Vec<(f64, f64)>,
    slope: f64,
    rise: f64,
}

impl<'a> Stairs<'a> {
    fn of(f: &'a Facts, months: usize) -> Stairs<'a> {
        let load = ways::load(f);
        let all = (0..months).map(|index| {
            let m = ways::Month::at(f, index);
            (load * ways::growth(f, index), (1.0 + f[N::Overhead]) * f[N::GpuHour] * m.gpu_drift)
        });
        let months: Vec<(f64, f64)> = all.collect();
        let awake = ways::awake(f);
        let slope = months.iter().map(|(load, hour)| load * hour * f[N::Gpus] * awake).sum();
        let most = f[N::MinReplicas] * ways::HOURS + awake;
        let rise = months.iter().map(|(_, hour)| hour * f[N::Gpus] * most).sum();
        Stairs { f, months, slope, rise }
    }

    /// What GPUs cost in all months at this volume.
    fn cost(&self, calls: f64) -> f64 {
        self.months.iter().map(|(load, hour)| ways::gpu_hours(self.f, ways::replicas(self.f, calls * load)) * hour).sum()
    }

    /// Volumes above which some month has one replica more, up to `settled`; and how far they were listed.
    fn steps(&self, settled: f64) -> (Vec<f64>, f64) {
        let most = PIECES / self.months.len().max(1);
        let base = self.f[N::MinReplicas];
        let volume = |load: f64, k: usize| (base + k as f64 + ways::SLACK) / load;
        let climbing = || self.months.iter().map(|(load, _)| *load).filter(|load| *load > 0.0);
        let reached = climbing().map(|load| volume(load, most)).fold(FARTHEST, f64::min);
        let mut steps: Vec<f64> =
            climbing().flat_map(|load| (0..most).map(move |k| volume(load, k)).take_while(|volume| *volume <= settled)).collect();
        steps.sort_by(f64::total_cmp);
        (steps, reached)
    }
}

/// The month by whose end `to` has cost no more than `from`, and stays so through `within` months.
pub fn payback(f: &Facts, within: usize, from: Way, to: Way) -> Option<usize> {
    let (from, to) = (ways::bill(f, from, within).paid(), ways::bill(f, to, within).paid());
    let behind = from.iter().zip(&to).rposition(|(from, to)| to > from);
    match behind {
        None => Some(1),
        Some(last) if last + 1 < within => Some(last + 2),
        Some(_) => None,
    }
}
