//! JSON as Python's `json.dumps` writes it, since that is what the models saw in training.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// The options of `json.dumps` that templates use.
pub(crate) struct Style {
    pub indent: Option<usize>,
    pub item_separator: String,
    pub key_separator: String,
    pub sort_keys: bool,
    pub ascii: bool,
}

impl Style {
    /// Python's defaults, which depend on the indent.
    pub fn new(indent: Option<usize>) -> Self {
        Self {
            indent,
            item_separator: if indent.is_some() { "," } else { ", " }.into(),
            key_separator: ": ".into(),
            sort_keys: false,
            ascii: false,
        }
    }
}

/// Writes a value as JSON.
pub(crate) fn dumps(value: &Value, style: &Style) -> Result<String, Error> {
    let mut out = String::new();
    write(&mut out, value, style, 0)?;
    Ok(out)
}

fn write(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&number(value, "NaN", "Infinity")),
        ValueKind::String => quote(out, value.as_str().unwrap_or_default(), style.ascii),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            block(out, style, depth, ['[', ']'], &items, |out, item| write(out, item, style, depth + 1))?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort_keys {
                keys.sort();
            }
            block(out, style, depth, ['{', '}'], &keys, |out, key| {
                match key.kind() {
                    ValueKind::String => quote(out, key.as_str().unwrap_or_default(), style.ascii),
                    ValueKind::None => out.push_str("\"null\""),
                    _ => quote(out, &key.to_string(), style.ascii),
                }
                out.push_str(&style.key_separator);
                write(out, &value.get_item(key)?, style, depth + 1)
            })?;
        }
        kind => return Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} is not JSON serializable"))),
    }
    Ok(())
}

fn block<T>(
    out: &mut String,
    style: &Style,
    depth: usize,
    brackets: [char; 2],
    items: &[T],
    mut each: impl FnMut(&mut String, &T) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = style.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    out.push(brackets[0]);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(&style.item_separator);
        }
        line(out, depth + 1);
        each(out, item)?;
    }
    if !items.is_empty() {
        line(out, depth);
    }
    out.push(brackets[1]);
    Ok(())
}

fn quote(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || (ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number as Python's `repr` writes it; JSON and `str` differ in how they name what is no number.
pub(crate) fn number(value: &Value, nan: &str, infinity: &str) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(number) = f64::try_from(value.clone()) else {
        return value.to_string();
    };
    if number.is_nan() {
        return nan.to_string();
    }
    if number.is_infinite() {
        return format!("{}{infinity}", if number < 0.0 { "-" } else { "" });
    }
    let text = format!("{number:?}");
    // Rust writes 1e-5 and 1e16, Python 1e-05 and 1e+16.
    match text.split_once('e') {
        None => text,
        Some((digits, exponent)) => {
            let (sign, size) = exponent.strip_prefix('-').map_or(('+', exponent), |size| ('-', size));
            format!("{digits}e{sign}{size:0>2}")
        }
    }
}
