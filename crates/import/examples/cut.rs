//! Cuts texts by hand: `cargo run -p import --example cut -- FILE…` prints what stays of each and what went.

use import::html;
use import::mail::cut::{About, cut};

fn main() -> std::io::Result<()> {
    for path in std::env::args().skip(1) {
        let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        let text = if html::is_html(&text) { html::text(&text) } else { text };
        let clean = cut(&text, About { sender: None, reply: true, forward: false });
        println!("=== {path}\n{}", clean.text);
        for fix in clean.fixed {
            println!("    [{}] {}", fix.what, fix.before);
        }
    }
    Ok(())
}
