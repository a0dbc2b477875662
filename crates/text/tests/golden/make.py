"""Makes the golden files of this crate: tiny.json and ../templates/*.md.

Run by hand, with transformers (which brings jinja2 and tokenizers) installed; the tests only read what it wrote:
    python3 make.py
The rendered texts and ids are those of transformers' own code. What is learned is found here in another way than in the
crate: every family's end-of-turn token is stated by hand and looked for from the end of the text.
"""
import json
import pathlib

import jinja2
import tokenizers
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

HERE = pathlib.Path(__file__).parent
VERSIONS = f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}, jinja2 {jinja2.__version__}"
SPECIAL = """<|endoftext|> <|im_start|> <|im_end|> <|begin_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|>
<s> </s> [INST] [/INST] <|system|> <|user|> <|assistant|> <|end|>""".split()

CHATML = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
LLAMA3 = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
MISTRAL = "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim + eos_token }}{% endif %}{% endfor %}"
MISTRAL_LATE_SYSTEM = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if message == user_messages[-1] and system_message is defined %}
            {{- "[INST]" + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST]" + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- message["content"] + eos_token }}
    {%- endif %}
{%- endfor %}
"""
PHI3 = "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
TOOL_CALLS = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
THINKING = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and not(message.content.startswith('<tool_response>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in message.content %}
            {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
            {%- set reasoning_content = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
MARKED = """{%- for message in messages %}
    {%- if message.role == "assistant" %}
        {{- "<|im_start|>assistant\\n" }}
        {%- generation %}
        {{- message.content + "<|im_end|>" }}
        {%- endgeneration %}
        {{- "\\n" }}
    {%- else %}
        {{- "<|im_start|>" ~ message.role ~ "\\n" ~ message.content ~ "<|im_end|>\\n" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|im_start|>assistant\\n" }}{%- endif %}
"""


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def user(content):
    return say("user", content)


def bot(content, **more):
    return say("assistant", content, **more)


SYSTEM = say("system", "Answer with one word.")
CHAT = [user("Is the router broken?"), bot("yes"), user("And the camera, model 4711?"), bot("no")]
TOOLS = [{"type": "function", "function": {"name": "status", "description": "Status of an order <b>", "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}}}}]
CALL = {"type": "function", "function": {"name": "status", "arguments": {"order": 12, "note": "naïve \"quote\" </tag>", "rate": 0.5, "ok": True, "none": None}}}

FAMILIES = {
    "chatml": ("ChatML as SmolLM2 writes it", CHATML, None, "<|im_end|>", "<|im_end|>", [
        ("The template adds a system prompt where there is none; the line break after the turn is not learned.", CHAT[:2], {}),
        ("Two answers in one text, both learned.", [SYSTEM, *CHAT], {}),
        ("Text beyond ASCII, and a marker in the user's own words.", [user("Größe? 🙂 <|im_end|> 1234"), bot("{\"größe\": \"日本 🙂\"}")], {}),
        ("An answer that begins with line breaks: a token of the whole text would reach into it.", [user("Hi"), bot("\n\nHello")], {}),
        ("An answer of weight 0 is read, not learned.", [CHAT[0], bot("yes", weight=0), *CHAT[2:]], {}),
    ]),
    "generation": ("A template that marks what the assistant says", MARKED, None, "<|im_end|>", "<|im_end|>", [
        ("The mark changes nothing.", [SYSTEM, *CHAT], {}),
    ]),
    "tools": ("ChatML with tools, after Qwen2.5", TOOL_CALLS, None, "<|im_end|>", "<|im_end|>", [
        ("A plain conversation.", [SYSTEM, *CHAT], {}),
        ("A call, its result, an answer; arguments are JSON as Python writes it.", [SYSTEM, user("Where is order 12?"), bot("", tool_calls=[CALL]), say("tool", "{\"state\": \"sent\"}"), bot("It was sent.")], {"tools": TOOLS}),
    ]),
    "thinking": ("ChatML with reasoning, after Qwen3", THINKING, None, "<|im_end|>", "<|im_end|>", [
        ("Reasoning of the last answer is shown and learned.", [user("2+2?"), bot("4", reasoning_content="Two and two.")], {}),
        ("Reasoning inside the text; that of an earlier answer is left out, so each answer is an example of its own.", [user("2+2?"), bot("<think>\nTwo and two.\n</think>\n\n4"), user("3+3?"), bot("<think>\nThree.\n</think>\n\n6")], {}),
        ("Thinking switched off: the empty thought belongs to the prompt.", [SYSTEM, *CHAT[:2]], {"extra": {"enable_thinking": False}}),
    ]),
    "llama3": ("Llama 3", LLAMA3, "<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>", [
        ("Contents are trimmed by the template.", [SYSTEM, user("  Is the router broken? "), bot(" yes \n")], {}),
        ("Two answers.", CHAT, {}),
    ]),
    "mistral": ("Mistral", MISTRAL, "<s>", "</s>", "</s>", [
        ("The space before the answer is learned with it.", CHAT, {}),
    ]),
    "mistral_late_system": ("Mistral with the system prompt before the last question, after Nemo", MISTRAL_LATE_SYSTEM, "<s>", "</s>", "</s>", [
        ("One answer.", [SYSTEM, *CHAT[:2]], {}),
        ("The system prompt moves on with the conversation, so each answer is an example of its own.", [SYSTEM, *CHAT], {}),
    ]),
    "phi3": ("Phi-3", PHI3, "<s>", "<|endoftext|>", "<|end|>", [
        ("Text after the end of the turn, the end of the sequence included, is not learned.", [SYSTEM, *CHAT[:2]], {}),
        ("Two answers: only the last one is followed by the end of the sequence, and history is still kept.", CHAT, {}),
    ]),
}


def tiny():
    """A byte-level BPE of some hundred tokens, with the pre-tokenizer of SmolLM2."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    corpus = ["the router is broken and the camera was sent, is the answer no or yes?", "\n\n\n\n\n\n", "assistant user system one word status order", "the the the is is is and and and"]
    trainer = trainers.BpeTrainer(vocab_size=330, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), special_tokens=[AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    t.train_from_iterator(corpus, trainer)
    return t


def render(template, bos, eos, messages, options, add):
    kwargs = {k: v for k, v in (("bos_token", bos), ("eos_token", eos)) if v is not None}
    return render_jinja_template([messages], tools=options.get("tools"), chat_template=template, add_generation_prompt=add, **kwargs, **options.get("extra", {}))[0][0]


def learned(template, bos, eos, eot, messages, options):
    """(text, spans) of one or more examples."""
    turns = []
    for i, message in enumerate(messages):
        if message["role"] == "assistant" and message.get("weight") != 0:
            prompt = render(template, bos, eos, messages[:i], options, True)
            text = render(template, bos, eos, messages[:i + 1], options, False)
            assert text.startswith(prompt), (prompt, text)
            turns.append((text, (len(prompt), text.rindex(eot) + len(eot))))
    whole = render(template, bos, eos, messages, options, False)
    if all(whole.startswith(text[:end]) for text, (_, end) in turns):
        return [(whole, [span for _, span in turns])]
    return [(text, [span]) for text, span in turns]


def ids(tokenizer, text, spans):
    """Ids of the whole text, or of its parts where a token would reach over a border; learned ones in brackets."""
    encode = lambda s: tokenizer.encode(s, add_special_tokens=False)
    cuts = [0, *[c for span in spans for c in span], len(text)]
    whole = encode(text)
    parts = [encode(text[a:b]) for a, b in zip(cuts, cuts[1:])]
    split = any(whole[:len(encode(text[:c]))] != encode(text[:c]) for c in cuts)
    if not split:
        assert sum(parts, []) == whole
    shown = [f"[{' '.join(map(str, p))}]" if i % 2 else " ".join(map(str, p)) for i, p in enumerate(parts) if p]
    return split, " ".join(shown)


def main():
    t = tiny()
    (HERE / "tiny.json").write_text(t.to_str())
    fast = PreTrainedTokenizerFast(tokenizer_object=t)
    for name, (title, template, bos, eos, eot, cases) in FAMILIES.items():
        out = [f"# {title}\n\nMade by `golden/make.py` with {VERSIONS}; ids are those of `golden/tiny.json`. ⟦ ⟧ and [ ] enclose what is learned.\n",
               f"~~~~jinja\n{template}\n~~~~\n", "~~~~tokens\n" + json.dumps({"bos": bos, "eos": eos, "eot": eot}) + "\n~~~~\n"]
        for prose, messages, options in cases:
            out.append(f"## {prose}\n\n~~~~json\n" + json.dumps({"messages": messages, **options}, ensure_ascii=False) + "\n~~~~\n")
            first = next(i for i, m in enumerate(messages) if m["role"] == "assistant")
            out.append("Generation would go on from:\n\n~~~~prompt\n" + render(template, bos, eos, messages[:first], options, True) + "\n~~~~\n")
            for text, spans in learned(template, bos, eos, eot, messages, options):
                split, shown = ids(fast, text, spans)
                for start, end in reversed(spans):
                    text = f"{text[:start]}⟦{text[start:end]}⟧{text[end:]}"
                out.append(f"~~~~text\n{text}\n~~~~\n\n~~~~{'ids-apart' if split else 'ids'}\n{shown}\n~~~~\n")
        (HERE.parent / "templates" / f"{name}.md").write_text("\n".join(out))


main()
