//! What is refused, and in which words.

use text::{Error, Message, Moment, RenderOptions, Template};

fn render(template: &str) -> Result<String, Error> {
    Template::new(template, None, None)?.render(&[Message::user("hi")], &RenderOptions::default())
}

fn says(result: Result<String, Error>) -> String {
    result.expect_err("this is refused").to_string()
}

#[test]
fn a_template_that_raises_tells_what_it_said() {
    let message =
        says(render("{% for m in messages %}\n{% if true %}\n{{ raise_exception('roles must ' + 'alternate') }}{% endif %}{% endfor %}"));
    assert_eq!(message, "the chat template refuses this conversation (template line 3): roles must alternate");
}

#[test]
fn a_syntax_error_names_its_line() {
    let message = says(render("one\n{% if %}"));
    assert!(message.starts_with("chat template, line 2: syntax error"), "{message}");
}

#[test]
fn a_failure_while_rendering_names_its_line() {
    let message = says(render("\n{{ messages[0].content + 1 }}"));
    assert!(message.starts_with("chat template, line 2, while rendering: "), "{message}");
}

#[test]
fn a_date_is_given_or_undefined() {
    let template = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}26 Jul 2024{% endif %}";
    assert_eq!(render(template).unwrap(), "26 Jul 2024");
    let options = RenderOptions { now: Some(Moment::from_unix(951_827_696)), ..RenderOptions::default() };
    assert_eq!(Template::new(template, None, None).unwrap().render(&[], &options).unwrap(), "29 Feb 2000");
    let mut pinned = Template::new(template, None, None).unwrap();
    pinned.set_clock(Moment::from_unix(0));
    assert_eq!(pinned.render(&[], &RenderOptions::default()).unwrap(), "01 Jan 1970", "a pinned clock counts without options");
    assert_ne!(pinned.render(&[], &options).unwrap(), "01 Jan 1970", "and the options win");
    let unknown = Template::new("{{ strftime_now('%Q') }}", None, None).unwrap().render(&[], &options);
    assert!(says(unknown).contains("strftime_now does not know `%Q`"));
}

fn learn(template: &str, messages: &[Message]) -> Result<Vec<text::Rendered>, Error> {
    super::chat(template, None, Some("<|im_end|>")).learn(messages, &RenderOptions::default())
}

fn conversation() -> [Message; 2] {
    [Message::user("hi"), Message::assistant("yes")]
}

#[test]
fn no_end_of_turn_is_refused_with_what_the_template_writes() {
    let template =
        "{% for m in messages %}{{ m.role }}: {{ m.content }} --\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
    let message = learn(template, &conversation()).unwrap_err().to_string();
    assert_eq!(
        message,
        "message 1: no end-of-turn token: after the answer the template writes \" --\\n\", \
         which holds no special token and none of the end-of-sequence ids [2]"
    );
}

#[test]
fn a_prompt_that_the_answer_does_not_continue_is_refused() {
    let template =
        "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>go {% endif %}";
    let message = learn(template, &conversation()).unwrap_err().to_string();
    assert!(message.contains("(byte 36): the prompt goes on with \"go \", the text with the answer with \"yes<|im_end|>\""), "{message}");
}

#[test]
fn a_conversation_without_an_answer_names_its_roles() {
    let message = learn("", &[Message::system("a"), Message::user("b")]).unwrap_err().to_string();
    assert_eq!(message, "no assistant message to learn: found roles [system, user]");
}

#[test]
fn values_print_as_python_prints_them() {
    let cases = [
        ("{{ true }} {{ none }} {{ 1.0 }} {{ 1e20 }} {{ nothing }}", "True None 1.0 1e+20 "),
        ("{{ ['a', \"it's\", none, {'b': 0.5}] }}", "['a', \"it's\", None, {'b': 0.5}]"),
        ("{{ messages[0] }} {{ false | string }}", "{'role': 'user', 'content': 'hi'} False"),
        ("{{ {'ü': [1, true, none], 'b': '<\"&\\n'} | tojson }}", "{\"ü\": [1, true, null], \"b\": \"<\\\"&\\n\"}"),
        ("{{ {'b': [], 'a': [1, {}]} | tojson(indent=2) }}", "{\n  \"b\": [],\n  \"a\": [\n    1,\n    {}\n  ]\n}"),
        ("{{ {'b': 'ü', 'a': 1} | tojson(sort_keys=true, ensure_ascii=true) }}", "{\"a\": 1, \"b\": \"\\u00fc\"}"),
        ("{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}", "[1,{\"a\":2}]"),
        ("{{ \"they're 2nd-hand\".title() }} {{ ' x '.strip() }}|{{ 'a b'.upper() }}", "They'Re 2Nd-Hand x|A B"),
        ("{{ 'a--b--c'.split('--', 1) }} {{ 'a--b--c'.rsplit('--', 1) }} {{ 'abc'.removeprefix('a') }}", "['a', 'b--c'] ['a--b', 'c'] bc"),
        ("{{ 'x'.startswith('x') }} {{ 'a-b'.replace('-', '+') }} {{ {'k': 1}.get('z', 5) }}", "True a+b 5"),
        ("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% if k == 'a' %}{% continue %}{% endif %}!{% endfor %}", "a1b2!"),
        (
            "{% set ns = namespace(n=0) %}{% for m in [1, 2, 3] %}{% if m == 3 %}{% break %}{% endif %}{% set ns.n = ns.n + m %}{% endfor %}{{ ns.n }}",
            "3",
        ),
        (
            "{%- macro twice(x) -%}{{ x }}{{ x }}{%- endmacro -%}\n  {{ twice('ab') }}\n    {% if true %}\nline\n    {% endif %}\n",
            "abab\nline\n",
        ),
        ("{{ messages[::-1][0].content }} {{ 'hello'[1:-1] }} {{ tools is none }} {{ documents is none }}", "hi ell True True"),
    ];
    for (template, expected) in cases {
        assert_eq!(render(template).unwrap(), expected, "{template}");
    }
}
