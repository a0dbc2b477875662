//! Lines of a file, packed or not, in whatever encoding; none is held that is too long.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use encoding_rs::{Decoder, Encoding};

use super::LONGEST;
use crate::encoding::Decoding;
use crate::error::{Error, Result};
use crate::row::Place;
use crate::source::is_gzip;

/// Bytes by which encoding and delimiter are found.
const START: usize = 1 << 18;
/// Bytes of a long line that are kept to be shown.
const KEPT: usize = 4 << 10;

/// The bytes of a file, unpacked and with a foreign byte order mark resolved.
pub(crate) struct Bytes {
    pub reader: BufReader<Box<dyn Read>>,
    pub decoding: Decoding,
    /// The first bytes, which `reader` gives once more.
    pub start: Vec<u8>,
    name: String,
    path: PathBuf,
    packed: bool,
    read: Arc<AtomicU64>,
}

impl Bytes {
    pub(crate) fn open(name: &str, path: &Path) -> Result<Bytes> {
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let read = Arc::new(AtomicU64::new(0));
        let mut file = BufReader::with_capacity(1 << 16, Counted { file, read: read.clone() });
        let packed = is_gzip(file.fill_buf().map_err(|e| Error::io("read", path, e))?);
        let plain: Box<dyn Read> = if packed { Box::new(flate2::bufread::MultiGzDecoder::new(file)) } else { Box::new(file) };
        let (plain, start) = begun(plain);
        let (plain, start, decoding) = match Encoding::for_bom(&start) {
            Some((encoding, mark)) if encoding != encoding_rs::UTF_8 => {
                let mut plain = plain;
                // What was looked at includes the mark.
                io::copy(&mut plain.by_ref().take(mark as u64), &mut io::sink()).map_err(|e| Error::io("read", path, e))?;
                let (plain, start) = begun(Box::new(Converted::of(plain, encoding)));
                (plain, start, Decoding::converted(encoding))
            }
            _ => {
                let decoding = Decoding::of(&start);
                (plain, start, decoding)
            }
        };
        let reader = BufReader::with_capacity(1 << 16, plain);
        Ok(Bytes { reader, decoding, start, name: name.to_string(), path: path.to_path_buf(), packed, read })
    }

    pub(crate) fn place(&self, line: u64) -> Place {
        Place { file: self.name.clone(), line: Some(line), message: None }
    }

    /// Bytes of the file that were read.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// What a failure of the reader means: a packed file that ends early or is damaged, or a disk.
    pub(crate) fn failed(&self, line: u64, error: io::Error) -> Error {
        if !self.packed || !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
        {
            return Error::io("read", &self.path, error);
        }
        let why = format!("the packed file is cut or damaged ({error}): from line {line} on nothing can be read");
        Error::Cut { place: self.place(line), why }
    }
}

/// A line, or how long it would have been.
pub(crate) enum Line {
    Whole(Vec<u8>),
    TooLong { bytes: u64, start: Vec<u8> },
}

/// The lines of a file.
pub(crate) struct Lines {
    pub bytes: Bytes,
    /// The number of the last one.
    number: u64,
}

impl Lines {
    pub(crate) fn of(bytes: Bytes) -> Lines {
        Lines { bytes, number: 0 }
    }

    /// The next line that holds something, with its number.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Line)>> {
        loop {
            let Some(line) = self.any()? else { return Ok(None) };
            match line {
                (_, Line::Whole(line)) if line.trim_ascii().is_empty() => {}
                line => return Ok(Some(line)),
            }
        }
    }

    /// The next line, without its end.
    pub(crate) fn any(&mut self) -> Result<Option<(u64, Line)>> {
        let (mut line, mut length) = (Vec::new(), 0u64);
        let number = self.number + 1;
        loop {
            let piece = match self.bytes.reader.fill_buf() {
                Ok(piece) => piece,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.bytes.failed(number, error)),
            };
            if piece.is_empty() {
                if length == 0 {
                    return Ok(None);
                }
                break;
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let part = &piece[..end.unwrap_or(piece.len())];
            length += part.len() as u64;
            if length <= LONGEST as u64 {
                line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.bytes.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        self.number = number;
        if length > LONGEST as u64 {
            line.truncate(KEPT);
            return Ok(Some((number, Line::TooLong { bytes: length, start: line })));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if number == 1 && line.starts_with(b"\xEF\xBB\xBF") {
            line.drain(..3);
        }
        Ok(Some((number, Line::Whole(line))))
    }
}

/// Reads the beginning, and gives a reader that gives it once more; a failure comes where it came.
fn begun(mut reader: Box<dyn Read>) -> (Box<dyn Read>, Vec<u8>) {
    let mut start = Vec::new();
    let failure = reader.by_ref().take(START as u64).read_to_end(&mut start).err();
    let again = Cursor::new(start.clone());
    match failure {
        Some(error) => (Box::new(again.chain(Failing(Some(error)))), start),
        None => (Box::new(again.chain(reader)), start),
    }
}

/// A reader that fails once.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Counts the bytes that leave the disk.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read(buffer)?;
        self.read.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

/// Bytes of another encoding as UTF-8.
struct Converted {
    reader: Box<dyn Read>,
    decoder: Decoder,
    ready: Vec<u8>,
    given: usize,
    ended: bool,
}

impl Converted {
    fn of(reader: Box<dyn Read>, encoding: &'static Encoding) -> Converted {
        Converted { reader, decoder: encoding.new_decoder_without_bom_handling(), ready: Vec::new(), given: 0, ended: false }
    }
}

impl Read for Converted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut raw = [0u8; 1 << 12];
        while self.given == self.ready.len() && !self.ended {
            let got = self.reader.read(&mut raw)?;
            self.ended = got == 0;
            // UTF-8 takes at most three bytes for one of another encoding.
            self.ready.resize(3 * raw.len() + 16, 0);
            let (_, _, made, _) = self.decoder.decode_to_utf8(&raw[..got], &mut self.ready, self.ended);
            self.ready.truncate(made);
            self.given = 0;
        }
        let count = buffer.len().min(self.ready.len() - self.given);
        buffer[..count].copy_from_slice(&self.ready[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}
