//! The elements of a list in a JSON file, one at a time, whatever the size of the file.
//!
//! The list is the file itself, one object a line, or lies at a path in an object; several such objects may follow each other.

use crate::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// A longer element is passed over, in bytes.
const LONGEST: usize = 64 << 20;

/// One element as it stands in the file.
#[derive(Debug)]
pub struct Element {
    /// From 1.
    pub number: u64,
    pub offset: u64,
    pub bytes: Vec<u8>,
    /// Why it is not whole.
    pub broken: Option<String>,
}

/// What is left of a file.
#[derive(Debug)]
pub struct Elements {
    bytes: Bytes,
    lists: Vec<Vec<String>>,
    inside: bool,
    /// Objects that still enclose the list.
    depth: usize,
    number: u64,
    shape: Shape,
}

/// What the elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Values one after the other.
    Stream,
    /// Lists at a path in objects one after the other.
    Within,
    /// One list.
    List,
    Done,
}

#[derive(Debug)]
struct Bytes {
    reader: BufReader<File>,
    at: u64,
}

impl Elements {
    /// Opens a file; `lists` are the paths at which a list of elements may lie.
    pub fn open(path: &Path, lists: Vec<Vec<String>>) -> Result<Elements, Error> {
        let io = |cause| Error::io("read", path.to_path_buf(), cause);
        let mut bytes = Bytes { reader: BufReader::with_capacity(1 << 16, File::open(path).map_err(io)?), at: 0 };
        if bytes.reader.fill_buf().map_err(io)?.starts_with(&[0xef, 0xbb, 0xbf]) {
            bytes.skip(3);
        }
        let begin = bytes.at;
        let shape = match bytes.next_said().map_err(io)? {
            Some(b'[') => Shape::List,
            Some(b'{') => Shape::Within,
            found => {
                let found = found.map_or("an empty file".to_string(), |b| format!("{:?}", char::from(b)));
                return Err(Error::NoTickets { path: path.to_path_buf(), expected: "JSON: a list, or one object a line".into(), found });
            }
        };
        let mut elements = Elements { bytes, lists, inside: false, depth: 0, number: 0, shape };
        if shape == Shape::List {
            elements.bytes.skip(1);
            elements.inside = true;
        } else if !elements.enter().map_err(io)? {
            // No object holds such a list, so the objects themselves are the elements.
            elements.bytes.reader.seek(SeekFrom::Start(begin)).map_err(io)?;
            elements.bytes.at = begin;
            elements.shape = Shape::Stream;
        }
        Ok(elements)
    }

    /// Whether the file holds such a list, or is one; else its objects are the elements.
    pub fn is_listed(&self) -> bool {
        self.shape != Shape::Stream
    }

    /// The same, but nothing where the file holds no such list.
    pub fn only_listed(mut self) -> Elements {
        if self.shape == Shape::Stream {
            self.shape = Shape::Done;
        }
        self
    }

    /// Looks for a list in the objects that follow, and stops behind its `[`.
    fn enter(&mut self) -> io::Result<bool> {
        while self.bytes.next_said()? == Some(b'{') {
            self.bytes.skip(1);
            let paths: Vec<&[String]> = self.lists.iter().map(Vec::as_slice).collect();
            if let Some(depth) = enter_object(&mut self.bytes, &paths, 1)? {
                self.depth = depth;
                self.inside = true;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Bytes of the file that were read.
    pub fn at(&self) -> u64 {
        self.bytes.at
    }

    /// Leaves the objects around a list that has ended.
    fn leave(&mut self) -> io::Result<()> {
        while self.depth > 0 {
            match self.bytes.next_said()? {
                None => return Ok(()),
                Some(b'}') => {
                    self.bytes.skip(1);
                    self.depth -= 1;
                }
                Some(b',' | b':' | b']') => self.bytes.skip(1),
                Some(_) => drop(self.bytes.value(0)?),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<Option<Element>> {
        loop {
            let next = self.bytes.next_said()?;
            match (self.shape, next) {
                (Shape::Done, _) | (Shape::Stream, None) => return Ok(None),
                (Shape::Within, None) if !self.inside => return Ok(None),
                (_, None) => {
                    self.shape = Shape::Done;
                    return Ok(Some(self.cut_off(Vec::new(), self.bytes.at)));
                }
                (_, Some(b',')) => self.bytes.skip(1),
                (Shape::List, Some(b']')) => self.shape = Shape::Done,
                (Shape::Within, Some(b']')) => {
                    self.bytes.skip(1);
                    self.inside = false;
                    self.leave()?;
                    if !self.enter()? {
                        self.shape = Shape::Done;
                    }
                }
                _ => return self.element().map(Some),
            }
        }
    }

    fn element(&mut self) -> io::Result<Element> {
        let offset = self.bytes.at;
        let (bytes, end) = if self.shape == Shape::Stream { self.bytes.object()? } else { self.bytes.value(LONGEST)? };
        self.number += 1;
        let broken = match end {
            End::Whole => None,
            End::File => {
                self.shape = Shape::Done;
                self.number -= 1;
                return Ok(self.cut_off(bytes, offset));
            }
            End::Long => Some(format!("it is longer than {LONGEST} bytes")),
        };
        Ok(Element { number: self.number, offset, bytes, broken })
    }

    fn cut_off(&mut self, bytes: Vec<u8>, offset: u64) -> Element {
        self.number += 1;
        let broken = Some("the file ends within the list: expected its end; what stands before was read".to_string());
        Element { number: self.number, offset, bytes, broken }
    }
}

impl Iterator for Elements {
    type Item = Element;

    fn next(&mut self) -> Option<Element> {
        match self.read() {
            Ok(element) => element,
            Err(cause) => {
                self.shape = Shape::Done;
                self.number += 1;
                let broken = Some(format!("the file cannot be read further: {cause}"));
                Some(Element { number: self.number, offset: self.bytes.at, bytes: Vec::new(), broken })
            }
        }
    }
}

/// Reads the members of an object until the list at one of the paths begins; how deep it lies, or none at the object's end.
fn enter_object(bytes: &mut Bytes, paths: &[&[String]], depth: usize) -> io::Result<Option<usize>> {
    loop {
        match bytes.next_said()? {
            None => return Ok(None),
            Some(b'}') => {
                bytes.skip(1);
                return Ok(None);
            }
            Some(b'"') => {}
            Some(_) => {
                bytes.skip(1);
                continue;
            }
        }
        let (key, _) = bytes.value(1 << 10)?;
        if bytes.next_said()? != Some(b':') {
            continue;
        }
        bytes.skip(1);
        let name: String = serde_json::from_slice(&key).unwrap_or_default();
        let below: Vec<&[String]> = paths.iter().filter(|path| path[0] == name).map(|path| &path[1..]).collect();
        match bytes.next_said()? {
            Some(b'[') if below.iter().any(|path| path.is_empty()) => {
                bytes.skip(1);
                return Ok(Some(depth));
            }
            Some(b'{') if below.iter().any(|path| !path.is_empty()) => {
                bytes.skip(1);
                let deeper: Vec<&[String]> = below.into_iter().filter(|path| !path.is_empty()).collect();
                if let Some(found) = enter_object(bytes, &deeper, depth + 1)? {
                    return Ok(Some(found));
                }
            }
            _ => drop(bytes.value(0)?),
        }
    }
}

/// Where a value ends.
#[derive(Debug, PartialEq)]
enum End {
    Whole,
    /// With the file.
    File,
    Long,
}

impl Bytes {
    fn skip(&mut self, count: usize) {
        self.reader.consume(count);
        self.at += count as u64;
    }

    /// The next byte that is no blank; it stays.
    fn next_said(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.reader.fill_buf()?;
            let Some(first) = buffer.iter().position(|b| !b.is_ascii_whitespace()) else {
                let length = buffer.len();
                if length == 0 {
                    return Ok(None);
                }
                self.skip(length);
                continue;
            };
            let byte = buffer[first];
            self.skip(first);
            return Ok(Some(byte));
        }
    }

    /// Reads a value by its brackets and quotes, and keeps up to `keep` bytes of it; whether it is JSON is seen later.
    fn value(&mut self, keep: usize) -> io::Result<(Vec<u8>, End)> {
        let mut scan = Scan::default();
        self.take(keep, |byte| scan.step(byte))
    }

    /// Reads one object of a stream. Where a line's brackets do not close, the object goes on below, unless the next line begins
    /// one: then this line is broken, and costs one row.
    fn object(&mut self) -> io::Result<(Vec<u8>, End)> {
        let mut scan = Scan::default();
        let mut line_ended = false;
        if self.next_said()? != Some(b'{') {
            return self.take(LONGEST, |byte| if byte == b'\n' { Step::Last } else { Step::On });
        }
        self.take(LONGEST, |byte| {
            if line_ended && byte == b'{' {
                return Step::Before;
            }
            // Within a string JSON has no bare line ends, so there a line end is the end of a broken string.
            line_ended = byte == b'\n' && (scan.depth > 0 || scan.quoted);
            scan.step(byte)
        })
    }

    fn take(&mut self, keep: usize, mut step: impl FnMut(u8) -> Step) -> io::Result<(Vec<u8>, End)> {
        let mut bytes = Vec::new();
        let mut long = false;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok((bytes, End::File));
            }
            let mut length = 0;
            let mut ended = false;
            for byte in buffer {
                match step(*byte) {
                    Step::On => length += 1,
                    Step::Last => {
                        length += 1;
                        ended = true;
                        break;
                    }
                    Step::Before => {
                        ended = true;
                        break;
                    }
                }
            }
            let room = keep.saturating_sub(bytes.len());
            long |= length > room;
            bytes.extend_from_slice(&buffer[..length.min(room)]);
            self.skip(length);
            if ended {
                return Ok((bytes, if long { End::Long } else { End::Whole }));
            }
        }
    }
}

/// What a byte is to a value.
enum Step {
    On,
    /// It ends the value and belongs to it.
    Last,
    /// It belongs to what comes after.
    Before,
}

/// Brackets and quotes that are open.
#[derive(Default)]
struct Scan {
    depth: usize,
    quoted: bool,
    escaped: bool,
    begun: bool,
}

impl Scan {
    fn step(&mut self, byte: u8) -> Step {
        let first = !std::mem::replace(&mut self.begun, true);
        if self.quoted {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.quoted = false;
                    if self.depth == 0 {
                        return Step::Last;
                    }
                }
                _ => {}
            }
            return Step::On;
        }
        match byte {
            b'"' => self.quoted = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth > 1 => self.depth -= 1,
            b'}' | b']' if self.depth == 1 => return Step::Last,
            // A bare word ends before what cannot belong to it; one stray byte is a value of its own, so that reading goes on.
            b'}' | b']' | b',' | b':' if self.depth == 0 => return if first { Step::Last } else { Step::Before },
            b if self.depth == 0 && b.is_ascii_whitespace() => return Step::Before,
            _ => {}
        }
        Step::On
    }
}

/// Reads an element again.
pub fn again(file: &mut File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
