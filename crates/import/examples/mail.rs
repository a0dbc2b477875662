//! Imports a mailbox by hand: `cargo run -p import --example mail -- PATH [--text] [@firm.example …]` prints rows as JSON lines,
//! and on stderr what was left out.

use import::Unanswered;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), import::Error> {
    let (flags, mut words): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    if words.is_empty() {
        eprintln!("usage: mail PATH [--text] [--quiet] [@firm.example …]");
        return Ok(());
    }
    let path = words.remove(0);
    let has = |flag: &str| flags.iter().any(|f| f == flag);
    let unanswered = if has("--text") { Unanswered::Text } else { Unanswered::Leave };
    let settings = import::mail::Settings { agents: words, unanswered, longest: 64 << 20 };
    let begun = Instant::now();
    let mailbox = import::mail::open(Path::new(&path), &settings, &mut |_| {})?;
    let (mails, scanned) = (mailbox.mails(), begun.elapsed());
    eprintln!("{mails} mails, headers read in {scanned:?}; agents {:?} {:?}", mailbox.agents().named(), mailbox.agents().guessed);
    let (mut rows, mut inside, mut reasons) = (0, 0, BTreeMap::<String, usize>::new());
    for made in mailbox {
        match made {
            Ok(row) => {
                rows += 1;
                inside += row.tags["mails"].as_array().map_or(0, Vec::len);
                if !has("--quiet") {
                    println!("{}", row.to_json());
                }
            }
            Err(out) => {
                *reasons.entry(out.why.split(':').next().unwrap_or_default().to_string()).or_default() += 1;
                if !has("--quiet") {
                    eprintln!("{}", out.to_json());
                }
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{rows} rows of {inside} mails; left out: {reasons:#?}\n{seconds:.2} s, {:.0} mails/s", mails as f64 / seconds);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    eprintln!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("peak memory unknown"));
    Ok(())
}
