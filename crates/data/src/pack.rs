//! Examples to tokens with learned flags, and what there is to know about them before training.

use std::path::PathBuf;

use rayon::prelude::*;
use text::{Chat, RenderOptions, Rendered};

use crate::error::{Error, Result};
use crate::example::Example;

/// What happens to examples that are longer than the context. Nothing is ever cut: a cut loses the answer first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TooLong {
    /// The first such example is an error.
    #[default]
    Refuse,
    /// They are left out and counted.
    Drop,
}

/// How examples become tokens.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// The most tokens an example may have.
    pub context: usize,
    pub too_long: TooLong,
    /// What the template is given beside messages and tools; a row's own tools win.
    pub render: RenderOptions,
}

/// All examples as the trainer reads them, and what was seen on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    pub examples: Vec<record::pack::Example>,
    pub facts: PackFacts,
}

/// What a person should know before training on these examples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PackFacts {
    /// Rows read.
    pub rows: usize,
    /// Pairs packed, where preferences are learned: two examples each.
    pub pairs: usize,
    /// Examples packed. More than rows where the template rewrites history, fewer where some were dropped.
    pub examples: usize,
    pub tokens: usize,
    /// Tokens that are targets.
    pub learned_tokens: usize,
    /// Most tokens in one packed example.
    pub longest: usize,
    /// Examples whose every answer ends with the learned end-of-turn token.
    pub ends_with_eot: usize,
    /// The end-of-turn tokens seen, sorted; generation must stop at each.
    pub eot: Vec<u32>,
    /// Lines and token counts of examples longer than the context, all of them.
    pub too_long: Vec<(u32, usize)>,
    /// Lines of rows whose earlier answers the template shows otherwise later; each answer became an example.
    pub rewritten: Vec<u32>,
    /// Lines of examples in which a token would reach from the prompt into the answer; they were tokenised apart.
    pub split_at_border: Vec<u32>,
}

impl PackFacts {
    /// The share of tokens that are targets, 0 to 1.
    pub fn learned_share(&self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.learned_tokens as f64 / self.tokens as f64 }
    }
}

/// Renders and tokenises all examples. The result does not depend on the number of threads.
pub fn pack(examples: &[Example], chat: &Chat, options: &PackOptions) -> Result<Packed> {
    let rendered: Vec<Vec<Rendered>> = examples.par_iter().map(|example| render(example, chat, &options.render)).collect::<Result<_>>()?;
    let mut packed = Packed { examples: Vec::new(), facts: PackFacts { rows: examples.len(), ..PackFacts::default() } };
    let mut first_too_long: Option<(PathBuf, u32, usize)> = None;
    let mut seen = 0;
    for (example, parts) in examples.iter().zip(rendered) {
        let line = example.source.line;
        seen += parts.len();
        if parts.first().is_some_and(|part| part.rewrites_history) {
            packed.facts.rewritten.push(line);
        }
        for part in parts {
            let count = part.ids.len();
            if count > options.context {
                packed.facts.too_long.push((line, count));
                first_too_long.get_or_insert_with(|| (example.source.file.clone(), line, count));
                continue;
            }
            packed.facts.count(&part, line);
            packed.examples.push(record::pack::Example { ids: part.ids, learned: part.learned, source_line: line });
        }
    }
    let limit = options.context;
    if let (Some((path, line, tokens)), TooLong::Refuse) = (first_too_long, options.too_long) {
        return Err(Error::TooLong { path, line, tokens, limit, count: packed.facts.too_long.len(), examples: seen });
    }
    if packed.examples.is_empty() {
        return Err(Error::NothingLeft { rows: examples.len(), too_long: packed.facts.too_long.len(), limit });
    }
    Ok(packed)
}

impl PackFacts {
    pub(crate) fn count(&mut self, part: &Rendered, line: u32) {
        self.examples += 1;
        self.tokens += part.ids.len();
        self.learned_tokens += part.learned.iter().filter(|learned| **learned).count();
        self.longest = self.longest.max(part.ids.len());
        self.ends_with_eot += usize::from(part.ends_with_eot);
        if let Err(at) = self.eot.binary_search(&part.eot) {
            self.eot.insert(at, part.eot);
        }
        if part.split_at_border {
            self.split_at_border.push(line);
        }
    }
}

/// One row through template and tokenizer.
pub(crate) fn render(example: &Example, chat: &Chat, options: &RenderOptions) -> Result<Vec<Rendered>> {
    let tools = example.tools.clone().or_else(|| options.tools.clone());
    let options = RenderOptions { tools, ..options.clone() };
    chat.learn(&example.messages, &options).map_err(|why| Error::Render {
        path: example.source.file.clone(),
        line: example.source.line,
        why,
    })
}
