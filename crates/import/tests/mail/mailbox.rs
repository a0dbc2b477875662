//! A mailbox of every structure: what is kept, what is cut, what is left out and why.

use super::samples::{SAMPLES, mbox};
use import::mail::{Settings, open};
use import::{Error, Quarantined, Row, Unanswered};
use std::collections::BTreeSet;
use std::path::Path;

pub fn settings(agents: &[&str]) -> Settings {
    Settings { agents: agents.iter().map(|a| a.to_string()).collect(), unanswered: Unanswered::Leave, longest: 1 << 20 }
}

pub fn import(path: &Path, settings: &Settings) -> (Vec<Row>, Vec<Quarantined>, usize) {
    let mailbox = open(path, settings, &mut |_| {}).unwrap();
    let mails = mailbox.mails();
    let (mut rows, mut left) = (Vec::new(), Vec::new());
    for made in mailbox {
        match made {
            Ok(row) => rows.push(row),
            Err(out) => left.push(out),
        }
    }
    (rows, left, mails)
}

/// Mails of a row.
pub fn inside(row: &Row) -> usize {
    row.tags["mails"].as_array().unwrap().len()
}

fn turns(row: &Row) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
    row.content["messages"].as_array().unwrap().iter().map(|m| (text(&m["role"]), text(&m["content"]))).collect()
}

fn whats(row: &Row) -> Vec<&str> {
    row.fixed.iter().map(|fix| fix.what).collect()
}

/// The conversations that the samples hold, in order: question and answer, then the kinds of changes.
const KEPT: &[(&str, &str, &[&str])] = &[
    (
        "Hello,\n\nthe invoice says € 120, but my contract says € 100 and this line is long.",
        "Dear Carol,\n\nyou are right: € 100.",
        &["signature_cut", "html_to_text", "quote_cut", "message_left_out", "message_left_out", "message_left_out"],
    ),
    (
        "Guten Tag,\n\nwie ändere ich mein Passwort?",
        "Guten Tag Herr Müller,\n\nunter Konto > Sicherheit.",
        &["signature_cut", "signature_cut", "disclaimer_cut", "quote_cut", "message_left_out", "message_left_out"],
    ),
    ("Bonjour, où est ma commande ?", "Elle arrive demain.", &["signature_cut", "quote_cut", "signature_cut"]),
    ("¿Pueden enviarme la factura de enero?", "Claro, va adjunta.", &["forward_header_cut", "signature_cut", "forward_unwrapped"]),
    ("The lamp came broken.", "We send a new one today.", &["attached_mail_taken", "forward_unwrapped"]),
    ("Ist das Café offen?", "Ja, bis 18 Uhr.", &["charset", "date"]),
    ("Where are my keys?", "At the front desk.", &[]),
    (
        "Your message was received and will be handled soon by one of us.",
        "Thank you for your message, which will be answered within two days.",
        &["message_left_out", "message_left_out"],
    ),
];

/// Message-ID and the beginning of the reason of every mail that is in no row.
const LEFT: &[(&str, &str)] = &[
    ("o1@customer.example", "an auto-reply: Auto-Submitted: auto-replied"),
    ("q2@customer.example", "unanswered"),
    ("i1@firm.example", "an internal mail"),
    ("q11@customer.example", "it says nothing of its own"),
    ("o3@kunde.example", "an auto-reply: its subject is \"abwesenheitsnotiz: passwort\""),
    ("a3@firm.example", "says the same as an earlier message"),
    ("q9@shop.example", "its text/plain part is said to be base64 and is not"),
    ("b1@mx.example", "a bounce: multipart/report; report-type=delivery-status"),
    ("n1@vendor.example", "a newsletter or mailing list: List-Unsubscribe"),
    ("l3@a.example", "says the same as an earlier message"),
    ("l4@firm.example", "says the same as an earlier message"),
    ("l5@b.example", "a mail loop: X-Loop"),
    ("q10@shop.example", "unanswered"),
    ("q12@nowhere.example", "no sender"),
];

fn judge(rows: &[Row], left: &[Quarantined], mails: usize) {
    let kept: Vec<(String, String)> = rows.iter().map(|row| (turns(row)[0].1.clone(), turns(row)[1].1.clone())).collect();
    let expected: Vec<(String, String)> = KEPT.iter().map(|(q, a, _)| (q.to_string(), a.to_string())).collect();
    for row in rows {
        assert!(turns(row).iter().zip(["user", "assistant"].iter().cycle()).all(|(turn, role)| turn.0 == **role), "{:?}", turns(row));
        assert_eq!(turns(row).len(), 2, "{:?}", turns(row));
        assert_eq!(row.group.as_ref(), Some(&row.id));
    }
    let sorted = |mut all: Vec<(String, String)>| {
        all.sort();
        all
    };
    assert_eq!(sorted(kept), sorted(expected));
    for row in rows {
        let (_, _, fixes) = KEPT.iter().find(|(q, _, _)| *q == turns(row)[0].1).unwrap();
        assert_eq!(whats(row), *fixes, "{}", row.to_json());
    }
    let mut reasons: BTreeSet<(String, String)> = left.iter().map(|q| (q.source.message.clone().unwrap(), q.why.clone())).collect();
    assert_eq!(reasons.len(), left.len());
    for (id, why) in LEFT {
        let found = reasons.iter().find(|(found, reason)| found == id && reason.starts_with(why)).cloned();
        let found = found.unwrap_or_else(|| panic!("{id} {why}: {reasons:#?}"));
        reasons.remove(&found);
    }
    assert!(reasons.is_empty(), "{reasons:#?}");
    assert_eq!(mails, SAMPLES.len());
    assert_eq!(rows.iter().map(inside).sum::<usize>() + left.len(), mails, "each mail is in one row or left out");
}

#[test]
fn an_mbox_becomes_pairs_and_every_mail_is_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("support.mbox");
    std::fs::write(&path, mbox()).unwrap();
    let (rows, left, mails) = import(&path, &settings(&["@firm.example"]));
    judge(&rows, &left, mails);
    let first = &rows[0];
    assert_eq!(first.id, "mail:q1@customer.example");
    assert_eq!(first.author.as_deref(), Some("ann@firm.example"));
    assert_eq!(first.at.as_deref(), Some("2024-03-04T11:00:00Z"));
    assert_eq!((first.source.line, first.source.message.as_deref()), (Some(1), Some("q1@customer.example")));
    assert_eq!(first.tags["subject"], "Invoice № 4711");
    let factura = rows.iter().find(|row| row.id == "mail:f5@firm.example").unwrap();
    assert_eq!(factura.tags["attachments"][0], "enero.pdf");
    let nothing_runs = rows.iter().map(|row| row.content["messages"].to_string()).collect::<String>();
    assert!(!nothing_runs.contains("alert") && !nothing_runs.contains("t.example"));
}

#[test]
fn a_folder_and_a_maildir_give_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mails = folder.path().join("mails/deep");
    std::fs::create_dir_all(&mails).unwrap();
    std::fs::write(mails.join("notes.txt"), "no mail").unwrap();
    let maildir = folder.path().join("Maildir");
    for name in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(maildir.join(name)).unwrap();
    }
    for (n, sample) in SAMPLES.iter().enumerate() {
        std::fs::write(mails.join(format!("{n:02} {}.eml", sample.name)), sample.raw).unwrap();
        let place = if n % 2 == 0 { "cur" } else { "new" };
        std::fs::write(maildir.join(place).join(format!("17096{n:05}.M1.host:2,S")), sample.raw).unwrap();
    }
    let (rows, left, count) = import(&folder.path().join("mails"), &settings(&["@firm.example"]));
    judge(&rows, &left, count);
    std::fs::write(maildir.join("tmp/half"), "From: x").unwrap();
    let (rows, mut left, count) = import(&maildir, &settings(&["@firm.example"]));
    let half = left.remove(0);
    assert!(half.why.contains("its server had not written all of it") && half.source.file.ends_with("half"));
    judge(&rows, &left, count);
}

#[test]
fn agents_are_guessed_from_who_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("support.mbox");
    std::fs::write(&path, mbox()).unwrap();
    let mailbox = open(&path, &settings(&[]), &mut |_| {}).unwrap();
    assert_eq!(mailbox.agents().named(), ["@firm.example"]);
    let guess = mailbox.agents().guessed.clone().unwrap();
    assert!(guess.answers >= 7 && guess.next.as_ref().is_some_and(|(_, n)| *n <= 2), "{guess:?}");
}

#[test]
fn unanswered_mails_become_texts_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("support.mbox");
    std::fs::write(&path, mbox()).unwrap();
    let (rows, left, mails) = import(&path, &Settings { unanswered: Unanswered::Text, ..settings(&["@firm.example"]) });
    let texts: Vec<&str> = rows.iter().filter_map(|row| row.content.get("text")?.as_str()).collect();
    assert_eq!(texts, ["Perfect, thank you!", "Is anybody there?"]);
    assert_eq!(rows.iter().map(inside).sum::<usize>() + left.len(), mails);
    assert_eq!(rows.iter().map(|row| &row.id).collect::<BTreeSet<_>>().len(), rows.len());
}

#[test]
fn an_import_made_again_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("support.mbox");
    std::fs::write(&path, mbox()).unwrap();
    let once = import(&path, &settings(&["@firm.example"]));
    assert_eq!(once, import(&path, &settings(&["@firm.example"])));
}

#[test]
fn what_cannot_begin_says_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "x").unwrap();
    let wrong = |path: &Path, agents: &[&str]| open(path, &settings(agents), &mut |_| {}).map(|_| ()).unwrap_err();
    let none = wrong(folder.path(), &[]);
    assert!(matches!(none, Error::NoMail { .. }) && none.to_string().contains("1 other files, such as"), "{none}");
    assert!(matches!(wrong(&folder.path().join("gone"), &[]), Error::Io { .. }));
    assert!(matches!(wrong(folder.path(), &["firm"]), Error::BadAgent { .. }));
    std::fs::write(folder.path().join("b.eml"), "From: a@b.example\n\nHello\n").unwrap();
    assert!(matches!(wrong(folder.path(), &[]), Error::NoAgent { mails: 1, .. }));
}

#[test]
fn a_mail_that_changes_or_grows_too_long_is_left_out_alone() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("1.eml", "From: a@b.example\nTo: h@firm.example\nSubject: x\nMessage-ID: <1@b>\n\nWhat?\n");
    write("2.eml", "From: h@firm.example\nTo: a@b.example\nSubject: Re: x\nMessage-ID: <2@b>\nReferences: <1@b>\n\nThat.\n");
    write("3.eml", &format!("From: z@b.example\nMessage-ID: <3@b>\n\n{}", "long ".repeat(1 << 18)));
    write("4.eml", "From: y@b.example\nMessage-ID: <4@b>\n\nGone before it is read.\n");
    let mailbox = open(folder.path(), &settings(&["@firm.example"]), &mut |_| {}).unwrap();
    std::fs::remove_file(folder.path().join("4.eml")).unwrap();
    let made: Vec<_> = mailbox.collect();
    assert_eq!(made.len(), 3);
    assert_eq!(turns(made[0].as_ref().unwrap())[1].1, "That.");
    assert!(made[1].as_ref().unwrap_err().why.contains("expected at most 1048576"));
    assert!(made[2].as_ref().unwrap_err().why.contains("cannot be read again"));
}

#[test]
fn mails_within_mails_without_end_do_not_overflow() {
    let folder = tempfile::tempdir().unwrap();
    let nested = "Content-Type: message/rfc822\n\n".repeat(20_000);
    std::fs::write(folder.path().join("1.eml"), format!("From: a@b.example\nMessage-ID: <1@b>\n{nested}From: c@d.example\n\nx")).unwrap();
    let (rows, left, _) = import(folder.path(), &settings(&["@firm.example"]));
    assert!(rows.is_empty() && left[0].why.contains("lie one inside the other"), "{left:?}");
}
