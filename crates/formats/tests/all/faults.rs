//! Broken files: each a clear error, never a panic and never memory on the word of a header.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use formats::{Error, ModelConfig, Weights, gguf, safetensors};

use crate::builder::Gguf;
use crate::{golden, words};

fn safetensors_of(header: &str, data: &[u8], folder: &Path) -> Result<safetensors::File, Error> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    let path = folder.join("m.safetensors");
    fs::write(&path, bytes).unwrap();
    safetensors::File::open(&path)
}

#[test]
fn safetensors_headers() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let cases: &[(&str, &[u8], &str)] = &[
        ("[]", b"", "the header: found a list, expected an object"),
        ("{\"a\":", b"", "not valid JSON: EOF while parsing a value at line 1 column 5"),
        (r#"{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}}"#, b"x", "tensor `a` is stored as F4; supported: F64, F32"),
        (r#"{"a":{"shape":[1],"data_offsets":[0,1]}}"#, b"x", "`dtype` of tensor `a`: found nothing, expected a text"),
        (r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#, b"x", "`shape` of tensor `a`: found [-1], expected a list"),
        (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}"#, b"x", "`data_offsets` of tensor `a`: found 1 numbers, expected 2"),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, b"xxxx", "found 0..4, expected 8 bytes for F32 of shape [2]"),
        (r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[3,1]}}"#, b"x", "found 3..1, expected 2 bytes"),
        (r#"{"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,4]}}"#, b"xxxx", "expected a size that fits in memory"),
        (r#"{"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]}}"#, b"xxx", "is cut short: tensor `a` needs 66 bytes, the file has 64"),
        (
            r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
            b"xxx",
            "tensor `b`: found offset 1 (an overlap), expected offset 2",
        ),
        (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, b"xx", "tensor `a`: found offset 1 (a gap), expected offset 0"),
        (
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
            b"xxx",
            "the data: found 2 bytes after the last tensor, expected none",
        ),
        (r#"{"__metadata__":{"k":1}}"#, b"", "`__metadata__`: found a number under `k`, expected an object of texts"),
    ];
    for (header, data, expected) in cases {
        let words = words(safetensors_of(header, data, at), at);
        assert!(words.starts_with("m.safetensors") && words.contains(expected), "{words}\n  wanted {expected}");
    }
    let path = at.join("m.safetensors");
    fs::write(&path, b"").unwrap();
    assert_eq!(words(safetensors::File::open(&path), at), "m.safetensors is cut short: the header length needs 8 bytes, the file has 0");
    fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
    assert_eq!(
        words(safetensors::File::open(&path), at),
        "m.safetensors: the header length: found 18446744073709551615 bytes, expected at most 100000000"
    );
    fs::write(&path, 1000u64.to_le_bytes()).unwrap();
    assert_eq!(words(safetensors::File::open(&path), at), "m.safetensors is cut short: the header needs 1008 bytes, the file has 8");
}

#[test]
fn gguf_headers() {
    let cases = [
        (Gguf::magic(b"GGML").u32(3).fault(0), "m.gguf: the magic number: found bytes [47, 47, 4d, 4c], expected \"GGUF\""),
        (Gguf::magic(b"GGUF").u32(1).fault(0), "m.gguf: the version: found 1, expected 2 or 3"),
        (Gguf::magic(b"GGUF").u32(3 << 24).fault(0), "m.gguf: the byte order: found big-endian, expected little-endian"),
        (
            Gguf::new(u64::MAX, 0).fault(8),
            "m.gguf: the number of tensors: found 18446744073709551615, expected at most 0, since 16 bytes are left",
        ),
        (
            Gguf::new(0, 1 << 60).fault(32),
            "m.gguf: the number of metadata values: found 1152921504606846976, expected at most 3, since 40 bytes are left",
        ),
        (
            Gguf::new(1, 0).tensor("t", 256, 16, 0).fault(66),
            "m.gguf: tensor `t` is stored as IQ2_XXS; supported: F32, F16, BF16, F64, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, I8, I16, I32, I64",
        ),
        (
            Gguf::new(1, 0).tensor("t", 255, 12, 0).fault(144),
            "m.gguf: tensor `t`: found Q4_K of shape [255], expected a size that fits, its last dimension a multiple of 256",
        ),
        (Gguf::new(1, 0).tensor("t", 8, 0, 0).fault(31), "m.gguf is cut short: tensor `t` needs 96 bytes, the file has 95"),
        (
            Gguf::new(1, 0).tensor("t", 8, 0, u64::MAX - 31).fault(32),
            "m.gguf is cut short: tensor `t` needs 18446744073709551615 bytes, the file has 96",
        ),
        (Gguf::new(1, 0).tensor("t", 8, 0, 4).fault(64), "m.gguf: tensor `t`: found offset 4, expected a multiple of 32"),
        (
            Gguf::new(2, 0).tensor("t", 16, 0, 0).tensor("u", 8, 0, 32).fault(64),
            "m.gguf: tensor `u`: found bytes shared with `t`, expected bytes of its own",
        ),
        (
            Gguf::new(2, 0).tensor("t", 8, 0, 0).tensor("t", 8, 0, 32).fault(64),
            "m.gguf: tensor `t`: found the name twice, expected each name once",
        ),
        (Gguf::new(1, 0).text("t").u32(5).fault(99), "m.gguf: tensor `t`: found 5 dimensions, expected at most 4"),
        (Gguf::new(0, 1).text("k").u32(99).fault(32), "m.gguf: metadata value `k`: found value type 99, expected a type from 0 to 12"),
        (
            Gguf::new(0, 1).text("k").u32(9).u32(9).u64(1).fault(32),
            "m.gguf: metadata value `k`: found an array of value type 9, expected an array of scalars or texts",
        ),
        (
            Gguf::new(0, 1).text("k").u32(9).u32(6).u64(1 << 62).fault(0),
            "m.gguf: the number of items of metadata value `k`: found 4611686018427387904, expected at most 3, since 15 bytes are left",
        ),
        (
            Gguf::new(0, 1).text("k").u32(9).u32(8).u64(1).u64(u64::MAX).fault(0),
            "m.gguf is cut short: metadata value `k` needs 18446744073709551615 bytes, the file has 64",
        ),
        (
            Gguf::new(0, 1).text("general.alignment").u32(4).u32(0).fault(0),
            "m.gguf: field `general.alignment`: found 0, expected a power of two, at most 1048576",
        ),
        (
            Gguf::new(0, 2).text("k").u32(4).u32(0).text("k").u32(4).u32(0).fault(0),
            "m.gguf: metadata value `k`: found the key twice, expected each key once",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

/// Everything that this crate does with a model file.
fn use_all(path: &Path) -> Result<(), Error> {
    let weights = Weights::open(path)?;
    if let Some(file) = weights.gguf_file() {
        let _ = ModelConfig::from_gguf(file).map(|c| (c.to_hf_json("float32"), c.rope.attention_scale(1)));
        let _ = file.vocab();
    }
    for name in weights.names() {
        let stored = weights.tensor(name)?;
        let mut out = vec![0f32; stored.tensor.elements()];
        stored.read_f32(&mut out)?;
        let coded = weights.coded(name, &stored.tensor.shape)?;
        let mut row = vec![0f32; coded.inputs()];
        (0..coded.outputs()).for_each(|i| coded.decode(i, 0, &mut row));
    }
    Ok(())
}

fn never_panics(path: &Path, what: &str) -> bool {
    catch_unwind(AssertUnwindSafe(|| use_all(path).is_ok())).unwrap_or_else(|_| panic!("panicked: {what}"))
}

#[test]
fn no_cut_and_no_flipped_bit_panics() {
    for name in ["tiny_llama.gguf", "tiny_llama.safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        let is_gguf = name.ends_with("gguf");
        let path = folder.path().join(if is_gguf { "m.gguf" } else { "model.safetensors" });
        let opened = if is_gguf { path.as_path() } else { folder.path() };
        let whole = fs::read(golden(name)).unwrap();
        // Headers end well before this; the data behind them holds no structure.
        let header = 2600;
        for length in (0..header).chain((header..whole.len()).step_by(397)) {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(!never_panics(opened, &format!("{name} cut to {length}")), "{name} cut to {length} was accepted");
        }
        let mut accepted = 0;
        for at in 0..header {
            // Every kind of flip meets every place of an 8-byte field somewhere in the header.
            let mask = [0xff, 0x80, 1u8 << (at % 8)][at % 3];
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            fs::write(&path, &bytes).unwrap();
            accepted += usize::from(never_panics(opened, &format!("{name} byte {at} mask {mask}")));
        }
        // Flips inside names and token texts are not faults; flips of structure are.
        assert!(accepted < header, "{name}");
        fs::write(&path, &whole).unwrap();
        assert!(never_panics(opened, name));
    }
}

#[test]
fn a_folder_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    fs::create_dir(&path).unwrap();
    assert_eq!(words(gguf::File::open(&path), folder.path()), "x.gguf: path: found a folder, expected a file");
}
