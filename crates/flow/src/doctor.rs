//! What this machine has to train on: its processor, its GPUs, and the libraries that they need.

use engine::cuda::library::{self, COMPILER, DRIVER, Found, PRODUCTS};
use engine::cuda::{About, Gpu, kernels};

/// A GPU as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// What the driver says of it.
    pub about: About,
    /// Bytes free, and all.
    pub memory: Option<(usize, usize)>,
    /// The kernels made ahead that it runs; none where they are compiled when they are needed.
    pub kernels: Option<&'static str>,
    /// Why nothing can be trained on it, if so.
    pub fault: Option<String>,
}

/// Everything that was looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// Threads of the CPU.
    pub threads: usize,
    /// Whether it multiplies bfloat16.
    pub bf16: bool,
    /// The driver's library, cuBLASLt, NVRTC.
    pub libraries: [Found; 3],
    /// Why the driver offers no GPU, if it does not start.
    pub driver: Option<String>,
    /// The GPUs.
    pub cards: Vec<Card>,
}

impl Findings {
    /// Whether training can use a GPU.
    pub fn usable(&self) -> bool {
        self.cards.first().is_some_and(|c| c.fault.is_none())
    }

    /// Whether some GPU needs the compiler that is not there.
    pub fn wants_compiler(&self) -> bool {
        self.libraries[2].at.is_none() && self.cards.iter().any(|c| c.kernels.is_none())
    }
}

/// Looks for everything; starts nothing that stays.
pub fn doctor() -> Findings {
    let libraries = [library::find(&DRIVER), library::find(&PRODUCTS), library::find(&COMPILER)];
    let count = if libraries[0].at.is_some() { Gpu::count() } else { Ok(0) };
    Findings {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        bf16: engine::cpu::lanes::multiplies_pairs(),
        driver: count.as_ref().err().map(ToString::to_string),
        cards: (0..count.unwrap_or(0)).filter_map(card).collect(),
        libraries,
    }
}

fn card(ordinal: usize) -> Option<Card> {
    let about = Gpu::look(ordinal).ok()?;
    let kernels = kernels::target(about.capability);
    match Gpu::open(ordinal) {
        Ok(gpu) => Some(Card { about, memory: gpu.memory().ok(), kernels, fault: None }),
        Err(e) => Some(Card { about, memory: None, kernels, fault: Some(e.to_string()) }),
    }
}
