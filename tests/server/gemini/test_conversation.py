"""What the model's template is given: turns, parts and system instructions."""

from __future__ import annotations

import pytest

from tests.fakes import ScriptedEngine
from tests.server.gemini.conftest import Serve
from tests.server.gemini.helpers import GENERATE, ask, prompt_text, user


@pytest.mark.parametrize(
    ("contents", "prompt"),
    [
        ([{"parts": [{"text": "a"}]}], "<user\na>"),
        ([{"role": "", "parts": {"text": "a"}}], "<user\na>"),
        ([{"role": "function", "parts": [{"text": "a"}]}], "<user\na>"),
        ([{"role": "tool", "parts": [{"text": "a"}]}], "<user\na>"),
        ([user("a"), user("b", "c")], "<user\na\nb\nc>"),
        ([{"role": "model", "parts": [{"text": "a"}]}], "<assistant\na>"),
        (
            [user("q"), *({"role": "model", "parts": [{"text": t}]} for t in ("An", "", "swer"))],
            "<user\nq><assistant\nAnswer>",
        ),
        ([user("q"), {"role": "model", "parts": [{"text": ""}]}], "<user\nq><assistant\n>"),
        (
            [{"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": "yes"}]}],
            "<assistant\nyes>",
        ),
        (
            [user("q"), {"role": "model", "parts": [{"text": "hm", "thought": True}]}, user("r")],
            "<user\nq\nr>",
        ),
        (
            [{"parts": [{"text": "a", "thoughtSignature": "skip_thought_signature_validator"}]}],
            "<user\na>",
        ),
        (
            [
                {
                    "role": "model",
                    "parts": [
                        {"executableCode": {"language": "PYTHON", "code": "1+1"}},
                        {"codeExecutionResult": {"outcome": 1, "output": "2"}},
                    ],
                }
            ],
            "<assistant\n```\n1+1\n```\n2>",
        ),
    ],
)
def test_g28_g29_g52_turns_become_template_messages(
    serve: Serve, contents: list[object], prompt: str
) -> None:
    engine = ScriptedEngine()
    assert serve(engine).post(GENERATE, json={"contents": contents}).status_code == 200
    assert prompt_text(engine.requests[0].prompt_token_ids) == f"{prompt}<assistant\n"


@pytest.mark.parametrize(
    "instruction",
    [
        {"parts": [{"text": "be"}, {"text": "brief"}]},
        {"role": "user", "parts": [{"text": "be\nbrief"}]},
        {"role": "system", "parts": {"text": "be\nbrief"}},
        "be\nbrief",
    ],
)
def test_g31_system_instructions_of_all_forms(serve: Serve, instruction: object) -> None:
    engine = ScriptedEngine()
    serve(engine).post(GENERATE, json=ask() | {"systemInstruction": instruction})
    prompt = prompt_text(engine.requests[0].prompt_token_ids)
    assert prompt == "<system\nbe\nbrief><user\nhi><assistant\n"
