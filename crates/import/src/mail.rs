//! Mails to conversations: threads are rebuilt, quotes and signatures cut, questions paired with answers.
//!
//! One pass reads all headers and keeps ids and places; a second reads the mails of one thread at a time.

pub mod agents;
mod automatic;
mod body;
pub mod cut;
mod find;
mod head;
mod thread;

use crate::conversation::{self, Conversation, Said, Side, Unanswered, rfc3339, short};
use crate::error::Error;
use crate::row::{Fix, Place, Quarantined, Row};
use agents::Agents;
use head::{Head, Names};
use mail_parser::Message;
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How a mailbox is read.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Domains (`@firm.example`) and addresses that answer; empty: the domain that answers most.
    pub agents: Vec<String>,
    pub unanswered: Unanswered,
    /// Longer mails are quarantined unread, in bytes.
    pub longest: u64,
}

/// The mails of a path, thread by thread.
#[derive(Debug)]
pub struct Mailbox {
    files: Vec<PathBuf>,
    heads: Vec<Head>,
    ids: Names,
    people: Names,
    agents: Agents,
    longest: u64,
    unanswered: Unanswered,
    threads: std::vec::IntoIter<Vec<u32>>,
    made: VecDeque<Result<Row, Quarantined>>,
    open: Option<(u32, File)>,
    used: HashSet<String>,
    done: usize,
    others: Vec<PathBuf>,
}

/// Finds the mails of a file or folder, reads all headers and joins them to threads. `each` is told how many were found so far.
pub fn open(path: &Path, settings: &Settings, each: &mut dyn FnMut(usize)) -> Result<Mailbox, Error> {
    let given = Agents::given(&settings.agents)?;
    let found = find::files(path)?;
    let (mut ids, mut people, mut subjects) = (Names::default(), Names::default(), Names::default());
    let mut heads = Vec::new();
    let mut files = Vec::new();
    let mut made = VecDeque::new();
    for (file, mbox) in found.mails {
        let number = files.len() as u32;
        let read = find::mails(&file, number, mbox, &mut |raw, spot| {
            heads.push(head::read(raw, spot, &mut ids, &mut people, &mut subjects));
            each(heads.len());
        });
        if let Err(cause) = read {
            made.push_back(Err(whole_file(&file, &format!("it cannot be read to its end: {cause}"))));
        }
        files.push(file);
    }
    made.extend(found.half.iter().map(|path| Err(whole_file(path, "it lies in tmp: its server had not written all of it"))));
    if heads.is_empty() && made.is_empty() {
        let seen = found.others.first().map(|other| format!("{} other files, such as {}", found.others.len(), other.display()));
        return Err(Error::NoMail { path: path.to_path_buf(), seen });
    }
    let threads = thread::threads(&heads, ids.len());
    let agents = match settings.agents.is_empty() {
        false => given,
        true => Agents::guess(&heads, &threads, &people).ok_or_else(|| Error::NoAgent { path: path.to_path_buf(), mails: heads.len() })?,
    };
    let (longest, unanswered, others) = (settings.longest, settings.unanswered, found.others);
    let threads = threads.into_iter();
    let (open, used, done) = (None, HashSet::new(), 0);
    Ok(Mailbox { files, heads, ids, people, agents, longest, unanswered, threads, made, open, used, done, others })
}

fn whole_file(path: &Path, why: &str) -> Quarantined {
    let source = Place { file: path.display().to_string(), line: None, message: None };
    Quarantined { source, why: why.to_string(), raw: String::new() }
}

impl Iterator for Mailbox {
    /// A thread that was answered, a text, or a mail that is in no row.
    type Item = Result<Row, Quarantined>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(made) = self.made.pop_front() {
                return Some(made);
            }
            let thread = self.threads.next()?;
            let conversation = self.conversation(&thread);
            self.done += thread.len();
            self.made.extend(conversation::rows(conversation, self.unanswered));
        }
    }
}

impl Mailbox {
    /// How many mails were found.
    pub fn mails(&self) -> usize {
        self.heads.len()
    }

    /// How many of them are done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Who counts as an agent, and whether that was guessed.
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Files that are no mail.
    pub fn others(&self) -> &[PathBuf] {
        &self.others
    }

    fn conversation(&mut self, thread: &[u32]) -> Conversation {
        let mut conversation = Conversation { id: self.row_id(thread[0]), ..Conversation::default() };
        for n in thread {
            let place = self.place(*n);
            let raw = match self.raw(*n) {
                Ok(raw) => raw,
                Err(why) => {
                    conversation.left.push(Quarantined { source: place, why, raw: String::new() });
                    continue;
                }
            };
            let said = body::parse(&raw).and_then(|mail| {
                conversation.subject.get_or_insert_with(|| mail.subject().unwrap_or_default().to_string());
                self.said(&mail, &self.heads[*n as usize], place.clone())
            });
            match said {
                Ok(said) => conversation.said.push(said),
                Err(why) => {
                    conversation.left.push(Quarantined { source: place, why, raw: short(&String::from_utf8_lossy(beginning(&raw))) })
                }
            }
        }
        conversation.subject = conversation.subject.filter(|subject| !subject.trim().is_empty());
        conversation
    }

    /// What a mail says, without what is not its own; or why it is left out.
    fn said(&self, mail: &Message, head: &Head, place: Place) -> Result<Said, String> {
        if head.automatic {
            return Err(automatic::reason(mail).unwrap_or_else(|| "an automatic mail".to_string()));
        }
        let from = head.from.map(|from| self.people.get(from)).ok_or("no sender: expected a From header with an address")?;
        let read = body::read(mail)?;
        let sender = mail.from().and_then(|a| a.first()).and_then(|a| a.name());
        let reply = head.reply || !head.refs.is_empty();
        let clean = cut::cut(&read.text, cut::About { sender, reply, forward: head.forward });
        let mut fixed = read.fixed;
        fixed.extend(clean.fixed);
        if head.redated {
            let before = mail.header_raw("Date").unwrap_or("none").trim().to_string();
            fixed.push(Fix { what: "date", before, after: head.at.map_or("none".to_string(), rfc3339) });
        }
        let mut text = clean.text;
        let subject = mail.subject().unwrap_or_default().trim();
        if text.is_empty() && !reply && !subject.is_empty() {
            fixed.push(Fix { what: "subject_taken", before: "a mail without text".to_string(), after: short(subject) });
            text = subject.to_string();
        }
        if text.is_empty() {
            return Err("it says nothing of its own: no text is left without quotes, signature and notices".to_string());
        }
        let passed_on = read.forwarded_from.or(clean.forwarded_from.filter(|_| clean.only_forwards));
        let side = self.side(head, from, passed_on.as_deref(), &mut fixed)?;
        let author = (side == Side::Agent).then(|| from.to_string());
        Ok(Said { side, text, at: head.at, author, place, fixed, attached: read.attached })
    }

    /// Who speaks. An agent who passes a customer's mail to another lets the customer speak.
    fn side(&self, head: &Head, from: &str, passed_on: Option<&str>, fixed: &mut Vec<Fix>) -> Result<Side, String> {
        if !self.agents.has(from) {
            return Ok(Side::Customer);
        }
        if let Some(original) = passed_on.filter(|original| !self.agents.has(&address(original))) {
            fixed.push(Fix { what: "forward_unwrapped", before: from.to_string(), after: original.to_string() });
            return Ok(Side::Customer);
        }
        if passed_on.is_some() || head.forward {
            return Err("an agent passes a mail on: that is no answer to a customer".to_string());
        }
        if !head.to.is_empty() && head.to.iter().all(|to| self.agents.has(self.people.get(*to))) {
            return Err("an internal mail: an agent writes to agents only".to_string());
        }
        Ok(Side::Agent)
    }

    fn place(&self, n: u32) -> Place {
        let head = &self.heads[n as usize];
        let file = self.files[head.spot.file as usize].display().to_string();
        let line = head.spot.escaped.then_some(u64::from(head.spot.number));
        Place { file, line, message: head.id.map(|id| self.ids.get(id).to_string()) }
    }

    /// The thread's first Message-ID, or where that mail lies.
    fn row_id(&mut self, n: u32) -> String {
        let place = self.place(n);
        let name = || format!("{}#{}", place.file, place.line.unwrap_or(1));
        let id = place.message.as_ref().map_or_else(|| format!("mail:{}", name()), |id| format!("mail:{id}"));
        if self.used.insert(id.clone()) {
            return id;
        }
        let id = format!("{id}@{}", name());
        self.used.insert(id.clone());
        id
    }

    /// A mail's bytes, read again.
    fn raw(&mut self, n: u32) -> Result<Vec<u8>, String> {
        let spot = self.heads[n as usize].spot;
        if spot.length > self.longest {
            return Err(format!("it has {} bytes, expected at most {}", spot.length, self.longest));
        }
        self.bytes(spot).map_err(|cause| format!("it cannot be read again: {cause}; it changed while it was read"))
    }

    fn bytes(&mut self, spot: head::Spot) -> io::Result<Vec<u8>> {
        if self.open.as_ref().is_none_or(|(file, _)| *file != spot.file) {
            self.open = Some((spot.file, File::open(&self.files[spot.file as usize])?));
        }
        let Some((_, file)) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        file.seek(SeekFrom::Start(spot.offset))?;
        let mut raw = vec![0; spot.length as usize];
        file.read_exact(&mut raw)?;
        Ok(if spot.escaped { find::unescaped(raw) } else { raw })
    }
}

fn beginning(raw: &[u8]) -> &[u8] {
    &raw[..raw.len().min(2000)]
}

/// The address in `Ann <ann@firm.example>`, `Ann [mailto:ann@firm.example]` or alone.
fn address(text: &str) -> String {
    let word = text.split(['<', '>', '[', ']', ' ', '"', '(', ')', ':', ';', ',']).find(|word| word.contains('@'));
    word.unwrap_or(text).to_lowercase()
}
