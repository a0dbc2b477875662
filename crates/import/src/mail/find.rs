//! Which mails a path holds: an mbox, one mail, a Maildir, or a folder of any of them.

use super::head::Spot;
use crate::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The longest header that is read; the rest of a longer one is ignored.
const HEADER: usize = 256 << 10;
/// How much of a line is looked at to tell whether it divides mails.
const DIVIDER: usize = 512;

/// Files with mail, and how each is read.
#[derive(Debug, Default)]
pub struct Files {
    /// With whether it is an mbox.
    pub mails: Vec<(PathBuf, bool)>,
    /// Mails that their server was still writing.
    pub half: Vec<PathBuf>,
    /// Files that are no mail.
    pub others: Vec<PathBuf>,
}

/// Finds the files below a path, in the order of their names.
pub fn files(path: &Path) -> Result<Files, Error> {
    let io = |cause| Error::io("read", path.to_path_buf(), cause);
    let mut found = Files::default();
    if !std::fs::metadata(path).map_err(io)?.is_dir() {
        let mbox = is_mbox(path).map_err(io)?;
        found.mails.push((path.to_path_buf(), mbox));
        return Ok(found);
    }
    walk(path, &mut found)?;
    Ok(found)
}

fn walk(folder: &Path, found: &mut Files) -> Result<(), Error> {
    let io = |cause| Error::io("read", folder.to_path_buf(), cause);
    let mut entries: Vec<_> = std::fs::read_dir(folder).map_err(io)?.collect::<Result<_, _>>().map_err(io)?;
    entries.sort_by_key(|entry| entry.file_name());
    let maildir = ["cur", "new", "tmp"].iter().all(|name| folder.join(name).is_dir());
    for entry in entries {
        // A link to a folder may lead in a circle, so only folders themselves are entered.
        let kind = entry.file_type().map_err(io)?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().to_lowercase());
        if kind.is_dir() && maildir && matches!(name.as_str(), "cur" | "new" | "tmp") {
            delivered(&path, name == "tmp", found)?;
        } else if kind.is_dir() {
            walk(&path, found)?;
        } else if !path.is_file() {
            found.others.push(path);
        } else if name.ends_with(".eml") {
            found.mails.push((path, false));
        } else if is_mbox(&path).map_err(|cause| Error::io("read", path.clone(), cause))? {
            found.mails.push((path, true));
        } else {
            found.others.push(path);
        }
    }
    Ok(())
}

/// The mails of one folder of a Maildir.
fn delivered(folder: &Path, half: bool, found: &mut Files) -> Result<(), Error> {
    let io = |cause| Error::io("read", folder.to_path_buf(), cause);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).map_err(io)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>().map_err(io)?;
    paths.retain(|path| path.is_file());
    paths.sort();
    for path in paths {
        match half {
            true => found.half.push(path),
            false => found.mails.push((path, false)),
        }
    }
    Ok(())
}

fn is_mbox(path: &Path) -> io::Result<bool> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    next_line(&mut reader, &mut line)?;
    Ok(line.starts_with(b"From "))
}

/// Reads a line with its end; of a long one only the beginning is kept. Returns how many bytes it takes in the file.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut taken = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(taken);
        }
        let end = buffer.iter().position(|b| *b == b'\n');
        let length = end.map_or(buffer.len(), |n| n + 1);
        let room = HEADER.saturating_sub(line.len()).min(length);
        line.extend_from_slice(&buffer[..room]);
        reader.consume(length);
        taken += length as u64;
        if end.is_some() {
            return Ok(taken);
        }
    }
}

/// Calls `each` with the header and the place of every mail of a file.
pub fn mails(path: &Path, file: u32, mbox: bool, each: &mut impl FnMut(&[u8], Spot)) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    if !mbox {
        let length = std::fs::metadata(path)?.len();
        let mut head = Vec::new();
        let mut line = Vec::new();
        while head.len() < HEADER && next_line(&mut reader, &mut line)? > 0 && !line.trim_ascii().is_empty() {
            head.extend_from_slice(&line);
        }
        head.extend_from_slice(b"\n");
        each(&head, Spot { file, number: 1, offset: 0, length, escaped: false });
        return Ok(());
    }
    split(&mut reader, file, each)
}

/// Splits an mbox at lines such as `From ann@host Mon Jan  1 09:00:00 2024` that begin it or follow a blank line.
fn split(reader: &mut impl BufRead, file: u32, each: &mut impl FnMut(&[u8], Spot)) -> io::Result<()> {
    let mut line = Vec::new();
    let (mut at, mut number) = (0u64, 0u32);
    let mut head: Vec<u8> = Vec::new();
    let mut in_head = false;
    let mut begun: Option<u64> = None;
    let mut blank_before = true;
    loop {
        let length = next_line(reader, &mut line)?;
        let ended = length == 0;
        let divides = blank_before && is_divider(&line);
        if ended || divides {
            if let Some(offset) = begun {
                number += 1;
                head.extend_from_slice(b"\n");
                each(&head, Spot { file, number, offset, length: at - offset, escaped: true });
            }
            if ended {
                return Ok(());
            }
            head.clear();
            in_head = true;
            begun = Some(at + length);
            blank_before = false;
        } else {
            blank_before = line.trim_ascii().is_empty();
            in_head &= !blank_before;
            if in_head && head.len() < HEADER {
                head.extend_from_slice(&line);
            }
        }
        at += length;
    }
}

/// Whether a line divides mails. A sentence that begins with "From " has no time of day.
fn is_divider(line: &[u8]) -> bool {
    let time = |w: &[u8]| w[0].is_ascii_digit() && w[1] == b':' && w[2].is_ascii_digit() && w[3].is_ascii_digit();
    line.starts_with(b"From ") && line[..line.len().min(DIVIDER)].windows(4).any(time)
}

/// Takes the escapes off an mbox's mail: one `>` of each line that begins with `>From `, `>>From ` and so on.
pub fn unescaped(raw: Vec<u8>) -> Vec<u8> {
    if !raw.windows(6).any(|w| w == b">From ") {
        return raw;
    }
    let mut out = Vec::with_capacity(raw.len());
    for line in raw.split_inclusive(|b| *b == b'\n') {
        let marks = line.iter().take_while(|b| **b == b'>').count();
        let escaped = marks > 0 && line[marks..].starts_with(b"From ");
        out.extend_from_slice(&line[usize::from(escaped)..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_all(mbox: &[u8]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        split(&mut &mbox[..], 0, &mut |head, spot| {
            let body = &mbox[spot.offset as usize..(spot.offset + spot.length) as usize];
            found.push((String::from_utf8_lossy(head).into_owned(), String::from_utf8(unescaped(body.to_vec())).unwrap()));
        })
        .unwrap();
        found
    }

    #[test]
    fn an_mbox_is_split_at_its_dividers_alone() {
        let mbox = b"From a@b Mon Jan  1 09:00:00 2024\nSubject: 1\n\nHello\n>From here on\n>>From there\n\nFrom what I see: fine.\n\n\
            From c@d Mon Jan  1 10:00:00 2024\nSubject: 2\n\nBye\nFrom x@y Mon Jan  1 11:00:00 2024 in a line\n";
        let found = split_all(mbox);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, "Subject: 1\n\n");
        assert_eq!(found[0].1, "Subject: 1\n\nHello\nFrom here on\n>From there\n\nFrom what I see: fine.\n\n");
        assert!(found[1].1.ends_with("Bye\nFrom x@y Mon Jan  1 11:00:00 2024 in a line\n"));
    }

    #[test]
    fn half_an_mbox_gives_half_its_mails() {
        let mbox = b"From a@b Mon Jan  1 09:00:00 2024\nSubject: 1\n\nHello\n\nFrom c@d Mon Jan  1 10:00:00 2024\nSubj";
        for end in 0..=mbox.len() {
            assert!(split_all(&mbox[..end]).len() <= 2);
        }
        assert_eq!(split_all(mbox)[1].1, "Subj");
    }
}
