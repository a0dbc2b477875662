//! Writing safetensors: what is written comes back, and nothing half-written stays.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use formats::safetensors::{Entry, File, Writer};
use formats::{Dtype, Error};

use crate::words;

fn entry(name: &str, dtype: Dtype, shape: &[usize]) -> Entry {
    Entry { name: name.to_string(), dtype, shape: shape.to_vec() }
}

fn listed(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_written_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let entries = [entry("b", Dtype::BF16, &[2, 2]), entry("empty", Dtype::F32, &[0, 4]), entry("a", Dtype::U8, &[3])];
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    let mut writer = Writer::create(&path, &entries, &metadata).unwrap();
    writer.put_f32("b", &[1.0, -2.0, 0.5, 0.0]).unwrap();
    writer.put("empty", &[]).unwrap();
    writer.put("a", &[7, 8, 9]).unwrap();
    assert!(!path.exists());
    writer.finish().unwrap();
    assert_eq!(listed(folder.path()), ["m.safetensors"]);
    let file = File::open(&path).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["b", "empty", "a"]);
    assert_eq!(file.metadata(), &metadata);
    let mut out = [9.0; 4];
    file.tensor("b").unwrap().read_f32(&mut out).unwrap();
    assert_eq!(out, [1.0, -2.0, 0.5, 0.0]);
    assert_eq!(file.tensor("a").unwrap().bytes, [7, 8, 9]);
    assert_eq!(fs::read(&path).unwrap()[..8][0] % 8, 0);
    assert!(file.tensor("c").is_none());
}

#[test]
fn a_writer_that_stops_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let path = at.join("m.safetensors");
    fs::write(&path, b"older").unwrap();
    let entries = [entry("a", Dtype::F32, &[2]), entry("b", Dtype::F16, &[1])];
    let mut writer = Writer::create(&path, &entries, &BTreeMap::new()).unwrap();
    assert_eq!(words(writer.put("b", &[0; 2]), at), "m.safetensors: tensor 0: found `b`, expected `a`");
    assert_eq!(words(writer.put("a", &[0; 7]), at), "m.safetensors: tensor `a`: found 7 bytes, expected 8 bytes");
    writer.put_f32("a", &[1.0, 2.0]).unwrap();
    assert_eq!(words(writer.put_f32("b", &[1e6]), at), "tensor `b`: element 0 is 1000000, which F16 cannot hold");
    assert_eq!(listed(at).len(), 2);
    assert_eq!(words(writer.finish(), at), "m.safetensors: tensor `b` is missing");
    assert_eq!(listed(at), ["m.safetensors"]);
    assert_eq!(fs::read(&path).unwrap(), b"older");
    drop(Writer::create(&path, &entries, &BTreeMap::new()).unwrap());
    assert_eq!(listed(at), ["m.safetensors"]);
    let twice = [entry("a", Dtype::F32, &[2]), entry("a", Dtype::F32, &[2])];
    assert!(words(Writer::create(&path, &twice, &BTreeMap::new()), at).contains("found the name twice"));
    let huge = [entry("a", Dtype::F32, &[usize::MAX, 2])];
    assert!(words(Writer::create(&path, &huge, &BTreeMap::new()), at).contains("expected a size that fits"));
    let gone = at.join("no/such/m.safetensors");
    assert!(words(Writer::create(&gone, &entries, &BTreeMap::new()), at).starts_with("cannot create no/such/"));
}

#[test]
fn a_long_tensor_is_written_in_pieces_and_refused_before_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.safetensors");
    let n = 700_001;
    let mut values: Vec<f32> = (0..n).map(|i| (i % 4096) as f32).collect();
    let entries = [Entry { name: "w".to_string(), dtype: Dtype::F16, shape: vec![n] }];
    let mut writer = Writer::create(&path, &entries, &BTreeMap::new()).unwrap();
    values[600_000] = 1e6;
    let error = writer.put_f32("w", &values).unwrap_err();
    assert!(matches!(error, Error::Range { index: 600_000, .. }), "{error}");
    values[600_000] = 7.0;
    assert!(writer.put_f32("w", &values[1..]).unwrap_err().to_string().contains("found 1400000 bytes"));
    writer.put_f32("w", &values).unwrap();
    writer.finish().unwrap();
    let mut back = vec![0f32; n];
    File::open(&path).unwrap().tensor("w").unwrap().read_f32(&mut back).unwrap();
    // F16 is exact up to 2,048 and even beyond.
    assert!(back.iter().zip(&values).all(|(b, v)| b == v || (*v > 2048.0 && (b - v).abs() <= 1.0)));
}
