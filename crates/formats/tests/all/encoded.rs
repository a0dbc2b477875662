//! What we encode for GGUF against the gguf package, and what no block can hold.

use formats::safetensors::File;
use formats::{Dtype, Tensor, gguf};

use crate::golden;

const KINDS: [Dtype; 4] = [Dtype::F16, Dtype::BF16, Dtype::Q8_0, Dtype::Q4_0];

#[test]
fn bytes_are_those_of_the_reference() {
    let file = File::open(&golden("encoded.safetensors")).unwrap();
    let tensor = file.tensor("values").unwrap();
    let mut values = vec![0f32; tensor.elements()];
    tensor.read_f32(&mut values).unwrap();
    for dtype in KINDS {
        let expected = file.tensor(dtype.name()).unwrap().bytes;
        let mut out = vec![0xaa];
        // In two calls: whole rows may come in any pieces.
        let (first, second) = values.split_at(values.len() / 4);
        gguf::encode("t", dtype, first, &mut out).unwrap();
        gguf::encode("t", dtype, second, &mut out).unwrap();
        let size = dtype.block_bytes();
        assert_eq!(out.len() - 1, expected.len(), "{dtype}");
        for (i, (a, b)) in out[1..].chunks(size).zip(expected.chunks(size)).enumerate() {
            assert_eq!(a, b, "{dtype} block {i}: {:?}", &values[i * dtype.block_elements()..][..dtype.block_elements()]);
        }
    }
}

#[test]
fn what_is_read_back_is_near() {
    let values: Vec<f32> = (0..320u32).map(|i| (i.wrapping_mul(2654435761) >> 8) as f32 / 2f32.powi(23) - 1.0).collect();
    // Half a step of the largest element in a block, and the rounding of the scale to a half; Q4_0's last step is lost on one side.
    for (dtype, steps) in [(Dtype::Q8_0, 0.5 / 127.0), (Dtype::Q4_0, 1.0 / 8.0)] {
        let mut bytes = Vec::new();
        gguf::encode("t", dtype, &values, &mut bytes).unwrap();
        let mut back = vec![f32::NAN; 320];
        Tensor { name: "t", dtype, shape: vec![5, 64], bytes: &bytes }.read_f32(&mut back).unwrap();
        for (x, y) in values.chunks(32).zip(back.chunks(32)) {
            let most = x.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (x, y) in x.iter().zip(y) {
                assert!((x - y).abs() <= most * (steps + 2f32.powi(-11)), "{dtype} {x} {y} of {most}");
            }
        }
    }
}

#[test]
fn what_no_block_holds_is_refused() {
    let mut out = Vec::new();
    let mut x = [1.0; 64];
    let say = |dtype, x: &[f32], out: &mut Vec<u8>| gguf::encode("w", dtype, x, out).unwrap_err().to_string();
    assert_eq!(say(Dtype::Q8_0, &x[..40], &mut out), "tensor `w`: the number of values is 40, expected 64");
    assert_eq!(say(Dtype::Q6K, &x, &mut out), "tensor `w`: element 0 is 1, which Q6_K cannot hold");
    x[35] = f32::NAN;
    for dtype in [Dtype::Q8_0, Dtype::Q4_0] {
        assert_eq!(say(dtype, &x, &mut out), format!("tensor `w`: element 35 is NaN, which {dtype} cannot hold"));
    }
    x[35] = -9e6;
    assert_eq!(say(Dtype::Q8_0, &x, &mut out), "tensor `w`: element 35 is -9000000, which Q8_0 cannot hold");
    assert_eq!(say(Dtype::F16, &x, &mut out), "tensor `w`: element 35 is -9000000, which F16 cannot hold");
    assert!(KINDS.into_iter().all(gguf::encodes) && !gguf::encodes(Dtype::Q6K));
}
