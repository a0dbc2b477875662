//! Mail and tickets as sources: their conversations come one after the other, as rows of tables do.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::conversation::Unanswered;
use crate::error::{Error, Result};
use crate::mail::{self, Mailbox};
use crate::row::{Quarantined, Row};
use crate::source::{Kind, Source};
use crate::tickets::{self, Mapping, System, Tickets};

/// A longer mail is put aside unread, in bytes.
const LONGEST: u64 = 64 << 20;

/// How conversations are put together.
#[derive(Debug, Clone)]
pub struct Talk {
    /// Domains (`@firm.example`) and addresses that answer mails; empty: the domain that answers most.
    pub agents: Vec<String>,
    pub unanswered: Unanswered,
    /// The fields of [`Kind::Mapped`].
    pub mapping: Option<Mapping>,
}

impl Default for Talk {
    fn default() -> Self {
        Self { agents: Vec::new(), unanswered: Unanswered::Leave, mapping: None }
    }
}

/// A source of conversations, and what was found out about it.
pub(crate) struct Opened {
    pub source: Box<dyn Source>,
    pub facts: Map<String, Value>,
}

/// Opens a mailbox or an export of `bytes`.
pub(crate) fn open(path: &Path, kind: Kind, talk: &Talk, bytes: u64) -> Result<Opened> {
    if kind == Kind::Mail {
        let settings = mail::Settings { agents: talk.agents.clone(), unanswered: talk.unanswered, longest: LONGEST };
        let mailbox = mail::open(path, &settings, &mut |_| {})?;
        let facts = Map::from_iter([
            ("mails".to_string(), json!(mailbox.mails())),
            ("agents".to_string(), json!(mailbox.agents().named())),
            ("agents_guessed".to_string(), json!(mailbox.agents().guessed.is_some())),
            ("no_mail".to_string(), mailbox.others().iter().map(|path| path.display().to_string()).collect()),
        ]);
        return Ok(Opened { source: Box::new(Mails { mailbox, bytes }), facts });
    }
    let system = match (kind, &talk.mapping) {
        (Kind::Zendesk, _) => System::Zendesk,
        (Kind::Intercom, _) => System::Intercom,
        (_, Some(mapping)) => System::Mapped(Box::new(mapping.clone())),
        (_, None) => return Err(Error::Mapping { what: "none was given".into() }),
    };
    let tickets = tickets::open(path, &tickets::Settings { system, unanswered: talk.unanswered })?;
    Ok(Opened { source: Box::new(Export(tickets)), facts: Map::new() })
}

struct Mails {
    mailbox: Mailbox,
    bytes: u64,
}

impl Source for Mails {
    fn next(&mut self) -> Result<Option<std::result::Result<Row, Quarantined>>> {
        Ok(self.mailbox.next())
    }

    /// In proportion to the mails that are done: they are read thread by thread, here and there in the files.
    fn bytes(&self) -> u64 {
        let share = self.mailbox.done() as f64 / self.mailbox.mails().max(1) as f64;
        (self.bytes as f64 * share) as u64
    }
}

struct Export(Tickets);

impl Source for Export {
    fn next(&mut self) -> Result<Option<std::result::Result<Row, Quarantined>>> {
        Ok(self.0.next())
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}
