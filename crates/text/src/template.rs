//! The model's own chat template: Jinja, with what the reference implementation offers to it.

use std::error::Error as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, ErrorKind, Output, State};
use serde_json::Map;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::json::{Style, dumps};
use crate::message::Message;
use crate::python;

const NAME: &str = "chat";
/// Indents wider than this are a mistake in the template.
const INDENT_MAX: usize = 64;

/// A compiled chat template.
#[derive(Debug, Clone)]
pub struct Template {
    environment: Environment<'static>,
    source: String,
    bos_token: Option<String>,
    eos_token: Option<String>,
    clock: Option<Moment>,
}

/// What else a template is given, beside the messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RenderOptions {
    /// Whether the text ends where the assistant begins to answer.
    pub add_generation_prompt: bool,
    /// Descriptions of tools, a JSON list; `none` to the template where absent.
    pub tools: Option<serde_json::Value>,
    /// What `strftime_now` tells; else what [`Template::set_clock`] was given. Without either the function is
    /// undefined, and templates fall back to a fixed date.
    pub now: Option<Moment>,
    /// Further variables, such as `enable_thinking`.
    pub extra: Map<String, serde_json::Value>,
}

/// What a template said with `raise_exception`, on its way through the template engine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

impl Template {
    /// Compiles a template. The tokens are what it sees as `bos_token` and `eos_token`.
    pub fn new(source: &str, bos_token: Option<&str>, eos_token: Option<&str>) -> Result<Self> {
        let mut environment = Environment::new();
        let config = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| syntax(&e))?;
        environment.set_syntax(config);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(python::method);
        environment.set_formatter(print);
        environment.add_filter("tojson", tojson);
        environment.add_filter("string", |value: &Value| python::display(value));
        environment.add_function("raise_exception", raise);
        environment.add_template_owned(NAME, plain_blocks(source)).map_err(|e| syntax(&e))?;
        Ok(Self {
            environment,
            source: source.to_string(),
            bos_token: bos_token.map(str::to_string),
            eos_token: eos_token.map(str::to_string),
            clock: None,
        })
    }

    /// Pins what `strftime_now` tells wherever the options do not: training, measuring and answering see one day.
    pub fn set_clock(&mut self, moment: Moment) {
        self.clock = Some(moment);
    }

    /// The Jinja text that this was made of.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text that the template makes of a conversation.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        let messages: Vec<serde_json::Value> = messages.iter().map(Message::to_value).collect();
        let mut context: Vec<(String, Value)> = vec![
            ("messages".into(), Value::from(Serde(&messages))),
            ("tools".into(), Value::from(Serde(&options.tools))),
            ("documents".into(), Value::from(())),
            ("add_generation_prompt".into(), options.add_generation_prompt.into()),
        ];
        for (name, token) in [("bos_token", &self.bos_token), ("eos_token", &self.eos_token)] {
            context.extend(token.as_ref().map(|token| (name.to_string(), token.as_str().into())));
        }
        if let Some(now) = options.now.or(self.clock) {
            let function = move |pattern: &str| now.format(pattern).map_err(unknown_directive);
            context.push(("strftime_now".into(), Value::from_function(function)));
        }
        context.extend(options.extra.iter().map(|(key, value)| (key.clone(), Value::from(Serde(value)))));
        let template = self.environment.get_template(NAME).map_err(|e| syntax(&e))?;
        template.render(Value::from_pairs(context)).map_err(|e| failed(&e))
    }
}

/// `{% generation %}` marks what the assistant wrote, for tools that look for it. Spans are found here by rendering
/// instead, so the mark only keeps its meaning as a scope.
fn plain_blocks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        let Some(length) = tag.find("%}").map(|at| at + 2) else { break };
        let inner = &tag[2..length - 2];
        let open = &inner[..inner.len() - inner.trim_start_matches(['-', '+']).len()];
        let word = inner.trim_start_matches(['-', '+']);
        let close = &word[word.trim_end_matches(['-', '+']).len()..];
        let word = &word[..word.len() - close.len()];
        out.push_str(before);
        let swap = |name: &str, with: &str| format!("{{%{open}{}{close}%}}", word.replacen(name, with, 1));
        match word.trim() {
            "generation" => out.push_str(&swap("generation", "with")),
            "endgeneration" => out.push_str(&swap("endgeneration", "endwith")),
            _ => out.push_str(&tag[..length]),
        }
        rest = &tag[length..];
    }
    out.push_str(rest);
    out
}

fn print(out: &mut Output, _: &mut State, value: &Value) -> std::result::Result<(), minijinja::Error> {
    match value.as_str() {
        Some(text) => out.write_str(text),
        None => out.write_str(&python::display(value)),
    }
    .map_err(minijinja::Error::from)
}

fn raise(message: &Value) -> std::result::Result<Value, minijinja::Error> {
    let raised = Raised(python::display(message));
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(raised))
}

fn unknown_directive(directive: String) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know `{directive}`"))
}

fn tojson(value: &Value, indent: Option<usize>, options: Kwargs) -> std::result::Result<Value, minijinja::Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<usize>>("indent")?,
    };
    let mut style = Style::new(indent.map(|indent| indent.min(INDENT_MAX)));
    style.ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    style.sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    if let Some(separators) = options.get::<Option<Vec<String>>>("separators")?
        && let [item, key] = separators.as_slice()
    {
        style.item_separator = item.clone();
        style.key_separator = key.clone();
    }
    options.assert_all_used()?;
    dumps(value, &style).map(Value::from)
}

fn syntax(error: &minijinja::Error) -> Error {
    Error::TemplateSyntax { line: error.line().unwrap_or(1), why: reason(error) }
}

fn failed(error: &minijinja::Error) -> Error {
    let line = error.line().unwrap_or(1);
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(Raised(message)) = inner.downcast_ref::<Raised>() {
            return Error::TemplateRaised { line, message: message.clone() };
        }
        cause = inner.source();
    }
    Error::TemplateFailed { line, why: reason(error) }
}

fn reason(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}
