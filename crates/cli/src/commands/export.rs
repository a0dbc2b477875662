//! `tunesmith export`: base and adapter to one file for llama.cpp and Ollama.

use crate::fault::Fault;
use crate::ui::Ui;
use crate::{figures, place, show};
use export::Store;
use record::RunFolder;
use serde_json::json;
use std::path::PathBuf;

const EXAMPLE: &str = "\
Examples:
  tunesmith export runs/tickets-1
  tunesmith export runs/tickets-1 --type q8_0 --out tickets.gguf";

/// Write a run's model as one GGUF file, for llama.cpp and Ollama
///
/// Base and adapter are merged on the way; a quantised base counts with the values that the adapter
/// was trained on. The file is opened again and its logits are compared with base and adapter; one
/// that answers otherwise is refused (exit code 3) and not kept. A Modelfile is written beside it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct ExportArgs {
    /// Folder of the run
    run: PathBuf,
    /// The file's format
    #[arg(long, value_enum, default_value = "gguf")]
    format: Format,
    /// How weights are stored: f32 is exact, f16 half the size, q8_0 about a quarter
    #[arg(long = "type", value_enum, value_name = "TYPE", default_value = "f16")]
    store: Type,
    /// The file; must be new and end in .gguf (default: NAME-TYPE.gguf in the run)
    #[arg(long, value_name = "FILE", value_parser = gguf_name)]
    out: Option<PathBuf>,
    /// Threads; 0 means all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Gguf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Type {
    F32,
    F16,
    #[value(name = "q8_0")]
    Q8_0,
}

impl Type {
    fn store(self) -> (Store, &'static str) {
        match self {
            Type::F32 => (Store::F32, "f32"),
            Type::F16 => (Store::F16, "f16"),
            Type::Q8_0 => (Store::Q8_0, "q8_0"),
        }
    }
}

/// Programs know the file by this ending.
fn gguf_name(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let named = path.extension().is_some_and(|ending| ending == "gguf");
    if named { Ok(path) } else { Err("expected a name that ends in .gguf".to_string()) }
}

pub fn run(args: &ExportArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let (run, recipe) = place::run(&args.run)?;
    place::require_trained(&run)?;
    let Format::Gguf = args.format;
    let (store, name) = args.store.store();
    let out = match &args.out {
        Some(out) => {
            place::require_new(out)?;
            out.clone()
        }
        None => inside(&run, name),
    };
    let path = place::model(&recipe.model.base, ui)?;

    // Plan: the held-out examples are what the result is compared on.
    let mut ready = flow::load_as_trained(&recipe, &path, args.threads, ui)?;
    flow::pin(&mut ready.folder, &recipe);
    let prepared = flow::prepare(&recipe, &ready.folder)?;

    // Do.
    let written = flow::combine_gguf(&ready, &run, &prepared, store, &out, ui)?;

    // Say.
    show::exported(&written, &ready.folder.config).iter().for_each(|line| ui.say(line));
    let mut all = figures::proven(&written.path, &written.proof);
    all.insert("modelfile".into(), json!(written.modelfile));
    all.insert("templated".into(), json!(written.templated));
    all.insert("run".into(), json!(run.path()));
    ui.json(all.into());
    ui.next(&[
        (format!("llama-cli -m {}", written.path.display()), "talk to it with llama.cpp"),
        (format!("ollama create {} -f {}", run.name(), written.modelfile.display()), "give it to Ollama"),
    ]);
    Ok(())
}

/// The file's place where none was named.
fn inside(run: &RunFolder, store: &str) -> PathBuf {
    run.path().join(format!("{}-{store}.gguf", run.name()))
}
