//! A reading position in GGUF header bytes; every read is checked against the end of the file.

use std::path::Path;

use crate::Error;

pub(crate) struct Cursor<'a> {
    pub path: &'a Path,
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    /// Takes `count` bytes; `part` names in the error what is being read.
    pub fn take(&mut self, count: u64, part: &dyn Fn() -> String) -> Result<&'a [u8], Error> {
        let left = (self.bytes.len() - self.at) as u64;
        if count > left {
            let needed = (self.at as u64).saturating_add(count);
            return Err(Error::truncated(self.path, part(), self.bytes.len() as u64, needed));
        }
        let start = self.at;
        self.at += count as usize;
        Ok(&self.bytes[start..self.at])
    }

    pub fn array<const N: usize>(&mut self, part: &dyn Fn() -> String) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, part)?);
        Ok(out)
    }

    pub fn u32(&mut self, part: &dyn Fn() -> String) -> Result<u32, Error> {
        self.array(part).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, part: &dyn Fn() -> String) -> Result<u64, Error> {
        self.array(part).map(u64::from_le_bytes)
    }

    /// A length-prefixed string that must be UTF-8.
    pub fn string(&mut self, part: &dyn Fn() -> String) -> Result<&'a str, Error> {
        let length = self.u64(part)?;
        let bytes = self.take(length, part)?;
        std::str::from_utf8(bytes).map_err(|e| Error::malformed(self.path, part(), format!("bytes that are not UTF-8 ({e})"), "UTF-8 text"))
    }

    /// Checks a count from the header against the bytes that are left, each item taking at least `least` bytes.
    pub fn check_count(&self, count: u64, least: u64, what: &str) -> Result<(), Error> {
        let left = (self.bytes.len() - self.at) as u64;
        let fits = left / least;
        if count > fits {
            return Err(Error::malformed(
                self.path,
                format!("the number of {what}"),
                count,
                format!("at most {fits}, since {left} bytes are left"),
            ));
        }
        Ok(())
    }
}
