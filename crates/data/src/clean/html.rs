//! HTML to text: tags to lines and blanks, entities to letters. Nothing is run, fetched or shown.

use std::sync::LazyLock;

use regex::Regex;

static TAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?is)</?(p|div|br|span|a|b|i|u|s|strong|em|ul|ol|li|table|tbody|thead|tr|td|th|h[1-6]|html|body|head|style|script|img|blockquote|font|hr|pre|code|sup|sub|center|title|meta|link|section|article|header|footer|label|input|form|button|small|o:p|!doctype)\b[^<>]*>|<!--.*?-->",
    )
});
static HIDDEN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?is)<(?:script|style|head|title)\b[^>]*>.*?(?:</(?:script|style|head|title)\s*>|\z)"));
static ENTITY: LazyLock<Regex> = LazyLock::new(|| pattern(r"&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z]{2,8}));"));

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("patterns are constants and each is used by a test")
}

/// Entities by name; those of Latin-1 follow below.
const NAMED: [(&str, char); 34] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("ensp", ' '),
    ("emsp", ' '),
    ("thinsp", ' '),
    ("ndash", '–'),
    ("mdash", '—'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("sbquo", '‚'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bdquo", '„'),
    ("laquo", '«'),
    ("raquo", '»'),
    ("lsaquo", '‹'),
    ("rsaquo", '›'),
    ("hellip", '…'),
    ("bull", '•'),
    ("euro", '€'),
    ("trade", '™'),
    ("rarr", '→'),
    ("larr", '←'),
    ("OElig", 'Œ'),
    ("oelig", 'œ'),
    ("Scaron", 'Š'),
    ("scaron", 'š'),
    ("minus", '−'),
    ("zwnj", '\u{200c}'),
    ("shy", '\u{ad}'),
];
/// Names of the characters from U+00A1 to U+00FF, in order.
const LATIN: &str = "iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute micro para middot \
    cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave \
    Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute \
    acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide \
    oslash ugrave uacute ucirc uuml yacute thorn yuml";

/// The text of an HTML text; nothing where it is none. Text about HTML, with a fence around code, is none.
pub(super) fn to_text(text: &str) -> Option<String> {
    if text.contains("```") || !text.contains(['<', '&']) {
        return None;
    }
    let tags = TAG.find_iter(text).count();
    let paired = text.contains("</") || text.to_ascii_lowercase().contains("<br");
    let now = if tags > 0 && (paired || text.trim_start().starts_with('<')) { entities(&untagged(text)) } else { entities(text) };
    (now != text).then_some(now)
}

fn untagged(text: &str) -> String {
    let shown = HIDDEN.replace_all(text, "");
    // Line ends of the source are blanks, but a source without tags for lines had them for itself.
    let lined = TAG.captures_iter(&shown).any(|tag| tag.get(1).is_some_and(|name| breaks(name.as_str()) > 0));
    let mut out = String::new();
    let mut at = 0;
    for tag in TAG.captures_iter(&shown) {
        let (Some(whole), name) = (tag.get(0), tag.get(1).map_or("", |name| name.as_str())) else { continue };
        push(&mut out, &shown[at..whole.start()], lined);
        at = whole.end();
        let wanted = breaks(name);
        let have = out.chars().rev().take_while(|c| *c == '\n').count();
        if wanted > 0 && (!out.is_empty() || name.eq_ignore_ascii_case("br")) {
            let trimmed = out.trim_end_matches(' ').len();
            out.truncate(trimmed);
            let more = if name.eq_ignore_ascii_case("br") { 1 } else { wanted.saturating_sub(have) };
            out.extend(std::iter::repeat_n('\n', more));
        }
        match name.to_ascii_lowercase().as_str() {
            "li" if !whole.as_str().starts_with("</") => out.push_str("- "),
            "td" | "th" if whole.as_str().starts_with("</") => out.push('\t'),
            _ => {}
        }
    }
    push(&mut out, &shown[at..], lined);
    out.trim().to_string()
}

fn push(out: &mut String, text: &str, lined: bool) {
    if !lined {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        let c = if c == '\n' || c == '\r' { ' ' } else { c };
        if c != ' ' || !out.is_empty() && !out.ends_with([' ', '\n']) {
            out.push(c);
        }
    }
}

/// How many line ends a tag asks for.
fn breaks(name: &str) -> usize {
    match name.to_ascii_lowercase().as_str() {
        "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "blockquote" | "table" | "ul" | "ol" => 2,
        "br" | "div" | "li" | "tr" | "hr" | "pre" | "section" | "article" | "header" | "footer" => 1,
        _ => 0,
    }
}

fn entities(text: &str) -> String {
    let letter = |found: &regex::Captures| {
        let code = |group, radix| found.get(group).and_then(|n| u32::from_str_radix(n.as_str(), radix).ok());
        let number = code(1, 10).or_else(|| code(2, 16));
        let c = match (number, found.get(3)) {
            (Some(code), _) => char::from_u32(code).filter(|c| !c.is_control() || *c == '\n' || *c == '\t'),
            (None, Some(name)) => named(name.as_str()),
            _ => None,
        };
        c.map_or_else(|| found[0].to_string(), |c| if c == '\u{a0}' { ' '.to_string() } else { c.to_string() })
    };
    ENTITY.replace_all(text, letter).into_owned()
}

fn named(name: &str) -> Option<char> {
    let latin = || LATIN.split_whitespace().position(|other| other == name).and_then(|at| char::from_u32(0xA1 + at as u32));
    NAMED.iter().find(|(other, _)| *other == name).map(|(_, c)| *c).or_else(latin)
}
