//! Rust source taken apart just enough to judge it: code, comments, and which lines are tests.

/// A source in two views of the same lines: what is elsewhere is blanked out.
pub struct Code {
    /// Code alone; comments and the insides of strings are spaces.
    pub code: String,
    /// Comments alone.
    pub comments: String,
    /// For each line whether it belongs to an item under `#[cfg(test)]`.
    tests: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    Code,
    Line,
    Block(usize),
    Text,
    Raw(usize),
}

impl Code {
    /// Takes `source` apart.
    pub fn of(source: &str) -> Code {
        let chars: Vec<char> = source.chars().collect();
        let (mut code, mut comments) = (String::with_capacity(source.len()), String::with_capacity(source.len()));
        let mut at = At::Code;
        let mut i = 0;
        while i < chars.len() {
            let (next, taken, kind) = step(&chars, i, at);
            for &c in &chars[i..i + taken] {
                let blank = if c == '\n' { '\n' } else { ' ' };
                code.push(if kind == At::Code { c } else { blank });
                comments.push(if matches!(kind, At::Line | At::Block(_)) { c } else { blank });
            }
            (at, i) = (next, i + taken);
        }
        let tests = test_lines(&code);
        Code { code, comments, tests }
    }

    /// Whether a line (from 1) belongs to an item under `#[cfg(test)]`.
    pub fn is_test(&self, line: usize) -> bool {
        self.tests.get(line.wrapping_sub(1)).copied().unwrap_or(false)
    }
}

/// From place `i`: what comes next, how many characters are taken, and as what.
fn step(chars: &[char], i: usize, at: At) -> (At, usize, At) {
    let c = chars[i];
    let next = chars.get(i + 1).copied();
    match at {
        At::Code => match (c, next) {
            ('/', Some('/')) => (At::Line, 2, At::Line),
            ('/', Some('*')) => (At::Block(1), 2, At::Block(1)),
            ('"', _) => (At::Text, 1, At::Code),
            ('r', _) if !follows_word(chars, i) => match raw_hashes(chars, i + 1) {
                Some(hashes) => (At::Raw(hashes), hashes + 2, At::Code),
                None => (At::Code, 1, At::Code),
            },
            ('\'', Some('\\')) => {
                // An escaped character: its end is the first quote after what is escaped.
                let end = chars[i + 3..].iter().position(|&c| c == '\'').map_or(chars.len(), |n| i + 4 + n);
                (At::Code, end - i, At::Text)
            }
            // A character; else the quote begins a lifetime.
            ('\'', Some(_)) if chars.get(i + 2) == Some(&'\'') => (At::Code, 3, At::Text),
            _ => (At::Code, 1, At::Code),
        },
        At::Line => (if c == '\n' { At::Code } else { At::Line }, 1, At::Line),
        At::Block(depth) => match (c, next) {
            ('*', Some('/')) => (if depth == 1 { At::Code } else { At::Block(depth - 1) }, 2, at),
            ('/', Some('*')) => (At::Block(depth + 1), 2, at),
            _ => (at, 1, at),
        },
        At::Text => match (c, next) {
            ('\\', Some(_)) => (At::Text, 2, At::Text),
            ('"', _) => (At::Code, 1, At::Code),
            _ => (At::Text, 1, At::Text),
        },
        At::Raw(hashes) => {
            if c == '"' && chars[i + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes {
                (At::Code, hashes + 1, At::Code)
            } else {
                (at, 1, At::Text)
            }
        }
    }
}

/// Whether the character before place `i` continues a word, but for the `b` of a byte string.
fn follows_word(chars: &[char], i: usize) -> bool {
    let word = |at: usize| chars.get(at).is_some_and(|&c| is_word(c));
    match i.checked_sub(1) {
        None => false,
        Some(before) if chars[before] == 'b' => before > 0 && word(before - 1),
        Some(before) => word(before),
    }
}

/// Number of `#` when a raw string's quote follows them.
fn raw_hashes(chars: &[char], from: usize) -> Option<usize> {
    let hashes = chars.get(from..)?.iter().take_while(|&&c| c == '#').count();
    (chars.get(from + hashes) == Some(&'"')).then_some(hashes)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Marks the lines of every item under `#[cfg(test)]`: to the brace that closes it, or to its semicolon.
fn test_lines(code: &str) -> Vec<bool> {
    let mut tests = vec![false; code.lines().count()];
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let body = start + "#[cfg(test)]".len();
        let end = item_end(&code[body..]) + body;
        let line_of = |at: usize| code[..at].matches('\n').count();
        tests[line_of(start)..=line_of(end).min(code.lines().count() - 1)].fill(true);
        from = end;
    }
    tests
}

/// Length of the item that `code` begins with.
fn item_end(code: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return at,
            '{' => depth += 1,
            '}' if depth <= 1 => return at,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The lines (from 1) on which `pattern` stands as whole words.
pub fn lines_with(text: &str, pattern: &str) -> Vec<usize> {
    let whole = |at: usize| {
        let (before, after) = (text[..at].chars().next_back(), text[at + pattern.len()..].chars().next());
        let open = |edge: Option<char>, near: Option<char>| edge.is_some_and(is_word) && near.is_some_and(is_word);
        !open(pattern.chars().next(), before) && !open(pattern.chars().next_back(), after)
    };
    let hits = text.match_indices(pattern).map(|(at, _)| at).filter(|&at| whole(at));
    hits.map(|at| text[..at].matches('\n').count() + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_no_code() {
        let source = r##"let a = "unsafe \" unsafe"; // unsafe here
let b = r#"unsafe " unsafe"#; /* unsafe /* nested */ unsafe */ let c = '"'; let d = '\''; unsafe { e::<'static>() }
let f = br"unsafe"; let er = 1;"##;
        let parts = Code::of(source);
        assert_eq!(lines_with(&parts.code, "unsafe"), [2]);
        assert_eq!(lines_with(&parts.comments, "unsafe"), [1, 2, 2]);
        assert!(parts.code.contains("e::<'static>()") && parts.code.contains("let er = 1;"), "{}", parts.code);
        assert_eq!(parts.code.lines().count(), 3);
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(lines_with("unsafe_code = 1\nreunsafe\n(unsafe)", "unsafe"), [3]);
        assert_eq!(lines_with("std::env::var\nmystd::env", "std::env"), [1]);
        assert_eq!(lines_with("eprintln!(x)\nprintln!(y)", "println!"), [2]);
    }

    #[test]
    fn test_items_end_with_their_brace_or_semicolon() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { c() }\n}\nfn d() {}\n#[cfg(test)]\nmod more;\nfn e() {}\n";
        let parts = Code::of(source);
        let marked: Vec<usize> = (1..=9).filter(|&line| parts.is_test(line)).collect();
        assert_eq!(marked, [2, 3, 4, 5, 7, 8]);
    }
}
