//! GPUs that need not be there: what the driver lets a program have, how fast they are, what they cost.
//!
//! Speeds are the makers' figures for dense bf16 products with f32 sums. Prices are assumptions with a date.

use crate::Error;

const MIB: u64 = 1 << 20;

/// What an hour of a GPU costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// US dollars an hour.
    pub usd: f64,
    /// Where the figure is from.
    pub basis: &'static str,
}

/// Speeds; unknown for a GPU that was given by its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Speed {
    /// Dense bf16 operations a second.
    pub flops: f64,
    /// Bytes a second of its memory.
    pub memory: f64,
    /// Bytes a second to a neighbour, one way.
    pub link: f64,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// Its name here.
    pub name: String,
    /// Bytes that programs can have, contexts included.
    pub bytes: u64,
    /// Where that number is from.
    pub basis: &'static str,
    /// What an hour costs, if that is known.
    pub price: Option<Price>,
    pub(crate) speed: Option<Speed>,
}

/// The built-in names.
pub const KNOWN: &[&str] = &["a100-40", "a100-80", "h100-80", "h200", "l4", "rtx-4090"];

const RENTED: &str = "on demand at specialised clouds, middle of what was asked in May 2026; an assumption";

impl Gpu {
    /// A known GPU, or any by its bytes: `48GB` counts in powers of 1,000, `48GiB` of 1,024.
    ///
    /// # Errors
    /// `Gpu` for a word that is neither.
    pub fn named(name: &str) -> Result<Gpu, Error> {
        let low = name.to_ascii_lowercase();
        let known = match low.as_str() {
            "a100-40" => known(
                40_335,
                "40,960 MiB on the label; 39.39 GiB is the least that PyTorch reports as its capacity",
                (312e12, 1.555e12, 300e9),
                1.29,
                "list price of a specialised cloud in 2025; an assumption",
            ),
            "a100-80" => known(
                80_998,
                "81,920 MiB on the label; 79.10 GiB is the least that PyTorch reports as its capacity",
                (312e12, 2.039e12, 300e9),
                1.30,
                RENTED,
            ),
            "h100-80" => known(81_079, "measured: 81,559 MiB less 480 that the driver reserves", (989e12, 3.35e12, 450e9), 2.95, RENTED),
            "h200" => known(143_155, "measured: 143,771 MiB less 616 that the driver reserves", (989e12, 4.8e12, 450e9), 3.80, RENTED),
            "l4" => known(
                22_478,
                "23,034 MiB on the label; 21.95 GiB is the least that PyTorch reports as its capacity",
                (121e12, 300e9, 32e9),
                0.71,
                "list price of a large cloud in 2025; an assumption",
            ),
            "rtx-4090" => known(
                24_207,
                "24,564 MiB on the label; PyTorch reports 23.64 GiB as its capacity, without a desktop on it",
                (165.2e12, 1.008e12, 32e9),
                0.34,
                "on demand at a community cloud, March 2026; an assumption",
            ),
            _ => return by_size(name),
        };
        Ok(Gpu { name: low, ..known })
    }
}

fn known(mib: u64, basis: &'static str, (flops, memory, link): (f64, f64, f64), usd: f64, from: &'static str) -> Gpu {
    let speed = Some(Speed { flops, memory, link });
    Gpu { name: String::new(), bytes: mib * MIB, basis, price: Some(Price { usd, basis: from }), speed }
}

fn by_size(name: &str) -> Result<Gpu, Error> {
    let refuse = || Error::Gpu { found: name.to_string(), expected: KNOWN.join(", ") };
    let low = name.trim().to_ascii_lowercase();
    let units = [("gib", 1u64 << 30), ("mib", MIB), ("gb", 1_000_000_000), ("mb", 1_000_000), ("b", 1)];
    let (number, unit) = units.iter().find_map(|(end, unit)| Some((low.strip_suffix(end)?, *unit))).ok_or_else(refuse)?;
    let number: f64 = number.trim().parse().map_err(|_| refuse())?;
    let bytes = number * unit as f64;
    // More than an exabyte is a slip of the pen, and would not add up in 64 bits.
    if !(1.0..=1e18).contains(&bytes) {
        return Err(refuse());
    }
    let basis = "as given; take what the driver reports as total";
    Ok(Gpu { name: name.to_string(), bytes: bytes as u64, basis, price: None, speed: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_known_by_name_or_by_size() {
        assert!(KNOWN.iter().all(|n| Gpu::named(n).unwrap().speed.is_some()));
        assert_eq!(Gpu::named("H200").unwrap().bytes, 143_155 << 20);
        let bytes = |n| Gpu::named(n).unwrap().bytes;
        assert_eq!([bytes("48GB"), bytes("48 GiB"), bytes("1.5gib")], [48_000_000_000, 48 << 30, 3 << 29]);
        for wrong in ["h300", "GB", "-1GB", "nanGB", "1e30GB", "48", "0GB", ""] {
            let said = Gpu::named(wrong).unwrap_err().to_string();
            assert!(said.contains("rtx-4090") && said.contains("48GiB"), "{said}");
        }
    }
}
