//! `tunesmith doctor`: what this machine has to train on, what is missing, and the line that mends it.

use crate::fault::Fault;
use crate::show;
use crate::ui::Ui;
use flow::{Card, Findings};
use serde_json::{Value, json};

const EXAMPLE: &str = "\
Examples:
  tunesmith doctor
  tunesmith doctor --json    for a script: .gpu.usable says whether training can use a GPU";

/// Say what this machine has to train on, and what is missing
///
/// A GPU is used where there is one: it needs NVIDIA's driver and the library cuBLASLt, which a CUDA toolkit or the
/// wheel nvidia-cublas of the Python environment that is active brings. Without them the CPU is used.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct DoctorArgs {}

/// What each library is for, and what brings it.
const LIBRARIES: [(&str, &str); 3] = [
    ("the driver of the GPU", "install NVIDIA's driver, 580 or later for CUDA 13 (525 for CUDA 12)"),
    ("matrix products", "pip install nvidia-cublas in the Python environment that is active, or install a CUDA toolkit"),
    ("kernels for a GPU that has none made ahead", "pip install nvidia-cuda-nvrtc in the Python environment that is active"),
];

pub fn run(_: &DoctorArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Do.
    let found = flow::doctor();

    // Say.
    let products = if found.bf16 { "multiplies bf16" } else { "no bf16 instructions: trains in f32" };
    ui.say(format!("CPU      {} threads, {products}", found.threads));
    found.cards.iter().for_each(|card| ui.say(line(card)));
    if let Some(why) = &found.driver {
        ui.say(format!("GPU      the driver does not start: {why}"));
    } else if found.cards.is_empty() {
        ui.say("GPU      none found: the CPU is used");
    }
    for (library, (what, mend)) in found.libraries.iter().zip(LIBRARIES) {
        match &library.at {
            Some(at) => ui.say(format!("{:<22} {at} ({what})", library.name)),
            None => ui.say(format!("{:<22} not found ({what}); {mend}", library.name)),
        }
    }
    ui.json(figures(&found));
    ui.next(&[match found.usable() {
        true => ("tunesmith train".to_string(), "train on the GPU"),
        false => ("tunesmith demo".to_string(), "the whole way on this CPU"),
    }]);
    Ok(())
}

fn line(card: &Card) -> String {
    let a = &card.about;
    let memory = match card.memory {
        Some((free, all)) => format!("{} of {} free", show::bytes(free as u64), show::bytes(all as u64)),
        None => show::bytes(a.memory as u64),
    };
    let kernels = card.kernels.map_or("kernels are compiled when needed".to_string(), |k| format!("kernels for {k}"));
    let (major, minor) = a.capability;
    let fault = card.fault.as_ref().map_or(String::new(), |why| format!("; cannot be used: {why}"));
    format!(
        "GPU      {}, compute capability {major}.{minor}, {memory}, CUDA {}.{}; {kernels}{fault}",
        a.name,
        a.driver / 1000,
        a.driver % 1000 / 10
    )
}

fn figures(found: &Findings) -> Value {
    let card = |c: &Card| {
        json!({
            "name": c.about.name, "capability": [c.about.capability.0, c.about.capability.1],
            "multiprocessors": c.about.multiprocessors, "memory_bytes": c.about.memory,
            "free_bytes": c.memory.map(|(free, _)| free), "cuda": c.about.driver, "kernels": c.kernels, "fault": c.fault,
        })
    };
    let library = |l: &flow::Found| json!({ "name": l.name, "at": l.at, "tried": l.tried });
    json!({
        "cpu": { "threads": found.threads, "bf16": found.bf16 },
        "gpu": { "usable": found.usable(), "driver_fault": found.driver, "cards": found.cards.iter().map(card).collect::<Vec<_>>() },
        "libraries": found.libraries.iter().map(library).collect::<Vec<_>>(),
        "missing": found.libraries.iter().zip(LIBRARIES).enumerate().filter(|(i, (l, _))| l.at.is_none() && (*i < 2 || found.wants_compiler()))
            .map(|(_, (l, (_, mend)))| json!({ "name": l.name, "mend": mend })).collect::<Vec<_>>(),
    })
}
