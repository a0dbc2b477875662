//! Measuring a run: the three arms answer the held-out questions, are compared, and the report is written.

use crate::{Answerer, Error, Prepared, Watch};
use data::Example;
use eval::prompt::Pick;
use eval::report::Point;
use eval::{Arm, Case, Contest, Report, Schema, Scores, Setup, Task};
use record::recipe::Method;
use record::{Event, Recipe, RunFolder};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// What was found.
#[derive(Clone, Debug)]
pub struct Measured {
    /// All counts.
    pub scores: Scores,
    /// The result in one sentence.
    pub sentence: String,
    /// Its size and certainty.
    pub detail: String,
    /// The page.
    pub report: PathBuf,
    /// How long it took.
    pub seconds: f64,
    /// Where the answers were made: `cpu`, or the GPU and its libraries.
    pub device: String,
}

/// Lets the arms answer and writes `eval/outputs.jsonl`, `eval/scores.json` and `report.html`; `today` is shown in the report.
///
/// # Errors
/// No adapter yet, a schema that is none, a question that fills the context, a full disk.
pub fn measure(
    answerer: &Answerer,
    recipe: &Recipe,
    run: &RunFolder,
    prepared: &Prepared,
    today: &str,
    watch: &mut dyn Watch,
) -> Result<Measured, Error> {
    let began = Instant::now();
    let schema = recipe.data.schema.as_deref().map(read_schema).transpose()?;
    let cases: Vec<Case> = prepared.held_out.iter().map(case).collect();
    let train: Vec<(String, String)> = prepared.train.iter().map(|e| (question(e), answer(e))).collect();
    let picks: Vec<Pick> = train.iter().map(|(prompt, response)| Pick { prompt, response }).collect();
    let label = recipe.data.label.as_deref();
    let setup = Setup {
        few_shot: recipe.eval.few_shot as usize,
        max_new: recipe.eval.max_new_tokens as usize,
        batch: answerer.batch(recipe.eval.batch as usize),
        seed: recipe.train.seed,
        label,
    };
    let clock = || began.elapsed().as_secs_f64();
    // The model's own end-of-turn tokens, and those that the training data was seen to end with.
    let mut chat = answerer.folder().chat.clone();
    chat.eos.extend(prepared.facts.eot.iter().filter(|t| !answerer.folder().chat.eos.contains(t)));
    let contest = Contest { base: answerer.base(), chat: &chat, cases: &cases, setup, clock: &clock };
    let mut arms: Vec<Arm> = Vec::new();
    watch.begin("answering: base, plain prompt", cases.len() as u64);
    arms.push(contest.base(&mut |n| watch.advance(n as u64))?);
    watch.end();
    let mut shots = 0;
    if setup.few_shot > 0 {
        watch.begin("answering: base, few-shot prompt", cases.len() as u64);
        let (arm, used) = contest.few_shot(&picks, &mut |n| watch.advance(n as u64))?;
        watch.end();
        arms.push(arm);
        shots = used;
    }
    watch.begin("answering: tuned", cases.len() as u64);
    arms.push(contest.tuned(answerer.tuned(), &mut |n| watch.advance(n as u64))?);
    watch.end();
    let examples: Vec<eval::Example> =
        cases.iter().map(|c| eval::Example { id: c.id.clone(), prompt: c.question().into(), expected: c.expected.clone() }).collect();
    let scores = Scores::of(&examples, &arms, Task { schema: schema.as_ref(), label })?;
    let course = train::End::of(&record::event::read(&run.events())?.events);
    let report = Report {
        title: recipe.data.train.parent().and_then(|p| p.file_name()).map_or("Fine-tuning".into(), |n| n.to_string_lossy().into_owned()),
        subtitle: format!("{}, {}, {} · {today}", recipe.model.base, trained(recipe), run.name()),
        noun: "examples".into(),
        steps: points(run)?,
        held_out: course.validations.clone(),
        settings: settings(recipe, shots, answerer.place()),
        data: [facts(prepared), happened(&course)].concat(),
        hashes: hashes(recipe, run)?,
        next: vec![
            (format!("tunesmith chat {}", run.path().display()), "talk to the tuned model".into()),
            (format!("tunesmith merge {}", run.path().display()), "write a Hugging Face folder for servers".into()),
        ],
        scores,
        examples,
        arms,
    };
    write(run, &report)?;
    let found = eval::verdict::verdict(&report.scores, &report.noun);
    let (sentence, detail) = (found.sentence, found.detail);
    Ok(Measured { scores: report.scores, sentence, detail, report: run.report(), seconds: clock(), device: answerer.place() })
}

fn read_schema(path: &std::path::Path) -> Result<Schema, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
    Ok(Schema::parse(&path.display().to_string(), &text)?)
}

fn case(e: &Example) -> Case {
    let file = e.source.file.file_name().unwrap_or_default().to_string_lossy();
    let last = e.messages.len().saturating_sub(1);
    Case { id: format!("{file}:{}", e.source.line), before: e.messages[..last].to_vec(), expected: answer(e) }
}

fn question(e: &Example) -> String {
    e.messages.iter().rev().find(|m| m.role == "user").map_or(String::new(), |m| m.content.clone())
}

fn answer(e: &Example) -> String {
    e.messages.last().map_or(String::new(), |m| m.content.clone())
}

fn points(run: &RunFolder) -> Result<Vec<Point>, Error> {
    let events = record::event::read(&run.events())?.events;
    let point = |e: &Event| match e {
        Event::Step { step, loss, lr, .. } => Some(Point { step: *step, loss: *loss, rate: *lr }),
        _ => None,
    };
    Ok(events.iter().filter_map(point).collect())
}

/// What was trained, in the report's head.
fn trained(recipe: &Recipe) -> String {
    match recipe.train.method {
        Method::Lora => format!("LoRA rank {}", recipe.adapter.rank),
        Method::Dora => format!("DoRA rank {}", recipe.adapter.rank),
        Method::Full => "every weight trained".into(),
    }
}

fn settings(recipe: &Recipe, shots: usize, answered: String) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = recipe.explain().into_iter().map(|l| (l.key.to_string(), l.value)).collect();
    all.push(("examples in the few-shot prompt".into(), shots.to_string()));
    all.push(("answered on".into(), answered));
    all
}

fn facts(p: &Prepared) -> Vec<(String, String)> {
    let f = &p.facts;
    [
        ("training examples", f.examples.to_string()),
        ("held-out examples", p.held_out.len().to_string()),
        ("training tokens", f.tokens.to_string()),
        ("supervised share", eval::verdict::percent(f.learned_share())),
        ("longest example", format!("{} tokens", f.longest)),
        ("end of turn trained", format!("{} of {} examples", f.ends_with_eot, f.examples)),
        ("left out as too long", f.too_long.len().to_string()),
        ("trained turn by turn", format!("{} conversations", f.rewritten.len())),
    ]
    .map(|(k, v)| (k.to_string(), v))
    .to_vec()
}

/// What happened in training that a reader of the result must know.
fn happened(end: &train::End) -> Vec<(String, String)> {
    let mut all = Vec::new();
    if let Some((step, loss)) = end.published {
        let loss = loss.map_or(String::new(), |loss| format!(" (validation loss {loss:.4})"));
        let early = if end.stopped_early { ", ended early by validation" } else { "" };
        all.push(("adapter taken from".to_string(), format!("step {step} of {}{loss}{early}", end.steps)));
    }
    if end.skipped + end.rewound > 0 {
        all.push(("steps left out".to_string(), format!("{} skipped, {} times back to a checkpoint", end.skipped, end.rewound)));
    }
    all.extend(end.advice.iter().map(|(finding, text, _)| (format!("training was {finding}"), text.clone())));
    all
}

fn hashes(recipe: &Recipe, run: &RunFolder) -> Result<Vec<(String, String)>, Error> {
    let mut all = vec![("settings".to_string(), recipe.fingerprint())];
    // An adapter, or the weights of a model that was trained whole.
    let trained =
        ["adapter_model.safetensors", "model.safetensors"].map(|name| run.adapter().join(name)).into_iter().find(|path| path.is_file());
    for path in [Some(&recipe.data.train), Some(&recipe.data.eval), trained.as_ref()].into_iter().flatten() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.push((name, record::hash::sha256_file(path)?.0));
    }
    Ok(all)
}

/// The page, the counts, and one line an example and arm.
fn write(run: &RunFolder, r: &Report) -> Result<(), Error> {
    std::fs::create_dir_all(run.eval()).map_err(|source| Error::Read { path: run.eval(), source })?;
    let mut lines = Vec::new();
    for (i, e) in r.examples.iter().enumerate() {
        for (arm, scored) in r.arms.iter().zip(&r.scores.arms) {
            let (o, m) = (&arm.outputs[i], &scored.marks[i]);
            let line = json!({
                "id": e.id, "arm": arm.name, "prompt": e.prompt, "expected": e.expected, "output": o.text,
                "exact": m.exact, "json_valid": m.json, "schema_valid": m.schema, "tokens": o.tokens, "stopped": o.stopped,
            });
            lines.extend_from_slice(line.to_string().as_bytes());
            lines.push(b'\n');
        }
    }
    record::atomic::write(&run.outputs(), &lines)?;
    let mut scores = json!(r.scores);
    scores["v"] = json!(1);
    record::atomic::write(&run.scores(), format!("{scores:#}\n").as_bytes())?;
    record::atomic::write(&run.report(), eval::html(r).as_bytes())?;
    Ok(())
}
