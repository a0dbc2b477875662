//! An event as every tracker sees it: numbers on curves, words beside them, and a time.
//!
//! The rule looks at no event's meaning: each number of an event is a point of the curve
//! `kind/field`, each text a word. So an event that is added to the record flows through.

use record::Event;
use serde_json::Value;

/// The curve that is not in the record: supervised tokens a second.
const RATE: &str = "train/supervised_tokens_per_second";

/// One event, told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// The event's name in the record.
    pub kind: String,
    pub step: u64,
    /// Seconds since 1970: the run's start and the time of the steps since.
    pub time: f64,
    /// Seconds of steps.
    pub passed: f64,
    pub points: Vec<(String, f64)>,
    pub words: Vec<(String, String)>,
}

impl Row {
    /// Whether this is the first event of a run.
    pub fn starts(&self) -> bool {
        self.kind == "started"
    }
}

/// Tells the events of a log in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Teller {
    start: f64,
    passed: f64,
    step: u64,
}

impl Teller {
    pub fn tell(&mut self, event: &Event) -> Row {
        // An event was read from JSON, so it is an object again.
        let mut value = serde_json::to_value(event).unwrap_or_default();
        let fields = value.as_object_mut().map(std::mem::take).unwrap_or_default();
        let kind = fields.get("event").and_then(Value::as_str).unwrap_or_default().to_string();
        let own_step = fields.get("step").and_then(Value::as_u64);
        self.step = own_step.unwrap_or(self.step);
        if let Event::Started { time, .. } = event {
            // The record has whole seconds; 2^53 of them are far away.
            (self.start, self.passed, self.step) = (*time as f64, 0.0, 0);
        }
        let (mut points, mut words) = (Vec::new(), Vec::new());
        let prefix = if kind == "step" { "train" } else { kind.as_str() };
        for (field, value) in fields.iter().filter(|(field, _)| !matches!(field.as_str(), "event" | "step")) {
            gather(&format!("{prefix}/{field}"), value, &mut points, &mut words);
        }
        if kind == "started" {
            // What is known before the first step describes the run; it lies on no curve.
            words = fields.iter().filter(|(field, _)| *field != "event").map(|(field, value)| (field.clone(), plain(value))).collect();
            points.clear();
        }
        if let Event::Step { supervised_tokens, step_ms, .. } = event {
            self.passed += step_ms / 1e3;
            points.push((RATE.to_string(), *supervised_tokens as f64 / (step_ms / 1e3).max(1e-9)));
        }
        if points.is_empty() && words.is_empty() {
            words.push((kind.clone(), self.step.to_string()));
        }
        Row { step: self.step, time: self.start + self.passed, passed: self.passed, points, words, kind }
    }
}

/// Numbers and texts at any depth; lists are no curves.
fn gather(name: &str, value: &Value, points: &mut Vec<(String, f64)>, words: &mut Vec<(String, String)>) {
    match value {
        Value::Number(number) => points.extend(number.as_f64().map(|number| (name.to_string(), number))),
        Value::Bool(flag) => points.push((name.to_string(), f64::from(u8::from(*flag)))),
        Value::String(text) => words.push((name.replace('/', "."), text.clone())),
        Value::Object(fields) => fields.iter().for_each(|(field, value)| gather(&format!("{name}/{field}"), value, points, words)),
        Value::Null | Value::Array(_) => {}
    }
}

/// A text without quotes, anything else as JSON.
pub(crate) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// A recipe's setting as JSON: numbers, flags, texts and lists read alike in TOML and JSON.
pub(crate) fn setting(text: &str) -> Value {
    match text {
        "none" => Value::Null,
        _ => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.trim_matches('\''))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Event {
        Event::Started {
            time: 1000,
            program: "1".into(),
            base: "b".into(),
            fingerprint: "f".into(),
            pack: "p".into(),
            examples: 4,
            steps: 2,
            parameters: 8,
            threads: 1,
            device: "cpu".into(),
        }
    }

    fn step(step: u64) -> Event {
        Event::Step {
            step,
            epoch: 0.5,
            loss: 2.0,
            lr: 1e-3,
            grad_norm: 3.0,
            supervised_tokens: 50,
            computed_tokens: 60,
            unshared_tokens: 70,
            step_ms: 250.0,
            light: None,
        }
    }

    #[test]
    fn a_step_is_points_with_a_rate_and_a_time_that_follows_the_steps() {
        let mut teller = Teller::default();
        let row = teller.tell(&started());
        assert!(row.starts() && row.points.is_empty(), "{row:?}");
        assert!(row.words.contains(&("examples".into(), "4".into())) && row.words.contains(&("base".into(), "b".into())));
        teller.tell(&step(1));
        let row = teller.tell(&step(2));
        assert_eq!((row.step, row.time, row.passed), (2, 1000.5, 0.5));
        let of = |name: &str| row.points.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        assert_eq!((of("train/loss"), of("train/lr"), of("train/grad_norm"), of(RATE)), (Some(2.0), Some(1e-3), Some(3.0), Some(200.0)));
        assert_eq!(row.points.len(), 9);
    }

    #[test]
    fn other_events_flow_through_by_their_fields() {
        let mut teller = Teller::default();
        teller.tell(&started());
        teller.tell(&step(1));
        let row = teller.tell(&Event::Checkpoint { step: 1, path: "checkpoints/step-000001".into() });
        assert_eq!(row.words, [("checkpoint.path".to_string(), "checkpoints/step-000001".to_string())]);
        let row = teller.tell(&Event::Interrupted { step: 1 });
        assert_eq!(row.words, [("interrupted".to_string(), "1".to_string())]);
        let row = teller.tell(&Event::Finished { steps: 1, loss_first: 2.0, loss_last: 1.0, seconds: 3.0 });
        assert_eq!((row.step, row.points.len()), (1, 4));
        assert!(row.points.contains(&("finished/loss_last".into(), 1.0)));
        let (mut points, mut words) = (Vec::new(), Vec::new());
        let value = serde_json::json!({ "loss": 1.5, "best": true, "by": { "short": 1, "note": "x" }, "list": [1], "none": null });
        gather("validation", &value, &mut points, &mut words);
        assert_eq!(points, [("validation/loss".into(), 1.5), ("validation/best".into(), 1.0), ("validation/by/short".into(), 1.0)]);
        assert_eq!(words, [("validation.by.note".into(), "x".into())]);
    }

    #[test]
    fn settings_are_read_as_what_they_are() {
        assert_eq!(setting("none"), Value::Null);
        assert_eq!((setting("2e-4"), setting("true"), setting("[0.9, 0.999]")), (2e-4.into(), true.into(), vec![0.9, 0.999].into()));
        assert_eq!((setting("\"a b\""), setting("'a\"b'")), ("a b".into(), "a\"b".into()));
    }
}
