//! The data of a recipe: read, checked, rendered, packed, with samples to look at before training.

use crate::Error;
use data::{Example, PackFacts, PackOptions, Packed, ReadOptions, Sample, TooLong};
use model::Folder;
use model::random::{Stream, order};
use record::pack::{Kind, Replay};
use record::recipe::{Objective, OverLong};
use record::{Meta, Recipe, RunFolder};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Rendered samples shown before training.
const SAMPLES: usize = 3;
/// The stream of random numbers that chooses what is held out for validation.
const VALIDATION: u32 = 1 << 30;

/// Data that is ready to train on and to be tested on.
pub struct Prepared {
    /// Training conversations; of pairs, the chosen ones.
    pub train: Vec<Example>,
    /// Held-out conversations.
    pub held_out: Vec<Example>,
    /// The training conversations as tokens; of pairs, each chosen one and then the rejected one.
    pub packed: Vec<record::Example>,
    /// What was seen while packing.
    pub facts: PackFacts,
    /// Conversations of older tasks as tokens.
    pub replay: Vec<record::Example>,
    /// Conversations that are validated on, as tokens.
    pub validation: Vec<record::Example>,
    /// What the packs hold.
    pub kind: Kind,
    /// A few of them with the trained tokens marked.
    pub samples: Vec<Sample>,
    /// The system prompt, if the recipe names one.
    pub system: Option<String>,
}

impl Prepared {
    /// What a step counts: examples, or pairs.
    pub fn units(&self) -> usize {
        self.packed.len() / self.kind.width()
    }

    /// What training will read, before it is written.
    pub fn material(&self) -> train::Material {
        train::Material::unwritten(self.kind, &self.packed, &self.replay, &self.validation)
    }
}

/// Rows of one file, of either kind, ready to be packed.
enum Rows {
    Answers(Vec<Example>),
    Pairs(Vec<data::Pair>),
}

/// Reads and packs what `recipe` names, for the model in `folder`.
///
/// # Errors
/// A broken line, an example that is too long, nothing to learn, held-out examples among the training data.
pub fn prepare(recipe: &Recipe, folder: &Folder) -> Result<Prepared, Error> {
    let system = recipe.data.system.as_deref().map(read_text).transpose()?;
    let options = ReadOptions { system: system.clone() };
    let kind = if recipe.train.objective == Objective::Dpo { Kind::Pairs } else { Kind::Answers };
    let read = |path: &Path| Rows::read(path, kind, &options);
    let held_out = data::read(&recipe.data.eval, &options)?;
    let mut train = read(&recipe.data.train)?;
    check_leak(&train.questions(), &held_out, &recipe.data.eval)?;
    let mut validation = recipe.data.validation.as_deref().map(read).transpose()?;
    if let (Some(rows), Some(path)) = (&validation, &recipe.data.validation) {
        check_leak(&train.questions(), rows.examples(), path)?;
    }
    if recipe.data.validation_share > 0.0 {
        validation = Some(train.hold_out(recipe)?);
    }
    let pack = |rows: &Rows| rows.pack(recipe, folder);
    let packed = pack(&train)?;
    let replay = recipe.data.replay.as_deref().map(|path| pack(&read(path)?)).transpose()?;
    let validation = validation.as_ref().map(pack).transpose()?;
    let of = |packed: Option<Packed>| packed.map_or(Vec::new(), |packed| packed.examples);
    let train = train.into_examples();
    let samples = data::sample(&train, &folder.chat, &Default::default(), SAMPLES)?;
    Ok(Prepared {
        train,
        held_out,
        packed: packed.examples,
        facts: packed.facts,
        replay: of(replay),
        validation: of(validation),
        kind,
        samples,
        system,
    })
}

impl Rows {
    fn read(path: &Path, kind: Kind, options: &ReadOptions) -> Result<Rows, Error> {
        Ok(match kind {
            Kind::Answers => Rows::Answers(data::read(path, options)?),
            Kind::Pairs => Rows::Pairs(data::read_pairs(path, options)?),
        })
    }

    fn pack(&self, recipe: &Recipe, folder: &Folder) -> Result<Packed, Error> {
        let context = recipe.data.max_tokens.map_or(folder.dims.context, |m| (m as usize).min(folder.dims.context));
        let too_long = match recipe.data.over_long {
            OverLong::Refuse => TooLong::Refuse,
            OverLong::Drop => TooLong::Drop,
        };
        let options = PackOptions { context, too_long, render: Default::default() };
        Ok(match self {
            Rows::Answers(all) => data::pack(all, &folder.chat, &options)?,
            Rows::Pairs(all) => data::pack_pairs(all, &folder.chat, &options)?,
        })
    }

    /// The conversations; of pairs, the chosen ones.
    fn examples(&self) -> Box<dyn Iterator<Item = &Example> + '_> {
        match self {
            Rows::Answers(all) => Box::new(all.iter()),
            Rows::Pairs(all) => Box::new(all.iter().map(|pair| &pair.chosen)),
        }
    }

    fn into_examples(self) -> Vec<Example> {
        match self {
            Rows::Answers(all) => all,
            Rows::Pairs(all) => all.into_iter().map(|pair| pair.chosen).collect(),
        }
    }

    fn questions(&self) -> HashSet<String> {
        self.examples().map(question).collect()
    }

    /// Takes the recipe's share of the rows out: whole questions, so that no copy of one stays in training. Which ones is
    /// a function of the seed; both parts keep the order of the file.
    fn hold_out(&mut self, recipe: &Recipe) -> Result<Rows, Error> {
        let questions: Vec<String> = self.examples().map(question).collect();
        let mut groups: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut first: Vec<&str> = Vec::new();
        for (at, question) in questions.iter().enumerate() {
            let group = groups.entry(question).or_default();
            if group.is_empty() {
                first.push(question);
            }
            group.push(at);
        }
        let wanted = ((questions.len() as f64 * recipe.data.validation_share).round() as usize).max(1);
        let mut taken: HashSet<usize> = HashSet::new();
        for at in order(recipe.train.seed, Stream::Order(VALIDATION), first.len()) {
            if taken.len() < wanted {
                taken.extend(&groups[first[at]]);
            }
        }
        if taken.len() == questions.len() {
            return Err(Error::NothingToTrain { path: recipe.data.train.clone(), rows: questions.len(), questions: first.len() });
        }
        Ok(match self {
            Rows::Answers(all) => Rows::Answers(split(all, &taken)),
            Rows::Pairs(all) => Rows::Pairs(split(all, &taken)),
        })
    }
}

/// Takes the items at these places out.
fn split<T>(all: &mut Vec<T>, taken: &HashSet<usize>) -> Vec<T> {
    let (out, stay): (Vec<_>, Vec<_>) = std::mem::take(all).into_iter().enumerate().partition(|(at, _)| taken.contains(at));
    *all = stay.into_iter().map(|(_, item)| item).collect();
    out.into_iter().map(|(_, item)| item).collect()
}

fn read_text(path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
    Ok(text.trim_end().to_string())
}

/// What was asked, spaces and case apart.
fn question(e: &Example) -> String {
    let asked: Vec<String> = e.messages.iter().filter(|m| m.role == "user").map(|m| m.content.to_lowercase()).collect();
    asked.join("\n").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Refuses held-out questions that are trained on.
fn check_leak<'a>(known: &HashSet<String>, held_out: impl IntoIterator<Item = &'a Example>, path: &Path) -> Result<(), Error> {
    let held_out: Vec<&Example> = held_out.into_iter().collect();
    let leaked: Vec<&&Example> = held_out.iter().filter(|e| known.contains(&question(e))).collect();
    match leaked.first() {
        None => Ok(()),
        Some(first) => Err(Error::Leak { path: path.into(), count: leaked.len(), of: held_out.len(), line: first.source.line }),
    }
}

/// Writes the packs of a run.
///
/// # Errors
/// What the disk says.
pub fn write_pack(prepared: &Prepared, recipe: &Recipe, folder: &Folder, run: &RunFolder) -> Result<(), Error> {
    let tokenizer = folder.chat.tokenizer.to_json()?;
    let source = |path: &Path| -> Result<(String, String), Error> { Ok((path.display().to_string(), record::hash::sha256_file(path)?.0)) };
    let (train, train_sha) = source(&recipe.data.train)?;
    let meta = Meta {
        vocab: folder.dims.vocab as u32,
        template_sha: record::hash::sha256(folder.chat.template.source().as_bytes()),
        tokenizer_sha: record::hash::sha256(tokenizer.as_bytes()),
        source: train,
        source_sha: train_sha,
        system: prepared.system.clone(),
        kind: prepared.kind,
        replay: None,
    };
    if !prepared.validation.is_empty() {
        let (source, source_sha) = source(recipe.data.validation.as_deref().unwrap_or(&recipe.data.train))?;
        record::pack::write(&run.validation_pack(), &Meta { source, source_sha, ..meta.clone() }, &prepared.validation)?;
    }
    let replay = recipe.data.replay.as_deref().map(|path| -> Result<Replay, Error> {
        let (source, source_sha) = source(path)?;
        Ok(Replay { source, source_sha, sequences: prepared.replay.len() as u64 })
    });
    let all = [prepared.packed.as_slice(), &prepared.replay].concat();
    // Last: a run that holds its train.pack holds the other one too.
    record::pack::write(&run.pack(), &Meta { replay: replay.transpose()?, ..meta }, &all)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(questions: &[&str]) -> Rows {
        let row = |q: &&str| format!("{{\"prompt\": \"{q}\", \"completion\": \"a\"}}\n");
        let text: String = questions.iter().map(row).collect();
        Rows::Answers(data::parse(text.as_bytes(), Path::new("t.jsonl"), &ReadOptions::default()).expect("rows"))
    }

    #[test]
    fn copies_of_a_question_are_held_out_together_and_the_choice_follows_the_seed() {
        let names: Vec<String> = (0..40).map(|n| format!("question {}", n / 2)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let held = |seed: u64| {
            let mut recipe = Recipe::default();
            (recipe.data.validation_share, recipe.train.seed) = (0.2, seed);
            let mut train = rows(&names);
            let out = train.hold_out(&recipe).expect("held out");
            assert!(train.questions().is_disjoint(&out.questions()));
            assert_eq!((train.examples().count(), out.examples().count()), (32, 8));
            let lines: Vec<u32> = out.examples().map(|e| e.source.line).collect();
            assert!(lines.is_sorted());
            lines
        };
        assert_eq!(held(1), held(1));
        assert_ne!(held(1), held(2));
    }

    #[test]
    fn one_question_alone_cannot_be_both() {
        let mut recipe = Recipe::default();
        recipe.data.validation_share = 0.1;
        let error = rows(&["same", "Same ", "same"]).hold_out(&recipe).err().expect("refused").to_string();
        assert!(error.contains("3 rows with 1 different questions"), "{error}");
    }
}
