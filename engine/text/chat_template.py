"""A conversation to the text that the model was trained to continue.

Knows the model's own template and where a model directory keeps it. A template never comes with a
request: it is code, sandboxed but not limited in time. Does not know token ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jinja2
import msgspec

from engine.errors import InvalidParameter, ModelLoadError
from engine.text.chat_messages import Message, MessageShape, shaped, with_text_appended
from engine.text.harmony_messages import effort_for_harmony
from engine.text.model_files import read_json, read_text
from engine.text.template_environment import template_environment
from engine.text.template_traits import (
    iterates_content,
    knows_reasoning,
    tests_for_string,
    tool_call_format,
)
from engine.types import ChatPrompt

_END_MARK = "CONTINUE_FINAL_MESSAGE_TAG "
"""Put after the final message's text; its space tells whether the template trims the text."""

_OURS = frozenset({"messages", "add_generation_prompt", "bos_token", "eos_token"})

_TEMPLATE_FAULTS = (
    jinja2.TemplateError,  # raise_exception, undefined values, the sandbox
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,  # the sandbox's limit on ranges is an OverflowError
    RecursionError,
)


class ChatTemplate:
    """The templates of one model, compiled once. Safe to share between threads."""

    def __init__(self, sources: str | Mapping[str, str] | None) -> None:
        """`sources`: the template, or several by name (`default`, `tool_use`), or none.

        Raises:
            ModelLoadError: a template has a syntax error.
        """
        named = {"default": sources} if isinstance(sources, str) else dict(sources or {})
        self._templates = {name: _Compiled(source) for name, source in named.items()}

    @classmethod
    def load(cls, model_dir: str | Path) -> ChatTemplate:
        """From `chat_template.jinja`, else from `tokenizer_config.json`; else there is none.

        Raises:
            ModelLoadError: a file cannot be read, or a template has a syntax error.
        """
        folder = Path(model_dir)
        if (folder / "chat_template.jinja").is_file():
            return cls(read_text(folder / "chat_template.jinja"))
        path = folder / "tokenizer_config.json"
        config = read_json(path, _TemplateConfig) if path.is_file() else _TemplateConfig()
        if isinstance(config.chat_template, list):
            return cls({entry.name: entry.template for entry in config.chat_template})
        return cls(config.chat_template)

    @property
    def available(self) -> bool:
        """Whether the model has any chat template."""
        return bool(self._templates)

    @property
    def source(self) -> str | None:
        """The source of the template that is taken without tools."""
        template = self._templates.get("default")
        return template and template.source

    @property
    def tool_call_format(self) -> str | None:
        """See `template_traits.tool_call_format`; of the template that is taken with tools."""
        template = self._templates.get("tool_use") or self._templates.get("default")
        return template and template.tool_call_format

    @property
    def reasons(self) -> bool:
        """See `template_traits.knows_reasoning`."""
        return any(template.reasons for template in self._templates.values())

    def render(self, prompt: ChatPrompt, *, bos_token: str | None, eos_token: str | None) -> str:
        """The conversation as text, with special tokens spelled by name.

        With `continue_final` the text ends with the final message's own text, and
        `add_generation_prompt` has no meaning. `template_args` are variables for the template;
        of several templates, `tool_use` is taken when they hold `tools`.

        Raises:
            InvalidParameter: the model has no template, the template refuses the conversation
                (`messages`), or an argument would replace something of ours (`template_args`).
        """
        template = self._choose(prompt)
        messages = shaped(prompt.messages, template.shape)
        variables = template.variables(prompt, bos_token, eos_token)
        if not prompt.continue_final:
            variables["add_generation_prompt"] = prompt.add_generation_prompt
            return template.render(messages, variables)
        if not messages:
            raise InvalidParameter("messages", (), "there is no final message to continue.")
        messages[-1], final_text = with_text_appended(messages[-1], _END_MARK)
        return _cut_after(template.render(messages, variables), final_text)

    def _choose(self, prompt: ChatPrompt) -> _Compiled:
        names = ["tool_use", "default"] if prompt.template_args.get("tools") else ["default"]
        for name in names:
            if name in self._templates:
                return self._templates[name]
        raise InvalidParameter("messages", None, "this model has no chat template.")


class _Compiled:
    """One template and what it expects of its messages."""

    def __init__(self, source: str) -> None:
        environment = template_environment()
        try:
            tree = environment.parse(source)
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise ModelLoadError(f"The model's chat template is broken: {error}") from error
        self.source = source
        self.tool_call_format = tool_call_format(source)
        self.reasons = knows_reasoning(source)
        self._reserved = _OURS.union(environment.globals)
        parts = iterates_content(tree)
        self.shape = MessageShape(
            strings=not parts or tests_for_string(tree),
            parts=parts,
            developer="developer" in source,
            short_ids=self.tool_call_format == "mistral",
            harmony=self.tool_call_format == "harmony",
        )

    def variables(
        self, prompt: ChatPrompt, bos_token: str | None, eos_token: str | None
    ) -> dict[str, object]:
        """All that the template sees besides its messages."""
        if taken := self._reserved & prompt.template_args.keys():
            name = min(taken)
            raise InvalidParameter("template_args", name, f"'{name}' cannot be set.")
        ours: dict[str, object] = {"add_generation_prompt": False}
        if bos_token is not None:
            ours["bos_token"] = bos_token
        if eos_token is not None:
            ours["eos_token"] = eos_token
        given = prompt.template_args
        if self.shape.harmony:
            given = effort_for_harmony(given)
        # Templates compare these two with none without asking whether they are defined.
        return {"tools": None, "documents": None, **given, **ours}

    def render(self, messages: list[Message], variables: dict[str, object]) -> str:
        try:
            return self._template.render({**variables, "messages": messages})
        except _TEMPLATE_FAULTS as error:
            reason = f"the model's chat template refuses this conversation: {error}"
            raise InvalidParameter("messages", None, reason) from error


class _NamedTemplate(msgspec.Struct, frozen=True):
    name: str
    template: str


class _TemplateConfig(msgspec.Struct, frozen=True):
    """The part of `tokenizer_config.json` that is used here."""

    chat_template: str | list[_NamedTemplate] | None = None


def _cut_after(rendered: str, final_text: str) -> str:
    """The rendering up to the end mark, as `transformers` cuts it."""
    mark = _END_MARK.strip()
    if mark not in rendered or final_text.strip() not in rendered:
        reason = "the chat template does not show the final message, so it cannot be continued."
        raise InvalidParameter("messages", None, reason)
    position = rendered.rindex(mark)
    if rendered.startswith(_END_MARK, position):
        return rendered[:position]
    return rendered[:position].rstrip()  # the template trims texts, so trim this one as well
