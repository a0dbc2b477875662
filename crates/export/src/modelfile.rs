//! A Modelfile for Ollama: which file, how a conversation is written, where an answer ends.
//!
//! Ollama's templates are those of Go and cannot run Jinja. Most chat templates only put fixed text around each
//! message; that text is found by rendering small conversations, and believed only if it also makes a longer one.

use model::Folder;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use text::{Chat, Message};

/// A Modelfile, and whether it says the template.
pub(crate) struct Modelfile {
    pub text: String,
    pub templated: bool,
}

/// Where the Modelfile of a GGUF file lies.
pub(crate) fn beside(gguf: &Path) -> PathBuf {
    gguf.with_extension("Modelfile")
}

/// The Modelfile of a GGUF file of this model; `bos` is the text that the tokenizer puts in front of every prompt.
pub(crate) fn of(base: &Folder, gguf: &Path, bos: Option<&str>) -> Modelfile {
    let name = gguf.file_name().unwrap_or_default().to_string_lossy();
    let mut text = format!("FROM ./{name}\n");
    let template = Turns::of(&base.chat).and_then(|turns| turns.to_go(bos));
    match &template {
        Some(template) => _ = writeln!(text, "TEMPLATE \"\"\"{template}\"\"\""),
        None => text.push_str("# This model's chat template is more than text around messages, and no TEMPLATE of Ollama says it.\n"),
    }
    let ends = base.chat.eos.iter().filter_map(|id| base.chat.tokenizer.token(*id));
    for end in ends.filter(|end| !end.contains(['"', '\n'])) {
        _ = writeln!(text, "PARAMETER stop \"{end}\"");
    }
    Modelfile { text, templated: template.is_some() }
}

/// The fixed text around the messages of a conversation.
#[derive(Debug, PartialEq)]
struct Turns {
    /// In front of the first message where there is no system prompt.
    opening: String,
    /// Around a system prompt, from the beginning on; none where the template takes none.
    system: Option<[String; 2]>,
    user: [String; 2],
    assistant: [String; 2],
    /// Where the assistant begins to answer.
    answer: String,
}

const SYSTEM: &str = "the-system-prompt";
const FIRST: &str = "the-first-question";
const REPLY: &str = "the-first-answer";
const SECOND: &str = "the-second-question";

impl Turns {
    fn of(chat: &Chat) -> Option<Turns> {
        let render = |messages: &[Message]| chat.template.render(messages, &Default::default()).ok();
        let (system, first) = (Message::system(SYSTEM), Message::user(FIRST));
        let (reply, second) = (Message::assistant(REPLY), Message::user(SECOND));
        let asked = render(std::slice::from_ref(&first))?;
        let answered = render(&[first.clone(), reply.clone()])?;
        let again = render(&[first.clone(), reply.clone(), second.clone()])?;
        let [head, after_user] = around(&asked, FIRST)?;
        let assistant = around(answered.strip_prefix(&asked)?, REPLY)?;
        let user = around(again.strip_prefix(&answered)?, SECOND)?;
        let opening = head.strip_suffix(&user[0])?.to_string();
        let prompt = chat.prompt(std::slice::from_ref(&first), &Default::default()).ok()?;
        let answer = prompt.strip_prefix(&asked)?.to_string();
        let turns = Turns { opening, system: None, user, assistant, answer };
        let system = render(&[system.clone(), first.clone()]).and_then(|text| {
            let [before, after] = around(&text, SYSTEM)?;
            Some([before, after.strip_suffix(&turns.say(&Message::user(FIRST))?)?.to_string()])
        });
        let turns = Turns { system, ..turns };
        // The longer conversations, with and without a system prompt.
        let mut talk = vec![Message::system(SYSTEM), first, reply, second];
        if turns.system.is_none() {
            talk.remove(0);
        }
        let same = |talk: &[Message]| Some(turns.whole(talk)? == chat.prompt(talk, &Default::default()).ok()?);
        let plain = turns.user[1] == after_user && same(&talk)? && same(&talk[talk.len() - 3..])?;
        plain.then_some(turns)
    }

    fn say(&self, message: &Message) -> Option<String> {
        let [before, after] = match message.role.as_str() {
            "system" => self.system.as_ref()?,
            "assistant" => &self.assistant,
            _ => &self.user,
        };
        Some(format!("{before}{}{after}", message.content))
    }

    /// What [`Turns::to_go`] makes of a conversation.
    fn whole(&self, messages: &[Message]) -> Option<String> {
        let opening = if messages[0].role == "system" { "" } else { &self.opening };
        let said: Option<String> = messages.iter().map(|m| self.say(m)).collect();
        Some(format!("{opening}{}{}", said?, self.answer))
    }

    /// As a Go template; none if some text would be read as a part of its language.
    fn to_go(&self, bos: Option<&str>) -> Option<String> {
        let cut = |text: &str| bos.and_then(|bos| text.strip_prefix(bos)).unwrap_or(text).to_string();
        let ([u0, u1], [a0, a1]) = (&self.user, &self.assistant);
        let opening = cut(&self.opening);
        let parts = [&opening, u0, u1, a0, a1, &self.answer];
        let system = self.system.as_ref().map(|[before, after]| [cut(before), after.clone()]);
        let clean = |text: &String| !["{{", "}}", "\"\"\""].iter().any(|mark| text.contains(mark));
        if !parts.into_iter().all(clean) || !system.iter().flatten().all(clean) {
            return None;
        }
        let start = match system {
            Some([before, after]) => format!("{{{{ if .System }}}}{before}{{{{ .System }}}}{after}{{{{ else }}}}{opening}{{{{ end }}}}"),
            None => opening,
        };
        let user = format!("{{{{ if eq .Role \"user\" }}}}{u0}{{{{ .Content }}}}{u1}");
        let assistant = format!("{{{{ else if eq .Role \"assistant\" }}}}{a0}{{{{ .Content }}}}{a1}");
        Some(format!("{start}{{{{ range .Messages }}}}{user}{assistant}{{{{ end }}}}{{{{ end }}}}{}", self.answer))
    }
}

/// What stands before and after the only place of a message's text.
fn around(text: &str, content: &str) -> Option<[String; 2]> {
    let (before, after) = text.split_once(content)?;
    (!after.contains(content)).then(|| [before.to_string(), after.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use text::{Template, Tokenizer};

    fn turns(source: &str) -> Option<Turns> {
        let tokenizer = Tokenizer::from_json(include_bytes!("../../../fixtures/tiny-chat/tokenizer.json")).unwrap();
        let template = Template::new(source, Some("<s>"), Some("</s>")).unwrap();
        Turns::of(&Chat { template, tokenizer, eos: Vec::new() })
    }

    #[test]
    fn text_around_messages_is_found_default_system_prompt_included() {
        let chatml = "{{ bos_token }}{% if messages[0].role != 'system' %}<|system|>\nBe kind.<|end|>\n{% endif %}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}";
        let found = turns(chatml).unwrap();
        assert_eq!(found.opening, "<s><|system|>\nBe kind.<|end|>\n");
        assert_eq!(
            found.to_go(Some("<s>")).unwrap(),
            "{{ if .System }}<|system|>\n{{ .System }}<|end|>\n{{ else }}<|system|>\nBe kind.<|end|>\n{{ end }}{{ range .Messages }}{{ if eq .Role \"user\" }}<|user|>\n{{ .Content }}<|end|>\n{{ else if eq .Role \"assistant\" }}<|assistant|>\n{{ .Content }}<|end|>\n{{ end }}{{ end }}<|assistant|>\n"
        );
        assert!(found.to_go(None).unwrap().starts_with("{{ if .System }}<s><|system|>"));
    }

    #[test]
    fn a_template_that_takes_no_system_prompt_has_none() {
        let strict = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}[{{ m.role }}]{{ m.content }}[/]{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
        let found = turns(strict).unwrap();
        assert_eq!(found.system, None);
        assert!(found.to_go(None).unwrap().starts_with("{{ range .Messages }}{{ if eq .Role \"user\" }}[user]"));
    }

    #[test]
    fn templates_that_do_more_are_left_alone() {
        // The system prompt inside the first question; a number for each turn; an old answer written otherwise.
        let inside = "{% set s = messages[0].content if messages[0].role == 'system' else '' %}{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST] {{ s if loop.last else '' }}{{ m.content }} [/INST]{% else %}{{ m.content }}</s>{% endif %}{% endfor %}";
        let numbered = "{% for m in messages %}{{ loop.index }}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a: {% endif %}";
        let braces = "{% for m in messages %}{{ '{{' }}{{ m.role }}{{ m.content }}.{% endfor %}{% if add_generation_prompt %}a{% endif %}";
        assert_eq!(turns(numbered), None);
        assert!(turns(inside).is_none_or(|t| t.system.is_none()));
        assert_eq!(turns(braces).and_then(|t| t.to_go(None)), None);
    }
}
