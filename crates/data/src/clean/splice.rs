//! Changes the strings of a row where they stand, so that every other byte of its line stays.

use serde_json::Value;

/// A step on the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The way to a value as it is told: `messages[2].content`.
pub(super) fn told(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// The last name on the way to a value.
pub(super) fn key_of(path: &[Step]) -> &str {
    path.iter().rev().find_map(|step| if let Step::Key(key) = step { Some(key.as_str()) } else { None }).unwrap_or_default()
}

/// Decides about one string or whole number: its new text, or nothing where it stays.
pub(super) type Edit<'a> = &'a mut dyn FnMut(&[Step], &str, bool) -> Option<String>;

/// Edits all strings and whole numbers of a JSON text that is known to be sound. Nothing where none was changed.
pub(super) fn edit(json: &str, ascii: bool, edit: Edit) -> Option<String> {
    let mut scan = Scan { json, at: 0, path: Vec::new(), out: String::new(), copied: 0, ascii, edit };
    scan.value();
    if scan.copied == 0 {
        return None;
    }
    scan.out.push_str(&json[scan.copied..]);
    Some(scan.out)
}

struct Scan<'a, 'b> {
    json: &'a str,
    at: usize,
    path: Vec<Step>,
    out: String,
    /// What of the text is in `out`, changed or not.
    copied: usize,
    ascii: bool,
    edit: Edit<'b>,
}

impl<'a> Scan<'a, '_> {
    fn peek(&mut self) -> u8 {
        let bytes = self.json.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or(0)
    }

    fn value(&mut self) {
        match self.peek() {
            b'{' => self.members(b'}', true),
            b'[' => self.members(b']', false),
            b'"' => {
                let token = self.string();
                let text: String = serde_json::from_str(token).unwrap_or_default();
                let start = self.at - token.len();
                if let Some(new) = (self.edit)(&self.path, &text, false) {
                    self.replace(start, &encoded(&new, self.ascii));
                }
            }
            _ => {
                let start = self.at;
                while self.json.as_bytes().get(self.at).is_some_and(|byte| !b",]} \t\r\n".contains(byte)) {
                    self.at += 1;
                }
                let token = &self.json[start..self.at];
                let whole = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
                if whole && let Some(new) = (self.edit)(&self.path, token, true) {
                    self.replace(start, &new);
                }
            }
        }
    }

    fn members(&mut self, end: u8, named: bool) {
        self.at += 1;
        let mut index = 0;
        while self.peek() != end && self.at < self.json.len() {
            if named {
                let token = self.string();
                self.path.push(Step::Key(serde_json::from_str(token).unwrap_or_default()));
                self.peek();
                self.at += 1;
            } else {
                self.path.push(Step::Index(index));
            }
            self.value();
            self.path.pop();
            index += 1;
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    /// Passes a string; gives it with its quotes.
    fn string(&mut self) -> &'a str {
        let (json, start) = (self.json, self.at);
        let bytes = json.as_bytes();
        self.at += 1;
        while self.at < bytes.len() && bytes[self.at] != b'"' {
            self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(bytes.len());
        &json[start..self.at]
    }

    fn replace(&mut self, start: usize, new: &str) {
        self.out.push_str(&self.json[self.copied..start]);
        self.out.push_str(new);
        self.copied = self.at;
    }
}

/// A JSON string; with `ascii`, all else is escaped, as Python writes it.
pub(super) fn encoded(text: &str, ascii: bool) -> String {
    let plain = Value::from(text).to_string();
    if !ascii || plain.is_ascii() {
        return plain;
    }
    let mut units = [0; 2];
    let escape = |c: char| {
        if c.is_ascii() { c.to_string() } else { c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect() }
    };
    plain.chars().map(escape).collect()
}

/// Whether a line writes letters beyond ASCII as escapes.
pub(super) fn escapes_letters(json: &str) -> bool {
    json.is_ascii()
        && json.match_indices("\\u").any(|(at, _)| json.get(at + 2..at + 6).and_then(|hex| u32::from_str_radix(hex, 16).ok()) >= Some(0x80))
}
