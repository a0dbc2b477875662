//! What can go wrong with a GPU, as facts.

use cudarc::driver::sys;
use std::ffi::CStr;
use std::fmt;

/// A failure of the GPU or of what it needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// A shared library could not be loaded.
    NoLibrary {
        /// Its name: `libcuda.so.1`.
        name: &'static str,
        /// Where it was looked for.
        tried: Vec<String>,
    },
    /// There is no such device.
    NoDevice {
        /// Its number.
        asked: usize,
        /// How many there are.
        count: usize,
    },
    /// No kernels for this kind of GPU.
    NoKernels {
        /// Its compute capability.
        capability: (u32, u32),
    },
    /// Not enough device memory.
    Memory {
        /// Bytes wanted.
        asked: usize,
        /// Bytes free.
        free: usize,
    },
    /// A kernel could not be compiled.
    Compile {
        /// Its file.
        file: String,
        /// What the compiler said.
        log: String,
    },
    /// A call failed.
    Call {
        /// Which.
        what: &'static str,
        /// What the library said.
        said: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoLibrary { name, tried } => write!(f, "{name} is not found (tried {})", tried.join(", ")),
            Error::NoDevice { asked, count } => write!(f, "there is no GPU {asked}: the driver offers {count}"),
            Error::NoKernels { capability: (major, minor) } => {
                write!(f, "no kernels for a GPU of compute capability {major}.{minor}: they begin at 8.0")
            }
            Error::Memory { asked, free } => write!(f, "{asked} bytes of GPU memory are wanted and {free} are free"),
            Error::Compile { file, log } => write!(f, "{file} does not compile: {log}"),
            Error::Call { what, said } => write!(f, "{what}: {said}"),
        }
    }
}

impl std::error::Error for Error {}

/// The driver's verdict as a result.
pub(crate) fn check(what: &'static str, code: sys::CUresult) -> Result<(), Error> {
    if code == sys::CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut text = std::ptr::null();
    // SAFETY: the driver answered a call, so it is loaded; the text is a constant of the driver.
    let known = unsafe { sys::cuGetErrorString(code, &mut text) } == sys::CUresult::CUDA_SUCCESS && !text.is_null();
    // SAFETY: as above.
    let said = if known { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() } else { format!("{code:?}") };
    Err(Error::Call { what, said })
}
