//! Faults of the stages: what to do about data, training, evaluation and merging.

use super::files::{named, text_hints};
use super::{Fault, Kind};
use std::path::Path;

impl From<data::Error> for Fault {
    fn from(e: data::Error) -> Fault {
        use data::Error as E;
        let e = match e {
            E::Record(inner) => return inner.into(),
            other => other,
        };
        let yours = || Fault::new(Kind::Yours, &e);
        match &e {
            E::Read { path, why } => named(&e, why, path),
            E::Empty { .. } => yours().hint("one example a line: {\"instruction\": \"...\", \"response\": \"...\"}"),
            E::Encoding { path, .. } => yours().hint(format!("convert it: iconv -f UTF-16 -t UTF-8 {} > fixed.jsonl", path.display())),
            E::Rows { path, faults, .. } => {
                let line = faults.first().map_or(1, |f| f.line);
                yours().hint(format!("look at the line: sed -n {line}p {}", path.display()))
            }
            E::Render { path, line, why } => {
                let look = format!("look at the line: sed -n {line}p {}", path.display());
                let mut fault = yours();
                fault.hints = text_hints(why, Path::new("the model's tokenizer_config.json"));
                fault.hint(look)
            }
            E::TooLong { path, line, .. } => yours()
                .hint(format!("shorten it: sed -n {line}p {}", path.display()))
                .hint("or leave such examples out: --set data.over_long=drop"),
            E::PairTurns { path, line, .. } => yours().hint(format!("look at the line: sed -n {line}p {}", path.display())),
            E::Write { path, why } | E::MakeKey { path, why } => named(&e, why, path),
            E::SameFile { .. } => yours().hint("write elsewhere: --out FILE"),
            E::NotAKey { .. } => yours().hint("let one be made: --key NEW_FILE"),
            E::NotAMap { .. } => yours().hint("name the map: --map OUT.map"),
            E::WrongKey { .. } => yours().hint("take the key file that was named when the file was cleaned"),
            E::Record(_) | E::Random { .. } => Fault::new(Kind::Machine, &e),
            E::Stopped => Fault::new(Kind::Yours, &e).hint("run the same command again"),
            E::NothingLeft { .. } => yours().hint("shorten the examples, or take a model with a longer context"),
        }
    }
}

impl From<train::Error> for Fault {
    fn from(e: train::Error) -> Fault {
        use train::Error as E;
        match e {
            E::Record(inner) => inner.into(),
            E::Model(inner) => inner.into(),
            E::Nothing { .. } => Fault::new(Kind::Yours, &e).hint("see what is trained: tunesmith train --dry-run"),
            E::Vocabulary { .. } => {
                Fault::new(Kind::Yours, &e).hint("tokenizer and weights are of two models; fetch both again: tunesmith pull NAME --fresh")
            }
            E::Other { ref path, .. } => {
                let run = path.parent().and_then(Path::parent).unwrap_or(path);
                let recipe = run.join("recipe.toml");
                Fault::new(Kind::Yours, &e).hint(format!("begin a new run: tunesmith train {}", recipe.display()))
            }
            E::Kind { .. } => {
                Fault::new(Kind::Yours, &e).hint("the run folder was made for another objective; begin a new run from its recipe.toml")
            }
            E::Io { ref path, ref source } => named(&e, source, path),
            E::NotFinite { .. } => Fault::new(Kind::Yours, &e)
                .hint("a lower rate mostly helps: --set train.lr=1e-4")
                .hint("or look at the named lines of the data"),
        }
    }
}

impl From<eval::Error> for Fault {
    fn from(e: eval::Error) -> Fault {
        use eval::Error as E;
        if let E::Model(inner) = e {
            return inner.into();
        }
        let yours = || Fault::new(Kind::Yours, &e);
        match &e {
            E::Render { source, .. } => {
                let hints = text_hints(source, Path::new("the model's tokenizer_config.json"));
                Fault { hints, ..yours() }
            }
            E::Schema { .. } => yours().hint("measure without one: --set data.schema=none"),
            E::NoExamples => yours().hint("name held-out examples: --set data.eval=PATH"),
            E::NoLabel { .. } => yours().hint("name a field that every answer has: --set data.label=FIELD"),
            E::NoShots { .. } => yours().hint("measure without the few-shot prompt: --set eval.few_shot=0"),
            _ => Fault::new(Kind::Ours, &e),
        }
    }
}

impl From<export::Error> for Fault {
    fn from(e: export::Error) -> Fault {
        use export::Error as E;
        match e {
            E::Model(inner) => inner.into(),
            E::Formats(inner) => inner.into(),
            E::Record(inner) => inner.into(),
            E::Tokenizer { source: text::Error::NotInGguf { .. }, .. } => {
                Fault::new(Kind::Yours, &e).hint("a folder says all of it; serve that one: tunesmith merge RUN")
            }
            E::Tokenizer { .. } => Fault::new(Kind::Ours, &e),
            // Of what is stored exactly.
            E::Differs { ref expected, .. } if expected == "at most 1e-4" => {
                Fault::new(Kind::Gate, &e).hint("nothing was written; serve base and adapter apart, and report it with the run folder")
            }
            E::Differs { .. } => {
                Fault::new(Kind::Gate, &e).hint("nothing was written; store it exactly: merge with --dtype float32, export with --type f32")
            }
        }
    }
}

impl From<&track::Error> for Fault {
    fn from(e: &track::Error) -> Fault {
        use track::Error as E;
        let plain = |kind| Fault::new(kind, e);
        match e {
            E::Io { path, source, .. } => named(e, source, path),
            E::Away { .. } => {
                plain(Kind::Machine).hint("see whether the server answers: curl ADDRESS/health; what is missing stays in the run's record")
            }
            E::Denied { known: false, .. } => plain(Kind::Yours)
                .hint("say who you are: export MLFLOW_TRACKING_USERNAME=... MLFLOW_TRACKING_PASSWORD=..., or MLFLOW_TRACKING_TOKEN=..."),
            E::Denied { .. } => plain(Kind::Yours)
                .hint("see that MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN, are right and may write"),
            E::Refused { status: 404, .. } => plain(Kind::Yours)
                .hint("if the run was deleted at the server, remove track/mlflow.json in the run's folder and send it anew"),
            E::Refused { .. } => {
                plain(Kind::Yours).hint("the server's own words say what it expects; all settings: tunesmith recipe RUN/recipe.toml")
            }
            E::Answer { .. } => {
                plain(Kind::Yours).hint("name the address that the MLflow page has in a browser: --set track.mlflow=http://host:port")
            }
            E::Store { .. } => {
                plain(Kind::Yours).hint("start the server with --serve-artifacts, or keep the files here: curves and settings are there")
            }
            E::Position { path, .. } => {
                plain(Kind::Yours).hint(format!("remove it, the run is found at the server by its mark: rm {}", path.display()))
            }
            E::Busy { .. } => plain(Kind::Yours).hint("wait until the run, or the other command, has ended"),
            // A damaged or missing file of the run; its own words say which.
            E::Record(record::Error::Io { path, source, .. }) => named(e, source, path),
            E::Record(_) => plain(Kind::Yours).hint("look at the file that is named; training goes on without a tracker"),
            _ => plain(Kind::Ours),
        }
    }
}

impl From<flow::Error> for Fault {
    fn from(e: flow::Error) -> Fault {
        use flow::Error as E;
        match e {
            E::Hub(inner) => inner.into(),
            E::Model(inner) => inner.into(),
            E::Data(inner) => inner.into(),
            E::Record(inner) => inner.into(),
            E::Train(inner) => inner.into(),
            E::Eval(inner) => inner.into(),
            E::Export(inner) => inner.into(),
            E::Text(inner) => inner.into(),
            E::Read { ref path, ref source } => named(&e, source, path),
            E::Leak { .. } => Fault::new(Kind::Yours, &e).hint("take them out of one of the two files: what was trained on proves nothing"),
            E::NothingToTrain { .. } => Fault::new(Kind::Yours, &e).hint("train without validation: --set data.validation_share=0"),
            E::OtherBase { ref expected, .. } => {
                Fault::new(Kind::Yours, &e).hint(format!("use the base it was made for: --set model.base={expected}"))
            }
            E::NotAnAdapter { .. } => Fault::new(Kind::Yours, &e).hint("begin with a fresh adapter: --set adapter.from=none"),
            E::Sweep { .. } => Fault::new(Kind::Usage, &e).hint("see its options: tunesmith sweep --help"),
            E::Threads(_) => Fault::new(Kind::Machine, &e).hint("fewer threads: --threads 1"),
            E::NotYet { ref path, .. } => {
                Fault::new(Kind::Yours, &e).hint(format!("finish it: tunesmith train --resume {}", path.display()))
            }
        }
    }
}

impl From<plan::Error> for Fault {
    fn from(e: plan::Error) -> Fault {
        use plan::Error as E;
        let hint = match e {
            E::Model { .. } | E::Method { .. } | E::Gpu { .. } => "all names, with examples: tunesmith plan --help",
            E::Number { .. } => "what each number means: tunesmith plan --help",
            E::Unfit { .. } => "take another method; their names: tunesmith plan --help",
        };
        let kind = if matches!(e, E::Unfit { .. }) { Kind::Yours } else { Kind::Usage };
        Fault::new(kind, &e).hint(hint)
    }
}
