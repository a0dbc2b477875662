//! The kernels: their sources, and the machine code made ahead of them for each kind of GPU.
//!
//! `cargo run -p xtask -- cubins` compiles every source for every target and writes `crates/engine/cubins/`, with the
//! sources' checksums in `index.txt`; a test compares these, so that code and sources cannot drift apart.

use super::{Error, compile};
use flate2::read::GzDecoder;
use std::borrow::Cow;
use std::io::Read;

/// A file of kernels.
pub struct Source {
    /// The op that it belongs to.
    pub file: &'static str,
    /// CUDA C++ that includes nothing, with `values.cuh` and what some files share in front.
    pub text: &'static str,
    /// The targets that it is for.
    pub targets: &'static [&'static str],
}

/// A target and the capabilities that its code runs on: the major number is equal and the minor at least this.
const TARGETS: [(&str, (u32, u32)); 5] =
    [("sm_80", (8, 0)), ("sm_89", (8, 9)), ("sm_90a", (9, 0)), ("sm_100", (10, 0)), ("sm_120", (12, 0))];

/// All kinds of GPU.
const ALL: &[&str] = &["sm_80", "sm_89", "sm_90a", "sm_100", "sm_120"];

/// Those that have 8-bit floats.
const FP8: &[&str] = &["sm_89", "sm_90a", "sm_100", "sm_120"];

/// Those of Hopper's own instructions.
const HOPPER: &[&str] = &["sm_90a"];

macro_rules! sources {
    ($($file:literal $targets:ident $(after $front:literal)?),* $(,)?) => {
        /// Every file of kernels.
        pub const SOURCES: &[Source] = &[$(Source {
            file: $file,
            text: concat!(
                include_str!("values.cuh"),
                $(include_str!(concat!("../ops/", $front)),)?
                include_str!(concat!("../ops/", $file, ".cu")),
            ),
            targets: $targets,
        }),*];
    };
}
sources! {
    "adamw" ALL,
    "answer" ALL,
    "attention" ALL,
    "attention_decode" ALL,
    "attention_hopper" HOPPER after "attention_hopper.cuh",
    "attention_hopper_back" HOPPER after "attention_hopper.cuh",
    "bias" ALL,
    "cross_entropy" ALL,
    "dora" ALL,
    "dropout" ALL,
    "embed" ALL,
    "experts" ALL,
    "fp8" FP8,
    "linear" ALL,
    "rmsnorm" ALL,
    "rope" ALL,
    "route" ALL,
    "rows" ALL,
    "swiglu" ALL,
    "unpack" ALL,
}

include!("../../cubins/list.in");

/// A short name of all sources together (FNV-1a of their checksums).
pub(crate) fn identity() -> String {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = include_str!("../../cubins/index.txt").bytes().fold(0xcbf2_9ce4_8422_2325, fold);
    format!("{:08x}", hash >> 32)
}

/// Refuses a GPU that we have no kernels for and cannot compile any for.
pub(crate) fn for_capability(capability: (u32, u32)) -> Result<(), Error> {
    if capability.0 < 8 { Err(Error::NoKernels { capability }) } else { Ok(()) }
}

/// The target whose code runs on a GPU; none for one newer than all that we know.
pub fn target(capability: (u32, u32)) -> Option<&'static str> {
    TARGETS.iter().rev().find(|(_, (major, minor))| *major == capability.0 && *minor <= capability.1).map(|(name, _)| *name)
}

/// Machine code of `file` for a GPU: made ahead where it was, else compiled now.
pub(crate) fn image(file: &str, capability: (u32, u32)) -> Result<Cow<'static, [u8]>, Error> {
    let source = SOURCES.iter().find(|s| s.file == file).ok_or(Error::NoKernels { capability })?;
    if let Some(name) = target(capability)
        && let Some((_, _, packed)) = CUBINS.iter().find(|(f, t, _)| *f == file && *t == name)
    {
        let mut bytes = Vec::new();
        let unpacked = GzDecoder::new(*packed).read_to_end(&mut bytes);
        return unpacked.map(|_| Cow::Owned(bytes)).map_err(|e| Error::Compile { file: file.into(), log: e.to_string() });
    }
    let (major, minor) = capability;
    compile::compile(file, source.text, &format!("sm_{major}{minor}")).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_takes_the_nearest_code_of_its_generation() {
        assert_eq!(target((8, 0)), Some("sm_80"));
        assert_eq!(target((8, 6)), Some("sm_80"));
        assert_eq!(target((8, 9)), Some("sm_89"));
        assert_eq!(target((9, 0)), Some("sm_90a"));
        assert_eq!(target((10, 3)), Some("sm_100"));
        assert_eq!(target((13, 0)), None);
        assert!(for_capability((7, 5)).is_err());
    }

    #[test]
    fn every_source_was_compiled_as_it_is() {
        use sha2::{Digest, Sha256};
        for s in SOURCES {
            let sum: String = Sha256::digest(s.text).iter().map(|b| format!("{b:02x}")).collect();
            let line = format!("{}.cu {sum}", s.file);
            let known = include_str!("../../cubins/index.txt").lines().any(|l| l == line);
            assert!(known, "{}.cu changed since its code was made: cargo run -p xtask -- cubins", s.file);
            for target in s.targets {
                assert!(CUBINS.iter().any(|(f, t, _)| f == &s.file && t == target), "{} for {target}", s.file);
                assert!(
                    image(s.file, TARGETS.iter().find(|(n, _)| n == target).expect("a target").1)
                        .expect("an image")
                        .starts_with(b"\x7fELF")
                );
            }
        }
    }
}
