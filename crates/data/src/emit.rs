//! Rows to the files of other platforms: what a platform would refuse is found in one pass, and what is written is right.
//!
//! A platform is a table of rules and a way to write a row; each has a file with its sources and the day they were read.
//! Nothing here asks a platform: it may have changed its rules since.

mod axolotl;
mod azure;
mod bedrock;
mod calls;
mod file;
mod message;
mod openai;
mod pair;
mod rules;
mod together;
mod tokens;
mod trl;
mod turn;
mod vertex;
mod violation;

pub use file::{Emitted, Options, emit};
pub use rules::{Count, Images, Last, Order, Rules, Tools, Weight};
pub use violation::{Level, Violation};

/// The platforms, by name.
pub const PLATFORMS: [&Rules; 7] =
    [&openai::RULES, &azure::RULES, &together::RULES, &bedrock::RULES, &vertex::RULES, &trl::RULES, &axolotl::RULES];

/// A platform's rules.
pub fn rules(name: &str) -> Option<&'static Rules> {
    PLATFORMS.into_iter().find(|rules| rules.name == name)
}
