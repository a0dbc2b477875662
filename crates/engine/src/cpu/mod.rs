//! The CPU as a device: its threads, its vector width, and scratch memory that is kept between calls.

pub mod arena;
pub mod coded;
pub(crate) mod columns;
pub mod gemm;
pub mod lanes;
pub mod math;
pub(crate) mod pairs;
pub mod shared;
pub(crate) mod strips;
pub(crate) mod weight;

use lanes::Level;
use std::sync::Mutex;

/// What every op needs to run: threads, the vector kernels of this CPU, and reusable scratch.
pub struct Cx {
    pool: rayon::ThreadPool,
    level: Level,
    scratch: Mutex<Vec<f32>>,
}

impl Cx {
    /// A context with `threads` worker threads (0: as many as the machine has cores).
    ///
    /// # Errors
    /// When the operating system refuses the threads.
    pub fn new(threads: usize) -> Result<Cx, String> {
        Cx::with_level(threads, Level::detect())
    }

    /// As [`Cx::new`], with a given kernel level: the judges run every level the CPU has.
    pub fn with_level(threads: usize, level: Level) -> Result<Cx, String> {
        assert!(level <= Level::detect(), "this CPU does not have {level:?}");
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("engine-{i}"))
            .build()
            .map_err(|e| format!("cannot start {threads} threads: {e}"))?;
        Ok(Cx { pool, level, scratch: Mutex::new(Vec::new()) })
    }

    /// Number of worker threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// The vector kernels in use.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Runs `f` on the worker threads, so that parallel iterators inside use them.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// Lends `len` floats of scratch (contents arbitrary) to `f`. The memory is kept for the next call.
    pub(crate) fn with_scratch<R>(&self, len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
        // A nested call finds the slot empty and makes its own buffer; the larger one is kept.
        let mut buffer = self.scratch.lock().map(|mut s| std::mem::take(&mut *s)).unwrap_or_default();
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
        let result = f(&mut buffer[..len]);
        if let Ok(mut slot) = self.scratch.lock()
            && slot.len() < buffer.len()
        {
            *slot = buffer;
        }
        result
    }
}

/// Runs `f(i)` for every `i < count` on the worker threads; each index is done by one thread.
pub(crate) fn for_each(cx: &Cx, count: usize, f: impl Fn(usize) + Sync + Send) {
    use rayon::prelude::*;
    if count <= 1 || cx.threads() == 1 {
        (0..count).for_each(f);
    } else {
        cx.install(|| (0..count).into_par_iter().with_max_len(1).for_each(f));
    }
}

/// Calls `f(first_row, rows)` over `count` rows in fixed blocks of `block` rows.
pub(crate) fn for_rows(cx: &Cx, count: usize, block: usize, f: impl Fn(usize, usize) + Sync + Send) {
    for_each(cx, count.div_ceil(block), |i| f(i * block, block.min(count - i * block)));
}
