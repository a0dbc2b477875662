//! What changed in a text, word by word: the longest common sequence of words, and what is left of both.

/// Above so many pairs of words the middle is told as replaced as a whole.
const MOST: usize = 4_000_000;

/// A stretch of both texts, or of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Same(String),
    Gone(String),
    New(String),
}

/// The stretches in order. All but the new ones, joined, are the old text; all but the gone ones the new text.
pub fn word_diff(old: &str, new: &str) -> Vec<Piece> {
    let (old, new) = (words(old), words(new));
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = |list: &[&str]| list.len() - start;
    let most = rest(&old).min(rest(&new));
    let end = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let mut pieces = Vec::new();
    push(&mut pieces, Piece::Same(old[..start].concat()));
    middle(&old[start..old.len() - end], &new[start..new.len() - end], &mut pieces);
    push(&mut pieces, Piece::Same(old[old.len() - end..].concat()));
    pieces
}

fn middle(old: &[&str], new: &[&str], pieces: &mut Vec<Piece>) {
    if old.is_empty() || new.is_empty() || old.len().saturating_mul(new.len()) > MOST {
        push(pieces, Piece::Gone(old.concat()));
        push(pieces, Piece::New(new.concat()));
        return;
    }
    let width = new.len() + 1;
    // The common length of what begins at each pair of words.
    let mut common = vec![0u32; (old.len() + 1) * width];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            common[a * width + b] = if old[a] == new[b] {
                common[(a + 1) * width + b + 1] + 1
            } else {
                common[(a + 1) * width + b].max(common[a * width + b + 1])
            };
        }
    }
    let (mut a, mut b) = (0, 0);
    while a < old.len() && b < new.len() {
        if old[a] == new[b] {
            push(pieces, Piece::Same(old[a].into()));
            (a, b) = (a + 1, b + 1);
        } else if common[(a + 1) * width + b] >= common[a * width + b + 1] {
            push(pieces, Piece::Gone(old[a].into()));
            a += 1;
        } else {
            push(pieces, Piece::New(new[b].into()));
            b += 1;
        }
    }
    push(pieces, Piece::Gone(old[a..].concat()));
    push(pieces, Piece::New(new[b..].concat()));
}

fn push(pieces: &mut Vec<Piece>, piece: Piece) {
    match (pieces.last_mut(), piece) {
        (_, Piece::Same(text) | Piece::Gone(text) | Piece::New(text)) if text.is_empty() => {}
        (Some(Piece::Same(before)), Piece::Same(text)) => before.push_str(&text),
        (Some(Piece::Gone(before)), Piece::Gone(text)) => before.push_str(&text),
        (Some(Piece::New(before)), Piece::New(text)) => before.push_str(&text),
        (_, piece) => pieces.push(piece),
    }
}

/// Words, spaces, and signs one by one.
fn words(text: &str) -> Vec<&str> {
    let class = |c: char| {
        if c.is_alphanumeric() {
            1
        } else if c.is_whitespace() {
            2
        } else {
            3
        }
    };
    let mut words = Vec::new();
    let mut begin = 0;
    let mut before = 0;
    for (at, c) in text.char_indices() {
        let now = class(c);
        if at > begin && (now != before || now == 3) {
            words.push(&text[begin..at]);
            begin = at;
        }
        before = now;
    }
    if begin < text.len() {
        words.push(&text[begin..]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(old: &str, new: &str) -> String {
        let pieces = word_diff(old, new).into_iter().map(|piece| match piece {
            Piece::Same(text) => text,
            Piece::Gone(text) => format!("[-{text}-]"),
            Piece::New(text) => format!("{{+{text}+}}"),
        });
        pieces.collect()
    }

    #[test]
    fn words_that_changed_are_marked() {
        assert_eq!(told("It takes 12 months.", "It takes 24 months."), "It takes [-12-]{+24+} months.");
        assert_eq!(told("a b c", "a c"), "a [-b -]c");
        assert_eq!(told("", "new"), "{+new+}");
        assert_eq!(told("same", "same"), "same");
        assert_eq!(told("a a a", "a a"), "a a[- a-]");
    }

    #[test]
    fn both_texts_can_be_put_together_again() {
        let texts = ["", "one", "one two, three", "three two; one", "größer \u{1F600} x", &"long ".repeat(3000), &"short ".repeat(2500)];
        for old in texts {
            for new in texts {
                let pieces = word_diff(old, new);
                let of = |skip: fn(&Piece) -> bool| {
                    let kept = pieces.iter().filter(|piece| !skip(piece));
                    kept.map(|piece| match piece {
                        Piece::Same(text) | Piece::Gone(text) | Piece::New(text) => text.as_str(),
                    })
                    .collect::<String>()
                };
                assert_eq!(of(|piece| matches!(piece, Piece::New(_))), old);
                assert_eq!(of(|piece| matches!(piece, Piece::Gone(_))), new);
            }
        }
    }
}
