//! How many answers side by side fit the memory that is free, and what they take.

use super::list::List;
use super::room::{Room, Sizes};
use crate::Dims;
use crate::generate::Job;
use crate::gpu::weights::Weights;
use engine::cuda::Arena;

/// Rows of a pass over prompts, unless one alone has more: more of them multiply no faster.
const ROWS: usize = 8192;

/// Free memory that is left alone: the driver and the library of products load code when it is first called.
pub(super) const LEFT: usize = 1 << 30;

/// What batches of `size` of a job ask for.
fn sizes(job: &Job, size: usize) -> Sizes {
    let slots = size.min(job.prompts.len()).max(1);
    let own = |i: usize| job.own(i).len();
    let most = |f: &dyn Fn(&[usize]) -> usize| job.order.chunks(slots).map(f).max().unwrap_or(0);
    let tokens = most(&|group| group.iter().map(|&i| own(i)).sum());
    let longest = job.order.iter().map(|&i| own(i)).max().unwrap_or(0);
    Sizes {
        slots,
        rows: tokens.min(ROWS).max(longest).max(job.prefix).max(slots),
        prefix: job.prefix,
        cached: job.prefix + most(&|group| group.iter().map(|&i| own(i) + job.room(i)).sum()),
        longest: job.positions(),
    }
}

/// Bytes of a job's buffers.
pub(super) fn bytes(d: &Dims, weights: &Weights, sizes: Sizes) -> usize {
    let mut arena = Arena::counting();
    room(&mut arena, d, weights, sizes);
    arena.given()
}

/// A job's buffers.
pub(super) fn room(arena: &mut Arena, d: &Dims, weights: &Weights, sizes: Sizes) -> Room {
    Room::take(arena, d, weights, sizes, List::most(sizes.rows, sizes.prefix, sizes.slots))
}

/// As many places as `most` and the `free` bytes allow; at least one, whether it fits or not.
pub(super) fn fit(job: &Job, d: &Dims, weights: &Weights, most: usize, free: usize) -> Sizes {
    let mut size = most.min(job.prompts.len()).max(1);
    loop {
        let sizes = sizes(job, size);
        if size == 1 || bytes(d, weights, sizes) + LEFT <= free {
            return sizes;
        }
        size = size.div_ceil(2);
    }
}

/// The prompts of a batch cut into passes of at most `rows` rows each: places in the batch.
pub(super) fn passes(job: &Job, group: &[usize], rows: usize) -> Vec<std::ops::Range<usize>> {
    let (mut all, mut from, mut sum) = (Vec::new(), 0, 0);
    for (place, &i) in group.iter().enumerate() {
        let own = job.own(i).len();
        if place > from && sum + own > rows {
            all.push(from..place);
            (from, sum) = (place, 0);
        }
        sum += own;
    }
    all.push(from..group.len());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Places;
    use crate::dims::tests::tiny;
    use crate::generate::Options;
    use crate::gpu::Hold;

    fn prompts() -> Vec<Vec<u32>> {
        // Twenty tokens in common, then 1 to 9 of their own.
        (0..9u32).map(|p| (0..20).chain((0..p + 1).map(|i| 30 + p + i)).collect()).collect()
    }

    fn weights(d: &Dims) -> Weights {
        Weights::take(&mut Arena::counting(), d, &Places::nothing(d), Hold::Bf16, 0)
    }

    #[test]
    fn sizes_are_those_of_the_largest_batch() {
        let (all, o) = (prompts(), Options { max_new: 10, stop: Vec::new(), batch: 4 });
        let job = Job::new(&all, &o, 64).expect("a job");
        assert_eq!((job.prefix, job.positions()), (20, 39));
        // Batches of 4 have 1 + 2 + 3 + 4, 5 + 6 + 7 + 8 and 9 own tokens, and ten new ones each.
        assert_eq!(sizes(&job, 4), Sizes { slots: 4, rows: 26, prefix: 20, cached: 20 + 26 + 40, longest: 39 });
        let short = Job::new(&all, &o, 31).expect("a job");
        assert_eq!(sizes(&short, 99).cached, 20 + 45 + 9 * 10 - (1..=8).sum::<usize>(), "no row beyond the context");
    }

    #[test]
    fn less_memory_means_fewer_side_by_side() {
        let (d, all, o) = (tiny(), prompts(), Options { max_new: 10, stop: Vec::new(), batch: 8 });
        let (job, w) = (Job::new(&all, &o, 64).expect("a job"), weights(&d));
        let needs = |size: usize| bytes(&d, &w, sizes(&job, size)) + LEFT;
        let slots = |free: usize| fit(&job, &d, &w, 8, free).slots;
        assert_eq!([slots(usize::MAX), slots(needs(8)), slots(needs(8) - 1), slots(needs(4) - 1), slots(0)], [8, 8, 4, 2, 1]);
        assert_eq!(fit(&job, &d, &w, 100, usize::MAX).slots, 9, "no more places than prompts");
    }

    #[test]
    fn passes_hold_whole_prompts_and_every_one_once() {
        let (all, o) = (prompts(), Options { max_new: 1, stop: Vec::new(), batch: 9 });
        let job = Job::new(&all, &o, 64).expect("a job");
        let group: Vec<usize> = (0..9).collect();
        assert_eq!(passes(&job, &group, 10), [0..4, 4..5, 5..6, 6..7, 7..8, 8..9]);
        assert_eq!(passes(&job, &group, 44), [0..8, 8..9], "45 tokens in all");
        assert_eq!(passes(&job, &[8, 0], 3), [0..1, 1..2], "one prompt alone may be longer");
    }
}
