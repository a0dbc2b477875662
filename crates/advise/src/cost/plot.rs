//! Pictures as inline SVG: cost over volume and over months, what matters, how sure it is.

use super::Cost;
use super::money::grouped;
use super::name::Name;
use super::page::escape;
use super::ways::{Way, exact};
use super::words;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 22.0;

/// Where values fall on one axis.
#[derive(Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let of = |x: f64| if self.log { x.max(f64::MIN_POSITIVE).log10() } else { x };
        self.from + (of(value) - of(self.low)) / (of(self.high) - of(self.low)) * (self.to - self.from)
    }

    /// Round values within the scale.
    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = (self.high / self.low).log10();
            let steps: &[f64] = if decades > 4.0 {
                &[1.0]
            } else if decades > 1.5 {
                &[1.0, 3.0]
            } else {
                &[1.0, 2.0, 3.0, 5.0]
            };
            let powers = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
            let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
            return all.filter(|tick| (self.low * 0.999..=self.high * 1.001).contains(tick)).collect();
        }
        let raw = (self.high - self.low) / 6.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= raw).unwrap_or(raw);
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        (first..=last).map(|k| k as f64 * step).collect()
    }
}

/// `1.2M`, `500k`: three digits that count.
fn short(x: f64) -> String {
    let (size, unit) = match x.abs() {
        n if n >= 1e9 => (1e9, "B"),
        n if n >= 1e6 => (1e6, "M"),
        n if n >= 1e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let scaled = x / size;
    let digits = (2 - scaled.abs().max(1.0).log10().floor() as i32).max(0) as usize;
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

fn dollars(x: f64) -> String {
    if x < 0.0 { format!("-${}", short(-x)) } else { format!("${}", short(x)) }
}

/// Volumes around what is asked and where the ways meet, each a tenth of the range apart as factors.
pub(super) fn volumes(cost: &Cost, count: usize) -> Vec<u64> {
    let calls = cost.case.value(Name::Calls).value.max(1.0);
    let meetings = [cost.meeting.stays, cost.managed.as_ref().and_then(|meeting| meeting.stays)];
    let known: Vec<f64> = meetings.into_iter().flatten().map(|n| n as f64).filter(|n| *n > 0.0).chain([calls]).collect();
    let low = (known.iter().copied().fold(f64::INFINITY, f64::min) / 20.0).max(1.0);
    let high = (known.iter().copied().fold(0.0, f64::max) * 6.0).max(low * 100.0);
    let mut all: Vec<u64> = (0..count).map(|at| (low * (high / low).powf(at as f64 / (count - 1) as f64)).round() as u64).collect();
    all.dedup();
    all
}

fn axes(x: &Scale, y: &Scale, x_text: fn(f64) -> String, y_text: fn(f64) -> String, title: &str) -> String {
    let mut out = String::new();
    for tick in y.ticks() {
        let at = y.at(tick);
        out.push_str(&format!("<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>", x.from, x.to));
        out.push_str(&format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", x.from - 10.0, at + 4.0, y_text(tick)));
    }
    for tick in x.ticks() {
        let at = x.at(tick);
        out.push_str(&format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", y.from + 20.0, x_text(tick)));
    }
    out.push_str(&format!("<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{2}\" y2=\"{2}\"/>", x.from, x.to, y.from));
    out.push_str(&format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{title}</text>", (x.from + x.to) / 2.0, y.from + 42.0));
    out
}

fn line(way: Way, points: &[(f64, f64)]) -> String {
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!("<polyline class=\"way {}\" points=\"{}\"/>", way.text(), path.join(" "))
}

/// Names at the ends of lines, moved apart where they would lie on each other.
fn names(ends: &[(Way, f64)], x: f64) -> String {
    let mut ends = ends.to_vec();
    ends.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut above = f64::NEG_INFINITY;
    let mut out = String::new();
    for (way, y) in ends {
        let y = y.max(above + 16.0);
        above = y;
        let title = if way == Way::Managed { "managed" } else { way.title() };
        out.push_str(&format!("<text class=\"name {}\" x=\"{:.1}\" y=\"{:.1}\">{title}</text>", way.text(), x + 8.0, y + 4.0));
    }
    out
}

fn mark(x: f64, y: &Scale, text: &str, lift: f64) -> String {
    format!(
        "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/><text class=\"said\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
        y.from,
        y.to,
        x + 6.0,
        y.to + lift
    )
}

fn picture(height: f64, label: &str, body: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">{body}</svg>", escape(label))
}

/// Cost over volume, with the staircase of GPUs.
pub(super) fn volume(cost: &Cost) -> String {
    let (facts, months) = (cost.case.facts(), cost.case.months);
    let volumes = volumes(cost, 700);
    let curve =
        |way: Way| -> Vec<f64> { volumes.iter().map(|v| exact(&facts.with(Name::Calls, *v as f64), way, months).max(0.01)).collect() };
    let curves: Vec<(Way, Vec<f64>)> = cost.bills.iter().map(|bill| (bill.way, curve(bill.way))).collect();
    let all = || curves.iter().flat_map(|(_, costs)| costs.iter().copied());
    let (first, last) = (volumes.first().copied().unwrap_or(1) as f64, volumes.last().copied().unwrap_or(2) as f64);
    let x = Scale { low: first, high: last, from: LEFT, to: WIDTH - RIGHT, log: true };
    let (low, high) = (all().fold(f64::INFINITY, f64::min) * 0.8, all().fold(0.0, f64::max) * 1.15);
    let y = Scale { low, high, from: 350.0, to: TOP, log: true };
    let mut body = axes(&x, &y, short, dollars, "calls in the first month");
    for (way, costs) in &curves {
        let points: Vec<(f64, f64)> = volumes.iter().zip(costs).map(|(v, cost)| (x.at(*v as f64), y.at(*cost))).collect();
        body.push_str(&line(*way, &points));
    }
    let ends: Vec<(Way, f64)> = curves.iter().map(|(way, costs)| (*way, y.at(costs.last().copied().unwrap_or(low)))).collect();
    body.push_str(&names(&ends, x.to));
    let calls = cost.case.value(Name::Calls).value;
    body.push_str(&mark(x.at(calls.max(first)), &y, &format!("you: {}", short(calls)), 12.0));
    if let Some(stays) = cost.meeting.stays.filter(|stays| *stays as f64 >= first) {
        body.push_str(&mark(x.at(stays as f64), &y, &format!("self-hosting from {}", short(stays as f64)), 30.0));
    }
    picture(404.0, "Cost of each way over the number of calls", &body)
}

/// What has been paid by the end of each month.
pub(super) fn months(cost: &Cost) -> String {
    let top = cost.bills.iter().map(|bill| bill.total.usd()).fold(1.0, f64::max);
    let x = Scale { low: 0.0, high: cost.case.months as f64, from: LEFT, to: WIDTH - RIGHT, log: false };
    let y = Scale { low: 0.0, high: top * 1.05, from: 300.0, to: TOP, log: false };
    let mut body = axes(&x, &y, |month| format!("{month:.0}"), dollars, "month");
    let mut ends = Vec::new();
    for bill in &cost.bills {
        let paid = bill.paid();
        // What begins a project is paid within its first month.
        let points: Vec<(f64, f64)> = paid.iter().enumerate().map(|(at, sum)| (x.at(at as f64 + 1.0), y.at(sum.usd()))).collect();
        body.push_str(&line(bill.way, &[&[(x.at(0.0), y.at(0.0))], &points[..]].concat()));
        ends.push((bill.way, y.at(bill.total.usd())));
    }
    body.push_str(&names(&ends, x.to));
    picture(350.0, "What each way has cost by the end of each month", &body)
}

/// Each input by itself.
pub(super) fn tornado(cost: &Cost) -> Option<String> {
    let swings: Vec<_> = cost.tornado.iter().take(10).collect();
    let base = exact(&cost.case.facts(), Way::Api, cost.case.months) - exact(&cost.case.facts(), Way::Hosted, cost.case.months);
    let all = || swings.iter().flat_map(|swing| [swing.at_low, swing.at_high]);
    let (low, high) = (all().fold(base, f64::min), all().fold(base, f64::max));
    if low >= high {
        return None;
    }
    let room = (high - low) * 0.14;
    let bottom = TOP + 34.0 * swings.len() as f64;
    let x = Scale { low: low - room, high: high + room, from: 190.0, to: WIDTH - 20.0, log: false };
    let y = Scale { low: 0.0, high: 1.0, from: bottom, to: TOP, log: false };
    let mut body = String::new();
    for tick in x.ticks() {
        let at = x.at(tick);
        body.push_str(&format!("<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"));
        body.push_str(&format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", y.from + 20.0, dollars(tick)));
    }
    for (at, swing) in swings.iter().enumerate() {
        let middle = TOP + 34.0 * at as f64 + 17.0;
        body.push_str(&format!(
            "<text class=\"said\" x=\"180\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            middle + 4.0,
            swing.name.text()
        ));
        for (input, saved, side) in [(swing.low, swing.at_low, "low"), (swing.high, swing.at_high, "high")] {
            let (from, to) = (x.at(base.min(saved)), x.at(base.max(saved)));
            body.push_str(&format!(
                "<rect class=\"{side}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"20\"/>",
                middle - 10.0,
                (to - from).max(0.5)
            ));
            let (place, anchor) = if saved < base { (from - 6.0, "end") } else { (to + 6.0, "start") };
            body.push_str(&format!(
                "<text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                middle + 4.0,
                words::figure(input)
            ));
        }
    }
    body.push_str(&format!("<line class=\"axis\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>", x.at(base)));
    if x.low < 0.0 && x.high > 0.0 {
        body.push_str(&format!("<line class=\"mark\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>", x.at(0.0)));
    }
    body.push_str(&format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">what self-hosting saves over the API</text>",
        (x.from + x.to) / 2.0,
        bottom + 42.0
    ));
    Some(picture(bottom + 54.0, "What matters most", &body))
}

/// How the savings of all draws lie.
pub(super) fn spread(cost: &Cost) -> Option<String> {
    const BINS: usize = 48;
    let all = &cost.chance.savings;
    let at = |p: f64| all[((p * all.len() as f64) as usize).min(all.len() - 1)];
    let (low, high) = (at(0.005), at(0.995));
    if low >= high {
        return None;
    }
    let (low, high) = if low > 0.0 || high < 0.0 { (low.min(0.0), high.max(0.0)) } else { (low, high) };
    let pad = (high - low) * 0.02;
    let (low, high) = (low - pad, high + pad);
    let width = (high - low) / BINS as f64;
    let mut bins = [0usize; BINS];
    all.iter().filter(|saved| (low..high).contains(*saved)).for_each(|saved| bins[(((saved - low) / width) as usize).min(BINS - 1)] += 1);
    let most = bins.iter().copied().max().unwrap_or(1).max(1) as f64;
    let x = Scale { low, high, from: LEFT, to: WIDTH - 40.0, log: false };
    let y = Scale { low: 0.0, high: most * 1.3, from: 250.0, to: TOP, log: false };
    let mut body = String::new();
    for (bin, count) in bins.iter().enumerate() {
        let from = low + bin as f64 * width;
        let side = if from + width / 2.0 >= 0.0 { "pays" } else { "loses" };
        let (left, top) = (x.at(from), y.at(*count as f64));
        body.push_str(&format!(
            "<rect class=\"{side}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            left + 0.5,
            x.at(from + width) - left - 1.0,
            y.from - top
        ));
    }
    for tick in x.ticks() {
        body.push_str(&format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", x.at(tick), y.from + 20.0, dollars(tick)));
    }
    let saving = &cost.chance.saving;
    for (name, value, lift) in [("P10", saving.p10, 44.0), ("P50", saving.p50, 12.0), ("P90", saving.p90, 28.0)] {
        body.push_str(&mark(x.at(value), &y, &format!("{name} {}", dollars(value)), lift));
    }
    body.push_str(&format!("<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{2}\" y2=\"{2}\"/>", x.from, x.to, y.from));
    body.push_str(&format!("<line class=\"zero\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1}\" y2=\"{2}\"/>", x.at(0.0), y.from, y.to));
    let draws = grouped(all.len() as u64);
    body.push_str(&format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">what self-hosting saves over the API, {draws} draws</text>",
        (x.from + x.to) / 2.0,
        y.from + 42.0
    ));
    Some(picture(304.0, "How the savings of all draws lie", &body))
}
