"""The Gemini messages this server reads, field by field.

A field annotated `object` is known but not read here: it is read or refused by name elsewhere, or
it is in `NO_EFFECT` and has no meaning for a local text model. Knows nothing of how a request is
carried out.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar

from server.gemini.proto_json import Record


class Modality(enum.IntEnum):
    """What kind of output is wanted."""

    MODALITY_UNSPECIFIED = 0
    TEXT = 1
    IMAGE = 2
    AUDIO = 3


class CallingMode(enum.IntEnum):
    """Whether the model may, must or must not call functions."""

    MODE_UNSPECIFIED = 0
    AUTO = 1
    ANY = 2
    NONE = 3
    VALIDATED = 4


class Blob(Record, frozen=True):
    """Inline data."""

    mime_type: str = ""
    data: bytes = b""


class ExecutableCode(Record, frozen=True):
    """Code a model wrote to be run, in a conversation's history."""

    language: object = None
    code: str = ""


class CodeExecutionResult(Record, frozen=True):
    """What running such code printed."""

    outcome: object = None
    output: str = ""


class FunctionCall(Record, frozen=True):
    """A call the model made, in a conversation's history."""

    id: str = ""
    name: str = ""
    args: dict[str, object] | None = None
    partial_args: object = None
    will_continue: object = None


class FunctionResponse(Record, frozen=True):
    """What a called function said."""

    id: str = ""
    name: str = ""
    response: dict[str, object] | None = None
    parts: object = None
    will_continue: object = None
    scheduling: object = None


class Part(Record, frozen=True):
    """One piece of a turn: exactly one of the data fields, plus modifiers."""

    text: str | None = None
    inline_data: Blob | None = None
    file_data: object = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    executable_code: ExecutableCode | None = None
    code_execution_result: CodeExecutionResult | None = None
    tool_call: object = None
    tool_response: object = None
    # Modifiers
    thought: bool = False
    thought_signature: object = None
    video_metadata: object = None
    media_resolution: object = None
    part_metadata: object = None
    audio_transcription: object = None


PART_DATA_FIELDS = (
    "text",
    "inline_data",
    "file_data",
    "function_call",
    "function_response",
    "executable_code",
    "code_execution_result",
    "tool_call",
    "tool_response",
)


class Content(Record, frozen=True):
    """One turn."""

    role: str = ""
    parts: tuple[Part, ...] = ()


class FunctionDeclaration(Record, frozen=True):
    """A function that the caller offers. Its two kinds of schema exclude each other."""

    ALIASES: ClassVar[Mapping[str, str]] = {
        "_parametersJsonSchema": "parameters_json_schema",
        "parametersJsonSchemaOrdered": "parameters_json_schema",
        "parameters_json_schema_ordered": "parameters_json_schema",
    }

    name: str = ""
    description: str = ""
    parameters: object = None
    parameters_json_schema: object = None
    # What a function answers is the caller's business
    response: object = None
    response_json_schema: object = None
    behavior: object = None


class Tool(Record, frozen=True):
    """Something the model could call."""

    function_declarations: tuple[FunctionDeclaration, ...] = ()
    google_search: object = None
    google_search_retrieval: object = None
    url_context: object = None
    code_execution: object = None
    google_maps: object = None
    file_search: object = None
    computer_use: object = None
    mcp_servers: object = None


class FunctionCallingConfig(Record, frozen=True):
    """How functions may be called."""

    mode: CallingMode = CallingMode.MODE_UNSPECIFIED
    allowed_function_names: tuple[str, ...] = ()
    stream_function_call_arguments: object = None


class ToolConfig(Record, frozen=True):
    """Settings of all tools together."""

    function_calling_config: FunctionCallingConfig | None = None
    retrieval_config: object = None
    include_server_side_tool_invocations: object = None


class ThinkingConfig(Record, frozen=True):
    """Whether the model reasons, and whether the caller sees it."""

    include_thoughts: bool = False
    thinking_budget: int | None = None  # 0: not at all; tokens otherwise, which nothing limits here
    thinking_level: object = None  # a word of any case, or its number


class GenerationConfig(Record, frozen=True):
    """How to generate; None is "not set". The last block holds this server's extensions."""

    ALIASES: ClassVar[Mapping[str, str]] = {
        "_responseJsonSchema": "response_json_schema",
        "response_json_schema_ordered": "response_json_schema",
        "responseJsonSchemaOrdered": "response_json_schema",
    }
    NO_EFFECT: ClassVar[frozenset[str]] = frozenset(
        {
            "media_resolution",
            "speech_config",
            "image_config",
            "audio_transcription_config",
            "audio_timestamp",
            "enable_affective_dialog",
            "routing_config",
            "model_selection_config",
            "response_format",
            "translation_config",
            "enable_enhanced_civic_answers",
        }
    )

    stop_sequences: tuple[str, ...] = ()
    candidate_count: int | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool = False
    logprobs: int | None = None
    response_modalities: tuple[Modality, ...] = ()
    response_mime_type: str = ""
    response_schema: object = None
    response_json_schema: object = None
    thinking_config: ThinkingConfig = ThinkingConfig()
    # Without effect
    media_resolution: object = None
    speech_config: object = None
    image_config: object = None
    audio_transcription_config: object = None
    audio_timestamp: object = None
    enable_affective_dialog: object = None
    routing_config: object = None
    model_selection_config: object = None
    response_format: object = None
    translation_config: object = None
    enable_enhanced_civic_answers: object = None
    # Extensions
    logit_bias: dict[int, float] | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    ignore_eos: bool = False
    min_tokens: int | None = None


class SafetySetting(Record, frozen=True):
    """How a filter is set; there is none here."""

    category: object = None
    threshold: object = None


class GenerateContentRequest(Record, frozen=True):
    """The body of generateContent and streamGenerateContent."""

    NO_EFFECT: ClassVar[frozenset[str]] = frozenset(
        {
            "model",
            "safety_settings",
            "service_tier",
            "store",
            "labels",
            "continuation_token",
        }
    )

    contents: tuple[Content, ...] = ()
    system_instruction: Content | str | None = None
    tools: tuple[Tool, ...] = ()
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig = GenerationConfig()
    cached_content: str = ""
    # Without effect
    model: object = None
    safety_settings: tuple[SafetySetting, ...] = ()
    service_tier: object = None
    store: object = None
    labels: object = None
    continuation_token: object = None


class CountTokensRequest(GenerateContentRequest, frozen=True):
    """The body of countTokens: the fields of a request at top level, or one request inside."""

    generate_content_request: GenerateContentRequest | None = None
