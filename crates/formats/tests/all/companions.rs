//! Quantised weights whose companions are lost, cut, or say what is not so: each a clear error, never a panic.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use formats::bnb::Scheme;
use formats::safetensors::{Entry, File, Writer};
use formats::{Coded, Dtype, Error, Weights};

use crate::words;

/// A tensor of a file: name, type, shape, bytes.
type Part = (String, Dtype, Vec<usize>, Vec<u8>);

const SHAPE: [usize; 2] = [5, 70];
const STATE: &str = "p.weight.quant_state.bitsandbytes__nf4";

/// The tensors of one quantised weight.
fn parts(scheme: Scheme) -> Vec<Part> {
    let [rows, width] = SHAPE;
    let coded = Coded::quantised("p", (rows, width), scheme, Dtype::F32, &mut |row, out| {
        out.iter_mut().enumerate().for_each(|(i, x)| *x = ((row * width + i) as f32).sin());
        Ok(())
    })
    .unwrap();
    coded.parts("p.weight").unwrap().into_iter().map(|p| (p.name, p.dtype, p.shape, p.bytes.into_owned())).collect()
}

fn write(folder: &Path, parts: &[Part]) {
    let entries: Vec<Entry> =
        parts.iter().map(|(name, dtype, shape, _)| Entry { name: name.clone(), dtype: *dtype, shape: shape.clone() }).collect();
    let mut writer = Writer::create(&folder.join("model.safetensors"), &entries, &BTreeMap::new()).unwrap();
    parts.iter().for_each(|(name, .., bytes)| writer.put(name, bytes).unwrap());
    writer.finish().unwrap();
}

fn read(folder: &Path) -> Result<Vec<f32>, Error> {
    let weights = Weights::open(folder)?;
    let mut out = vec![0f32; SHAPE[0] * SHAPE[1]];
    weights.load_f32("p.weight", &SHAPE, &mut out)?;
    Ok(out)
}

const DOUBLE: Scheme = Scheme::Nf4 { double: true };

/// The error after a change to the tensors.
fn fault(folder: &Path, scheme: Scheme, change: impl FnOnce(&mut Vec<Part>)) -> String {
    let mut all = parts(scheme);
    change(&mut all);
    write(folder, &all);
    words(read(folder), folder)
}

fn find<'a>(parts: &'a mut [Part], name: &str) -> &'a mut Part {
    parts.iter_mut().find(|p| p.0 == name).unwrap()
}

/// Another text in place of a piece of the description.
fn say(parts: &mut [Part], old: &str, new: &str) {
    let state = find(parts, STATE);
    let text = String::from_utf8(state.3.clone()).unwrap();
    assert!(text.contains(old), "{text}");
    state.3 = text.replace(old, new).into_bytes();
    state.2 = vec![state.3.len()];
}

#[test]
fn a_companion_that_is_lost_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for scheme in [Scheme::Nf4 { double: false }, DOUBLE, Scheme::Int8] {
        write(at, &parts(scheme));
        read(at).unwrap();
        for (name, ..) in parts(scheme) {
            if [STATE, "p.SCB", "p.weight_format"].contains(&name.as_str()) {
                continue;
            }
            let found = fault(at, scheme, |all| all.retain(|p| p.0 != name));
            let wanted = match name.as_str() {
                // Without nested scales it would be a weight that is quantised once.
                "p.weight.nested_absmax" => "tensor `p.weight.nested_absmax` is missing".to_string(),
                _ => format!("tensor `{name}` is missing"),
            };
            assert!(found.ends_with(&wanted), "{found}");
        }
    }
    // Older files do not say how rows lie.
    let mut all = parts(Scheme::Int8);
    all.retain(|p| p.0 != "p.weight_format");
    write(at, &all);
    read(at).unwrap();
    // Without the text, or the scales, it is a plain tensor of another shape.
    let found = fault(at, DOUBLE, |all| all.retain(|p| p.0 != STATE));
    assert_eq!(found, "model.safetensors: tensor `p.weight` has shape [175, 1], expected [5, 70]");
}

#[test]
fn fp4_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let found = fault(folder.path(), DOUBLE, |all| find(all, STATE).0 = STATE.replace("nf4", "fp4"));
    assert!(
        found.ends_with("tensor `p.weight` is stored as bitsandbytes FP4; supported: bitsandbytes NF4 and int8, F32, F16, BF16"),
        "{found}"
    );
}

#[test]
fn texts_that_lie_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("\"nf4\"", "\"fp4\"", "`quant_type` in tensor `{}`: found \"fp4\", expected nf4"),
        ("\"blocksize\": 64", "\"blocksize\": 63", "`blocksize` in tensor `{}`: found 63, expected a power of two from 32 to 4096"),
        ("\"blocksize\": 64", "\"blocksize\": 128", "tensor `p.weight.absmax`: found 6 elements, expected 3"),
        ("\"blocksize\": 64", "\"blocksize\": 4294967296", "found 4294967296, expected a power of two from 32 to 4096"),
        (
            "\"float32\", \"shape\"",
            "\"int8\", \"shape\"",
            "`dtype` in tensor `{}`: found \"int8\", expected float32 or float16 or bfloat16",
        ),
        ("[5, 70]", "[5, 71]", "tensor `p.weight`: found 175 bytes, expected 178 for NF4 of shape [5, 71]"),
        ("[5, 70]", "[7, 50]", "tensor `p.weight` has shape [7, 50], expected [5, 70]"),
        ("[5, 70]", "[350]", "`shape` in tensor `{}`: found [350], expected two whole numbers above 0"),
        ("[5, 70]", "[0, 70]", "`shape` in tensor `{}`: found [0,70], expected two whole numbers above 0"),
        ("[5, 70]", "[2147483647, 2147483647]", "found 175 bytes, expected 2305843007066210305 for NF4"),
        ("[5, 70]", "[9223372036854775807, 4]", "expected two whole numbers above 0"),
        ("\"nested_blocksize\": 256", "\"nested_blocksize\": 0", "`nested_blocksize` in tensor `{}`: found 0, expected a power of two"),
        ("\"nested_offset\": ", "\"nested_offset\": 1e300, \"x\": ", "`nested_offset` in tensor `{}`: found 1e+300, expected a number"),
        ("\"nested_offset\": ", "\"nested_offset\": NaN, \"x\": ", "tensor `{}`: found no JSON (expected value at line 1 column"),
        ("{\"quant_type\"", "[{\"quant_type\"", "tensor `{}`: found no JSON"),
    ];
    for (old, new, expected) in cases {
        let found = fault(folder.path(), DOUBLE, |all| say(all, old, new));
        let expected = expected.replace("{}", STATE);
        assert!(found.starts_with("model.safetensors: ") && found.contains(&expected), "{found}\n  wanted {expected}");
    }
    let long = fault(folder.path(), DOUBLE, |all| say(all, "\"nf4\"", &format!("\"nf4\", \"x\": \"{}\"", "y".repeat(5000))));
    assert!(long.contains("expected at most 4096 of JSON"), "{long}");
    // The text tells of nested scales, the tensors do not; and the other way round.
    let found = fault(folder.path(), Scheme::Nf4 { double: false }, |all| {
        say(all, "}", ", \"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": 0.5}");
    });
    assert!(found.contains("tensor `p.weight.absmax`: found F32, expected U8"), "{found}");
    let found = fault(folder.path(), DOUBLE, |all| {
        say(all, ", \"nested_blocksize\": 256, \"nested_dtype\": \"float32\"", "");
        let state = find(all, STATE);
        let end = String::from_utf8_lossy(&state.3).find(", \"nested_offset\"").unwrap();
        state.3.truncate(end);
        state.3.push(b'}');
        state.2 = vec![state.3.len()];
    });
    assert!(found.contains("found no `nested_offset` beside the nested scales, expected all or none of them"), "{found}");
}

#[test]
fn companions_that_lie_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let cut = |name: &'static str, size: usize| {
        move |all: &mut Vec<Part>| {
            let part = find(all, name);
            part.3.truncate(part.3.len() - size);
            part.2[0] -= 1;
        }
    };
    for (name, size, expected) in [
        ("p.weight", 1, "tensor `p.weight`: found 174 bytes, expected 175 for NF4 of shape [5, 70]"),
        ("p.weight.absmax", 1, "tensor `p.weight.absmax`: found 5 elements, expected 6"),
        ("p.weight.nested_absmax", 4, "tensor `p.weight.nested_absmax`: found 0 elements, expected 1"),
        ("p.weight.nested_quant_map", 4, "tensor `p.weight.nested_quant_map`: found 255 elements, expected 256"),
        ("p.weight.quant_map", 4, "tensor `p.weight.quant_map`: found 15 elements, expected 16"),
    ] {
        assert_eq!(fault(at, DOUBLE, cut(name, size)), format!("model.safetensors: {expected}"));
    }
    assert_eq!(fault(at, Scheme::Int8, cut("p.SCB", 4)), "model.safetensors: tensor `p.SCB`: found 4 elements, expected 5");
    let found = fault(at, DOUBLE, |all| find(all, "p.weight.quant_map").3[5] ^= 1);
    assert!(found.contains("tensor `p.weight.quant_map`: found -0.69617754, ") && found.ends_with("expected -0.6961928 of NF4"), "{found}");
    let found = fault(at, DOUBLE, |all| find(all, "p.weight.nested_absmax").3 = f32::INFINITY.to_le_bytes().to_vec());
    assert!(found.ends_with("tensor `p.weight.nested_absmax`: found inf, expected finite numbers"), "{found}");
    let found = fault(at, Scheme::Int8, |all| find(all, "p.weight_format").3 = vec![2]);
    assert!(found.ends_with("tensor `p.weight_format`: found 2, expected 0, for rows"), "{found}");
    let found = fault(at, Scheme::Int8, |all| find(all, "p.weight").1 = Dtype::U8);
    assert!(found.ends_with("tensor `p.weight`: found U8, expected I8"), "{found}");
    let found = fault(at, Scheme::Int8, |all| find(all, "p.weight").2 = vec![350]);
    assert!(found.ends_with("tensor `p.weight`: found shape [350], expected a matrix"), "{found}");
}

#[test]
fn packed_bytes_may_be_kept_under_another_type() {
    let folder = tempfile::tempdir().unwrap();
    let shape = [4, 64];
    let plain = Coded::quantised("p", (4, 64), DOUBLE, Dtype::BF16, &mut |row, out| {
        out.iter_mut().enumerate().for_each(|(i, x)| *x = ((row * 64 + i) as f32).cos());
        Ok(())
    })
    .unwrap();
    let mut all: Vec<Part> =
        plain.parts("p.weight").unwrap().into_iter().map(|p| (p.name, p.dtype, p.shape, p.bytes.into_owned())).collect();
    let packed = find(&mut all, "p.weight");
    (packed.1, packed.2) = (Dtype::BF16, vec![64, 1]);
    write(folder.path(), &all);
    let back = Weights::open(folder.path()).unwrap().coded("p.weight", &shape).unwrap();
    let (mut a, mut b) = ([0f32; 64], [0f32; 64]);
    plain.decode(3, 0, &mut a);
    back.decode(3, 0, &mut b);
    assert_eq!(a, b);
    let written = back.parts("p.weight").unwrap();
    assert_eq!((written[0].dtype, written[0].shape.as_slice()), (Dtype::BF16, &[64, 1][..]));
}

#[test]
fn no_flipped_bit_and_no_cut_panics() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for scheme in [Scheme::Nf4 { double: false }, DOUBLE, Scheme::Int8] {
        write(at, &parts(scheme));
        let file = at.join("model.safetensors");
        let whole = fs::read(&file).unwrap();
        let text = File::open(&file).unwrap().tensor(STATE).map(|t| t.bytes.to_vec()).unwrap_or_default();
        let start = whole.windows(text.len().max(1)).position(|w| w == text).unwrap_or(0);
        let header = 8 + usize::try_from(u64::from_le_bytes(whole[..8].try_into().unwrap())).unwrap();
        let places = (8..header).step_by(3).chain(start..start + text.len());
        let mut refused = 0;
        for place in places {
            for mask in [0x01, 0x10, 0x80] {
                let mut bytes = whole.clone();
                bytes[place] ^= mask;
                fs::write(&file, &bytes).unwrap();
                let result = catch_unwind(AssertUnwindSafe(|| read(at).is_err()));
                refused += usize::from(result.unwrap_or_else(|_| panic!("panicked: {scheme:?} byte {place} mask {mask}")));
            }
        }
        assert!(refused > header / 3, "{scheme:?}: {refused}");
        for length in (0..whole.len()).step_by(61) {
            fs::write(&file, &whole[..length]).unwrap();
            assert!(read(at).is_err(), "{scheme:?} cut to {length}");
        }
    }
}
