//! Automation: `tidy` judges the house rules, `ratchet` lowers the ceilings to what the code needs,
//! `cubins` compiles the GPU kernels ahead.

mod code;
mod cubins;
mod metadata;
mod ratchet;
mod rules;
mod tree;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo run -p xtask -- tidy | ratchet | cubins [FILE | --check]
  tidy     judge the house rules of STYLE.md (cargo test -p xtask does the same)
  ratchet  lower the ceilings of xtask/ratchet.toml to what the code needs; it never raises one
  cubins   compile the GPU kernels (all, or one file) to crates/engine/cubins; needs NVRTC, such as that of the wheel
           nvidia-cuda-nvrtc in the Python environment on the path, and no GPU; --check writes nothing";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["tidy"] => tidy(&root()),
        ["ratchet"] => ratchet::lower(&root()),
        ["cubins"] => cubins::make(&root(), None),
        ["cubins", "--check"] => cubins::check(&root()),
        ["cubins", file] => cubins::make(&root(), Some(file)),
        _ => Err(USAGE.to_string()),
    };
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(said) => {
            eprintln!("{said}");
            ExitCode::FAILURE
        }
    }
}

/// The repository: what cargo says now, since one build folder may serve several checkouts.
fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().map(Path::to_path_buf).unwrap_or(own)
}

/// Every finding, one a line, or how much was judged.
fn tidy(root: &Path) -> Result<String, String> {
    let house = rules::House::open(root)?;
    let findings = rules::all(&house);
    if findings.is_empty() {
        return Ok(format!("tidy: {} rules hold in {} files", rules::RULES.len(), house.tree.len()));
    }
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Err(format!("{}\ntidy: {} findings", lines.join("\n"), findings.len()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_house_is_tidy() {
        if let Err(said) = super::tidy(&super::root()) {
            panic!("\n{said}\n");
        }
    }
}
