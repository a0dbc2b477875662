//! What templates take from Python: how values print, and the methods of strings.

use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

use crate::json::number;

/// Python's `str(value)`.
pub(crate) fn display(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.as_str().unwrap_or_default().to_string(),
        _ => repr(value),
    }
}

/// Python's `repr(value)`.
fn repr(value: &Value) -> String {
    let list = |value: &Value| -> Vec<String> { value.try_iter().into_iter().flatten().map(|v| repr(&v)).collect() };
    match value.kind() {
        ValueKind::None => "None".into(),
        ValueKind::Undefined => "Undefined".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::Number => number(value, "nan", "inf"),
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable if value.is_tuple() => {
            let items = list(value);
            let comma = if items.len() == 1 { "," } else { "" };
            format!("({}{comma})", items.join(", "))
        }
        ValueKind::Seq => format!("[{}]", list(value).join(", ")),
        ValueKind::Map => {
            let entry = |key: Value| {
                let item = value.get_item(&key).unwrap_or_default();
                format!("{}: {}", repr(&key), repr(&item))
            };
            let entries: Vec<String> = value.try_iter().into_iter().flatten().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
        _ => value.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Methods of Python's strings, lists and dicts that the template engine does not have itself.
pub(crate) fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let (Some(text), ValueKind::String) = (value.as_str(), value.kind())
        && let Some(result) = string_method(text, name, args)
    {
        return result;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// The string methods that are missing from the compatibility package or differ there.
fn string_method(text: &str, name: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let one = || from_args::<(&str,)>(args).map(|(only,)| only.to_string());
    let list = |parts: [&str; 3]| parts.map(str::to_string).to_vec().into();
    let result = match name {
        "removeprefix" => one().map(|a| text.strip_prefix(a.as_str()).unwrap_or(text).into()),
        "removesuffix" => one().map(|a| text.strip_suffix(a.as_str()).unwrap_or(text).into()),
        "title" => from_args::<()>(args).map(|()| title(text).into()),
        "casefold" => from_args::<()>(args).map(|()| text.to_lowercase().into()),
        "isdecimal" => from_args::<()>(args).map(|()| Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))),
        "partition" => one().map(|a| match text.split_once(a.as_str()) {
            Some((before, after)) => list([before, &a, after]),
            None => list([text, "", ""]),
        }),
        "rpartition" => one().map(|a| match text.rsplit_once(a.as_str()) {
            Some((before, after)) => list([before, &a, after]),
            None => list(["", "", text]),
        }),
        "index" => one().and_then(|a| {
            let at = text.find(a.as_str()).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "substring not found"))?;
            Ok(Value::from(text[..at].chars().count()))
        }),
        "rsplit" => rsplit(text, args),
        "zfill" => from_args::<(usize,)>(args).map(|(width,)| zfill(text, width).into()),
        _ => return None,
    };
    Some(result)
}

/// Every letter that follows no letter is raised, all others are lowered.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_letter = false;
    for c in text.chars() {
        if after_letter {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        after_letter = c.is_alphabetic();
    }
    out
}

fn rsplit(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (separator, limit): (Option<&str>, Option<i64>) = from_args(args)?;
    let parts = usize::try_from(limit.unwrap_or(-1)).map_or(usize::MAX, |limit| limit.saturating_add(1));
    let mut found: Vec<&str> = match separator {
        Some(separator) => text.rsplitn(parts, separator).collect(),
        None if parts == usize::MAX => text.split_whitespace().rev().collect(),
        None => text.trim_end().rsplitn(parts, char::is_whitespace).collect(),
    };
    found.reverse();
    Ok(found.into_iter().map(Value::from).collect())
}

/// A template cannot ask for more zeros than this.
const WIDTH_MAX: usize = 4096;

fn zfill(text: &str, width: usize) -> String {
    let missing = width.min(WIDTH_MAX).saturating_sub(text.chars().count());
    let digits = text.strip_prefix(['-', '+']);
    let sign = &text[..text.len() - digits.unwrap_or(text).len()];
    format!("{sign}{}{}", "0".repeat(missing), digits.unwrap_or(text))
}
