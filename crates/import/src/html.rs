//! HTML to plain text. Nothing is executed or fetched; scripts, styles, hidden text and images without words do not survive.

mod entities;
mod tags;

use entities::decoded;
use tags::{Tag, Token, Tokens};

/// Elements whose content nobody is meant to read.
const UNREAD: &[&str] = &[
    "applet", "audio", "button", "canvas", "datalist", "frameset", "iframe", "map", "math", "noembed", "noframes", "noscript", "object",
    "select", "svg", "template", "textarea", "title", "video",
];
/// Elements that never have an end tag.
const VOID: &[&str] = &["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"];
/// Elements that stand on lines of their own.
const BLOCK: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "caption",
    "center",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figure",
    "footer",
    "form",
    "header",
    "hr",
    "html",
    "legend",
    "li",
    "main",
    "nav",
    "ol",
    "section",
    "summary",
    "table",
    "tbody",
    "tr",
    "ul",
];
/// Elements with a blank line around.
const APART: &[&str] = &["h1", "h2", "h3", "h4", "h5", "h6", "p", "pre"];
/// Classes and ids of containers into which mail programs put what is answered.
const QUOTES: &[&str] =
    &["gmail_quote", "yahoo_quoted", "protonmail_quote", "moz-cite-prefix", "zmail_extra", "tutanota_quote", "ox-mail-quote", "qt-quote"];
/// The same of signatures.
const SIGNATURES: &[&str] = &[
    "gmail_signature",
    "moz-signature",
    "protonmail_signature_block",
    "x_gmail_signature",
    "ms-outlook-mobile-signature",
    "x_moz-signature",
];
/// Deeper nesting is read flat; no mail that a person wrote comes near.
const DEEPEST: usize = 100;
/// A longer address is a tracking link.
const LONGEST_LINK: usize = 120;

/// What an open element does to the text in it.
enum Open {
    Plain,
    Quote,
    Pre,
    /// The next number; none in a list of points.
    List(Option<u32>),
    /// Where it leads, and the length of the text before it.
    Link(String, usize),
}

struct Writer {
    lines: Vec<(usize, String)>,
    line: String,
    blank_due: bool,
    cell_due: bool,
    open: Vec<(String, Open)>,
}

/// The text of an HTML document: blocks on lines of their own, quote containers behind `> `, signature containers behind `-- `.
pub fn text(html: &str) -> String {
    let mut writer = Writer { lines: Vec::new(), line: String::new(), blank_due: false, cell_due: false, open: Vec::new() };
    let mut tokens = Tokens::new(html);
    while let Some(token) = tokens.next() {
        match token {
            Token::Text(text) => writer.say(&decoded(text)),
            Token::Open(tag) if tag.name == "script" || tag.name == "style" => tokens.skip_raw(tag.name.as_str()),
            Token::Open(tag) if unread(&tag) => tokens.skip_element(tag.name.as_str()),
            Token::Open(tag) => writer.open(tag),
            Token::Close(name) => writer.close(&name),
        }
    }
    writer.finish()
}

/// Whether a text holds tags that a browser would take for HTML.
pub fn is_html(text: &str) -> bool {
    const SIGNS: &[&str] = &["p", "br", "div", "span", "a", "b", "i", "html", "body", "table", "ul", "li", "script", "strong"];
    let mut tokens = Tokens::new(text);
    std::iter::from_fn(|| tokens.next()).any(|token| match token {
        Token::Open(tag) => SIGNS.contains(&tag.name.as_str()) || tag.name == "img" || tag.name == "style",
        Token::Close(name) => SIGNS.contains(&name.as_str()),
        Token::Text(_) => false,
    })
}

fn unread(tag: &Tag) -> bool {
    if VOID.contains(&tag.name.as_str()) || tag.closed {
        return false;
    }
    let style: String = tag.get("style").unwrap_or_default().chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase();
    let hidden = ["display:none", "visibility:hidden", "mso-hide:all"].iter().any(|sign| style.contains(sign));
    UNREAD.contains(&tag.name.as_str()) || hidden || tag.get("hidden").is_some()
}

/// Whether the class or id names one of `names`.
fn is_one_of(tag: &Tag, names: &[&str]) -> bool {
    let words = ["class", "id"].into_iter().filter_map(|name| tag.get(name)).flat_map(str::split_whitespace);
    words.into_iter().any(|word| names.contains(&word.to_lowercase().as_str()))
}

fn is_quote(tag: &Tag) -> bool {
    let cited = tag.name == "blockquote" && tag.get("type").is_some_and(|kind| kind.eq_ignore_ascii_case("cite"));
    cited || (tag.name == "blockquote" && tag.get("cite").is_some()) || is_one_of(tag, QUOTES)
}

impl Writer {
    fn depth(&self) -> usize {
        self.open.iter().filter(|(_, open)| matches!(open, Open::Quote)).count()
    }

    fn in_pre(&self) -> bool {
        self.open.iter().any(|(_, open)| matches!(open, Open::Pre))
    }

    fn say(&mut self, text: &str) {
        if self.in_pre() {
            for (n, line) in text.split('\n').enumerate() {
                if n > 0 {
                    self.force_line();
                }
                self.line.push_str(line.trim_end_matches('\r'));
            }
            return;
        }
        if self.cell_due && text.chars().any(|c| !c.is_whitespace()) {
            self.cell_due = false;
            if !self.line.trim().is_empty() {
                self.line.truncate(self.line.trim_end().len());
                self.line.push_str(" | ");
            }
        }
        for c in text.chars() {
            match c {
                '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => {}
                c if c.is_whitespace() => {
                    if !self.line.is_empty() && !self.line.ends_with(' ') {
                        self.line.push(' ');
                    }
                }
                c => self.line.push(c),
            }
        }
    }

    /// Ends the line, where it has begun.
    fn end_line(&mut self) {
        self.cell_due = false;
        if !self.line.trim().is_empty() {
            self.force_line();
        } else {
            self.line.clear();
        }
    }

    fn force_line(&mut self) {
        let depth = self.depth();
        if self.blank_due && !self.lines.is_empty() {
            self.lines.push((depth, String::new()));
        }
        self.blank_due = false;
        let line = std::mem::take(&mut self.line);
        self.lines.push((depth, line.trim_end().to_string()));
    }

    fn open(&mut self, tag: Tag) {
        let name = tag.name.as_str();
        match name {
            "br" => self.force_line(),
            "img" => self.image(&tag),
            "td" | "th" => self.cell_due = true,
            _ if APART.contains(&name) => {
                self.end_line();
                self.blank_due = true;
            }
            _ if BLOCK.contains(&name) => self.end_line(),
            _ => {}
        }
        if name == "li" {
            let number = self.open.iter_mut().rev().find_map(|(_, open)| match open {
                Open::List(next) => Some(next),
                _ => None,
            });
            let mark = match number {
                Some(Some(next)) => {
                    *next = next.saturating_add(1);
                    format!("{}. ", next.saturating_sub(1))
                }
                _ => "- ".to_string(),
            };
            self.line.push_str(&mark);
        }
        if VOID.contains(&name) || tag.closed || self.open.len() >= DEEPEST {
            return;
        }
        let open = match name {
            _ if is_quote(&tag) => {
                self.end_line();
                Open::Quote
            }
            _ if is_one_of(&tag, SIGNATURES) => {
                self.end_line();
                self.line.push_str("-- ");
                self.force_line();
                Open::Plain
            }
            "pre" => Open::Pre,
            "ul" => Open::List(None),
            "ol" => Open::List(Some(tag.get("start").and_then(|n| n.trim().parse().ok()).unwrap_or(1))),
            "a" => Open::Link(tag.get("href").map(|href| decoded(href).trim().to_string()).unwrap_or_default(), self.line.len()),
            _ => Open::Plain,
        };
        self.open.push((tag.name, open));
    }

    /// Words that stand for an image. One of a dot's size only tells its sender that it was looked at.
    fn image(&mut self, tag: &Tag) {
        let dot =
            ["width", "height"].iter().any(|side| tag.get(side).is_some_and(|n| matches!(n.trim_end_matches("px").trim(), "0" | "1")));
        if let Some(alt) = tag.get("alt").filter(|alt| !dot && !alt.trim().is_empty() && alt.len() <= 80) {
            self.say(&format!(" {} ", decoded(alt)));
        }
    }

    fn close(&mut self, name: &str) {
        if let Some(at) = self.open.iter().rposition(|(open, _)| open == name) {
            if matches!(self.open[at].1, Open::Quote | Open::Pre) {
                self.end_line();
            }
            // Elements inside that were never closed end with it.
            for (_, open) in self.open.split_off(at) {
                if let Open::Link(href, from) = open {
                    self.link(&href, from);
                }
            }
        }
        if APART.contains(&name) {
            self.end_line();
            self.blank_due = true;
        } else if BLOCK.contains(&name) {
            self.end_line();
        }
    }

    /// Where a link leads, if its text does not say so and a person could type it.
    fn link(&mut self, href: &str, from: usize) {
        let said = self.line.get(from..).unwrap_or_default().trim();
        let bare = |s: &str| s.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/').to_lowercase();
        let web = href.starts_with("http://") || href.starts_with("https://");
        if web && href.len() <= LONGEST_LINK && !said.is_empty() && bare(said) != bare(href) {
            let address = format!(" ({href})");
            self.line.truncate(self.line.trim_end().len());
            self.line.push_str(&address);
        }
    }

    fn finish(mut self) -> String {
        self.end_line();
        let mut text = String::new();
        let mut blanks = 0;
        for (depth, line) in &self.lines {
            blanks = if line.is_empty() { blanks + 1 } else { 0 };
            if blanks > 1 {
                continue;
            }
            if *depth > 0 {
                text.push_str(&">".repeat((*depth).min(8)));
                text.push_str(if line.is_empty() { "" } else { " " });
            }
            text.push_str(line);
            text.push('\n');
        }
        text.trim_matches('\n').to_string()
    }
}

#[cfg(test)]
mod tests;
