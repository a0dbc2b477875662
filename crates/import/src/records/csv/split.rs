//! Lines to cells, the delimiter, and whether the first row names the columns.

/// Rows by which the delimiter is found.
const LOOKED_AT: usize = 50;
/// The longest name of a column, in characters.
const NAME: usize = 60;

/// Takes lines apart, and knows whether the quotes were as they should be.
///
/// A quote ends a quoted cell only before a delimiter or the line's end; others within are text, and the row is not strict.
/// The standard (RFC 4180) leaves open what they mean, and readers that guess move the borders of cells.
pub(super) struct Splitter {
    delimiter: char,
    /// The cells so far; all of them unless `open`.
    pub cells: Vec<String>,
    /// Within quotes at the end of the last line.
    pub open: bool,
    /// Every quote was where the standard allows one.
    pub strict: bool,
    current: String,
}

impl Splitter {
    pub(super) fn new(delimiter: char) -> Splitter {
        Splitter { delimiter, cells: Vec::new(), open: false, strict: true, current: String::new() }
    }

    /// The next line of the row, without its end.
    pub(super) fn feed(&mut self, line: &str) {
        let mut signs = line.chars().peekable();
        let mut quoted = self.open;
        let mut begins = !self.open;
        if self.open {
            self.current.push('\n');
        }
        while let Some(sign) = signs.next() {
            match sign {
                '"' if quoted && signs.peek() == Some(&'"') => {
                    signs.next();
                    self.current.push('"');
                }
                '"' if quoted && signs.peek().is_none_or(|next| *next == self.delimiter) => quoted = false,
                '"' if quoted => {
                    self.strict = false;
                    self.current.push('"');
                }
                '"' if begins => quoted = true,
                sign if sign == self.delimiter && !quoted => {
                    self.cells.push(std::mem::take(&mut self.current));
                    begins = true;
                    continue;
                }
                sign => self.current.push(sign),
            }
            begins = false;
        }
        self.open = quoted;
        if !quoted {
            self.cells.push(std::mem::take(&mut self.current));
        }
    }
}

/// The delimiter by which most rows have the same number of cells, more than one.
pub(super) fn delimiter(start: &str) -> char {
    let score = |delimiter: char| {
        let mut counts = Vec::new();
        let mut splitter = Splitter::new(delimiter);
        for line in start.lines().filter(|line| !line.trim().is_empty()) {
            splitter.feed(line);
            if !splitter.open {
                counts.push(splitter.cells.len());
                splitter = Splitter::new(delimiter);
            }
            if counts.len() == LOOKED_AT {
                break;
            }
        }
        let usual = counts.iter().copied().filter(|n| *n > 1).max_by_key(|n| (counts.iter().filter(|m| *m == n).count(), *n));
        usual.map_or((0, 0), |usual| (1000 * counts.iter().filter(|n| **n == usual).count() / counts.len(), usual))
    };
    // Of equals the first.
    [',', ';', '\t', '|'].into_iter().rev().max_by_key(|delimiter| score(*delimiter)).unwrap_or(',')
}

/// Whether a row looks like names: each once, none a number, a sentence or long.
pub(super) fn is_header(cells: &[String]) -> bool {
    let name = |cell: &str| {
        let sentence = cell.ends_with(['.', '?', '!']) || cell.chars().count() > NAME;
        !sentence && cell.replace(',', ".").parse::<f64>().is_err()
    };
    let names: Vec<String> = cells.iter().map(|cell| cell.trim().to_lowercase()).filter(|cell| !cell.is_empty()).collect();
    let once: std::collections::HashSet<&String> = names.iter().collect();
    // A table that was written with its row numbers has no name for the first column.
    !names.is_empty() && names.len() + 1 >= cells.len() && once.len() == names.len() && names.iter().all(|cell| name(cell))
}

/// The names of columns; one without gets its number.
pub(super) fn named(cells: Vec<String>) -> Vec<String> {
    let trimmed = cells.into_iter().map(|cell| cell.trim().to_string());
    trimmed.enumerate().map(|(at, cell)| if cell.is_empty() { format!("column{}", at + 1) } else { cell }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(lines: &[&str]) -> (Vec<String>, bool, bool) {
        let mut splitter = Splitter::new(',');
        lines.iter().for_each(|line| splitter.feed(line));
        (splitter.cells, splitter.open, splitter.strict)
    }

    #[test]
    fn cells_are_taken_apart_as_the_standard_says() {
        assert_eq!(split(&["a,\"b, \"\"c\"\"\",,d\"e"]), (vec!["a".into(), "b, \"c\"".into(), String::new(), "d\"e".into()], false, true));
        assert_eq!(split(&["a,\"b", "", "c\",d"]), (vec!["a".into(), "b\n\nc".into(), "d".into()], false, true));
        assert_eq!(split(&["a,\"b,c"]), (vec!["a".into()], true, true));
    }

    #[test]
    fn quotes_within_a_quoted_cell_stay_and_are_noticed() {
        assert_eq!(split(&["1,\"He said \"no\" twice\",2"]), (vec!["1".into(), "He said \"no\" twice".into(), "2".into()], false, false));
    }

    #[test]
    fn the_delimiter_is_the_one_that_makes_a_table() {
        assert_eq!(delimiter("a;b\n\"1,5;x\";2\n1,2;3\n"), ';');
        assert_eq!(delimiter("q\ta\nHello, you; there\tYes, I, am\n"), '\t');
        assert_eq!(delimiter("q,a\n\"x\ny;z;z\",b\n"), ',');
        assert_eq!(delimiter("only one\ncolumn here\n"), ',');
    }

    #[test]
    fn a_header_has_names() {
        let header = |cells: &[&str]| is_header(&cells.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(header(&["id", "question", "answer"]) && header(&["", "Frage", "Antwort"]));
        assert!(!header(&["1", "question"]) && !header(&["Where is it?", "Here"]) && !header(&["a", "a"]) && !header(&[]));
    }
}
