//! Other people's sources to rows of ours: tables, databases, mail, tickets.
//!
//! Every input row is accounted for: kept, fixed or quarantined, with the place that it came from. It never trains, checks or
//! judges; it never executes or renders what it reads.

mod account;
mod charset;
mod conversation;
mod encoding;
mod error;
pub mod html;
mod job;
mod journal;
pub mod mail;
mod planned;
mod records;
mod roles;
mod row;
mod rows;
mod shape;
mod source;
mod threads;
pub mod tickets;
mod when;

pub use account::{Account, Counts};
pub use conversation::Unanswered;
pub use error::{Error, Result};
pub use job::{Done, Progress, import};
pub use journal::Out;
pub use planned::{Options, Plan, Planned, plan};
pub use records::{Asking, Login};
pub use roles::{By, ROLES, Role, Roles};
pub use row::{Fix, Place, Quarantined, Row};
pub use source::{KINDS, Kind, Source, kind_of};
pub use threads::Talk;
