//! Matrix products by cuBLASLt: the shapes of a run are described once, and their algorithm is kept.
//!
//! Matrices are row-major with a stride, as on the CPU; cuBLASLt counts columns first, so a product C = A·B is asked for as
//! Cᵀ = Bᵀ·Aᵀ. Reductions that are split over blocks in an order that timing decides are not allowed.

use super::{Buffer, Element, Error, Gpu, error};
use cudarc::cublaslt::sys::{self, cublasLtMatmulDescAttributes_t as D, cublasLtMatmulPreferenceAttributes_t as P};
use cudarc::driver::sys as driver;
use std::collections::HashMap;
use std::ffi::c_void;

/// Suggestions that are tried for a shape.
const TRIES: usize = 12;

/// Bytes that a product may use beside its operands.
pub const WORKSPACE: usize = 64 << 20;

/// The type of a matrix's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// float32.
    F32,
    /// bfloat16.
    Bf16,
    /// 8 bits, 4 of exponent and 3 of mantissa.
    F8,
}

impl Type {
    fn code(self) -> sys::cudaDataType {
        match self {
            Type::F32 => sys::cudaDataType::CUDA_R_32F,
            Type::Bf16 => sys::cudaDataType::CUDA_R_16BF,
            Type::F8 => sys::cudaDataType::CUDA_R_8F_E4M3,
        }
    }
}

/// Element types that a product takes.
pub trait Number: Element {
    /// Which it is.
    const TYPE: Type;
}
impl Number for f32 {
    const TYPE: Type = Type::F32;
}
impl Number for half::bf16 {
    const TYPE: Type = Type::Bf16;
}
impl Number for u8 {
    const TYPE: Type = Type::F8;
}

/// A matrix on the device: `rows` of `columns`, `stride` elements from row to row.
#[derive(Clone, Copy, Debug)]
pub struct Mat {
    address: u64,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    stride: usize,
    turned: bool,
    kind: Type,
}

impl Mat {
    /// Rows without gaps.
    pub fn new<T: Number>(buffer: &Buffer<T>, rows: usize, columns: usize) -> Mat {
        Mat::strided(buffer, rows, columns, columns)
    }

    /// Rows `stride` elements apart.
    pub fn strided<T: Number>(buffer: &Buffer<T>, rows: usize, columns: usize, stride: usize) -> Mat {
        let needed = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
        assert!(columns <= stride && needed <= buffer.len(), "{rows} x {columns} by {stride} of a buffer of {}", buffer.len());
        Mat { address: buffer.address(), rows, columns, stride, turned: false, kind: T::TYPE }
    }

    /// As many rows instead: where a buffer is known to have room for more than are meant.
    pub fn with_rows(self, rows: usize) -> Mat {
        assert!(!self.turned);
        Mat { rows, ..self }
    }

    /// The transpose.
    pub fn t(self) -> Mat {
        Mat { rows: self.columns, columns: self.rows, turned: !self.turned, ..self }
    }
}

/// What happens to what was there.
#[derive(Clone, Copy, Debug)]
pub enum Write {
    /// It is overwritten.
    Set,
    /// The product is added to it.
    Add,
    /// It is overwritten by the sum of this and the product.
    Plus(Mat),
}

/// What is done beside the product.
#[derive(Clone, Copy, Debug, Default)]
pub struct More {
    /// Added to every row: the address of one bf16 a column.
    pub bias: Option<u64>,
    /// Of 8-bit operands: what each row of A and each column of B is multiplied by, as addresses of float32.
    pub scales: Option<(u64, u64)>,
}

/// What makes two products the same to the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    m: usize,
    n: usize,
    k: usize,
    kinds: [Type; 3],
    turned: [bool; 2],
    strides: [usize; 4],
    /// Of A, B, C, D: the power of two that divides the address.
    aligned: [u32; 4],
    adds: bool,
    bias: bool,
    scaled: bool,
}

/// The operands of one product.
#[derive(Clone, Copy)]
struct Call {
    a: Mat,
    b: Mat,
    plus: Mat,
    out: Mat,
    more: More,
    adds: bool,
}

struct Plan {
    description: sys::cublasLtMatmulDesc_t,
    layouts: [sys::cublasLtMatrixLayout_t; 4],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The library's handle and the products that it was asked for.
pub(crate) struct Products {
    handle: sys::cublasLtHandle_t,
    plans: HashMap<Key, Plan>,
    /// How many suggestions are tried for a new shape.
    tries: usize,
    workspace: driver::CUdeviceptr,
}

// SAFETY: the handle and the descriptions are not bound to a thread; a mutex keeps calls apart.
unsafe impl Send for Products {}

impl Products {
    /// Opens the library on the current context.
    pub(crate) fn new() -> Result<Products, Error> {
        let (mut handle, mut workspace) = (std::ptr::null_mut(), 0);
        // SAFETY: the library was found and the context is current; both places are valid.
        unsafe {
            told("cublasLtCreate", sys::cublasLtCreate(&mut handle))?;
            error::check("cuMemAlloc", driver::cuMemAlloc_v2(&mut workspace, WORKSPACE))?;
        }
        Ok(Products { handle, plans: HashMap::new(), tries: 1, workspace })
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        // SAFETY: each was created once, and nothing runs any more: the device's stream was waited for.
        unsafe {
            for plan in self.plans.values() {
                for layout in plan.layouts {
                    sys::cublasLtMatrixLayoutDestroy(layout);
                }
                sys::cublasLtMatmulDescDestroy(plan.description);
            }
            sys::cublasLtDestroy(self.handle);
            driver::cuMemFree_v2(self.workspace);
        }
    }
}

impl Gpu {
    /// Whether the algorithm of a new shape is the fastest of several that are tried on its first operands, which are of no use
    /// afterwards, or the library's first suggestion.
    pub fn tune(&self, tries: bool) {
        let mut products = self.products.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        products.tries = if tries { TRIES } else { 1 };
    }
}

impl Gpu {
    /// Whether the library multiplies 8-bit floats with a scale a row: from 12.9 on, on Hopper and later.
    pub fn multiplies_eight(&self) -> bool {
        // SAFETY: the library was found when the device was opened.
        let version = unsafe { sys::cublasLtGetVersion() };
        self.about().capability >= (9, 0) && version >= 120_900
    }

    /// Operations a second of a large bfloat16 product on random numbers: what no step can beat.
    ///
    /// # Errors
    /// Too little memory, or what fails on the device.
    pub fn ceiling(self: &std::sync::Arc<Gpu>) -> Result<f64, Error> {
        const SIDE: usize = 8192;
        let [a, b, c] = [0, 1, 2].map(|_| Buffer::<half::bf16>::new(self, SIDE * SIDE));
        let (a, b, c) = (a?, b?, c?);
        crate::ops::rows::noise(self, &a, 1, 1.0);
        crate::ops::rows::noise(self, &b, 2, 1.0);
        let [a, b, c] = [&a, &b, &c].map(|m| Mat::new(m, SIDE, SIDE));
        let mut least = f32::INFINITY;
        for _ in 0..5 {
            let from = super::timer::Mark::now(self)?;
            product(self, c, Write::Set, a, b.t());
            least = least.min(super::timer::Mark::now(self)?.since(&from)?);
        }
        self.wait()?;
        Ok(2.0 * (SIDE as f64).powi(3) / (f64::from(least) * 1e-3))
    }
}

/// `out` = `a`·`b`, or plus what `write` says; sums in float32.
pub fn product(gpu: &Gpu, out: Mat, write: Write, a: Mat, b: Mat) {
    product_more(gpu, out, write, a, b, More::default());
}

/// As [`product`], with more around it.
pub fn product_more(gpu: &Gpu, out: Mat, write: Write, a: Mat, b: Mat, more: More) {
    assert!(a.columns == b.rows && out.rows == a.rows && out.columns == b.columns && !out.turned, "{out:?} = {a:?} · {b:?}");
    if out.rows == 0 || out.columns == 0 {
        return;
    }
    gpu.enter();
    let mut products = gpu.products.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    gpu.note(products.run(gpu, out, write, a, b, more));
}

impl Products {
    fn run(&mut self, gpu: &Gpu, out: Mat, write: Write, a: Mat, b: Mat, more: More) -> Result<(), Error> {
        let plus = match write {
            Write::Set | Write::Add => out,
            Write::Plus(c) => c,
        };
        assert!(plus.rows == out.rows && plus.columns == out.columns && plus.kind == out.kind && !plus.turned, "{plus:?} into {out:?}");
        let adds = !matches!(write, Write::Set);
        // Counted by columns: the first operand is B's transpose as it lies, the second A's.
        let key = Key {
            m: out.columns,
            n: out.rows,
            k: a.columns,
            kinds: [b.kind, a.kind, out.kind],
            turned: [b.turned, a.turned],
            strides: [b.stride, a.stride, plus.stride, out.stride],
            aligned: [b.address, a.address, plus.address, out.address].map(|at| 1 << at.trailing_zeros().min(8)),
            adds,
            bias: more.bias.is_some(),
            scaled: more.scales.is_some(),
        };
        let call = Call { a, b, plus, out, more, adds };
        if !self.plans.contains_key(&key) {
            let plan = self.plan(gpu, &key, &call)?;
            self.plans.insert(key, plan);
        }
        let plan = &self.plans[&key];
        let name = || format!("{} x {} x {}{}", key.n, key.m, key.k, if adds { " +" } else { "" });
        gpu.timed(name, || self.multiply(gpu, plan, &plan.algorithm, &call))
    }

    fn multiply(&self, gpu: &Gpu, plan: &Plan, algorithm: &sys::cublasLtMatmulAlgo_t, call: &Call) -> Result<(), Error> {
        let Call { a, b, plus, out, more, adds } = *call;
        let (alpha, beta) = (1f32, if adds { 1f32 } else { 0.0 });
        let at = |address: u64| address as *const c_void;
        scale(plan.description, &more)?;
        // SAFETY: the description fits the operands, whose sizes were checked when they were made.
        unsafe {
            if let Some(bias) = more.bias {
                set(plan.description, D::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
            }
            let (a, b, c, d) = (at(b.address), at(a.address), at(plus.address), at(out.address).cast_mut());
            let [la, lb, lc, ld] = plan.layouts;
            let (alpha, beta) = (std::ptr::from_ref(&alpha).cast(), std::ptr::from_ref(&beta).cast());
            let (work, stream) = (self.workspace as *mut c_void, gpu.stream().cast());
            told(
                "cublasLtMatmul",
                sys::cublasLtMatmul(
                    self.handle,
                    plan.description,
                    alpha,
                    a,
                    la,
                    b,
                    lb,
                    beta,
                    c,
                    lc,
                    d,
                    ld,
                    algorithm,
                    work,
                    WORKSPACE,
                    stream,
                ),
            )
        }
    }

    fn plan(&self, gpu: &Gpu, key: &Key, call: &Call) -> Result<Plan, Error> {
        let description = describe(key)?;
        let layouts = [
            layout(key.kinds[0], if key.turned[0] { (key.k, key.m) } else { (key.m, key.k) }, key.strides[0])?,
            layout(key.kinds[1], if key.turned[1] { (key.n, key.k) } else { (key.k, key.n) }, key.strides[1])?,
            layout(key.kinds[2], (key.m, key.n), key.strides[2])?,
            layout(key.kinds[2], (key.m, key.n), key.strides[3])?,
        ];
        // The library wants to see the scales before it suggests anything.
        scale(description, &call.more)?;
        let found = self.suggestions(key, description, layouts)?;
        let mut plan = Plan { description, layouts, algorithm: found[0] };
        if self.tries > 1 {
            plan.algorithm = self.fastest(gpu, &plan, &found, call)?;
        }
        Ok(plan)
    }

    /// The suggestion that takes the least time on these operands; what they hold afterwards is of no use.
    fn fastest(
        &self,
        gpu: &Gpu,
        plan: &Plan,
        found: &[sys::cublasLtMatmulAlgo_t],
        call: &Call,
    ) -> Result<sys::cublasLtMatmulAlgo_t, Error> {
        let mut best = (f32::INFINITY, found[0]);
        for algorithm in found {
            let mut least = f32::INFINITY;
            for _ in 0..4 {
                let from = super::timer::Mark::on(gpu)?;
                self.multiply(gpu, plan, algorithm, call)?;
                least = least.min(super::timer::Mark::on(gpu)?.since(&from)?);
            }
            if least < best.0 {
                best = (least, *algorithm);
            }
        }
        Ok(best.1)
    }

    /// The library's suggestions, the best first: a function of shape, library and GPU.
    fn suggestions(
        &self,
        key: &Key,
        description: sys::cublasLtMatmulDesc_t,
        [a, b, c, d]: [sys::cublasLtMatrixLayout_t; 4],
    ) -> Result<Vec<sys::cublasLtMatmulAlgo_t>, Error> {
        let mut preference = std::ptr::null_mut();
        let mut found = [sys::cublasLtMatmulHeuristicResult_t {
            algo: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
            workspaceSize: 0,
            state: sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS,
            wavesCount: 0.0,
            reserved: [0; 4],
        }; TRIES];
        let mut count = 0;
        // SAFETY: all handles are alive; the preference is destroyed once.
        let asked = unsafe {
            told("cublasLtMatmulPreferenceCreate", sys::cublasLtMatmulPreferenceCreate(&mut preference))?;
            let prefer = |what: P, value: u64, size: usize| {
                let value = std::ptr::from_ref(&value).cast();
                told("cublasLtMatmulPreferenceSetAttribute", sys::cublasLtMatmulPreferenceSetAttribute(preference, what, value, size))
            };
            let ordered = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u64;
            prefer(P::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE as u64, 8)?;
            prefer(P::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, ordered, 4)?;
            let places = [
                P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
            ];
            for (place, aligned) in places.into_iter().zip(key.aligned) {
                prefer(place, u64::from(aligned), 4)?;
            }
            let (results, wanted) = (found.as_mut_ptr(), self.tries as i32);
            let code = sys::cublasLtMatmulAlgoGetHeuristic(self.handle, description, a, b, c, d, preference, wanted, results, &mut count);
            sys::cublasLtMatmulPreferenceDestroy(preference);
            told("cublasLtMatmulAlgoGetHeuristic", code)
        };
        asked.map_err(|e| Error::Call { what: "cublasLtMatmulAlgoGetHeuristic", said: format!("{e} for {key:?}") })?;
        if count == 0 {
            return Err(Error::Call { what: "cublasLtMatmulAlgoGetHeuristic", said: format!("no algorithm for {key:?}") });
        }
        Ok(found[..count as usize].iter().map(|f| f.algo).collect())
    }
}

fn describe(key: &Key) -> Result<sys::cublasLtMatmulDesc_t, Error> {
    let mut description = std::ptr::null_mut();
    let (compute, scale) = (sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, sys::cudaDataType::CUDA_R_32F);
    // SAFETY: the place is valid, and the attributes have the types that the library documents.
    unsafe {
        told("cublasLtMatmulDescCreate", sys::cublasLtMatmulDescCreate(&mut description, compute, scale))?;
        // cublasOperation_t, which lies in the bindings of another library: 0 as it lies, 1 transposed.
        let operation = u32::from;
        set(description, D::CUBLASLT_MATMUL_DESC_TRANSA, &operation(key.turned[0]))?;
        set(description, D::CUBLASLT_MATMUL_DESC_TRANSB, &operation(key.turned[1]))?;
        if key.bias {
            set(description, D::CUBLASLT_MATMUL_DESC_EPILOGUE, &sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS)?;
            set(description, D::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &sys::cudaDataType::CUDA_R_16BF)?;
        }
        if key.scaled {
            let by_vector = sys::cublasLtMatmulMatrixScale_t::CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
            // Without this, 8-bit products are added up in float32 every few terms; with it, in what the tensor cores have.
            set(description, D::CUBLASLT_MATMUL_DESC_FAST_ACCUM, &1i8)?;
            set(description, D::CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &by_vector)?;
            set(description, D::CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &by_vector)?;
        }
    }
    Ok(description)
}

/// Tells where the scales of 8-bit operands lie.
fn scale(description: sys::cublasLtMatmulDesc_t, more: &More) -> Result<(), Error> {
    let Some((rows, columns)) = more.scales else { return Ok(()) };
    // SAFETY: the attributes are addresses.
    unsafe {
        set(description, D::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &columns)?;
        set(description, D::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &rows)
    }
}

/// SAFETY: `value` has the type that the library documents for `what`.
unsafe fn set<T>(description: sys::cublasLtMatmulDesc_t, what: D, value: &T) -> Result<(), Error> {
    let (at, size) = (std::ptr::from_ref(value).cast(), size_of::<T>());
    // SAFETY: by the caller.
    told("cublasLtMatmulDescSetAttribute", unsafe { sys::cublasLtMatmulDescSetAttribute(description, what, at, size) })
}

fn layout(kind: Type, (rows, columns): (usize, usize), stride: usize) -> Result<sys::cublasLtMatrixLayout_t, Error> {
    let mut made = std::ptr::null_mut();
    // SAFETY: the place is valid.
    let code = unsafe { sys::cublasLtMatrixLayoutCreate(&mut made, kind.code(), rows as u64, columns as u64, stride as i64) };
    told("cublasLtMatrixLayoutCreate", code).map(|()| made)
}

fn told(what: &'static str, code: sys::cublasStatus_t) -> Result<(), Error> {
    match code {
        sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS => Ok(()),
        code => Err(Error::Call { what, said: format!("{code:?}") }),
    }
}

impl From<super::Rows> for Mat {
    fn from(r: super::Rows) -> Mat {
        Mat { address: r.at, rows: r.rows, columns: r.width, stride: r.stride, turned: false, kind: Type::Bf16 }
    }
}
