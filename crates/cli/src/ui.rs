//! All printing: results on standard output, progress and faults on standard error.

use crate::fault::{Fault, Kind};
use crate::show;
use crate::stop;
use flow::{Prepared, Watch};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use record::Event;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Without a terminal, progress is one line in this time.
const PAUSE: Duration = Duration::from_secs(10);
/// Steps over which rates are averaged.
const RECENT: usize = 20;

/// How output looks.
#[derive(Clone, Copy)]
pub struct Style {
    /// One JSON object on standard output, and nothing else there.
    pub json: bool,
    /// Results only.
    pub quiet: bool,
    /// Whether standard output shows colours.
    pub colour: bool,
    /// Whether standard error can redraw a line.
    pub bars: bool,
}

impl Style {
    /// What fits the terminal, or the file, that we print to.
    pub fn of_this_terminal(json: bool, quiet: bool) -> Style {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Style { json, quiet, colour: std::io::stdout().is_terminal() && !plain, bars: std::io::stderr().is_terminal() && !quiet }
    }
}

/// The terminal.
pub struct Ui {
    pub style: Style,
    bar: Option<ProgressBar>,
    part: Option<Part>,
    steps: u64,
    recent: VecDeque<(f64, u64)>,
    told: Instant,
}

/// What goes on now.
struct Part {
    what: String,
    of: u64,
    done: u64,
    began: Instant,
    bytes: bool,
}

impl Ui {
    pub fn new(style: Style) -> Ui {
        Ui { style, bar: None, part: None, steps: 0, recent: VecDeque::new(), told: Instant::now() }
    }

    /// A line on the way: what is done, what was seen.
    pub fn tell(&mut self, line: impl AsRef<str>) {
        if !self.style.json && !self.style.quiet {
            self.out(line.as_ref());
        }
    }

    /// A line of the result.
    pub fn say(&mut self, line: impl AsRef<str>) {
        if !self.style.json {
            self.out(line.as_ref());
        }
    }

    /// The result for programs.
    pub fn json(&mut self, value: Value) {
        if self.style.json {
            self.out(&value.to_string());
        }
    }

    /// What to run next, and what that does.
    pub fn next(&mut self, steps: &[(String, &str)]) {
        let width = steps.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        self.tell("\nNext:");
        for (command, why) in steps {
            self.tell(format!("  {command:width$}   {why}"));
        }
    }

    /// Something that should be known although the work goes on.
    pub fn warn(&mut self, line: &str) {
        self.err(&format!("warning: {line}"));
    }

    /// The end by a fault.
    pub fn fault(&mut self, fault: &Fault) -> ExitCode {
        self.close();
        self.err(&fault.to_string());
        self.json(fault.to_json());
        ExitCode::from(fault.kind.code())
    }

    /// The end by a panic, of which the hook has told on standard error.
    pub fn bug(&mut self) -> ExitCode {
        self.close();
        self.json(Fault::new(Kind::Ours, "a bug in tunesmith; standard error says where").to_json());
        ExitCode::from(Kind::Ours.code())
    }

    /// Steps of the whole run, where no event will say so.
    pub fn expect(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// A job over so many bytes begins; 0 where nobody knows.
    pub fn begin_bytes(&mut self, what: &str, of: u64) {
        self.open(what, of, true);
    }

    /// How far it is, and what else there is to tell.
    pub fn at(&mut self, done: u64, message: &str) {
        self.shift(done, message);
    }

    /// It has ended.
    pub fn end_bytes(&mut self) {
        self.close();
    }

    fn out(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print(line)),
            None => print(line),
        }
    }

    fn err(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| complain(line)),
            None => complain(line),
        }
    }

    /// A part of a job begins that is measured in bytes.
    pub fn open_bytes(&mut self, what: &str, of: u64) {
        self.open(what, of, true);
    }

    /// So many units of the present part are done.
    pub fn reach(&mut self, done: u64) {
        self.shift(done, "");
    }

    fn open(&mut self, what: &str, of: u64, bytes: bool) {
        self.close();
        self.told = Instant::now();
        self.part = Some(Part { what: what.to_string(), of, done: 0, began: Instant::now(), bytes });
        if self.style.bars {
            // A bar of ten characters when nobody knows the end would lie.
            let shape = match (of, bytes) {
                (0, _) => "{spinner} {prefix} {msg}",
                (_, true) => "{prefix} [{bar:24}] {bytes} of {total_bytes}  {bytes_per_sec}  ETA {eta}  {msg}",
                (_, false) => "{prefix} [{bar:24}] {pos}/{len} {msg}",
            };
            let style = ProgressStyle::with_template(shape).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::with_draw_target(Some(of), ProgressDrawTarget::stderr()).with_style(style.progress_chars("=> "));
            bar.set_prefix(what.to_string());
            self.bar = Some(bar);
        } else if !self.style.quiet {
            complain(&format!("{what} ..."));
        }
    }

    fn shift(&mut self, done: u64, message: &str) {
        let Some(part) = &mut self.part else { return };
        part.done = done;
        if let Some(bar) = &self.bar {
            bar.set_message(message.to_string());
            bar.set_position(done);
        } else if !self.style.quiet && self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            let of = match (part.of, part.bytes) {
                (0, _) => String::new(),
                (of, true) => format!(" {} %", 100 * done / of),
                (of, false) => format!(" {done}/{of}"),
            };
            complain(&format!("{}{of} {message}", part.what));
        }
    }

    /// Ends the part; says how long it took if that was long enough to wonder.
    pub fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if let Some(part) = self.part.take()
            && !self.style.quiet
            && part.began.elapsed() >= Duration::from_secs(2)
        {
            complain(&format!("{}: {}", part.what, show::duration(part.began.elapsed().as_secs_f64())));
        }
    }

    fn step(&mut self, step: u64, loss: f64, lr: f64, tokens: u64, ms: f64, light: Option<f64>) {
        self.recent.push_back((ms / 1e3, tokens));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        let seconds: f64 = self.recent.iter().map(|(s, _)| s).sum();
        let learned: u64 = self.recent.iter().map(|(_, t)| t).sum();
        let left = self.steps.saturating_sub(step) as f64 * seconds / self.recent.len() as f64;
        let rate = learned as f64 / seconds.max(1e-9);
        let light = light.map_or(String::new(), |share| format!("  {:.0} % of the speed of light", 100.0 * share));
        let message = format!("loss {loss:.4}  rate {lr:.2e}  {rate:.0} supervised tokens/s{light}  ETA {}", show::duration(left));
        self.shift(step, &message);
    }
}

impl Watch for Ui {
    fn begin(&mut self, what: &str, of: u64) {
        self.open(what, of, false);
    }

    fn advance(&mut self, done: u64) {
        self.shift(done, "");
    }

    fn end(&mut self) {
        self.close();
    }

    fn note(&mut self, text: &str) {
        self.tell(text);
    }

    fn prepared(&mut self, prepared: &Prepared) {
        for line in show::prepared(prepared, self.style.colour) {
            self.tell(line);
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Started { steps, parameters, threads, examples, .. } => {
                self.expect(*steps);
                let size = show::count(*parameters);
                self.tell(format!("\nTraining: {examples} examples, {steps} steps, {size} trainable parameters, {threads} threads. Ctrl-C stops and saves."));
                self.open("training", *steps, false);
            }
            Event::Resumed { step } => {
                self.tell(format!("Going on after step {step} of {}.", self.steps));
                self.open("training", self.steps, false);
                self.shift(*step, "");
            }
            Event::Step { step, loss, lr, supervised_tokens, step_ms, light, .. } => {
                self.step(*step, *loss, *lr, *supervised_tokens, *step_ms, *light);
            }
            Event::Skipped { step, reason, examples } => self.warn(&format!("step {step} was skipped: {reason}{}", listed(examples))),
            Event::Spike { step, reason, examples } => self.warn(&format!("step {step} counts although {reason}{}", listed(examples))),
            Event::Rewound { step, to, reason, examples } => {
                self.warn(&format!("at step {step} {reason}; all since step {to} is undone and passed over{}", listed(examples)));
            }
            Event::Mixed { examples, replay, share } => {
                self.tell(format!(
                    "{:.0} % of what is seen comes from {replay} older examples, beside {examples} new ones.",
                    100.0 * share
                ));
            }
            Event::Validation { step, loss, best, .. } => {
                let mark = if *best { ", the best so far" } else { "" };
                self.tell(format!("Step {step}: validation loss {loss:.4}{mark}"));
            }
            Event::EarlyStop { step, best_step, best_loss, validations } => {
                self.tell(format!(
                    "Stopped after step {step}: {validations} validations were no better than {best_loss:.4} at step {best_step}."
                ));
            }
            Event::Advice { text, .. } => self.tell(format!("Note: {text}")),
            Event::Preference { .. } | Event::Published { .. } => {}
            Event::Checkpoint { .. } => {}
            Event::Interrupted { .. } | Event::Finished { .. } => {
                stop::unheard();
                self.close();
            }
        }
    }
}

impl hub::Progress for Ui {
    fn start(&mut self, total_bytes: u64) {
        self.open("downloading", total_bytes, true);
    }

    fn advance(&mut self, bytes: u64) {
        let done = self.part.as_ref().map_or(0, |part| part.done);
        self.shift(done.saturating_add(bytes), "");
    }

    fn finish(&mut self) {
        self.close();
    }

    fn message(&mut self, text: &str) {
        if !self.style.quiet {
            self.err(text);
        }
    }
}

/// The first few of the examples of a step.
fn listed(examples: &[String]) -> String {
    const SHOWN: usize = 4;
    let first = examples.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match examples.len() {
        0 => String::new(),
        n if n > SHOWN => format!(" (its examples: {first} and {} more)", n - SHOWN),
        _ => format!(" (its examples: {first})"),
    }
}

/// A line on standard output. A reader that has gone away (`| head`) is no fault.
pub fn print(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Text on standard output without a line's end, at once.
pub fn print_part(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// A line on standard error.
pub fn warn(line: &str) {
    complain(line);
}

fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// A mark before the user's turn, for terminals only.
pub fn ask() {
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "\nyou> ").and_then(|()| err.flush());
}
