//! Compiles the GPU kernels for every kind of GPU, packs the code, and notes which sources it was made of.

use engine::cuda::compile;
use engine::cuda::kernels::{SOURCES, Source};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::Path;

/// Compiles `only`, or everything; the list and the checksums of all are written in any case.
pub fn make(root: &Path, only: Option<&str>) -> Result<String, String> {
    let folder = root.join("crates/engine/cubins");
    let index = std::fs::read_to_string(folder.join("index.txt")).unwrap_or_default();
    let said = |e: std::io::Error| format!("{}: {e}", folder.display());
    std::fs::create_dir_all(&folder).map_err(said)?;
    let version = compile::version().map_err(|e| e.to_string())?;
    if only.is_some() && index.lines().next() != Some(&made_by(version)) {
        return Err("another version of the compiler made the rest: compile everything".into());
    }
    let (mut sums, mut made, mut bytes) = (format!("{}\n", made_by(version)), 0, 0);
    for s in SOURCES {
        let name = format!("{}.cu", s.file);
        let sum = format!("{name} {}", hex(&Sha256::digest(s.text)));
        if only.is_none_or(|o| o == s.file) {
            bytes += pack(s, &folder)?;
            made += s.targets.len();
        } else if !index.lines().any(|line| line == sum) {
            return Err(format!("{name} changed too: compile everything"));
        }
        writeln!(sums, "{sum}").map_err(|e| e.to_string())?;
    }
    std::fs::write(folder.join("index.txt"), sums).map_err(said)?;
    std::fs::write(folder.join("list.in"), list()).map_err(said)?;
    Ok(format!("cubins: {made} made by NVRTC {}.{}, {bytes} bytes packed", version.0, version.1))
}

/// Compiles everything and writes nothing: whether the sources compile, and where the compiler is the one that made the
/// packed code, whether that is what they give.
pub fn check(root: &Path) -> Result<String, String> {
    let folder = root.join("crates/engine/cubins");
    let version = compile::version().map_err(|e| e.to_string())?;
    let index = std::fs::read_to_string(folder.join("index.txt")).map_err(|e| e.to_string())?;
    let same = index.lines().next() == Some(&made_by(version));
    let (mut compiled, mut other) = (0, Vec::new());
    for s in SOURCES {
        for target in s.targets {
            let code = compile::compile(&format!("{}.cu", s.file), s.text, target).map_err(|e| format!("for {target}: {e}"))?;
            let name = format!("{}.{target}.gz", s.file);
            let packed = std::fs::read(folder.join(&name)).map_err(|e| format!("{name}: {e}"))?;
            let mut known = Vec::new();
            GzDecoder::new(packed.as_slice()).read_to_end(&mut known).map_err(|e| format!("{name}: {e}"))?;
            compiled += 1;
            if same && known != code {
                other.push(name);
            }
        }
    }
    if other.is_empty() {
        let compared =
            if same { "and are what is packed" } else { "; another version made what is packed, so the bytes were not compared" };
        return Ok(format!("cubins: {compiled} compile by NVRTC {}.{} {compared}", version.0, version.1));
    }
    Err(format!("other code than the sources give: {}; make it again: cargo run -p xtask -- cubins", other.join(", ")))
}

/// The first line of the index.
fn made_by(version: (i32, i32)) -> String {
    format!("NVRTC {}.{}", version.0, version.1)
}

fn pack(s: &Source, folder: &Path) -> Result<usize, String> {
    let mut bytes = 0;
    for target in s.targets {
        let code = compile::compile(&format!("{}.cu", s.file), s.text, target).map_err(|e| format!("for {target}: {e}"))?;
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        let packed = packer.write_all(&code).and_then(|()| packer.finish()).map_err(|e| e.to_string())?;
        bytes += packed.len();
        std::fs::write(folder.join(format!("{}.{target}.gz", s.file)), packed).map_err(|e| e.to_string())?;
    }
    Ok(bytes)
}

/// The list of all packed code, as the engine includes it.
fn list() -> String {
    let mut text = String::from("// Made by `cargo run -p xtask -- cubins`.\n/// Machine code by file and target, packed by gzip.\n");
    text += "const CUBINS: &[(&str, &str, &[u8])] = &[\n";
    for s in SOURCES {
        for target in s.targets {
            text += &format!("    (\"{0}\", \"{target}\", include_bytes!(\"{0}.{target}.gz\")),\n", s.file);
        }
    }
    text + "];\n"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
