//! Mailboxes and ticket exports, from files to rows.

#[path = "mail/cuts.rs"]
mod cuts;
#[path = "mail/fuzz.rs"]
mod fuzz;
#[path = "mail/mailbox.rs"]
mod mailbox;
#[path = "mail/samples.rs"]
mod samples;
#[path = "mail/tickets.rs"]
mod tickets;
