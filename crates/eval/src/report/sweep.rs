//! Pages about runs side by side: the comparison of a sweep, and the curve of a learning-rate range test.

use super::chart::{Scale, axes, ticks};
use super::page::{escape, fill, span};
use super::section;

/// Colours of curves; more runs than these begin again.
const COLOURS: [&str; 8] = ["#2b6cb0", "#c05621", "#2f855a", "#9b2c7c", "#b7791f", "#4c51bf", "#c53030", "#2c7a7b"];

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 330.0;

/// One run of a sweep.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trial {
    pub name: String,
    /// The settings that differ, in the order of [`Sweep::axes`].
    pub settings: Vec<String>,
    /// Steps done and planned.
    pub steps: (u64, u64),
    /// Loss of each step.
    pub losses: Vec<(u64, f64)>,
    /// Loss on the validation examples.
    pub validations: Vec<(u64, f64)>,
    /// The lowest validation of the trained model, and its step.
    pub best: Option<(u64, f64)>,
    /// Exact answers on the held-out examples, where the run was measured: share, low, high.
    pub exact: Option<(f64, f64, f64)>,
    pub seconds: f64,
    /// What became of it: `finished`, `left after 12 steps`, or why it failed.
    pub fate: String,
}

/// What the page shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sweep {
    pub title: String,
    pub subtitle: String,
    /// Names of the settings that differ.
    pub axes: Vec<String>,
    /// The best first.
    pub trials: Vec<Trial>,
    /// How it was chosen, in a sentence.
    pub method: String,
    /// What to run next: a command and what it does.
    pub next: Vec<(String, String)>,
}

/// The comparison of a sweep as one page.
pub fn sweep(s: &Sweep) -> String {
    let curves = |of: fn(&Trial) -> &Vec<(u64, f64)>, title: &str| {
        let lines: Vec<(usize, Vec<(f64, f64)>)> =
            s.trials.iter().enumerate().map(|(at, t)| (at, of(t).iter().map(|(step, y)| (*step as f64, *y)).collect())).collect();
        picture(&lines, title, "optimizer step").unwrap_or_default()
    };
    let headline = match s.trials.first().and_then(|t| Some((t, t.best?))) {
        Some((t, (step, loss))) => format!(
            "<div class=\"verdict improved\"><p class=\"sentence\">Best: {}</p><p class=\"detail\">validation loss {loss:.4} at step {step}. {}</p></div>\n",
            escape(&t.name),
            escape(&s.method)
        ),
        None => format!(
            "<div class=\"verdict\"><p class=\"sentence\">No run came to a validation</p><p class=\"detail\">{}</p></div>\n",
            escape(&s.method)
        ),
    };
    let body = [
        headline,
        section("The runs", "Sorted by their lowest validation loss: less is better.", &table(s)),
        section("Validation", "", &curves(|t| &t.validations, "validation loss (nats)")),
        section("Training", "", &curves(|t| &t.losses, "training loss (nats)")),
        section("What to run next", "", &commands(&s.next)),
    ];
    page("Sweep", &s.title, &s.subtitle, &body.concat())
}

fn table(s: &Sweep) -> String {
    let measured = s.trials.iter().any(|t| t.exact.is_some());
    let head: String = s.axes.iter().map(|axis| format!("<th>{}</th>", escape(axis))).collect();
    let exact = if measured { "<th>exact answers (95 % interval)</th>" } else { "" };
    let row = |(at, t): (usize, &Trial)| {
        let cells: String = t.settings.iter().map(|value| format!("<td>{}</td>", escape(value))).collect();
        let best = t.best.map_or("—".to_string(), |(step, loss)| format!("{loss:.4} <span class=\"quiet\">at step {step}</span>"));
        let exact = match (measured, t.exact) {
            (false, _) => String::new(),
            (true, None) => "<td class=\"quiet\">not measured</td>".to_string(),
            (true, Some((share, low, high))) => format!("<td>{:.1} % [{:.1}, {:.1}]</td>", 100.0 * share, 100.0 * low, 100.0 * high),
        };
        format!(
            "<tr><td><span style=\"color:{}\">●</span> {}</td>{cells}<td>{best}</td>{exact}<td>{} of {}</td><td>{}</td><td class=\"quiet\">{}</td></tr>",
            colour(at),
            escape(&t.name),
            t.steps.0,
            t.steps.1,
            span(t.seconds),
            escape(&t.fate)
        )
    };
    let rows: String = s.trials.iter().enumerate().map(row).collect();
    format!(
        "<div class=\"scroll\"><table><thead><tr><th>run</th>{head}<th>validation loss</th>{exact}<th>steps</th><th>time</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

/// What a range test saw: rate, loss, loss without noise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RateTest {
    pub title: String,
    pub subtitle: String,
    pub points: Vec<(f64, f64, f64)>,
    /// Rates that are marked, each with its name.
    pub marks: Vec<(f64, String)>,
    /// The result in one sentence.
    pub sentence: String,
    pub next: Vec<(String, String)>,
}

/// The curve of a range test as one page.
pub fn rate_test(test: &RateTest) -> String {
    let of = |pick: fn(&(f64, f64, f64)) -> f64| test.points.iter().map(|p| (p.0.log10(), pick(p))).collect::<Vec<_>>();
    let lines = [(1, of(|p| p.1)), (0, of(|p| p.2))];
    let marks: String = test.marks.iter().map(|(lr, name)| format!("<li>{}: {lr:e}</li>", escape(name))).collect();
    let body = [
        format!("<div class=\"verdict\"><p class=\"sentence\">{}</p></div>\n", escape(&test.sentence)),
        section(
            "The loss while the rate rises",
            "",
            &picture(&lines, "loss (nats): each step, and without its noise", "log10 of the learning rate").unwrap_or_default(),
        ),
        section("Marks", "", &format!("<ul>{marks}</ul>")),
        section("What to run next", "", &commands(&test.next)),
    ];
    page("Learning-rate range test", &test.title, &test.subtitle, &body.concat())
}

fn page(eyebrow: &str, title: &str, subtitle: &str, body: &str) -> String {
    let values = [
        ("eyebrow", escape(eyebrow)),
        ("title", escape(title)),
        ("subtitle", escape(subtitle)),
        ("style", include_str!("style.css").to_string()),
        ("script", String::new()),
        ("body", body.to_string()),
    ];
    fill(include_str!("page.html"), &values.each_ref().map(|(name, value)| (*name, value.as_str())))
}

fn commands(next: &[(String, String)]) -> String {
    let row = |(command, what): &(String, String)| {
        format!("<tr><td><code>{}</code></td><td class=\"quiet\">{}</td></tr>", escape(command), escape(what))
    };
    format!("<div class=\"scroll\"><table><tbody>{}</tbody></table></div>", next.iter().map(row).collect::<String>())
}

fn colour(at: usize) -> &'static str {
    COLOURS[at % COLOURS.len()]
}

/// Curves in one picture, each with the number of its colour; none if there is no finite point.
fn picture(lines: &[(usize, Vec<(f64, f64)>)], title: &str, below: &str) -> Option<String> {
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let all: Vec<(f64, f64)> = lines.iter().flat_map(|(_, points)| points.iter().filter(finite).copied()).collect();
    all.first()?;
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        all.iter().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let ((left, right), (low, high)) = (bounds(|p| p.0), bounds(|p| p.1));
    let (steps, marks) = (ticks(left, right, 8), ticks(low, high, 5));
    let x = Scale { low: steps[0], high: right.max(steps[0] + 1e-9), from: LEFT, to: WIDTH - RIGHT };
    let y = Scale { low: marks[0], high: marks[marks.len() - 1], from: BOTTOM, to: TOP };
    let mut art = axes(&x, &y, &steps, &marks, title);
    // The best run is drawn last, above the others.
    for (number, points) in lines.iter().rev() {
        let path: Vec<String> = points.iter().filter(finite).map(|(a, b)| format!("{:.1},{:.1}", x.at(*a), y.at(*b))).collect();
        art.push_str(&format!(
            r#"<polyline fill="none" stroke="{}" stroke-width="{}" points="{}"/>"#,
            colour(*number),
            if *number == 0 { 2.6 } else { 1.4 },
            path.join(" ")
        ));
    }
    art.push_str(&format!(r#"<text x="{:.0}" y="{:.0}" text-anchor="end">{below}</text>"#, WIDTH - RIGHT, BOTTOM + 36.0));
    Some(format!(r#"<svg viewBox="0 0 {WIDTH} 372" role="img" aria-label="{}">{art}</svg>"#, escape(title)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(name: &str, best: Option<(u64, f64)>) -> Trial {
        Trial {
            name: name.into(),
            settings: vec!["8".into(), "1e-4".into()],
            steps: (10, 20),
            losses: vec![(1, 3.0), (2, f64::NAN), (3, 2.0)],
            validations: vec![(0, 3.0), (10, 1.5)],
            best,
            exact: Some((0.5, 0.4, 0.6)),
            seconds: 3.0,
            fate: "<left>".into(),
        }
    }

    #[test]
    fn a_sweep_shows_every_run_and_loads_nothing() {
        let s = Sweep {
            title: "a & b".into(),
            axes: vec!["adapter.rank".into(), "train.lr".into()],
            trials: vec![trial("r8", Some((10, 1.5))), trial("r16", None)],
            method: "Grid of 2.".into(),
            next: vec![("tunesmith eval x".into(), "measure".into())],
            ..Sweep::default()
        };
        let page = sweep(&s);
        for part in
            ["Best: r8", "validation loss 1.5000 at step 10", "a &amp; b", "&lt;left&gt;", "50.0 % [40.0, 60.0]", "10 of 20", "<td>—</td>"]
        {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!(page.matches("<polyline").count(), 4);
        assert!(!page.contains("NaN") && !page.contains("http://") && !page.contains("https://") && !page.contains("<left>"));
        assert!(sweep(&Sweep::default()).contains("No run came to a validation"));
    }

    #[test]
    fn a_range_test_is_drawn_over_powers_of_ten() {
        let points = (0..20).map(|i| (1e-6 * 2f64.powi(i), 2.0 - 0.01 * f64::from(i), 2.0)).collect();
        let test = RateTest { points, marks: vec![(2e-4, "steepest fall".into())], sentence: "Try 2e-4.".into(), ..RateTest::default() };
        let page = rate_test(&test);
        assert!(page.contains("Try 2e-4.") && page.contains("steepest fall: 2e-4") && page.matches("<polyline").count() == 2);
    }
}
