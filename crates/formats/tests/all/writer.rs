//! Writing safetensors: what is written comes back, and nothing half-written stays.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use formats::Dtype;
use formats::safetensors::{Entry, File, Writer};

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
