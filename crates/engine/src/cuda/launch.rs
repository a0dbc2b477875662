//! Launching kernels by name.

use super::{Error, Gpu, error, kernels};
use cudarc::driver::sys;
use std::ffi::{CString, c_void};

/// A loaded function, and the most dynamic shared memory that it may have.
#[derive(Clone, Copy)]
pub(crate) struct Function(sys::CUfunction, usize);

/// A loaded file of kernels; unloaded with its context.
#[derive(Clone, Copy)]
pub(crate) struct Module(sys::CUmodule);

/// Blocks of a grid, threads of a block.
pub(crate) type Dim = (usize, usize, usize);

/// What may be passed to a kernel by value: plain data, whose size on the device is its size here.
pub(crate) trait Arg: Copy {}
impl Arg for u32 {}
impl Arg for i32 {}
impl Arg for u64 {}
impl Arg for f32 {}

/// The arguments of one launch, each at a multiple of eight bytes.
pub(crate) struct Args {
    words: [u64; 144],
    starts: [usize; 24],
    count: usize,
    used: usize,
}

impl Args {
    /// No arguments yet.
    pub(crate) fn new() -> Args {
        Args { words: [0; 144], starts: [0; 24], count: 0, used: 0 }
    }

    /// Appends a copy of `value`.
    pub(crate) fn push<T: Arg>(&mut self, value: T) {
        let words = size_of::<T>().div_ceil(size_of::<u64>());
        assert!(self.used + words <= self.words.len() && self.count < self.starts.len() && align_of::<T>() <= align_of::<u64>());
        // SAFETY: the words from `used` on are free, as many as `T` needs, and aligned at least as it is.
        unsafe { self.words.as_mut_ptr().add(self.used).cast::<T>().write(value) };
        self.starts[self.count] = self.used;
        (self.count, self.used) = (self.count + 1, self.used + words);
    }
}

/// Arguments one after another.
macro_rules! args {
    ($($value:expr),* $(,)?) => {{
        let mut args = $crate::cuda::Args::new();
        $(args.push($value);)*
        args
    }};
}
pub(crate) use args;

/// Blocks of 256 threads for `rows` rows cut into eights, a thread for each.
pub(crate) fn eights(rows: usize, width: usize) -> Dim {
    let tasks = rows * width.div_ceil(8);
    assert!(tasks < 1 << 32, "{rows} rows of {width} are too many for one call");
    (tasks.div_ceil(256), 1, 1)
}

/// Dynamic shared memory that a block may have without asking: 48 KiB, less what a kernel may name itself.
const SHARED_FREE: usize = 32 << 10;

impl Gpu {
    /// Runs kernel `name` of `file` (the op it belongs to) on `grid` blocks of `block` threads with `shared` bytes.
    pub(crate) fn launch(&self, file: &'static str, name: &'static str, grid: Dim, block: usize, shared: usize, args: Args) {
        self.launch_clusters(file, name, (grid, 1), block, shared, args);
    }

    /// The same in clusters: every `cluster` blocks that follow one another in x run at once and reach each other's shared memory.
    pub(crate) fn launch_clusters(
        &self,
        file: &'static str,
        name: &'static str,
        (grid, cluster): (Dim, usize),
        block: usize,
        shared: usize,
        mut args: Args,
    ) {
        if grid.0 == 0 || grid.1 == 0 || grid.2 == 0 {
            return;
        }
        self.enter();
        let mut pointers: [*mut c_void; 24] = [std::ptr::null_mut(); 24];
        for (pointer, &start) in pointers.iter_mut().zip(&args.starts[..args.count]) {
            *pointer = std::ptr::from_mut(&mut args.words[start]).cast();
        }
        let mut clusters = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue {
                clusterDim: sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: cluster as u32, y: 1, z: 1 },
            },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: grid.0 as u32,
            gridDimY: grid.1 as u32,
            gridDimZ: grid.2 as u32,
            blockDimX: block as u32,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shared as u32,
            hStream: self.stream(),
            attrs: &mut clusters,
            numAttrs: u32::from(cluster > 1), // a GPU without clusters refuses the attribute
        };
        let launched = self.function(file, name, shared).and_then(|Function(f, _)| {
            // SAFETY: the op that calls knows the kernel's parameters and has checked its sizes; what `pointers` and `config` name
            // outlives the call.
            let mut call = || unsafe { sys::cuLaunchKernelEx(&config, f, pointers.as_mut_ptr(), std::ptr::null_mut()) };
            self.timed(|| name.into(), || error::check(name, call()))
        });
        self.note(launched);
    }

    fn function(&self, file: &'static str, name: &'static str, shared: usize) -> Result<Function, Error> {
        let mut functions = self.functions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut function = match functions.get(name) {
            Some(known) => *known,
            None => Function(self.load(file, name)?, SHARED_FREE),
        };
        if shared > function.1 {
            let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is loaded.
            unsafe { error::check(name, sys::cuFuncSetAttribute(function.0, most, shared as i32))? };
            function.1 = shared;
        }
        functions.insert(name, function);
        Ok(function)
    }

    fn load(&self, file: &'static str, name: &'static str) -> Result<sys::CUfunction, Error> {
        let Module(module) = self.module(file)?;
        let mut f = std::ptr::null_mut();
        let symbol = CString::new(name).map_err(|_| Error::Call { what: "cuModuleGetFunction", said: format!("{name:?} is no name") })?;
        // SAFETY: the module is loaded, the name ends with a zero.
        unsafe { error::check(name, sys::cuModuleGetFunction(&mut f, module, symbol.as_ptr()))? };
        Ok(f)
    }

    fn module(&self, file: &'static str) -> Result<Module, Error> {
        let mut modules = self.modules.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(m) = modules.get(file) {
            return Ok(*m);
        }
        let image = kernels::image(file, self.about().capability)?;
        let mut module = std::ptr::null_mut();
        // SAFETY: the image is one that the compiler made for this capability.
        unsafe { error::check("cuModuleLoadData", sys::cuModuleLoadData(&mut module, image.as_ptr().cast()))? };
        modules.insert(file, Module(module));
        Ok(Module(module))
    }
}
