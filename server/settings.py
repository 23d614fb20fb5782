"""What the operator chose for the server: every setting is one declaration, a flag and a variable.

`--max-body-bytes 1000` on the command line and `DIGLOT_MAX_BODY_BYTES=1000` in the environment
are the same setting; the flag wins. Knows nothing of requests, and is never changed after birth.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from engine import EMBEDDED_MODEL, EngineConfig

EMBEDDED_NAME = "diglot-mini"


class ServerSettings(BaseSettings):
    """Settings of `diglot serve`, frozen. Lists take commas or a repeated flag."""

    model_config = SettingsConfigDict(
        env_prefix="DIGLOT_",
        frozen=True,
        extra="ignore",
        cli_prog_name="diglot serve",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        protected_namespaces=(),
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one."
    )
    model: str = Field(
        default=str(EMBEDDED_MODEL),
        description="Model directory in Hugging Face layout; the embedded model by default.",
    )
    served_model_name: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Names the model answers to, the first one its own; the directory's name.",
    )
    alias: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Further names, each as `alias=name` of a served one, as `gpt-4o=diglot-mini`.",
    )
    api_key: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Accepted API keys; without any, everyone may call."
    )
    api_key_file: Path | None = Field(
        default=None, description="File of further API keys, one a line; `#` starts a comment line."
    )

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the model runs."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Number format of weights and activations; by default the checkpoint's own, "
        "but on a CPU float32 where bfloat16 is slow (without AVX-512 or compiled kernels) and for "
        "a tiny model.",
    )
    quantization: Literal["int8", "fp8"] | None = Field(
        default=None,
        description="Round weights while loading, `int8` on a CPU, `fp8` on a GPU: faster, "
        "smaller, less exact.",
    )
    max_model_len: int | None = Field(
        default=None, ge=1, description="Context length in tokens; the model's own by default."
    )
    kv_cache_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens that the KV cache holds; fitted to the memory by default.",
    )
    kv_cache_dtype: Literal["auto", "fp8"] = Field(
        default="auto", description="Number format of the KV cache; fp8 halves it, on a GPU only."
    )
    memory_fraction: float = Field(
        default=0.85, gt=0, le=1, description="Share of the free memory that the KV cache may take."
    )
    block_size: int = Field(default=16, ge=1, description="Tokens in one block of the KV cache.")
    max_num_sequences: int = Field(
        default=256, ge=1, description="Samples that one step may carry."
    )
    max_num_batched_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens that one step may carry; 1024 on a CPU and 4096 on a GPU by default.",
    )
    prefix_cache: bool = Field(
        default=True, description="Reuse the KV cache of equal prompt beginnings."
    )
    batch_invariant: bool | None = Field(
        default=None,
        description="Make every result independent of what else runs; by default on a CPU.",
    )
    native_kernels: bool = Field(
        default=True,
        description="On a CPU, compile the model's step with the C++ compiler that is found.",
    )
    cuda_graphs: bool = Field(
        default=True, description="On a GPU, capture steps as CUDA graphs and replay them."
    )
    speculative_tokens: int = Field(
        default=0,
        ge=0,
        le=15,
        description="Tokens guessed at a time from the text so far and checked in one step; "
        "on a CPU, and with --batch-invariant, not a bit of the answer changes.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        description="CPU threads of the engine; all cores by default, half for a tiny model.",
    )

    max_queued_requests: int = Field(
        default=256, ge=0, description="Samples that may wait beyond those that can run at once."
    )
    max_queued_tokens: int = Field(
        default=1_048_576, ge=1, description="Prompt tokens of all open requests together."
    )
    cors_origin: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Web pages' origins that may call, `*` for all; those on this machine always.",
    )
    max_body_bytes: int = Field(default=64 * 1024 * 1024, ge=1, description="Largest request body.")
    strict_fields: bool = Field(
        default=False, description="Refuse unknown request fields with 400."
    )
    response_store: Path | None = Field(
        default=None, description="File that keeps responses over a restart; memory by default."
    )
    max_stored_responses: int = Field(
        default=1000, ge=0, description="Responses that are kept; the oldest go first."
    )
    response_store_seconds: float = Field(
        default=30 * 86400, gt=0, description="How long a response is kept."
    )
    drain_seconds: float = Field(
        default=30, ge=0, description="Time that open requests have to finish after SIGTERM."
    )
    keep_alive_seconds: float = Field(
        default=15, gt=0, description="Silence in an event stream after which a comment is sent."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log message that is written."
    )

    @field_validator("served_model_name", "alias", "api_key", "cors_origin", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        """`"a,b"` and `["a,b", "c"]` are lists of names."""
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            return value
        items = cast("list[object]", value)
        parts = (part.strip() for item in items for part in str(item).split(","))
        return [part for part in parts if part]

    @model_validator(mode="after")
    def _check_aliases(self) -> ServerSettings:
        for entry in self.alias:
            alias, equals, name = entry.partition("=")
            if not (alias and equals) or name not in self.model_names:
                known = ", ".join(self.model_names)
                raise ValueError(f"alias '{entry}' is not of the form alias=name, name of: {known}")
        return self

    @property
    def aliases(self) -> Mapping[str, str]:
        """Further name -> served name."""
        return dict((alias, name) for alias, _, name in (a.partition("=") for a in self.alias))

    @property
    def all_names(self) -> tuple[str, ...]:
        """The names of `model_names`, then the aliases."""
        return tuple(dict.fromkeys((*self.model_names, *self.aliases)))

    @property
    def model_names(self) -> tuple[str, ...]:
        """Every name the model answers to; the first is the one it reports."""
        if self.served_model_name:
            return tuple(self.served_model_name)
        if Path(self.model) == EMBEDDED_MODEL:
            return (EMBEDDED_NAME,)
        return (Path(self.model).resolve().name,)

    def api_keys(self) -> tuple[str, ...]:
        """All accepted keys, from the setting and from the file. Reads the file: call it once.

        Raises:
            OSError: the key file cannot be read, or has no key: nobody means an open server by it.
        """
        keys = list(self.api_key)
        if self.api_key_file is not None:
            lines = self.api_key_file.read_text(encoding="utf-8").splitlines()
            found = [line.strip() for line in lines if line.strip() and line.strip()[0] != "#"]
            if not found:
                raise OSError(f"the key file {self.api_key_file} has no key")
            keys += found
        return tuple(keys)


def engine_config(settings: ServerSettings) -> EngineConfig:
    """The engine's share of the settings."""
    return EngineConfig(
        model=settings.model,
        served_name=settings.model_names[0],
        device=settings.device,
        dtype=settings.dtype,
        max_model_len=settings.max_model_len,
        block_size=settings.block_size,
        kv_cache_tokens=settings.kv_cache_tokens,
        kv_cache_dtype=settings.kv_cache_dtype,
        memory_fraction=settings.memory_fraction,
        max_num_sequences=settings.max_num_sequences,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        prefix_cache=settings.prefix_cache,
        batch_invariant=settings.batch_invariant,
        native_kernels=settings.native_kernels,
        cuda_graphs=settings.cuda_graphs,
        speculative_tokens=settings.speculative_tokens,
        quantization=settings.quantization,
        threads=settings.threads,
    )
