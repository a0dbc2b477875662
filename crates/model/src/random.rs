//! Counter-based random numbers: a value is a function of (seed, stream, index), so nothing needs to be saved to go on.

/// The streams in use; one each, so that no two purposes share numbers.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// First values of adapter matrix number n.
    Adapter(u32),
    /// Order of the examples in epoch n.
    Order(u32),
}

impl Stream {
    fn number(self) -> u64 {
        match self {
            Stream::Adapter(n) => 1 << 32 | n as u64,
            Stream::Order(n) => 2 << 32 | n as u64,
        }
    }
}

/// 64 random bits. Mixing function: SplitMix64 (Steele, Lea and Flood, 2014), once per key part.
pub fn bits(seed: u64, stream: Stream, index: u64) -> u64 {
    mix(mix(mix(seed) ^ stream.number()) ^ index)
}

/// Uniform in [0, 1), 53 bits.
pub fn uniform(seed: u64, stream: Stream, index: u64) -> f64 {
    (bits(seed, stream, index) >> 11) as f64 / (1u64 << 53) as f64
}

/// A random order of `0..n` (Fisher and Yates).
pub fn order(seed: u64, stream: Stream, n: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        // The product's upper half is uniform up to a bias of n / 2^64.
        let j = ((bits(seed, stream, i as u64) as u128 * (i as u128 + 1)) >> 64) as usize;
        all.swap(i, j);
    }
    all
}

/// Scatters 64 bits over 64 bits.
pub(crate) fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_repeatable() {
        let n = 100_000;
        let mean = (0..n).map(|i| uniform(7, Stream::Adapter(0), i)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        assert_ne!(bits(7, Stream::Adapter(0), 1), bits(7, Stream::Order(0), 1));
        assert_ne!(bits(7, Stream::Adapter(0), 1), bits(8, Stream::Adapter(0), 1));
    }

    #[test]
    fn an_order_holds_everything_once_and_moves_it() {
        let mut o = order(3, Stream::Order(1), 500);
        assert_eq!(o, order(3, Stream::Order(1), 500));
        let fixed = o.iter().enumerate().filter(|(i, v)| i == *v).count();
        assert!(fixed < 10);
        o.sort_unstable();
        assert_eq!(o, (0..500).collect::<Vec<_>>());
    }
}
