//! Pictures as inline SVG: the loss curve, the learning rate, and small bars for shares.

use super::Point;
use crate::arms::Rate;
use crate::uncertainty::Difference;

/// Drawn at most; longer runs are thinned, since a pixel holds one point only.
const POINTS: usize = 900;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;

/// Where values fall on one axis: from `low..high` to the pixels `from..to`.
pub(super) struct Scale {
    pub low: f64,
    pub high: f64,
    pub from: f64,
    pub to: f64,
}

impl Scale {
    pub(super) fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }
}

/// Round tick values that enclose `low..high`: steps of 1, 2 or 5 times a power of ten, about `wanted` of them.
pub(super) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let high = if high > low { high } else { low + low.abs().max(1.0) };
    let raw = (high - low) / wanted.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= raw * 0.999).unwrap_or(raw);
    let (first, last) = ((low / step).floor() as i64, (high / step - 1e-9).ceil() as i64);
    (first..=last).map(|k| k as f64 * step).collect()
}

/// A tick as text with just the digits that its step needs; very small ones as powers of ten.
fn tick_text(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".to_string();
    }
    if step < 1e-3 {
        let (mantissa, power) =
            format!("{value:e}").split_once('e').map_or((value, 0), |(m, p)| (m.parse().unwrap_or(value), p.parse().unwrap_or(0)));
        return format!("{}e{power}", (mantissa * 100.0).round() / 100.0);
    }
    let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}")
}

/// The loss curve with the learning rate under it; `None` if there is no finite point.
pub(super) fn loss(points: &[Point], held_out: &[(u64, f64)]) -> Option<String> {
    let points: Vec<&Point> = points.iter().filter(|point| point.loss.is_finite() && point.rate.is_finite()).collect();
    let (first, last) = (points.first()?, points.last()?);
    let held_out: Vec<_> = held_out.iter().filter(|(_, loss)| loss.is_finite()).collect();
    let steps = ticks(first.step.min(1) as f64, last.step.max(first.step + 1) as f64, 8);
    let x = Scale { low: steps[0], high: (last.step.max(first.step + 1)) as f64, from: LEFT, to: WIDTH - RIGHT };

    let (top, bottom) = (34.0, 314.0);
    let losses = || points.iter().map(|point| point.loss).chain(held_out.iter().map(|(_, loss)| *loss));
    let (low, high) = (losses().fold(f64::INFINITY, f64::min), losses().fold(f64::NEG_INFINITY, f64::max));
    let low = if low < 0.5 * high { low.min(0.0) } else { low };
    let marks = ticks(low, high, 5);
    let y = Scale { low: marks[0], high: marks[marks.len() - 1], from: bottom, to: top };
    let mut art = axes(&x, &y, &steps, &marks, "training loss (nats per learned token)");
    let stride = points.len().div_ceil(POINTS);
    for point in points.iter().step_by(stride) {
        art.push_str(&format!(r#"<circle class="raw" cx="{:.1}" cy="{:.1}" r="2.2"/>"#, x.at(point.step as f64), y.at(point.loss)));
    }
    art.push_str(&line("smooth", smoothed(&points).into_iter().map(|(step, loss)| (x.at(step), y.at(loss)))));
    for (step, loss) in &held_out {
        art.push_str(&format!(r#"<circle class="held" cx="{:.1}" cy="{:.1}" r="4.5"/>"#, x.at(*step as f64), y.at(*loss)));
    }

    let (top, bottom) = (378.0, 450.0);
    let highest = points.iter().map(|point| point.rate).fold(0.0, f64::max);
    let marks = ticks(0.0, if highest > 0.0 { highest } else { 1.0 }, 2);
    let y = Scale { low: 0.0, high: marks[marks.len() - 1], from: bottom, to: top };
    art.push_str(&axes(&x, &y, &steps, &marks, "learning rate"));
    art.push_str(&line("rate", points.iter().step_by(stride).map(|point| (x.at(point.step as f64), y.at(point.rate)))));
    art.push_str(&format!(r#"<text x="{:.0}" y="{:.0}" text-anchor="end">optimizer step</text>"#, WIDTH - RIGHT, bottom + 36.0));
    let label = format!("Training loss from {:.3} at step {} to {:.3} at step {}", first.loss, first.step, last.loss, last.step);
    Some(format!(r#"<svg viewBox="0 0 {WIDTH} 490" role="img" aria-label="{label}">{art}</svg>"#))
}

pub(super) fn axes(x: &Scale, y: &Scale, steps: &[f64], marks: &[f64], title: &str) -> String {
    let mut out = format!(r#"<text x="{LEFT}" y="{:.0}" dy="-12">{title}</text>"#, y.to);
    let step = marks.get(1).map_or(1.0, |second| second - marks[0]);
    for mark in marks {
        let at = y.at(*mark);
        out.push_str(&format!(r#"<line class="grid" x1="{LEFT}" x2="{:.0}" y1="{at:.1}" y2="{at:.1}"/>"#, WIDTH - RIGHT));
        out.push_str(&format!(r#"<text x="{:.0}" y="{at:.1}" dy="4" text-anchor="end">{}</text>"#, LEFT - 10.0, tick_text(*mark, step)));
    }
    out.push_str(&format!(r#"<line class="axis" x1="{LEFT}" x2="{:.0}" y1="{:.1}" y2="{:.1}"/>"#, WIDTH - RIGHT, y.from, y.from));
    for mark in steps.iter().filter(|mark| **mark <= x.high) {
        let at = x.at(*mark);
        out.push_str(&format!(r#"<line class="axis" x1="{at:.1}" x2="{at:.1}" y1="{:.1}" y2="{:.1}"/>"#, y.from, y.from + 4.0));
        out.push_str(&format!(r#"<text x="{at:.1}" y="{:.1}" text-anchor="middle">{mark:.0}</text>"#, y.from + 18.0));
    }
    out
}

fn line(class: &str, points: impl Iterator<Item = (f64, f64)>) -> String {
    let path: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!(r#"<polyline class="{class}" points="{}"/>"#, path.join(" "))
}

/// A centred moving average over about a tenth of the run; it narrows at the ends, so that both ends are kept.
fn smoothed(points: &[&Point]) -> Vec<(f64, f64)> {
    let reach = points.len() / 20;
    let mut sums = vec![0.0];
    sums.extend(points.iter().scan(0.0, |sum, point| {
        *sum += point.loss;
        Some(*sum)
    }));
    let average = |at: usize| {
        let reach = reach.min(at).min(points.len() - 1 - at);
        (points[at].step as f64, (sums[at + reach + 1] - sums[at - reach]) / (2 * reach + 1) as f64)
    };
    (0..points.len()).step_by(points.len().div_ceil(POINTS)).map(average).collect()
}

/// A share as a bar from 0 to 100 % with its interval as a whisker.
pub(super) fn bar(rate: &Rate, class: &str) -> String {
    let at = |share: f64| 1.0 + 198.0 * share.clamp(0.0, 1.0);
    let (low, high, value) = (at(rate.low), at(rate.high), at(rate.share));
    format!(
        r#"<svg class="bar" viewBox="0 0 200 18" role="img" aria-label="{:.1} %, 95 % interval {:.1} to {:.1}"><g class="{class}"><rect class="track" x="1" y="5" width="198" height="8" rx="1"/><rect class="fill" x="1" y="5" width="{:.1}" height="8" rx="1"/><path class="whisker" d="M{low:.1} 9H{high:.1}M{low:.1} 4.5V13.5M{high:.1} 4.5V13.5"/></g></svg>"#,
        100.0 * rate.share,
        100.0 * rate.low,
        100.0 * rate.high,
        value - 1.0,
    )
}

/// A small bar for a cell of a long table.
pub(super) fn mini(share: f64, class: &str) -> String {
    let width = 72.0 * share.clamp(0.0, 1.0);
    format!(
        r#"<svg class="mini" viewBox="0 0 72 8" aria-hidden="true"><g class="{class}"><rect class="track" width="72" height="8" rx="1"/><rect class="fill" width="{width:.1}" height="8" rx="1"/></g></svg>"#
    )
}

/// A difference on a scale from −100 to +100 points.
pub(super) fn difference(d: &Difference) -> String {
    let at = |value: f64| 100.0 + 96.0 * value.clamp(-1.0, 1.0);
    format!(
        r#"<svg class="bar" viewBox="0 0 200 18" aria-hidden="true"><path class="axis" d="M4 9H196"/><path class="zero" d="M100 2V16"/><path class="span" d="M{:.1} 9H{:.1}"/><circle class="dot" cx="{:.1}" cy="9" r="3.4"/></svg>"#,
        at(d.low),
        at(d.high),
        at(d.value)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_enclose() {
        assert_eq!(ticks(0.0, 4.3, 5), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(ticks(0.0, 140.0, 8), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 140.0]);
        assert_eq!(ticks(0.0, 1e-3, 2).iter().map(|t| tick_text(*t, 5e-4)).collect::<Vec<_>>(), ["0", "5e-4", "1e-3"]);
        assert!(ticks(3.0, 3.0, 5).len() > 1);
        for (low, high) in [(0.013, 0.97), (-3.0, 12.5), (1e-9, 2e-9), (100.0, 1e6)] {
            let found = ticks(low, high, 5);
            assert!(found[0] <= low && found[found.len() - 1] >= high * 0.999_999 && found.len() <= 9, "{low}..{high}: {found:?}");
        }
    }

    #[test]
    fn curves_skip_what_is_not_finite_and_thin_long_runs() {
        let point = |step: u64, loss: f64| Point { step, loss, rate: 1e-3 };
        assert!(loss(&[], &[]).is_none());
        assert!(loss(&[point(1, f64::NAN)], &[]).is_none());
        let one = loss(&[point(1, 2.0)], &[]).unwrap();
        assert!(!one.contains("NaN") && !one.contains("inf"), "{one}");
        let long: Vec<Point> = (1..=50_000).map(|step| point(step, if step == 7 { f64::NAN } else { 1.0 / step as f64 })).collect();
        let drawn = loss(&long, &[(100, 0.5), (200, f64::INFINITY)]).unwrap();
        assert!(drawn.matches("class=\"raw\"").count() <= POINTS && drawn.matches("class=\"held\"").count() == 1);
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"));
    }

    #[test]
    fn smoothing_keeps_the_ends_and_the_level() {
        let points: Vec<Point> = (0..100).map(|step| Point { step, loss: if step % 2 == 0 { 1.0 } else { 3.0 }, rate: 0.0 }).collect();
        let found = smoothed(&points.iter().collect::<Vec<_>>());
        assert_eq!((found.len(), found[0], found[99]), (100, (0.0, 1.0), (99.0, 3.0)));
        assert!(found[20..80].iter().all(|(_, loss)| (loss - 2.0).abs() < 0.15));
    }
}
