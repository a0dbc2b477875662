//! `tunesmith data check`: what is wrong with a dataset, before it is trained on.

use crate::fault::{Fault, Kind};
use crate::place;
use crate::stop;
use crate::ui::Ui;
use data::check::{CHECKS, Data, Declared, JsonFault, Settings, check, counts, dossier, worst};
use data::{Finding, Severity};
use eval::Schema;
use flow::Watch;
use record::Recipe;
use regex::Regex;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

mod page;

const EXAMPLE: &str = "\
Examples:
  tunesmith data check train.jsonl --eval heldout.jsonl
  tunesmith data check --recipe tunesmith.toml            its data, schema, label and model
  tunesmith data check train.jsonl --labels labels.txt --label intent --gate warning
  tunesmith data check train.jsonl --codes icd10.txt --code-pattern '[A-Z][0-9]{2}(\\.[0-9]{1,4})?'

Nothing is changed. The exit code is 3 when a finding is as bad as --gate says.";

/// Check a dataset before it is trained on
///
/// Looks for rows that cannot be learned from, odd lengths and debris of mail and web forms, answers that
/// contradict each other, copies and forms, gaps, and examples that are trained on and measured with. Every
/// finding names its examples, shows why, and says what to do. Writes one HTML file.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct CheckArgs {
    /// What is to be trained on: JSONL, as `tunesmith data import` writes it or in any shape that training reads
    #[arg(value_name = "FILE", required_unless_present = "recipe")]
    files: Vec<PathBuf>,
    /// What is to be measured with
    #[arg(long, value_name = "FILE")]
    eval: Option<PathBuf>,
    /// A sample of what is asked in production
    #[arg(long, value_name = "FILE")]
    production: Option<PathBuf>,
    /// Take data, schema, label, system prompt and model from a recipe; flags come before it
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// The model whose template and tokenizer the examples are for
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// A JSON Schema that every answer has to obey
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// A pattern that every answer has to match
    #[arg(long, value_name = "REGEX")]
    pattern: Option<String>,
    /// The field of the answer that is its label
    #[arg(long, value_name = "FIELD")]
    label: Option<String>,
    /// The labels there are, one a line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// The codes or citations there are, one a line
    #[arg(long, value_name = "FILE", requires = "code_pattern")]
    codes: Option<PathBuf>,
    /// What a code or citation looks like in an answer
    #[arg(long, value_name = "REGEX", requires = "codes")]
    code_pattern: Option<String>,
    /// Least likeness of near copies, from 0 to 1: shared three-word runs among all of both
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    near: f32,
    /// Fail with exit code 3 when there is such a finding
    #[arg(long, value_enum, default_value_t = Gate::Error)]
    gate: Gate,
    /// Where the report goes
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// From which severity on the gate fails.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Gate {
    Error,
    Warning,
    Never,
}

pub fn run(args: &CheckArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let recipe = args.recipe.as_deref().map(Recipe::read).transpose()?;
    let asked = Asked::of(args, recipe.as_ref(), ui)?;
    let report = args.report.clone().unwrap_or_else(|| PathBuf::from(format!("{}.check.html", place::stem(&asked.train[0]))));

    // Plan.
    let settings = asked.settings(args)?;
    ui.begin("reading", 0);
    let data = Data::read(&asked.train, asked.eval.as_deref(), args.production.as_deref())?;
    Watch::end(ui);

    // Do.
    let findings = look(&data, &settings, ui)?;
    let page = page::page(&asked, &data, &dossier(&data, &settings), &findings);
    record::atomic::write(&report, page.as_bytes())?;

    // Say.
    say(&data, &findings, ui);
    ui.say(format!("\nReport: {}", report.display()));
    let found = json!({
        "rows": data.train.len(),
        "findings": findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        "report": report,
    });
    gate(args.gate, &findings, &report, &found)?;
    ui.json(found);
    ui.next(&onward(&asked));
    Ok(())
}

/// What flags and recipe name together.
pub(super) struct Asked {
    pub train: Vec<PathBuf>,
    pub eval: Option<PathBuf>,
    schema: Option<Schema>,
    label: Option<String>,
    system: Option<String>,
    folder: Option<model::Folder>,
    max_tokens: Option<usize>,
    /// The model's name.
    pub model: Option<String>,
}

impl Asked {
    fn of(args: &CheckArgs, recipe: Option<&Recipe>, ui: &mut Ui) -> Result<Asked, Fault> {
        let of_recipe = |path: fn(&Recipe) -> Option<&PathBuf>| recipe.and_then(path).cloned();
        let train = match recipe {
            Some(recipe) if args.files.is_empty() => vec![recipe.data.train.clone()],
            _ => args.files.clone(),
        };
        let eval = args.eval.clone().or_else(|| recipe.filter(|_| args.files.is_empty()).map(|r| r.data.eval.clone()));
        let schema = args.schema.clone().or_else(|| of_recipe(|r| r.data.schema.as_ref()));
        let schema = schema.map(|path| Ok::<_, Fault>(Schema::parse(&path.display().to_string(), &text(&path)?)?)).transpose()?;
        let system = of_recipe(|r| r.data.system.as_ref()).map(|path| text(&path)).transpose()?;
        let name = args.model.clone().or_else(|| recipe.map(|r| r.model.base.clone()));
        let folder = name.as_deref().map(|name| Ok::<_, Fault>(model::Folder::open(&place::model(name, ui)?)?)).transpose()?;
        Ok(Asked {
            train,
            eval,
            schema,
            label: args.label.clone().or_else(|| recipe.and_then(|r| r.data.label.clone())),
            system: system.map(|text| text.trim_end().to_string()),
            folder,
            max_tokens: recipe.and_then(|r| r.data.max_tokens).map(|most| most as usize),
            model: name,
        })
    }

    fn settings(&self, args: &CheckArgs) -> Result<Settings<'_>, Fault> {
        if !(0.05..=1.0).contains(&args.near) {
            return Err(Fault::new(Kind::Usage, format!("--near: found {}, expected a share from 0.05 to 1", args.near))
                .hint("0.5 finds most copies, 0.8 close ones only"));
        }
        let labels = args.labels.as_deref().map(lines).transpose()?.unwrap_or_default();
        let codes = match (&args.codes, &args.code_pattern) {
            (Some(path), Some(pattern)) => Some((regex("--code-pattern", pattern)?, lines(path)?.into_iter().collect::<HashSet<_>>())),
            _ => None,
        };
        let pattern = args.pattern.as_deref().map(|pattern| regex("--pattern", pattern)).transpose()?;
        let schema = self.schema.as_ref().map(|schema| Box::new(|value: &Value| schema.complaint(value)) as JsonFault<'_>);
        let context = self.folder.as_ref().map(|folder| self.max_tokens.map_or(folder.dims.context, |most| most.min(folder.dims.context)));
        Ok(Settings {
            declared: Declared { schema, pattern, labels, codes },
            label: self.label.clone(),
            chat: self.folder.as_ref().map(|folder| &folder.chat),
            context,
            system: self.system.clone(),
            near: data::near::Options { least: args.near, ..Default::default() },
        })
    }
}

fn text(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path).map_err(|why| {
        Fault::new(Kind::of_io(&why), format!("cannot read {}: {why}", path.display())).hint(format!("ls -l {}", path.display()))
    })
}

/// The lines of a list that hold something.
fn lines(path: &Path) -> Result<Vec<String>, Fault> {
    let all: Vec<String> = text(path)?.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_string).collect();
    match all.is_empty() {
        true => Err(Fault::new(Kind::Yours, format!("{}: found no line, expected one entry a line", path.display()))
            .hint("write each label or code on a line of its own, without quotes")),
        false => Ok(all),
    }
}

fn regex(flag: &str, pattern: &str) -> Result<Regex, Fault> {
    let told = |why: regex::Error| why.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
    Regex::new(pattern).map_err(|why| {
        Fault::new(Kind::Usage, format!("{flag}: {pattern} is no pattern: {}", told(why)))
            .hint("write \\( for a bracket that is meant, and quote the pattern: '...'")
    })
}

/// All checks, with a bar; Ctrl-C stops before the next one.
fn look(data: &Data, settings: &Settings<'_>, ui: &mut Ui) -> Result<Vec<Finding>, Fault> {
    let asked = stop::hear();
    let mut done = 0;
    ui.begin("checking", CHECKS.len() as u64);
    let found = check(data, settings, &mut |_| {
        Watch::advance(ui, done);
        done += 1;
        !asked.load(Ordering::SeqCst)
    });
    Watch::end(ui);
    stop::unheard();
    found.ok_or_else(|| {
        Fault::new(Kind::Machine, "stopped before all checks were made; nothing was written").hint("run the same command again")
    })
}

fn say(data: &Data, findings: &[Finding], ui: &mut Ui) {
    match worst(findings, data.train.len()) {
        Some(worst) => ui.say(format!("Worst: {}.\n  {}\n  Mend: {}", worst.sentence.trim_end_matches('.'), worst.instance, worst.mend)),
        None => ui.say(format!("Nothing worse than a note in {} rows", data.train.len())),
    }
    ui.say("");
    for group in findings.chunk_by(|a, b| (a.check, a.severity) == (b.check, b.severity)) {
        let examples: HashSet<&str> = group.iter().flat_map(|f| &f.examples).map(String::as_str).collect();
        let line = format!(
            "  {:18} {:8} {:5} findings, {:5} examples",
            group[0].check.name(),
            group[0].severity.name(),
            group.len(),
            examples.len()
        );
        ui.say(line);
    }
}

fn gate(gate: Gate, findings: &[Finding], report: &Path, found: &Value) -> Result<(), Fault> {
    let least = match gate {
        Gate::Error => Severity::Error,
        Gate::Warning => Severity::Warning,
        Gate::Never => return Ok(()),
    };
    let bad: Vec<String> = counts(findings)
        .iter()
        .rev()
        .filter(|(severity, n)| *severity >= least && *n > 0)
        .map(|(severity, n)| format!("{n} of severity {}", severity.name()))
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    let fault = Fault::new(Kind::Gate, format!("the data does not pass: findings {}", bad.join(", ")));
    Err(fault.hint(format!("look at {}", report.display())).hint("report them without failing: --gate never").found(found.clone()))
}

fn onward(asked: &Asked) -> Vec<(String, &'static str)> {
    let file = asked.train[0].display();
    vec![
        (format!("tunesmith data sample {file}"), "draw the examples to be verified by hand"),
        (format!("tunesmith data split {file}"), "hold out what is measured with, groups and copies together"),
    ]
}
