//! One output against one expected answer: exact, parsed, schema, fields.
//!
//! All marks are strict: an answer wrapped in prose or code fences is not JSON, because the
//! program that reads it would fail. `found_exact` alone looks inside, to tell an arm that
//! knows the answer but not the format from one that knows neither.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What one output is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Equal to the expected answer: as JSON values if that is JSON, else as trimmed strings.
    pub exact: bool,
    /// Exact, or the first JSON object inside the output is.
    pub found_exact: bool,
    /// The whole trimmed output is one JSON value.
    pub json: bool,
    /// It is JSON and obeys the schema; `None` when no schema was given.
    pub schema: Option<bool>,
    /// What the schema holds against it, one line.
    pub complaint: Option<String>,
    /// For each top-level field of the expected object, in its order: its name and whether the output agrees.
    pub fields: Vec<(String, bool)>,
}

/// Judges one output.
pub fn mark(output: &str, expected: &str, schema: Option<&Schema>) -> Mark {
    let found = parse(output);
    let wanted = parse(expected);
    let exact = match (&wanted, &found) {
        (Some(wanted), Some(found)) => same(wanted, found),
        (Some(_), None) => false,
        (None, _) => output.trim() == expected.trim(),
    };
    let found_exact = exact || wanted.as_ref().is_some_and(|wanted| dig(output).is_some_and(|inner| same(wanted, &inner)));
    let complaint = schema.and_then(|schema| match &found {
        Some(value) => schema.complaint(value),
        None => Some("not JSON".to_string()),
    });
    let fields = match &wanted {
        Some(Value::Object(wanted)) => wanted.iter().map(|(name, value)| (name.clone(), agrees(found.as_ref(), name, value))).collect(),
        _ => Vec::new(),
    };
    Mark { exact, found_exact, json: found.is_some(), schema: schema.map(|_| complaint.is_none()), complaint, fields }
}

/// The whole trimmed text as one JSON value, or nothing.
pub fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text.trim()).ok()
}

/// Whether two JSON values mean the same: order of keys is ignored, and 1 equals 1.0.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b))),
        _ => a == b,
    }
}

fn same_number(a: &serde_json::Number, b: &serde_json::Number) -> bool {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.as_f64() == b.as_f64(),
        // A whole number equals a float only if the float is exactly that number: 2^53 + 1 has no float.
        (Some(whole), None) => b.as_f64().is_some_and(|float| float == whole as f64 && float as i128 == whole),
        (None, Some(_)) => same_number(b, a),
    }
}

fn agrees(found: Option<&Value>, name: &str, wanted: &Value) -> bool {
    found.and_then(|found| found.as_object()).and_then(|found| found.get(name)).is_some_and(|found| same(found, wanted))
}

/// The first JSON object that stands anywhere in the text.
fn dig(text: &str) -> Option<Value> {
    // A text of many open braces must not cost its square: after some tries the answer is no.
    const TRIES: usize = 32;
    text.match_indices('{').take(TRIES).find_map(|(at, _)| {
        let first = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>().next();
        first.and_then(|value| value.ok())
    })
}

/// The text of one field, strings without their quotes; the whole trimmed text when no field is named.
pub fn label(text: &str, field: Option<&str>) -> Option<String> {
    let Some(field) = field else {
        return Some(text.trim().to_string());
    };
    parse(text)?.as_object()?.get(field).map(plain)
}

/// A JSON value as a person would write it in a table.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A JSON Schema (draft 4 to 2020-12), ready to judge answers; it reads no file and no address.
pub struct Schema {
    schemas: boon::Schemas,
    root: boon::SchemaIndex,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Schema")
    }
}

/// Refuses every reference to another document.
struct Nowhere;

impl boon::UrlLoader for Nowhere {
    fn load(&self, url: &str) -> std::result::Result<Value, Box<dyn std::error::Error>> {
        Err(format!("it refers to {url}, expected a schema that stands alone").into())
    }
}

impl Schema {
    /// Compiles a schema; `name` is the file or place that errors speak of.
    pub fn new(name: &str, schema: &Value) -> Result<Self> {
        const HERE: &str = "memory:///schema.json";
        let fault = |detail: String| Error::Schema { name: name.to_string(), detail };
        let mut compiler = boon::Compiler::new();
        compiler.use_loader(Box::new(Nowhere));
        compiler.enable_format_assertions();
        compiler.add_resource(HERE, schema.clone()).map_err(|e| fault(reason(&e)))?;
        let mut schemas = boon::Schemas::new();
        let root = compiler.compile(HERE, &mut schemas).map_err(|e| fault(reason(&e)))?;
        Ok(Self { schemas, root })
    }

    /// Compiles a schema from its text.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|e| Error::Schema { name: name.to_string(), detail: e.to_string() })?;
        Self::new(name, &value)
    }

    /// The first thing that the schema holds against a value; `None` if it obeys.
    pub fn complaint(&self, value: &Value) -> Option<String> {
        let mut fault = &self.schemas.validate(value, self.root).err()?;
        // The outer errors only say "does not obey"; the innermost first cause says why.
        while let Some(inner) = fault.causes.first() {
            fault = inner;
        }
        let place = fault.instance_location.to_string();
        Some(if place.is_empty() { fault.kind.to_string() } else { format!("{place}: {}", fault.kind) })
    }
}

/// A compile error on one line, with the cause that the outer message leaves out.
fn reason(error: &boon::CompileError) -> String {
    let text = match error {
        boon::CompileError::LoadUrlError { src, .. } => src.to_string(),
        boon::CompileError::ValidationError { src, .. } => {
            let mut fault = src;
            while let Some(inner) = fault.causes.first() {
                fault = inner;
            }
            format!("at {:?}: {}", fault.instance_location.to_string(), fault.kind)
        }
        other => other.to_string(),
    };
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: &str = r#"{"type":"object","additionalProperties":false,"required":["intent","urgent"],
        "properties":{"intent":{"enum":["refund","setup"]},"urgent":{"type":"boolean"}}}"#;

    fn ticket() -> Schema {
        Schema::parse("ticket.json", TICKET).unwrap()
    }

    #[test]
    fn json_is_compared_by_meaning() {
        for (output, expected, exact) in [
            (r#" {"b": [1.0, 2], "a":"x"}"#, r#"{"a":"x","b":[1,2]}"#, true),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#, false),
            (r#"{"a":1,"b":null}"#, r#"{"a":1}"#, false),
            (r#"{"a":[2,1]}"#, r#"{"a":[1,2]}"#, false),
            (r#"{"a":"1"}"#, r#"{"a":1}"#, false),
            (r#"{"a":true}"#, r#"{"a":1}"#, false),
            ("9007199254740993", "9007199254740992.0", false),
            ("18446744073709551615", "18446744073709551615", true),
            ("1e2", "100", true),
            ("Here: {\"a\":1}", r#"{"a":1}"#, false),
            ("  top_up_failed\n", "top_up_failed", true),
            ("Top_up_failed", "top_up_failed", false),
            ("", "top_up_failed", false),
        ] {
            assert_eq!(mark(output, expected, None).exact, exact, "{output} against {expected}");
        }
    }

    #[test]
    fn parse_schema_and_exact_are_three_marks() {
        let expected = r#"{"intent":"refund","urgent":false}"#;
        let schema = ticket();
        let marks = |output: &str| {
            let m = mark(output, expected, Some(&schema));
            (m.json, m.schema, m.exact)
        };
        assert_eq!(marks(r#"{"urgent":false,"intent":"refund"}"#), (true, Some(true), true));
        assert_eq!(marks(r#"{"urgent":true,"intent":"refund"}"#), (true, Some(true), false));
        assert_eq!(marks(r#"{"urgent":false,"intent":"refunds"}"#), (true, Some(false), false));
        assert_eq!(marks(r#"{"urgent":false,"intent":"refund","why":1}"#), (true, Some(false), false));
        assert_eq!(marks(r#"{"urgent":false,"intent":"refund"} "#), (true, Some(true), true));
        assert_eq!(marks(r#"{"urgent":false,"intent":"refund""#), (false, Some(false), false));
        assert_eq!(marks("```json\n{\"urgent\":false,\"intent\":\"refund\"}\n```"), (false, Some(false), false));
        assert_eq!(mark("{}", expected, None).schema, None);
    }

    #[test]
    fn an_answer_inside_prose_is_found_but_not_exact() {
        let expected = r#"{"intent":"refund"}"#;
        let m = mark("Sure! {oops} ```json\n{\"intent\": \"refund\"}\n``` Bye", expected, None);
        assert!(!m.exact && m.found_exact && !m.json);
        assert!(!mark("Sure! {\"intent\": \"setup\"}", expected, None).found_exact);
        assert!(!mark(&"{".repeat(200_000), expected, None).found_exact);
    }

    #[test]
    fn fields_follow_the_expected_object() {
        let m = mark(r#"{"c":3,"a":1.0,"x":0}"#, r#"{"a":1,"b":2,"c":{}}"#, None);
        assert_eq!(m.fields, [("a".to_string(), true), ("b".to_string(), false), ("c".to_string(), false)]);
        assert!(mark("not json", r#"{"a":1}"#, None).fields.iter().all(|(_, agrees)| !agrees));
        assert!(mark("a", "a", None).fields.is_empty());
    }

    #[test]
    fn labels_are_bare() {
        assert_eq!(label(r#"{"intent":"refund","n":2}"#, Some("intent")).as_deref(), Some("refund"));
        assert_eq!(label(r#"{"intent":"refund","n":2}"#, Some("n")).as_deref(), Some("2"));
        assert_eq!(label(r#"{"intent":"refund"}"#, Some("n")), None);
        assert_eq!(label("refund", Some("intent")), None);
        assert_eq!(label(" refund\n", None).as_deref(), Some("refund"));
    }

    #[test]
    fn complaints_name_the_place() {
        let text = ticket().complaint(&serde_json::json!({"intent":"x","urgent":false})).unwrap();
        assert!(text.contains("/intent") && text.contains("refund"), "{text}");
    }

    #[test]
    fn a_schema_that_looks_elsewhere_is_refused() {
        let found = Schema::parse("a.json", r#"{"$ref":"file:///etc/hostname"}"#).unwrap_err().to_string();
        assert_eq!(found, "cannot use the JSON Schema a.json: it refers to file:///etc/hostname, expected a schema that stands alone");
        let found = Schema::parse("b.json", r#"{"type":"objekt"}"#).unwrap_err().to_string();
        assert!(found.starts_with("cannot use the JSON Schema b.json: at \"/type\": "), "{found}");
        let found = Schema::parse("c.json", "{").unwrap_err().to_string();
        assert!(found.starts_with("cannot use the JSON Schema c.json: EOF") && !found.contains('\n'), "{found}");
        let found = Schema::parse("d.json", r##"{"$ref":"#/$defs/x"}"##).unwrap_err().to_string();
        assert!(found.contains("$defs/x") && !found.contains('\n'), "{found}");
    }
}
