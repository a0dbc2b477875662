//! Kernels to machine code by NVIDIA's run-time compiler (NVRTC), which needs no GPU.

use super::{Error, library};
use cudarc::nvrtc::sys;
use std::ffi::{CStr, CString};

/// Compiles `source` for `target`, a real architecture such as `sm_90a`.
///
/// # Errors
/// When the compiler is not found, or refuses the source.
pub fn compile(file: &str, source: &str, target: &str) -> Result<Vec<u8>, Error> {
    library::compiler()?;
    let refused = |log: String| Error::Compile { file: file.into(), log };
    let text = |s: &str| CString::new(s).map_err(|_| refused("a zero byte".into()));
    let (source, name) = (text(source)?, text(file)?);
    let options = [text(&format!("--gpu-architecture={target}"))?, text("--std=c++17")?, text("--fmad=true")?];
    let pointers: Vec<_> = options.iter().map(|o| o.as_ptr()).collect();
    let mut program = std::ptr::null_mut();
    // SAFETY: all strings end with a zero and outlive the calls; the program is destroyed once, on every way out.
    unsafe {
        let (none, names) = (std::ptr::null(), std::ptr::null());
        told(file, sys::nvrtcCreateProgram(&mut program, source.as_ptr(), name.as_ptr(), 0, none, names))?;
        let compiled = told(file, sys::nvrtcCompileProgram(program, pointers.len() as i32, pointers.as_ptr()));
        let result = match compiled {
            Ok(()) => image(file, program),
            Err(_) => Err(refused(log(program))),
        };
        sys::nvrtcDestroyProgram(&mut program);
        result
    }
}

/// The compiler's version, such as (13, 0).
///
/// # Errors
/// When it is not found.
pub fn version() -> Result<(i32, i32), Error> {
    library::compiler()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is there and both places are valid.
    unsafe { told("nvrtcVersion", sys::nvrtcVersion(&mut major, &mut minor))? };
    Ok((major, minor))
}

/// SAFETY: `program` is one that was compiled.
unsafe fn image(file: &str, program: sys::nvrtcProgram) -> Result<Vec<u8>, Error> {
    let mut size = 0;
    // SAFETY: by the caller; the second call writes the bytes that the first counted.
    unsafe {
        told(file, sys::nvrtcGetCUBINSize(program, &mut size))?;
        let mut bytes = vec![0u8; size];
        told(file, sys::nvrtcGetCUBIN(program, bytes.as_mut_ptr().cast()))?;
        Ok(bytes)
    }
}

/// SAFETY: `program` exists.
unsafe fn log(program: sys::nvrtcProgram) -> String {
    let mut size = 0;
    // SAFETY: by the caller; the second call writes the bytes that the first counted.
    unsafe {
        sys::nvrtcGetProgramLogSize(program, &mut size);
        let mut bytes = vec![0u8; size.max(1)];
        sys::nvrtcGetProgramLog(program, bytes.as_mut_ptr().cast());
        CStr::from_bytes_until_nul(&bytes).map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

fn told(file: &str, code: sys::nvrtcResult) -> Result<(), Error> {
    match code {
        sys::nvrtcResult::NVRTC_SUCCESS => Ok(()),
        code => Err(Error::Compile { file: file.into(), log: format!("{code:?}") }),
    }
}
