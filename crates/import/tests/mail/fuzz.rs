//! Broken mails: cut off and changed at many places, they never panic or hang, and each is accounted for.

use super::mailbox::{import, inside, settings};
use super::samples::{SAMPLES, mbox};
use import::html;
use import::mail::cut::{About, cut};
use std::time::Instant;

/// A counter hashed: the same bytes in every run.
fn random(seed: u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5151;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Pieces that mean something to a reader of mails.
const PIECES: &[&str] = &[
    "\n",
    "\r\n\r\n",
    "--b1",
    "--b1--",
    "--",
    "Content-Type: multipart/mixed; boundary=",
    "Content-Type: message/rfc822\n\n",
    "Content-Transfer-Encoding: base64\n",
    "=?utf-8?Q?",
    "=?x?b?/?=",
    "=",
    "=F",
    "\u{0}",
    "\u{ff}",
    ">",
    "> > >",
    "<div class=gmail_quote>",
    "<script>",
    "&#xffffffff;",
    "&#",
    "On 1 May 2024 at 10:00, a@b.example wrote:",
    "From: a@b\nDate: 1\nSubject: x",
    "-----Original Message-----",
    "-- \n",
    "Date: 99999999999999999999",
    "Message-ID: <>",
    "References: <<<>>> <a",
    "charset=\"",
    "From x 10:00:00\n",
];

fn mutated(raw: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = raw.to_vec();
    for n in 0..1 + random(seed) % 4 {
        let r = random(seed.wrapping_add(1000 + n));
        let at = (r % (bytes.len() as u64 + 1)) as usize;
        let piece = PIECES[(r >> 32) as usize % PIECES.len()].as_bytes();
        match (r >> 24) % 4 {
            0 => drop(bytes.splice(at..at, piece.iter().copied())),
            1 => bytes.truncate(at.max(1)),
            2 if at < bytes.len() => bytes[at] = (r >> 40) as u8,
            _ => drop(bytes.drain(at..(at + 40).min(bytes.len()))),
        }
    }
    bytes
}

#[test]
fn mails_cut_off_or_changed_anywhere_are_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let mut written = 0;
    for sample in SAMPLES {
        let cuts = (0..sample.raw.len()).step_by(17).map(|end| sample.raw[..end].to_vec());
        let changes = (0..25).map(|n| mutated(sample.raw, random(written as u64) ^ n));
        for bytes in cuts.chain(changes).collect::<Vec<_>>() {
            std::fs::write(folder.path().join(format!("{written:05}.eml")), bytes).unwrap();
            written += 1;
        }
    }
    let (rows, left, mails) = import(folder.path(), &settings(&["@firm.example"]));
    assert_eq!(mails, written);
    assert_eq!(rows.iter().map(inside).sum::<usize>() + left.len(), mails);
    assert!(begun.elapsed().as_secs() < 300, "{:?}", begun.elapsed());
}

#[test]
fn an_mbox_cut_off_or_changed_anywhere_is_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.mbox");
    let whole = mbox();
    for n in 0..60u64 {
        let bytes = if n < 30 { whole[..(random(n) % whole.len() as u64) as usize].to_vec() } else { mutated(&whole, n) };
        std::fs::write(&path, [b"From a@b 10:00:00\n".as_slice(), &bytes].concat()).unwrap();
        let (rows, left, mails) = import(&path, &settings(&["@firm.example"]));
        assert_eq!(rows.iter().map(inside).sum::<usize>() + left.len(), mails, "seed {n}");
    }
}

#[test]
fn long_and_senseless_texts_are_cut_in_time() {
    let about = About { sender: Some("Ann Agent"), reply: true, forward: true };
    for piece in PIECES.iter().chain(&[
        "a",
        "a:",
        "Am ",
        "Von: a\n",
        "On \n",
        "Best regards\n",
        "_______\n",
        "x\n\n",
        "From: a@b.c\nTo: b@c.d\n",
        "Tel. 1234567\n",
    ]) {
        let begun = Instant::now();
        let text = piece.repeat(100_000 / piece.len());
        cut(&text, about);
        cut(&html::text(&text), about);
        assert!(begun.elapsed().as_secs() < 60, "{piece:?} took {:?}", begun.elapsed());
    }
}
