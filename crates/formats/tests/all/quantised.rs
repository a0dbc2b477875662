//! bitsandbytes' weights: read and written back byte for byte, decoded to the bit, quantised as it does.

use std::collections::BTreeMap;
use std::fs;

use formats::bnb::{self, Scheme};
use formats::safetensors::File;
use formats::{Coded, Dtype, Weights};

use crate::golden;

const MATRICES: [&str; 10] = ["small", "outlier", "zero", "sizes", "ties", "odd", "short", "large", "half", "brain"];
const KINDS: [(&str, Scheme); 3] =
    [("nf4", Scheme::Nf4 { double: false }), ("nested", Scheme::Nf4 { double: true }), ("int8", Scheme::Int8)];

fn file() -> File {
    File::open(&golden("bnb.safetensors")).unwrap()
}

/// The golden file as a model folder.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(golden("bnb.safetensors"), folder.path().join("model.safetensors")).unwrap();
    folder
}

fn floats(file: &File, name: &str) -> (Vec<f32>, Dtype, Vec<usize>) {
    let tensor = file.tensor(name).unwrap();
    let mut out = vec![f32::NAN; tensor.elements()];
    tensor.read_f32(&mut out).unwrap();
    (out, tensor.dtype, tensor.shape)
}

/// All elements by rows.
fn decoded(coded: &Coded) -> Vec<f32> {
    let mut out = vec![f32::NAN; coded.outputs() * coded.inputs()];
    out.chunks_mut(coded.inputs()).enumerate().for_each(|(row, line)| coded.decode(row, 0, line));
    out
}

fn same(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(a.to_bits() == b.to_bits() || (*a == 0.0 && *b == 0.0), "{what} element {i}: {a} and {b}");
    }
}

#[test]
fn what_bitsandbytes_reads_is_what_we_read() {
    let (file, folder) = (file(), folder());
    let weights = Weights::open(folder.path()).unwrap();
    for matrix in MATRICES {
        let (_, dtype, shape) = floats(&file, &format!("{matrix}.values"));
        for (kind, scheme) in KINDS {
            let name = format!("{matrix}.{kind}.weight");
            let coded = weights.coded(&name, &shape).unwrap();
            assert_eq!((coded.scheme(), weights.scheme(&name)), (Some(scheme), Some(scheme)));
            let (expected, decoded_as, _) = floats(&file, &format!("{matrix}.{kind}.dequantised"));
            assert_eq!(decoded_as, if scheme == Scheme::Int8 { Dtype::F32 } else { dtype });
            same(&decoded(&coded), &expected, &name);
            let mut out = vec![f32::NAN; expected.len()];
            weights.load_f32(&name, &shape, &mut out).unwrap();
            same(&out, &expected, &name);
            // Any stretch of a row: an odd start, a block that is cut, nothing at all.
            for (from, to) in [(0, 0), (1, 2), (1, 30), (2, 29), (17, 30), (29, 30), (30, 30)] {
                let row = shape[0] - 1;
                let mut out = vec![f32::NAN; to - from];
                coded.decode(row, from, &mut out);
                same(&out, &expected[row * shape[1]..][from..to], &format!("{name} {from}..{to}"));
            }
        }
    }
    let names: Vec<&str> = weights.names().collect();
    assert_eq!(names.len(), MATRICES.len() * 7, "companions are no tensors of their own: {names:?}");
}

#[test]
fn a_file_is_written_back_byte_for_byte() {
    let folder = folder();
    let weights = Weights::open(folder.path()).unwrap();
    let file = file();
    let shape = |name: &str| floats(&file, &format!("{}.values", name.split('.').next().unwrap())).2;
    let tensors: Vec<(String, Coded)> = weights.names().map(|n| (n.to_string(), weights.coded(n, &shape(n)).unwrap())).collect();
    let copy = folder.path().join("copy.safetensors");
    bnb::write_tensors(&copy, &BTreeMap::new(), &tensors).unwrap();
    assert!(fs::read(copy).unwrap() == fs::read(golden("bnb.safetensors")).unwrap());
}

fn quantise(values: &[f32], shape: &[usize], scheme: Scheme, dtype: Dtype) -> Coded {
    let width = shape[1];
    Coded::quantised("t", (shape[0], width), scheme, dtype, &mut |row, out| {
        out.copy_from_slice(&values[row * width..][..out.len()]);
        Ok(())
    })
    .unwrap()
}

/// Bytes of a part by the end of its name.
fn part(coded: &Coded, ending: &str) -> Vec<u8> {
    let parts = coded.parts("t.weight").unwrap();
    parts.into_iter().find(|p| p.name == format!("t.{ending}")).unwrap_or_else(|| panic!("{ending}")).bytes.into_owned()
}

#[test]
fn what_bitsandbytes_quantises_we_quantise_alike() {
    let file = file();
    for matrix in MATRICES {
        let (values, dtype, shape) = floats(&file, &format!("{matrix}.values"));
        let stored = |rest: &str| file.tensor(&format!("{matrix}.{rest}")).unwrap().bytes;
        let single = quantise(&values, &shape, Scheme::Nf4 { double: false }, dtype);
        for ending in ["weight", "weight.absmax", "weight.quant_map", "weight.quant_state.bitsandbytes__nf4"] {
            assert_eq!(part(&single, ending), stored(&format!("nf4.{ending}")), "{matrix} {ending}");
        }
        let rows = quantise(&values, &shape, Scheme::Int8, dtype);
        for ending in ["weight", "SCB"] {
            assert_eq!(part(&rows, ending), stored(&format!("int8.{ending}")), "{matrix} {ending}");
        }
        let double = quantise(&values, &shape, Scheme::Nf4 { double: true }, dtype);
        for ending in ["weight", "weight.quant_map", "weight.nested_quant_map"] {
            assert_eq!(part(&double, ending), stored(&format!("nested.{ending}")), "{matrix} {ending}");
        }
        nested_alike(matrix, &double, &file);
    }
}

/// The mean of the scales depends on the order of a sum, so what follows from it may differ in the last digits.
fn nested_alike(matrix: &str, ours: &Coded, file: &File) {
    let theirs = |rest: &str| file.tensor(&format!("{matrix}.nested.weight.{rest}")).unwrap().bytes;
    let state = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let text = "quant_state.bitsandbytes__nf4";
    let (mut a, mut b) = (state(&part(ours, &format!("weight.{text}"))), state(theirs(text)));
    let near = |a: f64, b: f64, of: f64| (a - b).abs() <= of.abs() * 4.0 * f64::from(f32::EPSILON);
    let (x, y) = (a["nested_offset"].take().as_f64().unwrap(), b["nested_offset"].take().as_f64().unwrap());
    assert!(near(x, y, y), "{matrix} offset {x} {y}");
    assert_eq!(a, b);
    let singles = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect::<Vec<_>>();
    let (found, expected) = (singles(&part(ours, "weight.nested_absmax")), singles(theirs("nested_absmax")));
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(&expected).all(|(a, b)| near(*a, *b, b.abs().max(y))), "{matrix} {found:?} {expected:?}");
    // bitsandbytes' CPU library takes the code of the nearest of 65,536 even steps from -1 to 1, ours is the nearest of all.
    let step = 2.0 / 65535.0;
    let (map, scales) = (singles(theirs("nested_quant_map")), singles(file.tensor(&format!("{matrix}.nf4.weight.absmax")).unwrap().bytes));
    let mut differ = 0;
    for (i, (a, b)) in part(ours, "weight.absmax").into_iter().zip(theirs("absmax")).enumerate() {
        let far = |code: u8| ((scales[i] - y) / expected[i / 256] - map[usize::from(code)]).abs();
        assert!(a == *b || far(a) <= far(*b) && far(*b) < far(a) + 1.01 * step, "{matrix} block {i}: {a} and {b}");
        differ += usize::from(a != *b);
    }
    // Measured: 3 of the 576 scales of `large`, none elsewhere.
    assert!(differ <= 3, "{matrix}: {differ} codes differ");
}

#[test]
fn sizes_are_known_before() {
    for shape in [[1, 1], [3, 64], [5, 37], [70, 129], [300, 64]] {
        for (_, scheme) in KINDS {
            let coded = quantise(&vec![0.5; shape[0] * shape[1]], &shape, scheme, Dtype::F32);
            assert_eq!(coded.bytes(), scheme.bytes(shape[0], shape[1]), "{shape:?} {scheme:?}");
            assert!(decoded(&coded).iter().all(|x| (x - 0.5).abs() < 1e-2));
        }
    }
}

#[test]
fn blocks_of_gguf_stay_coded_and_come_in_hugging_face_order() {
    let weights = Weights::open(&golden("tiny_llama.gguf")).unwrap();
    let judge = File::open(&golden("tiny_llama.safetensors")).unwrap();
    for name in judge.names() {
        let (expected, _, shape) = floats(&judge, name);
        let coded = weights.coded(name, &shape).unwrap();
        assert_eq!(decoded(&coded), expected, "{name}");
        assert_eq!(coded.bytes(), weights.tensor(name).unwrap().tensor.bytes.len());
        // Quantised on load: the same as quantising the decoded rows.
        if let [rows, width] = shape[..] {
            for (_, scheme) in KINDS {
                let found = weights.quantised(name, (rows, width), scheme, Dtype::F32).unwrap();
                assert_eq!(decoded(&found), decoded(&quantise(&expected, &shape, scheme, Dtype::F32)), "{name} {scheme:?}");
            }
        }
    }
    let embedding = weights.coded("model.embed_tokens.weight", &[12, 32]).unwrap();
    assert_eq!((embedding.kind(), embedding.align(), embedding.bytes()), ("Q8_0", 32, 12 * 34));
    assert!(embedding.parts("e").unwrap_err().to_string().starts_with("tensor `e`: the number of elements in a block of GGUF is 32"));
}

#[test]
fn a_bias_in_paired_order_is_put_in_order() {
    // 32 elements of one block of Q8_0, of 4 heads: stored 0, 1, 2 ... with a scale of 1.
    let mut bytes = vec![0x00, 0x3c];
    bytes.extend(0..32);
    let tensor = formats::Tensor { name: "b", dtype: Dtype::Q8_0, shape: vec![32], bytes: &bytes };
    let stored = formats::Stored { tensor, order: formats::RowOrder::Paired { heads: 4 } };
    let coded = Coded::of(&stored).unwrap();
    assert_eq!((coded.shape(), coded.outputs(), coded.inputs(), coded.kind()), (&[32][..], 1, 32, "F32"));
    assert_eq!(decoded(&coded)[8..16], [8.0, 10.0, 12.0, 14.0, 9.0, 11.0, 13.0, 15.0]);
    let mut out = [0f32; 32];
    stored.read_f32(&mut out).unwrap();
    assert_eq!(decoded(&coded), out);
}

#[test]
fn every_block_type_decodes_from_any_start() {
    let file = File::open(&golden("blocks.safetensors")).unwrap();
    for dtype in [Dtype::Q4_0, Dtype::Q4_1, Dtype::Q5_0, Dtype::Q5_1, Dtype::Q8_0, Dtype::Q4K, Dtype::Q5K, Dtype::Q6K, Dtype::BF16] {
        let bytes = file.tensor(&format!("{dtype}.stored")).unwrap().bytes;
        let (expected, ..) = floats(&file, &format!("{dtype}.values"));
        let width = expected.len();
        let tensor = formats::Tensor { name: "t", dtype, shape: vec![1, width], bytes };
        let coded = Coded::of(&formats::Stored { tensor, order: formats::RowOrder::Plain }).unwrap();
        assert_eq!((coded.align(), coded.kind()), (dtype.block_elements(), dtype.name()));
        for from in (0..width).step_by(7).chain([width]) {
            for to in [from, from + 1, from + 31, from + 32, from + 300, width].into_iter().filter(|to| *to <= width) {
                let mut out = vec![f32::NAN; to - from];
                coded.decode(0, from, &mut out);
                same(&out, &expected[from..to], &format!("{dtype} {from}..{to}"));
            }
        }
    }
}

#[test]
fn a_folder_of_a_model_comes_back() {
    let source = Weights::open(&golden("tiny_llama.gguf")).unwrap();
    let config = formats::ModelConfig::open(&golden("tiny_llama.gguf")).unwrap();
    let judge = File::open(&golden("tiny_llama.safetensors")).unwrap();
    for (_, scheme) in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let tensors: Vec<(String, Coded)> = judge.names().map(|name| (name.to_string(), one(&source, name, scheme))).collect();
        bnb::write_folder(folder.path(), &config, Dtype::F16, &tensors).unwrap();
        let read = formats::ModelConfig::open(folder.path()).unwrap();
        assert_eq!(read.quantization, Some(formats::Quantization { scheme, skip: vec!["lm_head".to_string()] }));
        assert!(read.to_hf_json("float32").get("quantization_config").is_none(), "a merged model is not quantised");
        let weights = Weights::open(folder.path()).unwrap();
        for (name, coded) in &tensors {
            let back = weights.coded(name, coded.shape()).unwrap();
            assert_eq!((back.scheme(), back.kind(), decoded(&back)), (coded.scheme(), coded.kind(), decoded(coded)), "{name}");
        }
        let plain = tensors.iter().filter(|(_, c)| c.scheme().is_none()).cloned().collect::<Vec<_>>();
        let refused = bnb::write_folder(folder.path(), &config, Dtype::F16, &plain).unwrap_err().to_string();
        assert!(refused.contains("the tensors: found none that is quantised, expected NF4 or int8"), "{refused}");
    }
}

/// Linear layers quantised, the rest in half precision.
fn one(source: &Weights, name: &str, scheme: Scheme) -> Coded {
    let shape = source.tensor(name).unwrap().tensor.shape;
    match shape[..] {
        [rows, width] if name.contains("proj") => source.quantised(name, (rows, width), scheme, Dtype::F16).unwrap(),
        _ => {
            let mut values = vec![0f32; shape.iter().product()];
            source.load_f32(name, &shape, &mut values).unwrap();
            let bytes = formats::safetensors::encode_f32(name, Dtype::F16, &values).unwrap();
            let tensor = formats::Tensor { name, dtype: Dtype::F16, shape, bytes: &bytes };
            Coded::of(&formats::Stored { tensor, order: formats::RowOrder::Plain }).unwrap()
        }
    }
}

#[test]
fn what_cannot_be_quantised_is_named() {
    let say = |scheme, dtype, x: f32| {
        let fill = &mut |_: usize, out: &mut [f32]| {
            out.fill(1.0);
            out[5] = x;
            Ok(())
        };
        Coded::quantised("w", (1, 64), scheme, dtype, fill).unwrap_err().to_string()
    };
    let double = Scheme::Nf4 { double: true };
    assert_eq!(say(double, Dtype::F32, f32::NAN), "tensor `w`: element 5 is NaN, which NF4 cannot hold");
    assert_eq!(say(Scheme::Int8, Dtype::F32, f32::INFINITY), "tensor `w`: element 5 is inf, which int8 cannot hold");
    assert!(say(double, Dtype::I8, 1.0).contains("I8"));
    let out = Coded::quantised("w", (1, 64), double, Dtype::F32, &mut |_, _| {
        Err(formats::Error::NoModel { path: "p".into(), found: "x".into(), expected: "y".into() })
    });
    assert!(matches!(out, Err(formats::Error::NoModel { .. })));
}
