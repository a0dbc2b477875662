//! What the target model's template and tokenizer make of each example: cut off, without an end, or with nothing to learn.

use std::collections::BTreeMap;

use rayon::prelude::*;
use text::{Message, RenderOptions};

use super::{Data, Settings, count, finding};
use crate::finding::{Check, Finding, Severity};
use crate::item::{Content, Item};
use crate::read::check::is_instruction;

/// A kind of fault, its mend, and how it is told.
type Fault = (&'static str, &'static str, String);

pub(super) fn check(data: &Data, settings: &Settings<'_>) -> Vec<Finding> {
    let Some(chat) = settings.chat else { return Vec::new() };
    let looked: Vec<(&Item, Fault)> = data.train.par_iter().filter_map(|item| Some((item, look(item, chat, settings)?))).collect();
    let mut by_kind: BTreeMap<&str, Vec<&(&Item, Fault)>> = BTreeMap::new();
    looked.iter().for_each(|hit| by_kind.entry(hit.1.0).or_default().push(hit));
    let told = |(kind, hits): (&str, Vec<&(&Item, Fault)>)| {
        let first: Vec<String> = hits.iter().take(3).map(|(item, (_, _, how))| format!("{}: {how}", item.id)).collect();
        let evidence = format!("{} {kind}. {}", count(hits.len(), "example"), first.join("; "));
        let share = hits.len() as f64 / data.train.len() as f64;
        finding(Check::Format, Severity::Error, hits.iter().map(|(item, _)| item.id.clone()).collect(), share, evidence, hits[0].1.1)
    };
    by_kind.into_iter().map(told).collect()
}

fn look(item: &Item, chat: &text::Chat, settings: &Settings<'_>) -> Option<Fault> {
    let (messages, tools) = match &item.content {
        Content::Chat { messages, tools, .. } => (messages, tools),
        Content::Pair(pair) => (&pair.chosen.messages, &pair.chosen.tools),
        Content::Text { .. } | Content::Broken(_) => return None,
    };
    let mut messages = messages.clone();
    if let Some(system) = &settings.system
        && !messages.first().is_some_and(|message| is_instruction(&message.role))
    {
        messages.insert(0, Message::system(system));
    }
    let options = RenderOptions { tools: tools.clone(), ..RenderOptions::default() };
    let parts = match chat.learn(&messages, &options) {
        Ok(parts) => parts,
        Err(why) => {
            return Some((
                "cannot be rendered by the model's template",
                "mend the row, or take a model whose template knows such messages",
                why.to_string(),
            ));
        }
    };
    for part in &parts {
        let learned = part.learned.iter().filter(|learned| **learned).count();
        if learned == 0 {
            return Some((
                "with zero learned tokens",
                "give the example an answer to learn",
                format!("none of {} tokens is learned", part.ids.len()),
            ));
        }
        if let Some(limit) = settings.context.filter(|limit| part.ids.len() > *limit) {
            let lost = part.learned[limit..].iter().filter(|learned| **learned).count();
            let how = format!("{} tokens, and {lost} of its {learned} learned ones lie behind the limit of {limit}", part.ids.len());
            return Some(("too long for the model's context", "shorten the example, or raise data.max_tokens", how));
        }
        if !part.ends_with_eot {
            return Some((
                "whose answer does not end with a learned end of turn",
                "the model would not learn to stop: check the template",
                "no end of turn is learned".to_string(),
            ));
        }
    }
    None
}
