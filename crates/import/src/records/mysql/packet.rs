//! MySQL's packets: framed by length and number, filled with integers of little endian and texts of told length.

use std::io::{self, Read, Write};

/// The length at which a packet goes on in the next one.
const FULL: usize = 0xFF_FFFF;
/// The longest message that is held: a cell may be as long as a server lets it be.
const LONGEST: usize = 256 << 20;

/// Reads one message, which may be several packets; gives the number that the answer must have.
pub(super) fn read(stream: &mut dyn Read, message: &mut Vec<u8>) -> io::Result<u8> {
    message.clear();
    loop {
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        if message.len() + length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a row of more than {LONGEST} bytes")));
        }
        let from = message.len();
        message.resize(from + length, 0);
        stream.read_exact(&mut message[from..])?;
        if length < FULL {
            return Ok(head[3].wrapping_add(1));
        }
    }
}

/// Writes one message, which must be short.
pub(super) fn write(stream: &mut dyn Write, number: u8, message: &[u8]) -> io::Result<()> {
    if message.len() >= FULL {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a query of more than 16 megabytes"));
    }
    let length = message.len() as u32;
    let head = [length as u8, (length >> 8) as u8, (length >> 16) as u8, number];
    stream.write_all(&[&head, message].concat())?;
    stream.flush()
}

/// A message that is taken apart from its beginning.
pub(super) struct Parts<'a>(pub &'a [u8]);

impl<'a> Parts<'a> {
    pub(super) fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// An integer of so many bytes.
    pub(super) fn integer(&mut self, bytes: usize) -> io::Result<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// A text that ends with a zero, or with the message.
    pub(super) fn ended(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        let text = &self.0[..end.unwrap_or(self.0.len())];
        self.0 = &self.0[end.map_or(self.0.len(), |end| end + 1)..];
        text
    }

    /// An integer that tells its own length; none is null.
    pub(super) fn length(&mut self) -> io::Result<Option<u64>> {
        Ok(match self.byte()? {
            0xFB => None,
            0xFC => Some(self.integer(2)?),
            0xFD => Some(self.integer(3)?),
            0xFE => Some(self.integer(8)?),
            short => Some(u64::from(short)),
        })
    }

    /// A text of told length; none is null.
    pub(super) fn text(&mut self) -> io::Result<Option<String>> {
        let Some(length) = self.length()? else { return Ok(None) };
        let bytes = self.take(usize::try_from(length).map_err(|_| short())?)?;
        Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
    }
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message that is shorter than it says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_written() {
        let mut wire = Vec::new();
        write(&mut wire, 3, b"hello").unwrap();
        assert_eq!(wire, b"\x05\0\0\x03hello");
        let mut message = Vec::new();
        assert_eq!(read(&mut &wire[..], &mut message).unwrap(), 4);
        assert_eq!(message, b"hello");
        // One that fills a packet goes on in the next, which may be empty.
        let long = [&[0xFF, 0xFF, 0xFF, 0][..], &vec![b'x'; FULL], &[0, 0, 0, 1]].concat();
        assert_eq!(read(&mut &long[..], &mut message).unwrap(), 2);
        assert_eq!(message.len(), FULL);
        assert!(read(&mut &b"\x05\0\0\0hel"[..], &mut message).is_err());
    }

    #[test]
    fn lengths_and_nulls_are_read() {
        let mut parts = Parts(b"\x02hi\xFB\xFC\x01\x00xabc\0rest");
        assert_eq!(parts.text().unwrap().as_deref(), Some("hi"));
        assert_eq!(parts.text().unwrap(), None);
        assert_eq!(parts.text().unwrap().as_deref(), Some("x"));
        assert_eq!((parts.ended(), parts.ended()), (&b"abc"[..], &b"rest"[..]));
        assert!(parts.byte().is_err());
    }
}
