//! Tokens on disk: what was rendered once is trained from, without its text.
//!
//! Little-endian, in this order:
//! `TSMPACK\0` · version u32 · bytes of the meta u32 · meta (JSON) · examples u64 · tokens
//! u64 · per example its tokens u32 and its source line u32 · all ids u32 · which tokens are
//! learned, one bit each, lowest bit first · SHA-256 of all bytes before.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::atomic;
use crate::error::{Error, Result};
use crate::hash;

const MAGIC: &[u8; 8] = b"TSMPACK\0";
const VERSION: u32 = 1;
const HASH_BYTES: usize = 32;

/// One rendered example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub ids: Vec<u32>,
    /// For each id whether the loss counts it.
    pub learned: Vec<bool>,
    /// The line of the source, from 1.
    pub source_line: u32,
}

/// How the tokens were made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Every id is below this.
    pub vocab: u32,
    /// SHA-256 of the chat template.
    pub template_sha: String,
    /// SHA-256 of the tokenizer.
    pub tokenizer_sha: String,
    /// The file that was rendered.
    pub source: String,
    /// SHA-256 of that file.
    pub source_sha: String,
    /// The system prompt put before every example.
    pub system: Option<String>,
    /// What an example is.
    #[serde(default, skip_serializing_if = "Kind::is_answers")]
    pub kind: Kind,
    /// Where the last examples come from, when they are of older tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
}

/// What the examples of a pack are. A reader that does not know a kind refuses the pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Each is a conversation with answers to learn.
    #[default]
    Answers,
    /// Each chosen conversation is followed by the rejected one of its pair, with the same source line.
    Pairs,
}

impl Kind {
    fn is_answers(&self) -> bool {
        *self == Kind::Answers
    }

    /// Packed sequences that make one example.
    pub fn width(self) -> usize {
        match self {
            Kind::Answers => 1,
            Kind::Pairs => 2,
        }
    }
}

/// Examples of older tasks at the end of a pack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The file that was rendered.
    pub source: String,
    /// SHA-256 of that file.
    pub source_sha: String,
    /// Packed sequences.
    pub sequences: u64,
}

/// A pack in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    pub meta: Meta,
    pub examples: Vec<Example>,
    /// SHA-256 of the content; what a checkpoint notes.
    pub sha256: String,
}

/// Writes a pack and gives the SHA-256 of its content.
pub fn write(path: &Path, meta: &Meta, examples: &[Example]) -> Result<String> {
    let bytes = encode(path, meta, examples)?;
    let digest = Sha256::digest(&bytes);
    atomic::require_space(path, bytes.len() as u64 + HASH_BYTES as u64)?;
    atomic::write_with(path, |file| {
        use std::io::Write;
        file.write_all(&bytes)?;
        file.write_all(&digest)
    })?;
    Ok(hash::sha256(&bytes))
}

/// Reads a pack and verifies every byte of it.
pub fn read(path: &Path) -> Result<Pack> {
    let bytes = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
    decode(path, &bytes)
}

fn encode(path: &Path, meta: &Meta, examples: &[Example]) -> Result<Vec<u8>> {
    let refuse = |what: String, found: String, expected: &str| Error::Unwritable {
        path: path.to_path_buf(),
        what,
        found,
        expected: expected.to_string(),
    };
    let text = serde_json::to_vec(meta).map_err(|cause| refuse("the meta".to_string(), cause.to_string(), "JSON"))?;
    let text_bytes =
        u32::try_from(text.len()).map_err(|_| refuse("the meta".to_string(), format!("{} bytes", text.len()), "below 4 GiB"))?;
    let tokens: usize = examples.iter().map(|example| example.ids.len()).sum();
    let mut out = Vec::with_capacity(64 + text.len() + examples.len() * 8 + tokens * 4 + tokens / 8);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&text_bytes.to_le_bytes());
    out.extend_from_slice(&text);
    out.extend_from_slice(&(examples.len() as u64).to_le_bytes());
    out.extend_from_slice(&(tokens as u64).to_le_bytes());
    for (index, example) in examples.iter().enumerate() {
        let name = || format!("example {index} (line {})", example.source_line);
        if example.ids.is_empty() || example.ids.len() != example.learned.len() {
            let found = format!("{} ids with {} marks", example.ids.len(), example.learned.len());
            return Err(refuse(name(), found, "at least one id and a mark for each"));
        }
        if let Some(id) = example.ids.iter().find(|id| **id >= meta.vocab) {
            return Err(refuse(format!("an id of {}", name()), id.to_string(), &format!("below {}", meta.vocab)));
        }
        let length = u32::try_from(example.ids.len()).map_err(|_| refuse(name(), format!("{} ids", example.ids.len()), "below 2^32"))?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&example.source_line.to_le_bytes());
    }
    for id in examples.iter().flat_map(|example| &example.ids) {
        out.extend_from_slice(&id.to_le_bytes());
    }
    let marks: Vec<bool> = examples.iter().flat_map(|example| example.learned.iter().copied()).collect();
    for eight in marks.chunks(8) {
        out.push(eight.iter().enumerate().fold(0, |byte, (bit, mark)| byte | (u8::from(*mark) << bit)));
    }
    Ok(out)
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Pack> {
    let mut reader = Reader { path, bytes, at: 0 };
    let magic = reader.take(MAGIC.len(), "the magic")?;
    if magic != MAGIC {
        return Err(Error::damaged(path, "the magic", format!("{:?}", magic.escape_ascii().to_string()), "\"TSMPACK\\x00\""));
    }
    let version = reader.u32("the version")?;
    if version != VERSION {
        let (found, expected) = (u64::from(version), u64::from(VERSION));
        return Err(Error::Version { path: path.to_path_buf(), what: "pack", found, expected });
    }
    // The hash comes before the content: a flipped bit must not be taken for a length.
    let Some(end) = bytes.len().checked_sub(HASH_BYTES).filter(|end| *end >= reader.at) else {
        return Err(reader.short("the checksum", HASH_BYTES));
    };
    let sha256 = hash::sha256(&bytes[..end]);
    if Sha256::digest(&bytes[..end]).as_slice() != &bytes[end..] {
        return Err(Error::damaged(path, "the checksum of the content", sha256, "the one at the end of the file (is it cut off?)"));
    }
    reader.bytes = &bytes[..end];
    let meta = reader.meta()?;
    let examples = reader.examples(&meta)?;
    require_kind(path, &meta, &examples)?;
    if reader.at != end {
        return Err(Error::damaged(path, "the length", end, reader.at));
    }
    Ok(Pack { meta, examples, sha256 })
}

/// A pair must be a pair, and what is said to be replayed must be there.
fn require_kind(path: &Path, meta: &Meta, examples: &[Example]) -> Result<()> {
    let count = examples.len();
    let replayed = meta.replay.as_ref().map_or(0, |replay| replay.sequences);
    let widths = meta.kind.width();
    if replayed > count as u64 || !count.is_multiple_of(widths) || !replayed.is_multiple_of(widths as u64) {
        let found = format!("{count} sequences, {replayed} of them replayed");
        return Err(Error::damaged(path, "the number of examples", found, format!("multiples of {widths}, replayed ones among all")));
    }
    let apart = |pair: &&[Example]| pair[0].source_line != pair[1].source_line;
    if meta.kind == Kind::Pairs
        && let Some(pair) = examples.chunks_exact(2).find(apart)
    {
        let found = format!("of lines {} and {}", pair[0].source_line, pair[1].source_line);
        return Err(Error::damaged(path, "a pair", found, "two answers of one line"));
    }
    Ok(())
}

/// Walks over the bytes and never past their end.
struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(self.short(what, count));
        };
        let part = &self.bytes[self.at..end];
        self.at = end;
        Ok(part)
    }

    fn short(&self, what: &str, count: usize) -> Error {
        let left = self.bytes.len().saturating_sub(self.at);
        Error::damaged(self.path, what, format!("cut off after {left} bytes"), format!("{count} bytes"))
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        let part = self.take(4, what)?;
        Ok(part.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    fn size(&mut self, what: &str) -> Result<usize> {
        let part = self.take(8, what)?;
        let value = part.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).map_err(|_| Error::damaged(self.path, what, value, "a size that fits in memory"))
    }

    /// `count` items of `width` bytes.
    fn items(&mut self, count: usize, width: usize, what: &str) -> Result<&'a [u8]> {
        let total = count
            .checked_mul(width)
            .ok_or_else(|| Error::damaged(self.path, what, format!("{count} items"), "a size that fits in memory"))?;
        self.take(total, what)
    }

    fn meta(&mut self) -> Result<Meta> {
        let length = self.u32("the length of the meta")? as usize;
        let text = self.take(length, "the meta")?;
        serde_json::from_slice(text).map_err(|cause| Error::damaged(self.path, "the meta", cause, "the fields of this version"))
    }

    fn examples(&mut self, meta: &Meta) -> Result<Vec<Example>> {
        let count = self.size("the number of examples")?;
        let tokens = self.size("the number of tokens")?;
        let heads = self.items(count, 8, "the table of examples")?;
        let ids = self.items(tokens, 4, "the ids")?;
        let marks = self.take(tokens.div_ceil(8), "the marks")?;
        let mut examples = Vec::with_capacity(count);
        let mut start = 0usize;
        for (index, head) in heads.as_chunks::<8>().0.iter().enumerate() {
            let [a, b, c, d, e, f, g, h] = *head;
            let length = u32::from_le_bytes([a, b, c, d]) as usize;
            let Some(end) = start.checked_add(length).filter(|end| *end <= tokens) else {
                let found = format!("{length} tokens");
                return Err(Error::damaged(self.path, format!("example {index}"), found, format!("at most {}", tokens - start)));
            };
            let of = &ids.as_chunks::<4>().0[start..end];
            let example = Example {
                ids: of.iter().map(|id| u32::from_le_bytes(*id)).collect(),
                learned: (start..end).map(|at| marks[at / 8] >> (at % 8) & 1 == 1).collect(),
                source_line: u32::from_le_bytes([e, f, g, h]),
            };
            if let Some(id) = example.ids.iter().find(|id| **id >= meta.vocab) {
                let what = format!("an id of example {index}");
                return Err(Error::damaged(self.path, what, id, format!("below {}", meta.vocab)));
            }
            examples.push(example);
            start = end;
        }
        if start != tokens {
            return Err(Error::damaged(self.path, "the sum of the examples' tokens", start, tokens));
        }
        Ok(examples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta { vocab: 1000, source: "t.jsonl".into(), system: Some("Be brief.\n".into()), ..Meta::default() }
    }

    fn examples() -> Vec<Example> {
        let one = |length: u32, line| Example {
            ids: (0..length).map(|i| (i * 37 + line) % 1000).collect(),
            learned: (0..length).map(|i| i % 3 == 1).collect(),
            source_line: line,
        };
        vec![one(1, 1), one(13, 2), one(8, 40), one(300, 41)]
    }

    fn written() -> (tempfile::TempDir, std::path::PathBuf, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train.pack");
        let sha = write(&path, &meta(), &examples()).unwrap();
        (dir, path, sha)
    }

    #[test]
    fn reads_back_as_written() {
        let (_dir, path, sha) = written();
        let pack = read(&path).unwrap();
        assert_eq!((pack.meta, pack.examples, pack.sha256), (meta(), examples(), sha));
    }

    #[test]
    fn no_examples_is_a_pack_too() {
        let (_dir, path, _) = written();
        write(&path, &meta(), &[]).unwrap();
        assert_eq!(read(&path).unwrap().examples, vec![]);
    }

    #[test]
    fn pairs_and_replayed_examples_are_told_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pairs.pack");
        let sequence = |line| Example { ids: vec![1, 2], learned: vec![false, true], source_line: line };
        let replay = |sequences| Some(Replay { source: "old.jsonl".into(), source_sha: "s".into(), sequences });
        let meta = |replay| Meta { vocab: 9, kind: Kind::Pairs, replay, ..Meta::default() };
        let all = [sequence(1), sequence(1), sequence(5), sequence(5)];
        write(&path, &meta(replay(2)), &all).unwrap();
        assert_eq!(read(&path).unwrap().meta, meta(replay(2)));
        write(&path, &meta(None), &all[..3]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("the number of examples is 3 sequences"));
        write(&path, &meta(None), &[sequence(1), sequence(2)]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("a pair is of lines 1 and 2"));
        write(&path, &meta(replay(6)), &all).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("6 of them replayed"));
        // A pack of answers is written as it always was.
        let text = serde_json::to_string(&Meta::default()).unwrap();
        assert!(!text.contains("kind") && !text.contains("replay"), "{text}");
    }

    #[test]
    fn every_truncation_is_an_error() {
        let (_dir, path, _) = written();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            let error = decode(&path, &whole[..length]).unwrap_err().to_string();
            assert!(error.contains("train.pack is damaged"), "{length}: {error}");
        }
    }

    #[test]
    fn every_flipped_byte_is_an_error() {
        let (_dir, path, _) = written();
        let mut bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 0x40;
            assert!(decode(&path, &bytes).is_err(), "byte {at}");
            bytes[at] ^= 0x40;
        }
        decode(&path, &bytes).unwrap();
    }

    /// Content that lies under a right checksum: a faulty writer, or malice.
    fn forged(change: impl Fn(&mut Vec<u8>)) -> String {
        let mut bytes = encode(Path::new("p"), &meta(), &examples()).unwrap();
        change(&mut bytes);
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        decode(Path::new("p"), &bytes).unwrap_err().to_string()
    }

    #[test]
    fn absurd_sizes_are_errors_and_no_allocation() {
        let counts = 16 + serde_json::to_vec(&meta()).unwrap().len();
        let error = forged(|bytes| bytes[counts..counts + 8].fill(0xff));
        assert!(error.contains("the table of examples"), "{error}");
        let error = forged(|bytes| bytes[counts + 8..counts + 16].copy_from_slice(&(1u64 << 40).to_le_bytes()));
        assert!(error.contains("the ids is cut off"), "{error}");
        let error = forged(|bytes| bytes[counts + 16] = 200);
        assert!(error.contains("is damaged"), "{error}");
        let error = forged(|bytes| bytes.push(0));
        assert!(error.contains("the length"), "{error}");
        let error = forged(|bytes| bytes[8] = 9);
        assert!(error.ends_with("pack version 9, expected 1"), "{error}");
    }

    #[test]
    fn what_cannot_be_trained_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pack");
        let bad = |ids: Vec<u32>, marks: usize| {
            let example = Example { learned: vec![true; marks], ids, source_line: 7 };
            write(&path, &meta(), &[example]).unwrap_err().to_string()
        };
        assert!(bad(vec![], 0).contains("example 0 (line 7) is 0 ids"));
        assert!(bad(vec![1], 2).contains("1 ids with 2 marks"));
        assert!(bad(vec![5, 1000], 2).contains("is 1000, expected below 1000"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
