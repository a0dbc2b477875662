//! The cells of a CSV sheet: quotes may hold ends of lines and doubled quotes, as RFC 4180 writes them.

/// A record: the line on which it begins, and its cells.
pub(super) type Record = (usize, Vec<String>);

/// All records. A quote that never ends is told by the line on which it began.
pub(super) fn records(text: &str, between: char) -> Result<Vec<Record>, usize> {
    let mut records: Vec<Record> = Vec::new();
    let (mut cells, mut cell, mut began, mut line) = (Vec::new(), String::new(), 1, 1);
    let mut quote: Option<usize> = None;
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        line += usize::from(sign == '\n');
        match (sign, quote) {
            ('"', Some(_)) if signs.peek() == Some(&'"') => {
                signs.next();
                cell.push('"');
            }
            ('"', Some(_)) => quote = None,
            (_, Some(_)) => cell.push(sign),
            ('"', None) if cell.is_empty() => quote = Some(line),
            ('\r', None) if signs.peek() == Some(&'\n') => {}
            ('\n', None) => {
                cells.push(std::mem::take(&mut cell));
                records.push((began, std::mem::take(&mut cells)));
                began = line;
            }
            _ if sign == between => cells.push(std::mem::take(&mut cell)),
            _ => cell.push(sign),
        }
    }
    if let Some(line) = quote {
        return Err(line);
    }
    if !cell.is_empty() || !cells.is_empty() {
        cells.push(cell);
        records.push((began, cells));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::records;

    #[test]
    fn quotes_hold_everything() {
        let text = "a,b\r\n\"x, y\",\"two\nlines \"\"q\"\"\"\n\n,5\" disk\nlast";
        let expected =
            [(1, vec!["a", "b"]), (2, vec!["x, y", "two\nlines \"q\""]), (4, vec![""]), (5, vec!["", "5\" disk"]), (6, vec!["last"])];
        let found = records(text, ',').unwrap();
        assert_eq!(found, expected.map(|(line, cells)| (line, cells.into_iter().map(String::from).collect::<Vec<_>>())));
        assert_eq!(records("a\nb,\"never", ','), Err(2));
        assert_eq!(records("", ','), Ok(Vec::new()));
    }
}
