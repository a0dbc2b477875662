//! Where NVIDIA's libraries are: the system's, a CUDA toolkit's, or those of the `nvidia-*` wheels of a Python environment.
//!
//! `cudarc` opens a library by its name at the first call and panics when there is none; so each is looked for here first.
//! One that only lies in a wheel is opened by its path, after which opening it by name succeeds.

use super::Error;
use libloading::Library;
use std::path::PathBuf;
use std::sync::OnceLock;

/// A library that was looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its name.
    pub name: &'static str,
    /// Where it is: a path, or the name that the system's loader found.
    pub at: Option<String>,
    /// Where it was looked for.
    pub tried: Vec<String>,
}

/// The driver's library.
pub const DRIVER: [&str; 2] = ["libcuda.so.1", "libcuda.so"];
/// Matrix products.
pub const PRODUCTS: [&str; 3] = ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"];
/// The compiler of kernels, needed for a GPU that we have no kernels for.
pub const COMPILER: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

/// Looks for a library under its names and keeps it open.
pub fn find(names: &'static [&'static str]) -> Found {
    let mut tried = Vec::new();
    let mut open = |path: String| {
        // SAFETY: NVIDIA's libraries run no code at load that depends on us; the handle is never closed.
        let opened = unsafe { Library::new(&path) }.map(std::mem::forget).is_ok();
        tried.push(path.clone());
        opened.then_some(path)
    };
    let by_name = names.iter().find_map(|name| open(name.to_string()));
    let at = by_name.or_else(|| {
        let folders = folders();
        let paths = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        let there: Vec<PathBuf> = paths.filter(|path| path.exists()).collect();
        there.into_iter().find_map(|path| open(path.display().to_string()))
    });
    Found { name: names[0], at, tried }
}

/// The driver, opened once; whether it has any device to offer.
pub(crate) fn driver() -> Result<bool, Error> {
    static FOUND: OnceLock<Found> = OnceLock::new();
    need(FOUND.get_or_init(|| find(&DRIVER)))?;
    // SAFETY: the library is there; starting the driver more than once is allowed.
    match unsafe { cudarc::driver::sys::cuInit(0) } {
        cudarc::driver::sys::CUresult::CUDA_ERROR_NO_DEVICE => Ok(false),
        code => super::error::check("cuInit", code).map(|()| true),
    }
}

/// The library of matrix products, opened once.
pub(crate) fn products() -> Result<(), Error> {
    static FOUND: OnceLock<Found> = OnceLock::new();
    need(FOUND.get_or_init(|| find(&PRODUCTS)))
}

/// The compiler, opened once.
pub(crate) fn compiler() -> Result<(), Error> {
    static FOUND: OnceLock<Found> = OnceLock::new();
    need(FOUND.get_or_init(|| {
        let found = find(&COMPILER);
        // It opens a second library by name, which a wheel holds beside it.
        for folder in found.at.iter().filter_map(|at| PathBuf::from(at).parent().map(PathBuf::from)) {
            for path in under(&folder, "libnvrtc-builtins.so") {
                // SAFETY: as in `find`.
                let _missing_is_told_by_the_compiler = unsafe { Library::new(path) }.map(std::mem::forget);
            }
        }
        found
    }))
}

fn need(found: &Found) -> Result<(), Error> {
    match found.at {
        Some(_) => Ok(()),
        None => Err(Error::NoLibrary { name: found.name, tried: found.tried.clone() }),
    }
}

/// Folders beside the loader's own: toolkits, and the wheels of Python environments.
fn folders() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(std::env::var_os).map(|p| PathBuf::from(p).join("lib64")).collect();
    all.push("/usr/local/cuda/lib64".into());
    let mut roots: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(std::env::var_os).map(PathBuf::from).collect();
    roots.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths).filter_map(|bin| bin.parent().map(PathBuf::from)));
    for root in roots {
        for python in under(&root.join("lib"), "python3") {
            for packages in ["site-packages", "dist-packages"] {
                // Wheels for CUDA 13 share one folder, earlier ones have one each.
                all.extend(under(&python.join(packages).join("nvidia"), "").into_iter().map(|wheel| wheel.join("lib")));
            }
        }
    }
    all
}

/// What `folder` holds whose names begin with `start`, in order of their names.
fn under(folder: &std::path::Path, start: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.filter(|e| e.file_name().to_string_lossy().starts_with(start)).map(|e| e.path()).collect();
    found.sort();
    found
}
