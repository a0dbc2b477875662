//! Results as JSON, for programs.

use eval::{Role, Scores};
use export::Proof;
use flow::Measured;
use serde_json::{Map, Value, json};
use std::path::Path;
use train::End;

/// The shares and p of an evaluation, under the names that every command uses.
pub fn measured(m: &Measured) -> Map<String, Value> {
    let s = &m.scores;
    let bases: Vec<f64> = s.arms.iter().filter(|a| a.role == Role::Base).map(|a| a.exact.share).collect();
    let tuned = s.tuned.map(|at| &s.arms[at]);
    let all = json!({
        "base_exact": bases.first(),
        "few_shot_exact": bases.get(1),
        "tuned_exact": tuned.map(|a| a.exact.share),
        "tuned_json_valid": tuned.map(|a| a.json_valid.share),
        "p_value": p_value(s),
        "n": s.n,
        "arms": arms(s),
        "verdict": m.sentence,
        "report": m.report,
        "device": m.device,
    });
    into_map(all)
}

/// Tuned against the better of the base arms.
fn p_value(s: &Scores) -> Option<f64> {
    Some(s.pair(s.better_base?, s.tuned?)?.p)
}

fn arms(s: &Scores) -> Vec<Value> {
    let one = |a: &eval::arms::ArmScores| json!({ "name": a.name, "exact": a.exact, "json_valid": a.json_valid, "schema_valid": a.schema_valid, "seconds": a.seconds });
    s.arms.iter().map(one).collect()
}

/// The end of a training run.
pub fn trained(end: &End) -> Map<String, Value> {
    let validation = |(step, loss): &(u64, f64)| json!({ "step": step, "loss": loss });
    let advice = |(finding, text, lr): &(String, String, Option<f64>)| json!({ "finding": finding, "text": text, "lr": lr });
    into_map(json!({
        "finished": end.finished,
        "steps": end.steps,
        "loss_first": end.loss_first,
        "loss_last": end.loss_last,
        "validations": end.validations.iter().map(validation).collect::<Vec<_>>(),
        "best_step": end.published.map(|(step, _)| step),
        "best_validation": end.published.and_then(|(_, loss)| loss),
        "stopped_early": end.stopped_early,
        "skipped": end.skipped,
        "rewound": end.rewound,
        "advice": end.advice.iter().map(advice).collect::<Vec<_>>(),
    }))
}

/// What was written, with its proof.
pub fn proven(path: &Path, proof: &Proof) -> Map<String, Value> {
    into_map(json!({ "path": path, "positions": proof.positions, "logit": proof.logit, "kl": proof.kl, "same_top": proof.same_top }))
}

/// The fields of an object.
pub fn into_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
