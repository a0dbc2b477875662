//! Bytes of a mail to text, whatever its charset is called.

use crate::row::Fix;
use encoding_rs::{Encoding, WINDOWS_1252};

/// The text, and what was done where the bytes are not what they are called.
pub fn decode(bytes: &[u8], label: Option<&str>) -> (String, Option<Fix>) {
    let named = label.map(|label| label.trim_matches(['"', '\'', ' ']));
    let known = named.and_then(|label| Encoding::for_label(label.as_bytes()));
    let utf8 = std::str::from_utf8(bytes).ok();
    // Latin-1 takes every byte, so what is valid UTF-8 beyond ASCII was not meant as Latin-1.
    if let Some(text) = utf8
        && (text.is_ascii() || known.is_none_or(|e| e == WINDOWS_1252 || e == encoding_rs::UTF_8))
        && !known.is_some_and(|e| e == encoding_rs::ISO_2022_JP)
    {
        let said = known.map_or(named.is_none(), |e| e == encoding_rs::UTF_8);
        let fix = (!said && !text.is_ascii()).then(|| charset(named, "UTF-8"));
        return (text.trim_start_matches('\u{feff}').to_string(), fix);
    }
    let encoding = known.unwrap_or(WINDOWS_1252);
    let (text, _, broken) = encoding.decode(bytes);
    if broken {
        let (text, _, _) = WINDOWS_1252.decode(bytes);
        return (text.into_owned(), Some(charset(named, "windows-1252")));
    }
    (text.into_owned(), known.is_none().then(|| charset(named, "windows-1252")))
}

fn charset(named: Option<&str>, taken: &str) -> Fix {
    Fix { what: "charset", before: named.unwrap_or("none named").to_string(), after: taken.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_what_they_are() {
        let fixed = |bytes: &[u8], label| {
            let (text, fix) = decode(bytes, label);
            (text, fix.map(|f| f.after))
        };
        let windows = Some("windows-1252".to_string());
        assert_eq!(fixed("Grüße".as_bytes(), Some("utf-8")), ("Grüße".into(), None));
        assert_eq!(fixed(b"Gr\xfc\xdfe", Some("ISO-8859-1")), ("Grüße".into(), None));
        assert_eq!(fixed(b"Gr\xfc\xdfe", Some("utf-8")), ("Grüße".into(), windows.clone()));
        assert_eq!(fixed(b"Gr\xfc\xdfe", Some("x-unknown")), ("Grüße".into(), windows.clone()));
        assert_eq!(fixed(b"Gr\xfc\xdfe", None), ("Grüße".into(), windows));
        assert_eq!(fixed("Grüße".as_bytes(), Some("us-ascii")), ("Grüße".into(), Some("UTF-8".into())));
        assert_eq!(fixed(b"\x83e\x83X\x83g", Some("shift_jis")), ("テスト".into(), None));
        assert_eq!(fixed(b"\x1b$B%F%9%H\x1b(B", Some("iso-2022-jp")), ("テスト".into(), None));
        assert_eq!(fixed(b"plain", Some("x-unknown")), ("plain".into(), None));
    }
}
