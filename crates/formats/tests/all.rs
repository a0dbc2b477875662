//! Foreign files as their own tools write them, and as chance or malice breaks them.

#[path = "all/adapters.rs"]
mod adapters;
#[path = "all/builder.rs"]
mod builder;
#[path = "all/companions.rs"]
mod companions;
#[path = "all/configs.rs"]
mod configs;
#[path = "all/encoded.rs"]
mod encoded;
#[path = "all/faults.rs"]
mod faults;
#[path = "all/gguf_writer.rs"]
mod gguf_writer;
#[path = "all/quantised.rs"]
mod quantised;
#[path = "all/tensors.rs"]
mod tensors;
#[path = "all/writer.rs"]
mod writer;

use std::path::PathBuf;

/// A file made by tests/golden/make.py.
fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The error's words, with the folder of the test taken out.
fn words<T: std::fmt::Debug>(result: Result<T, formats::Error>, folder: &std::path::Path) -> String {
    result.expect_err("should be an error").to_string().replace(&format!("{}/", folder.display()), "")
}
