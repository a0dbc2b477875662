//! Text into HTML: escaping, and filling the page's named gaps.

/// Escapes text for element content and for quoted attributes.
///
/// Control characters that HTML forbids become the replacement character: a model may write anything.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\r' => {}
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Escapes the first `limit` characters and says how many were left out.
pub(super) fn clipped(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => escape(text),
        Some((end, _)) => {
            let left = text[end..].chars().count();
            format!("{}… <small>({left} more characters)</small>", escape(&text[..end]))
        }
    }
}

/// Fills each `{{name}}` of a template in one pass, so that a value that holds braces is never filled again.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, tail)) = after.split_once("}}") else {
            rest = after;
            break;
        };
        out.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// A time span as people say it.
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if !seconds.is_finite() => "—".to_string(),
        _ if seconds < 10.0 => format!("{seconds:.1} s"),
        0..=119 => format!("{whole} s"),
        120..=7199 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escape("<a href=\"x\" b='&'>\0\r\n"), "&lt;a href=&quot;x&quot; b=&#39;&amp;&#39;&gt;\u{fffd}\n");
        assert_eq!(clipped("äöü<", 2), "äö… <small>(2 more characters)</small>");
        assert_eq!(clipped("äö", 2), "äö");
    }

    #[test]
    fn values_are_not_filled_again() {
        assert_eq!(fill("<{{a}}|{{b}}|{{c}}> {{", &[("a", "{{b}}"), ("b", "2")]), "<{{b}}|2|> ");
    }

    #[test]
    fn times_are_readable() {
        assert_eq!([3.21, 41.4, 135.0, 7320.0].map(span), ["3.2 s", "41 s", "2 min 15 s", "2 h 02 min"]);
        assert_eq!(span(f64::NAN), "—");
    }
}
