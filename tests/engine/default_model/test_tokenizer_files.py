"""The committed tokenizer files must agree with each other and with what was trained on."""

import json
import random
from pathlib import Path

import jinja2
import pytest
import tiktoken
from tiktoken.load import load_tiktoken_bpe
from tokenizers import Tokenizer

from engine.default_model.train import FILES
from engine.default_model.training.chat import TEMPLATE, conversation_text, conversation_tokens
from engine.default_model.training.conversation import (
    Conversation,
    assistant,
    calls,
    result,
    system,
    tool,
    user,
)
from engine.default_model.training.tokens import BOS, SPECIAL_TOKENS, TURN_END
from engine.text.template_environment import template_environment

WRITTEN_TEXTS = [
    "",
    " ",
    "\n",
    "\r\n\r\n",
    "Hello, world!",
    "  two  spaces\tand\ttabs  ",
    "It's Bob's; they'LL say I'VE won't",
    "In 1999, 1234567 sheep (42%) left.",
    "caf\u00e9 na\u00efve \u00dcberma\u00df \u00c5ngstr\u00f6m e\u0301",
    "\u4f60\u597d\uff0c\u4e16\u754c \u3053\u3093\u306b\u3061\u306f \uc548\ub155",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7 \u2764\ufe0f",
    "\u0623\u0647\u0644\u0627 \u05e9\u05dc\u05d5\u05dd \u0928\u092e\u0938\u094d\u0924\u0947",
    "def f(x):\n    return x**2  # \u221a\n\n\n",
    "\x00\x01\x7f\ufeff\ufffd\u2028",
    "\u00bd \u0663 \u216b \u00b2",
]

WEATHER = tool(
    "get_weather",
    "The weather of a city: d\u00e9j\u00e0 vu",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CLOCK = tool("clock", "The time", {"type": "object", "properties": {}})

CONVERSATIONS = [
    Conversation([user("Hello!"), assistant("Hi there!")]),
    Conversation(
        [
            system("You are Pebble, a small and helpful assistant."),
            user("Make a list.\n\n1. One\n2. Two\n"),
            assistant("- Apples\n- Pears"),
            user("  spaces \U0001f600 "),
            assistant("It's 42."),
            result({"a": 1}),
        ]
    ),
    Conversation(
        [
            user("Weather in K\u00f6ln and Rome?"),
            calls(("get_weather", {"city": "K\u00f6ln"}), ("get_weather", {"city": "Rome"})),
            result({"sky": "clear"}),
            result("rain"),
            assistant("Clear, and rain."),
        ],
        [WEATHER, CLOCK],
    ),
    Conversation(
        [
            system("Be brief."),
            user("What time is it?"),
            {**calls(("clock", {})), "content": "Let me see."},
        ],
        [CLOCK],
    ),
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FILES / "tokenizer.json"))


@pytest.fixture(scope="module")
def encoding() -> tiktoken.Encoding:
    described = json.loads((FILES / "tiktoken.json").read_text())
    return tiktoken.Encoding(
        "default_model",
        pat_str=described["pattern"],
        mergeable_ranks=load_tiktoken_bpe(str(FILES / described["ranks"])),
        special_tokens=described["special_tokens"],
    )


@pytest.fixture(scope="module")
def template() -> jinja2.Template:
    return template_environment().from_string((FILES / "chat_template.jinja").read_text())


def random_texts(count: int) -> list[str]:
    rng = random.Random(7)
    ranges = [(32, 126), (32, 126), (9, 13), (0xA0, 0x2FFF), (0x4E00, 0x9FFF), (0x1F300, 0x1FAFF)]

    def character() -> str:
        return chr(rng.randint(*rng.choice(ranges)))

    unusual = ["".join(character() for _ in range(rng.randint(1, 50))) for _ in range(count)]
    usual = ["".join(rng.choices(" \n\tabcdeEStT's12.!?-", k=40)) for _ in range(count)]
    return unusual + usual


def document_texts() -> list[str]:
    return [path.read_text() for path in sorted(Path(__file__).parents[3].glob("engine/**/*.py"))]


def test_both_formats_encode_alike(tokenizer: Tokenizer, encoding: tiktoken.Encoding) -> None:
    for text in [*WRITTEN_TEXTS, *random_texts(2000), *document_texts()]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == encoding.encode(text, allowed_special="all"), repr(text)
        assert encoding.decode(ids) == text
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_special_tokens_are_the_last_eight_ids(
    tokenizer: Tokenizer, encoding: tiktoken.Encoding
) -> None:
    assert tokenizer.get_vocab_size() == encoding.n_vocab == 4096
    for expected, token in enumerate(SPECIAL_TOKENS, start=4088):
        assert tokenizer.token_to_id(token) == expected
        assert encoding.encode_single_token(token) == expected


def test_special_tokens_are_recognised_alike(
    tokenizer: Tokenizer, encoding: tiktoken.Encoding
) -> None:
    text = conversation_text(CONVERSATIONS[1], ask=True)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids == encoding.encode(text, allowed_special="all")


def test_plain_text_starts_with_the_separator(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("Once").ids[0] == tokenizer.token_to_id(BOS)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_template_renders_the_ids_trained_on(
    tokenizer: Tokenizer, template: jinja2.Template, conversation: Conversation
) -> None:
    text = template.render(
        messages=conversation.messages, tools=conversation.tools or None, bos_token=BOS
    )
    assert text == conversation_text(conversation)
    trained = conversation_tokens(tokenizer, conversation)
    assert tokenizer.encode(text, add_special_tokens=False).ids == trained.ids.tolist()


def test_assistant_tokens_are_marked(tokenizer: Tokenizer) -> None:
    tokens = conversation_tokens(tokenizer, CONVERSATIONS[0])
    own = tokens.ids[tokens.own].tolist()
    assert tokenizer.decode(own, skip_special_tokens=False) == f"Hi there!{TURN_END}"


def test_template_forms(template: jinja2.Template) -> None:
    parts = [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]
    messages = [{"role": "developer", "content": parts}, {"role": "user", "content": None}]
    text = template.render(messages=messages, bos_token=BOS, add_generation_prompt=True)
    plain = Conversation([system("Be kind."), user("")])
    assert text == conversation_text(plain, ask=True)


def test_arguments_may_be_json_text(template: jinja2.Template) -> None:
    function = {"name": "clock", "arguments": '{"zone": "CET"}'}
    messages = [user("Time?"), {"role": "assistant", "tool_calls": [{"function": function}]}]
    text = template.render(messages=messages, tools=[CLOCK], bos_token=BOS)
    asked = Conversation([user("Time?"), calls(("clock", {"zone": "CET"}))], [CLOCK])
    assert text == conversation_text(asked)


def test_template_is_the_same_everywhere() -> None:
    assert (FILES / "chat_template.jinja").read_text() == TEMPLATE
    assert json.loads((FILES / "tokenizer_config.json").read_text())["chat_template"] == TEMPLATE
