//! What cannot be planned.

/// A failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that no built-in model has.
    #[error("no built-in model is called {found:?}; expected one of {expected}, or a path")]
    Model {
        /// As it was given.
        found: String,
        /// The known names.
        expected: String,
    },
    /// A name that no method has.
    #[error("no method is called {found:?}; expected one of {expected}")]
    Method {
        /// As it was given.
        found: String,
        /// The known names.
        expected: String,
    },
    /// Neither a known GPU nor a size.
    #[error("no GPU is called {found:?}; expected one of {expected}, or its memory such as 48GB or 48GiB")]
    Gpu {
        /// As it was given.
        found: String,
        /// The known names.
        expected: String,
    },
    /// A number that makes no run.
    #[error("{what}: found {found}, expected {expected}")]
    Number {
        /// Which setting.
        what: &'static str,
        /// Its value.
        found: u64,
        /// What it may be.
        expected: String,
    },
    /// A method that this model lacks.
    #[error("{method} on {model}: {why}")]
    Unfit {
        /// The method.
        method: &'static str,
        /// The model's class.
        model: String,
        /// Why not.
        why: String,
    },
}
