//! `tunesmith chat`: talk to a run or to a model, from a terminal or a pipe.

use crate::fault::{Fault, Kind};
use crate::ui::{self, Ui};
use crate::{place, stop};
use flow::{Answerer, Talk};
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::sync::atomic::Ordering;

const EXAMPLE: &str = "\
Examples:
  tunesmith chat runs/tickets-1
  tunesmith chat runs/tickets-1 --device cpu
  echo 'My invoice is wrong' | tunesmith chat runs/tickets-1
  tunesmith chat smollm2-135m-instruct --system 'Answer in one sentence.'

In a conversation: /reset forgets it, /exit ends it, Ctrl-C ends an answer.";

/// Talk to a trained run, or to any model
///
/// A run answers with the system prompt that it was trained with, and takes each line as a new
/// conversation; a model remembers the conversation.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct ChatArgs {
    /// Folder of a run, or a model's name, folder or GGUF file
    #[arg(value_name = "RUN|MODEL")]
    who: String,
    /// The system prompt (of a run: in place of its own)
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Longest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    max_new_tokens: u32,
    /// Remember the conversation with a run too
    #[arg(long = "continue")]
    remember: bool,
    /// Where the answers are made: auto takes a GPU where there is one and the model answers there, else the CPU
    #[arg(long, value_name = "auto|cpu|cuda", value_enum, hide_possible_values = true, default_value_t = place::On::Auto)]
    device: place::On,
    /// Threads; 0 means all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

pub fn run(args: &ChatArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let path = Path::new(&args.who);
    let run = path.join("recipe.toml").is_file().then(|| place::run(path)).transpose()?;
    if let Some((run, _)) = &run {
        place::require_trained(run)?;
    }
    let name = run.as_ref().map_or(args.who.as_str(), |(_, recipe)| &recipe.model.base);
    let model = place::model(name, ui)?;
    let made = run.as_ref().map(|(run, recipe)| (run, recipe));
    let answerer = Answerer::open(&model, made, args.device.into(), args.threads, ui)?;

    // Plan: a run is asked as it was trained.
    let trained = run.as_ref().map(|(run, _)| record::pack::read(&run.pack())).transpose()?.and_then(|pack| pack.meta.system);
    let system = args.system.clone().or(trained);
    let mut talk = Talk::new(&answerer, system.as_deref(), args.max_new_tokens as usize);
    let forgets = run.is_some() && !args.remember;

    // Do.
    let person = std::io::stdin().is_terminal();
    if person {
        ui.tell("/reset forgets the conversation, /exit ends it.");
    }
    let turns = converse(&mut talk, forgets, person, ui)?;

    // Say.
    ui.json(json!({ "turns": turns }));
    if person && let Some((run, _)) = &run {
        ui.next(&[(format!("tunesmith merge {}", run.path().display()), "write a Hugging Face folder for servers")]);
    }
    Ok(())
}

fn converse(talk: &mut Talk, forgets: bool, person: bool, ui: &mut Ui) -> Result<Vec<Value>, Fault> {
    let mut turns = Vec::new();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if person {
            ui::ask();
        }
        let Some(line) = lines.next() else { break };
        let line = line.map_err(|e| Fault::new(Kind::Yours, format!("cannot read the question: {e}")))?;
        match line.trim() {
            "" => continue,
            "/exit" | "/quit" => break,
            "/reset" => {
                talk.reset();
                continue;
            }
            question => match answer(talk, question, ui) {
                Ok(text) => turns.push(json!({ "question": question, "answer": text })),
                // A person can go on after a question that was too long; a program must know.
                Err(fault) if person && fault.kind == Kind::Yours => ui::warn(&fault.to_string()),
                Err(fault) => return Err(fault),
            },
        }
        if forgets {
            talk.reset();
        }
    }
    Ok(turns)
}

/// Streams one answer; Ctrl-C ends it, not the program.
fn answer(talk: &mut Talk, question: &str, ui: &Ui) -> Result<String, Fault> {
    let (asked, shown) = (stop::hear(), !ui.style.json);
    let mut piece = |text: &str| {
        if shown {
            ui::print_part(text);
        }
        !asked.load(Ordering::SeqCst)
    };
    let said = talk.say(question, &mut piece);
    stop::unheard();
    stop::forget();
    if shown && said.is_ok() {
        ui::print("");
    }
    Ok(said?)
}
