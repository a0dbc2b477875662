//! The NVIDIA GPU: found at run time, so that one binary runs with and without it.
//!
//! A [`Gpu`] is one device with one stream, on which everything happens in the order of the calls. What an op launches
//! returns at once; the first failure is kept and told where the host waits for the device: [`Gpu::wait`], or when a
//! buffer is read. All float sums have a fixed order, so the same calls give the same bits.

pub mod compile;
pub mod error;
pub mod graph;
pub mod kernels;
mod launch;
pub mod library;
mod map;
pub mod memory;
pub mod product;
pub mod staging;
pub mod tiles;
pub mod timer;

pub use error::Error;
pub use half::bf16;
pub(crate) use launch::{Arg, Args, args, eights};
pub(crate) use map::Map;
pub use memory::{Arena, Buffer, Element, Memory, Named, Rows};

use cudarc::driver::sys;
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex};

/// Bytes of device memory that the driver's context, kernels and cuBLASLt take before anything is asked for: what an H200 had in
/// use beside our buffers, the same for ten kinds of run (driver 580, CUDA 13.0).
pub const CONTEXT: usize = 536 << 20;

/// What a GPU is.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// As the driver calls it: `NVIDIA H200`.
    pub name: String,
    /// Compute capability: (9, 0) is Hopper.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of device memory.
    pub memory: usize,
    /// Bytes of shared memory that a block may have.
    pub shared: usize,
    /// The CUDA version that the driver speaks: 13000 is 13.0.
    pub driver: u32,
}

/// One device, its stream and what is loaded on it.
pub struct Gpu {
    about: About,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    functions: Mutex<HashMap<&'static str, launch::Function>>,
    modules: Mutex<HashMap<&'static str, launch::Module>>,
    products: ManuallyDrop<Mutex<product::Products>>, // dropped before the context
    failed: Mutex<Option<Error>>,
    watched: Mutex<Option<timer::Watched>>,
}

// SAFETY: the handles are not bound to a thread: the driver allows any thread to use them once the context is current
// there, which `enter` sees to; what changes lies behind mutexes.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}

impl Gpu {
    /// How many devices the driver offers.
    ///
    /// # Errors
    /// When there is no driver, or it does not start.
    pub fn count() -> Result<usize, Error> {
        if !library::driver()? {
            return Ok(0);
        }
        let mut count = 0;
        // SAFETY: the driver is loaded; `count` is a valid place.
        unsafe { error::check("cuDeviceGetCount", sys::cuDeviceGetCount(&mut count))? };
        Ok(count.max(0) as usize)
    }

    /// What device number `ordinal` is, without opening it.
    ///
    /// # Errors
    /// A missing driver or device.
    pub fn look(ordinal: usize) -> Result<About, Error> {
        let count = Gpu::count()?;
        if ordinal >= count {
            return Err(Error::NoDevice { asked: ordinal, count });
        }
        let mut device = 0;
        // SAFETY: the driver is loaded and the ordinal exists.
        unsafe { error::check("cuDeviceGet", sys::cuDeviceGet(&mut device, ordinal as i32))? };
        about(device)
    }

    /// Opens device number `ordinal` and everything that its kernels and products need.
    ///
    /// # Errors
    /// A missing driver, library or device; a device that we have no kernels for.
    pub fn open(ordinal: usize) -> Result<Arc<Gpu>, Error> {
        let count = Gpu::count()?;
        if ordinal >= count {
            return Err(Error::NoDevice { asked: ordinal, count });
        }
        library::products()?;
        let mut device = 0;
        // SAFETY: the driver is loaded, the ordinal exists, and the place is valid.
        unsafe { error::check("cuDeviceGet", sys::cuDeviceGet(&mut device, ordinal as i32))? };
        let about = about(device)?;
        kernels::for_capability(about.capability)?;
        let mut context = std::ptr::null_mut();
        // SAFETY: the device exists and the place is valid.
        unsafe { error::check("cuDevicePrimaryCtxRetain", sys::cuDevicePrimaryCtxRetain(&mut context, device))? };
        Gpu::on(device, context, about).inspect_err(|_| {
            // SAFETY: retained above, and nobody holds it; what was said first is what is told.
            unsafe { sys::cuDevicePrimaryCtxRelease_v2(device) };
        })
    }

    /// A stream and the library of products on a context.
    fn on(device: sys::CUdevice, context: sys::CUcontext, about: About) -> Result<Arc<Gpu>, Error> {
        let mut stream = std::ptr::null_mut();
        // SAFETY: the context is retained, and the place is valid.
        unsafe {
            error::check("cuCtxSetCurrent", sys::cuCtxSetCurrent(context))?;
            let flags = sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
            error::check("cuStreamCreate", sys::cuStreamCreate(&mut stream, flags))?;
        }
        Ok(Arc::new(Gpu {
            about,
            device,
            context,
            stream,
            functions: Mutex::default(),
            modules: Mutex::default(),
            products: ManuallyDrop::new(Mutex::new(product::Products::new()?)),
            failed: Mutex::default(),
            watched: Mutex::default(),
        }))
    }

    /// What it is.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Everything that its bits depend on: device, library of products, kernels.
    pub fn identity(&self) -> String {
        // SAFETY: the library was found when the device was opened.
        let library = unsafe { cudarc::cublaslt::sys::cublasLtGetVersion() };
        format!("{}, cuBLASLt {library}, kernels {}", self.about.name, kernels::identity())
    }

    /// Bytes of device memory that are free, and all.
    ///
    /// # Errors
    /// When the device does not answer.
    pub fn memory(&self) -> Result<(usize, usize), Error> {
        self.enter();
        let (mut free, mut total) = (0, 0);
        // SAFETY: the context is current.
        unsafe { error::check("cuMemGetInfo", sys::cuMemGetInfo_v2(&mut free, &mut total))? };
        Ok((free, total))
    }

    /// Waits until everything that was asked for is done.
    ///
    /// # Errors
    /// The first thing that failed since the last wait.
    pub fn wait(&self) -> Result<(), Error> {
        self.enter();
        // SAFETY: the stream lives as long as `self`.
        let waited = unsafe { error::check("cuStreamSynchronize", sys::cuStreamSynchronize(self.stream)) };
        let earlier = self.failed.lock().ok().and_then(|mut f| f.take());
        earlier.map_or(waited, Err)
    }

    /// Keeps the first failure for the next [`Gpu::wait`].
    pub(crate) fn note(&self, result: Result<(), Error>) {
        if let (Err(e), Ok(mut failed)) = (result, self.failed.lock()) {
            failed.get_or_insert(e);
        }
    }

    /// Makes the context current on this thread.
    pub(crate) fn enter(&self) {
        // SAFETY: the context was retained and lives as long as `self`.
        self.note(unsafe { error::check("cuCtxSetCurrent", sys::cuCtxSetCurrent(self.context)) });
    }

    pub(crate) fn stream(&self) -> sys::CUstream {
        self.stream
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        self.enter();
        if let Ok(watched) = self.watched.get_mut() {
            *watched = None;
        }
        // SAFETY: nothing uses the stream or the context any more; memory holds an `Arc` of this device. The products are dropped
        // here alone.
        unsafe {
            sys::cuStreamSynchronize(self.stream);
            ManuallyDrop::drop(&mut self.products);
            sys::cuStreamDestroy_v2(self.stream);
            sys::cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}

fn about(device: sys::CUdevice) -> Result<About, Error> {
    use sys::CUdevice_attribute_enum as A;
    let attribute = |which| {
        let mut value = 0;
        // SAFETY: the driver is loaded and `device` is one of its devices.
        unsafe { error::check("cuDeviceGetAttribute", sys::cuDeviceGetAttribute(&mut value, which, device)) }.map(|()| value as u32)
    };
    let (mut name, mut memory, mut driver) = ([0; 256], 0, 0);
    // SAFETY: as above; the name's length is given.
    unsafe {
        error::check("cuDeviceGetName", sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as i32, device))?;
        error::check("cuDeviceTotalMem", sys::cuDeviceTotalMem_v2(&mut memory, device))?;
        error::check("cuDriverGetVersion", sys::cuDriverGetVersion(&mut driver))?;
    }
    let name = name.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect::<Vec<_>>();
    Ok(About {
        name: String::from_utf8_lossy(&name).into_owned(),
        capability: (
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory,
        shared: attribute(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as usize,
        driver: driver as u32,
    })
}

#[cfg(test)]
pub(crate) mod tests;
