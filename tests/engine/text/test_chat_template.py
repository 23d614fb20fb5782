from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config import EMBEDDED_MODEL
from engine.errors import InvalidParameter, ModelLoadError
from engine.text.chat_template import ChatTemplate
from engine.types import ChatPrompt

CHATML = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|' + message['role'] + '|>' + message['content'] + '<end>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}
"""
PARTS = """\
{%- for message in messages %}
    {%- for part in message.content %}
        {{- '[' + part['text'] + ']' }}
    {%- endfor %}
{%- endfor %}
"""


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def render(source: str, *messages: dict[str, object], **options: object) -> str:
    prompt = ChatPrompt(messages, **options)  # pyright: ignore[reportArgumentType]
    return ChatTemplate(source).render(prompt, bos_token="<s>", eos_token="</s>")


def test_renders_the_conversation_and_opens_the_answer() -> None:
    assert render(CHATML, user("Hi <b>")) == "<s><|user|>Hi <b><end>\n<|assistant|>"
    assert render(CHATML, user("Hi"), add_generation_prompt=False) == "<s><|user|>Hi<end>\n"


def test_whitespace_around_blocks_is_dropped() -> None:
    source = (
        "{% for m in messages %}\n  {% if true %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}\n"
    )
    assert render(source, user("x"), user("y")) == "x\ny\n"


def test_a_missing_special_token_is_empty() -> None:
    prompt = ChatPrompt((user("x"),))
    text = ChatTemplate("{{ bos_token }}|").render(prompt, bos_token=None, eos_token=None)
    assert text == "|"


def test_tools_and_documents_are_none_unless_given() -> None:
    source = "{{ 'n' if tools is none and documents is none else tools | tojson }}"
    assert render(source, user("x")) == "n"
    assert (
        render(source, user("x"), template_args={"tools": [{"name": "é<"}]}) == '[{"name": "é<"}]'
    )


def test_template_arguments_are_variables() -> None:
    assert render("{{ enable_thinking }}", template_args={"enable_thinking": False}) == "False"


@pytest.mark.parametrize(
    "name", ["messages", "bos_token", "add_generation_prompt", "raise_exception"]
)
def test_template_arguments_cannot_replace_what_is_ours(name: str) -> None:
    with pytest.raises(InvalidParameter, match=name) as caught:
        render(CHATML, user("x"), template_args={name: []})
    assert caught.value.parameter == "template_args"


def test_loop_controls_generation_blocks_and_time() -> None:
    source = (
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}{{ strftime_now('%%') }}"
    )
    assert render(source, user("a"), user("b")) == "a%"


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no such role') }}",
        "{{ nothing.at.all }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ 1 + 'x' }}",
        "{{ 1 / 0 }}",
        "{{ range(10000000) }}",
        "{{ 'x'.index('y') }}",
        "{{ undefined_thing | tojson }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_template_that_fails_refuses_the_messages(source: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        render(source, user("x"))
    assert caught.value.parameter == "messages"


def test_the_reason_of_the_template_is_passed_on() -> None:
    with pytest.raises(InvalidParameter, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


def test_a_model_without_template_says_so() -> None:
    template = ChatTemplate(None)
    assert not template.available
    with pytest.raises(InvalidParameter, match="no chat template") as caught:
        template.render(ChatPrompt((user("x"),)), bos_token=None, eos_token=None)
    assert caught.value.parameter == "messages"


def test_parts_are_joined_for_a_template_of_strings() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert "<|user|>Hello<end>" in render(CHATML, user(parts))


@pytest.mark.parametrize(
    "source",
    [
        PARTS,
        PARTS.replace(
            "message.content", "message['content'] | selectattr('type', 'equalto', 'text')"
        ),
        PARTS.replace("message.content", "message['content'] or []"),
        "{% for m in messages %}{% set c = m.content if m.content else [] %}"
        "{% for p in c %}[{{ p.text }}]{% endfor %}{% endfor %}",
        "{% macro show(content) %}{% for p in content %}[{{ p.text }}]{% endfor %}{% endmacro %}"
        "{% for m in messages %}{{ show(m.content) }}{% endfor %}",
    ],
)
def test_a_template_of_parts_gets_parts(source: str) -> None:
    assert render(source, user([{"type": "text", "text": "a"}, "b"])) == "[a][b]"
    assert render(source, user("abc")) == "[abc]"


def test_a_template_that_takes_both_gets_strings_as_they_are() -> None:
    source = (
        "{% for m in messages %}{% if m.content is string %}s{% else %}"
        "{% for p in m.content %}p{% endfor %}{% endif %}{% endfor %}"
    )
    assert render(source, user("x"), user(["x", "y"])) == "spp"


@pytest.mark.parametrize("content", [[{"type": "image_url", "image_url": {}}], 5, {"text": "x"}])
@pytest.mark.parametrize("source", [CHATML, PARTS])
def test_other_content_is_refused(source: str, content: object) -> None:
    with pytest.raises(InvalidParameter) as caught:
        render(source, user(content))
    assert caught.value.parameter == "messages"


def test_developer_is_system_unless_the_template_knows_it() -> None:
    message: dict[str, object] = {"role": "developer", "content": "x"}
    assert "<|system|>" in render(CHATML, message)
    assert "<|developer|>" in render(CHATML + "{# developer #}", message)
    assert message["role"] == "developer"


def continued(source: str, content: object) -> str:
    message: dict[str, object] = {"role": "assistant", "content": content}
    return render(source, user("q"), message, continue_final=True)


def test_continuing_ends_with_the_final_text() -> None:
    assert continued(CHATML, "Once ") == "<s><|user|>q<end>\n<|assistant|>Once "
    assert continued(CHATML, "") == "<s><|user|>q<end>\n<|assistant|>"
    assert continued(CHATML, ["On", "ce"]) == "<s><|user|>q<end>\n<|assistant|>Once"
    assert continued(PARTS, ["a", "b"]) == "[q][a][b"


def test_continuing_where_the_template_trims() -> None:
    source = CHATML.replace("message['content'] +", "message['content'] | trim +")
    assert continued(source, "Once ") == "<s><|user|>q<end>\n<|assistant|>Once"


@pytest.mark.parametrize("content", [None, [], 3])
def test_nothing_to_continue_is_refused(content: object) -> None:
    with pytest.raises(InvalidParameter):
        continued(PARTS, content)


def test_continuing_needs_a_message_that_the_template_shows() -> None:
    with pytest.raises(InvalidParameter, match="continued"):
        continued("{{ messages[0].content }}", "Once")
    with pytest.raises(InvalidParameter):
        render(CHATML, continue_final=True)


def test_the_file_goes_before_the_configuration(tmp_path: Path) -> None:
    config = {"chat_template": "from config"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    prompt = ChatPrompt(())
    assert (
        ChatTemplate.load(tmp_path).render(prompt, bos_token=None, eos_token=None) == "from config"
    )
    (tmp_path / "chat_template.jinja").write_text("from file")
    assert ChatTemplate.load(tmp_path).render(prompt, bos_token=None, eos_token=None) == "from file"


def test_named_templates(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    template = ChatTemplate.load(tmp_path)
    prompt = ChatPrompt(())
    assert template.render(prompt, bos_token=None, eos_token=None) == "plain"
    prompt = ChatPrompt((), template_args={"tools": [1]})
    assert template.render(prompt, bos_token=None, eos_token=None) == "tools"


def test_no_template_in_the_directory(tmp_path: Path) -> None:
    assert not ChatTemplate.load(tmp_path).available
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert not ChatTemplate.load(tmp_path).available


def test_a_broken_template_is_found_on_loading(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{% for %}")
    with pytest.raises(ModelLoadError, match="broken"):
        ChatTemplate.load(tmp_path)


@pytest.mark.skipif(
    not (EMBEDDED_MODEL / "chat_template.jinja").is_file(), reason="the embedded model is not there"
)
def test_the_embedded_template() -> None:
    template = ChatTemplate.load(EMBEDDED_MODEL)
    prompt = ChatPrompt(({"role": "developer", "content": "Be brief."}, user(["Hi", "!"])))
    text = template.render(prompt, bos_token="<|endoftext|>", eos_token="<|im_end|>")
    assert text == (
        "<|endoftext|><|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n"
    )


HERMES = "{% for t in tools %}{% endfor %}<tool_call>"
QWEN_CODER = HERMES + "<function=f>"
MISTRAL = "{{ tools }}[TOOL_CALLS]"
LATER_MISTRAL = MISTRAL + "[ARGS]"
LLAMA = (
    '{{ tools }}Respond in the format {"name": function name, '
    '"parameters": dictionary of argument name and its value}.'
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (HERMES, "hermes"),
        (QWEN_CODER, None),
        (MISTRAL, "mistral"),
        (LATER_MISTRAL, None),
        (LLAMA, "llama3"),
        ("<tool_call>", None),
        ("hello", None),
    ],
)
def test_how_calls_are_written_is_read_from_the_template(source: str, expected: str | None) -> None:
    assert ChatTemplate(source).tool_call_format == expected


def test_reasoning_is_read_from_the_template() -> None:
    assert ChatTemplate("{{ '<think>' }}{{ '</think>' }}").reasons
    assert not ChatTemplate("hello").reasons


def test_mistral_templates_get_ids_of_nine_characters() -> None:
    source = (
        MISTRAL
        + "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.id }} {% endfor %}"
        + "{{ m.tool_call_id or '' }}{% endfor %}"
    )
    call = {"id": "call_0123456789", "type": "function", "function": {"name": "f"}}
    messages: tuple[dict[str, object], ...] = (
        {"role": "assistant", "content": "", "tool_calls": [call, {**call, "id": "abcdefgh1"}]},
        {"role": "tool", "content": "", "tool_call_id": "call_0123456789"},
    )
    text = ChatTemplate(source).render(ChatPrompt(messages), bos_token=None, eos_token=None)
    first, second, third = text.partition("[TOOL_CALLS]")[2].split()
    assert first == third and len(first) == 9 and first.isalnum() and second == "abcdefgh1"
