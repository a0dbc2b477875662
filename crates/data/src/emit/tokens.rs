//! At least so many tokens: a bound that holds for every tokenizer of the GPT, Llama and Gemini families.
//!
//! Such tokenizers cut a text into words, numbers of up to three digits and runs of signs before they look into their
//! vocabulary, so each of these pieces is one token or more. The true number is mostly a third higher.

/// A lower bound of the tokens of a text.
pub fn at_least(text: &str) -> usize {
    #[derive(PartialEq, Clone, Copy)]
    enum Kind {
        Word,
        Digit,
        Sign,
        Space,
    }
    let kind = |c: char| match c {
        _ if c.is_whitespace() => Kind::Space,
        _ if c.is_numeric() => Kind::Digit,
        _ if c.is_alphabetic() => Kind::Word,
        _ => Kind::Sign,
    };
    let (mut pieces, mut before, mut length) = (0, Kind::Space, 0);
    for c in text.chars() {
        let now = kind(c);
        if now != before || (now == Kind::Digit && length == 3) {
            pieces += usize::from(now != Kind::Space);
            length = 0;
        }
        (before, length) = (now, length + 1);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::at_least;

    #[test]
    fn words_numbers_and_signs_count_once() {
        assert_eq!(at_least(""), 0);
        assert_eq!(at_least("Where is my order NW-190455?"), 4 + 1 + 1 + 2 + 1);
        assert_eq!(at_least(&"word ".repeat(1000)), 1000);
    }
}
