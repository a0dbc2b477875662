//! Which modules an adapter reaches: PEFT's matching rules.

use fancy_regex::Regex;

use super::{AdapterConfig, Targets};

/// Compiles with Python's meaning of the end of the text; our texts hold no line breaks.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|e| e.to_string())
}

/// Python's `re.fullmatch`.
pub(super) fn whole(pattern: &str) -> String {
    format!(r"\A(?:{pattern})\z")
}

/// PEFT's rule for keys of `rank_pattern` and `alpha_pattern`.
pub(super) fn pattern_key(key: &str) -> String {
    format!(r"\A(.*\.)?({key})$")
}

/// PEFT's rule for `modules_to_save`: the module itself or anything inside it.
pub(super) fn saved(module: &str) -> String {
    format!(r"\A(^|.*\.){module}($|\..*)")
}

pub(super) fn layer_pattern(pattern: &str) -> String {
    format!(r"\A(?:^|.*?\.){pattern}\.(?P<idx>\d+)\.")
}

fn is_match(pattern: &str, text: &str) -> bool {
    // An expression that runs out of its backtracking limit matches nothing.
    compile(pattern).is_ok_and(|r| r.is_match(text).unwrap_or(false))
}

pub(super) fn ends_with_item(items: &[String], module: &str) -> bool {
    items.iter().any(|item| module == item || module.strip_suffix(item.as_str()).is_some_and(|p| p.ends_with('.')))
}

pub(super) fn matches(config: &AdapterConfig, module: &str) -> bool {
    let excluded = match &config.exclude_modules {
        None | Some(Targets::AllLinear) => false,
        Some(Targets::Regex(pattern)) => is_match(&whole(pattern), module),
        Some(Targets::List(items)) => ends_with_item(items, module),
    };
    if excluded || config.modules_to_save.iter().any(|m| is_match(&saved(m), module)) {
        return false;
    }
    match &config.target_modules {
        Targets::Regex(pattern) => is_match(&whole(pattern), module),
        // The full name in the list overrules the choice of layers.
        Targets::List(items) if items.iter().any(|item| item == module) => true,
        Targets::List(items) => ends_with_item(items, module) && layer_is_meant(config, module),
        // PEFT turns this into a list of names, so the choice of layers applies.
        Targets::AllLinear => module != "lm_head" && !module.ends_with(".lm_head") && layer_is_meant(config, module),
    }
}

fn layer_is_meant(config: &AdapterConfig, module: &str) -> bool {
    let Some(layers) = config.layers_to_transform.as_ref().filter(|l| !l.is_empty()) else { return true };
    let any = [r"\A.*?\.[^.]*\.(?P<idx>\d+)\.".to_string()];
    let given: Vec<String> = config.layers_pattern.iter().map(|p| layer_pattern(p)).collect();
    let patterns = if given.is_empty() { &any[..] } else { &given[..] };
    patterns
        .iter()
        .find_map(|pattern| {
            let found = compile(pattern).ok()?.captures(module).ok()??;
            found.name("idx")?.as_str().parse::<usize>().ok()
        })
        .is_some_and(|layer| layers.contains(&layer))
}

pub(super) fn first_match<'a, T>(patterns: &'a [(String, T)], module: &str) -> Option<&'a T> {
    patterns.iter().find(|(key, _)| is_match(&pattern_key(key), module)).map(|(_, value)| value)
}
