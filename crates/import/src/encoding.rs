//! Which letters the bytes of a file mean, decided for the file and, where a line disagrees, for the line.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8};

use crate::row::Fix;

/// The encoding of a file, and the one of lines that are not in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoding {
    /// Of the file.
    main: &'static Encoding,
    /// Of lines that are no UTF-8.
    other: &'static Encoding,
    /// What was read is UTF-8 already, made of this one.
    from: Option<&'static Encoding>,
}

impl Decoding {
    /// Decides by the first lines of a file.
    pub(crate) fn of(start: &[u8]) -> Decoding {
        let mut foreign = EncodingDetector::new(Iso2022JpDetection::Deny);
        let (mut utf8, mut others) = (0, 0);
        for line in start.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.is_ascii()) {
            // The last line may be cut within a character.
            if std::str::from_utf8(line).is_ok() {
                utf8 += 1;
            } else if line.ends_with(b"\n") || start.len() < 1 << 10 {
                others += 1;
                foreign.feed(line, false);
            }
        }
        let other = if others > 0 { foreign.guess(None, Utf8Detection::Deny) } else { encoding_rs::WINDOWS_1252 };
        Decoding { main: if others > utf8 { other } else { UTF_8 }, other, from: None }
    }

    /// For what a byte order mark told, and is UTF-8 by now.
    pub(crate) fn converted(from: &'static Encoding) -> Decoding {
        Decoding { main: UTF_8, other: encoding_rs::WINDOWS_1252, from: Some(from) }
    }

    /// The encoding's usual name.
    pub(crate) fn name(&self) -> &'static str {
        self.from.unwrap_or(self.main).name()
    }

    /// The beginning of a file as text, good enough to look at.
    pub(crate) fn sample(&self, start: &[u8]) -> String {
        self.main.decode(start).0.into_owned()
    }

    /// The text of a line.
    pub(crate) fn text(&self, bytes: &[u8]) -> Result<(String, Vec<Fix>), String> {
        let fixed = |text: String, found: &'static Encoding| {
            let fix = Fix { what: "encoding", before: found.name().to_string(), after: self.main.name().to_string() };
            let fixes = if found == self.main || text.is_ascii() { Vec::new() } else { vec![fix] };
            Ok((text, fixes))
        };
        // Bytes that happen to be UTF-8 are nearly never anything else.
        if let Ok(text) = std::str::from_utf8(bytes) {
            return fixed(text.to_string(), UTF_8);
        }
        let (text, broken) = self.other.decode_without_bom_handling(bytes);
        if broken {
            let at = std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), |_| 0);
            return Err(format!("found byte 0x{:02X} at {}, expected UTF-8 or {}", bytes[at], at + 1, self.other.name()));
        }
        fixed(text.into_owned(), self.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(lines: &[&[u8]]) -> (Decoding, Vec<(String, usize)>) {
        let decoding = Decoding::of(&lines.join(&b'\n'));
        let texts = lines.iter().map(|line| decoding.text(line).map(|(text, fixes)| (text, fixes.len())).unwrap()).collect();
        (decoding, texts)
    }

    #[test]
    fn a_line_in_another_encoding_is_read_as_that_and_told() {
        let (decoding, texts) = both(&["Grüße aus Köln".as_bytes(), "schöne Straße".as_bytes(), b"Gr\xFC\xDFe aus M\xFCnchen"]);
        assert_eq!(decoding.name(), "UTF-8");
        assert_eq!(texts[2], ("Grüße aus München".to_string(), 1));
        assert_eq!(texts[0].1, 0);

        let (decoding, texts) = both(&[b"Gr\xFC\xDFe aus M\xFCnchen", b"sch\xF6ne Stra\xDFe", "Grüße aus Köln".as_bytes()]);
        assert_eq!(decoding.name(), "windows-1252");
        assert_eq!(texts[2], ("Grüße aus Köln".to_string(), 1));
        assert_eq!((texts[0].0.as_str(), texts[0].1), ("Grüße aus München", 0));
    }

    #[test]
    fn another_alphabet_is_found() {
        let (cyrillic, _, _) = encoding_rs::WINDOWS_1251.encode("Здравствуйте, мой заказ ещё не пришёл. Где он?\nСпасибо за помощь");
        assert_eq!(Decoding::of(&cyrillic).name(), "windows-1251");
        let (japanese, _, _) = encoding_rs::SHIFT_JIS.encode("注文した商品がまだ届きません。\n返品したいのですが、どうすればいいですか。");
        let decoding = Decoding::of(&japanese);
        assert_eq!(decoding.name(), "Shift_JIS");
        let why = decoding.text(b"\x82\xB1\xFF\xFF").unwrap_err();
        assert!(why.contains("expected UTF-8 or Shift_JIS"), "{why}");
    }
}
