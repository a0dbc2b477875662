//! One allocation for all buffers of a run, handed out once in blocks and then sealed.
//!
//! A run whose buffers were counted before it began asks for exactly that many bytes; a block too many is a
//! bug of the plan and is refused, so that no step can allocate behind its back.

use super::shared::Shared;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// The memory of a run: so many floats, zeroed.
pub struct Arena {
    memory: Arc<Memory>,
    given: usize,
}

/// The floats, reached only through blocks that do not overlap.
struct Memory {
    shared: Shared<'static>,
    floats: Vec<f32>, // never grown: kept where it is for as long as any block lives
}

/// A part of an arena that belongs to its holder alone.
pub struct Block {
    memory: Arc<Memory>,
    from: usize,
    len: usize,
}

impl Arena {
    /// Takes `floats` from the system.
    pub fn new(floats: usize) -> Arena {
        let mut floats = vec![0f32; floats];
        // SAFETY: the vector neither grows nor is dropped before the last block, which holds `Memory`.
        let all: &'static mut [f32] = unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr(), floats.len()) };
        Arena { memory: Arc::new(Memory { shared: Shared::new(all), floats }), given: 0 }
    }

    /// The next `len` floats.
    ///
    /// # Panics
    /// When the plan asked for less than is taken: a bug of the plan.
    pub fn take(&mut self, len: usize) -> Block {
        let (from, size) = (self.given, self.memory.floats.len());
        assert!(len <= size - from, "the plan of {size} floats lacks room for {len} after {from}");
        self.given += len;
        Block { memory: self.memory.clone(), from, len }
    }

    /// Floats in all.
    pub fn size(&self) -> usize {
        self.memory.floats.len()
    }

    /// Floats handed out: the high-water mark, since nothing is given back.
    pub fn given(&self) -> usize {
        self.given
    }
}

impl Deref for Block {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `take` gave this range to this block alone, and `&self` keeps its writers away.
        unsafe { self.memory.shared.part(self.from, self.len) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `&mut self` is the only way in.
        unsafe { self.memory.shared.part(self.from, self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_overlap_and_outlive_the_arena() {
        let mut arena = Arena::new(7);
        let (mut a, mut b) = (arena.take(3), arena.take(4));
        assert_eq!((arena.size(), arena.given()), (7, 7));
        drop(arena);
        a.fill(1.0);
        b.fill(2.0);
        assert_eq!((&a[..], &b[..]), (&[1.0; 3][..], &[2.0; 4][..]));
    }

    #[test]
    #[should_panic(expected = "lacks room for 2 after 1")]
    fn a_sealed_arena_gives_nothing() {
        let mut arena = Arena::new(2);
        let _held = arena.take(1);
        arena.take(2);
    }
}
