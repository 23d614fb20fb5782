"""What Prometheus may ask: latencies seen by callers, counts, and the engine's own gauges.

Each app has a registry of its own. Gauges are read from the engine when scraped, never pushed.
Knows nothing of dialects but their names.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from engine import Engine
from server.admission import Admission

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5)


class Buckets:
    """Counts of one dialect's latencies. One is observed per token, so there is no lock and no
    walk over the bounds, as the library's own has; only the event loop touches it."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def add_to(self, family: HistogramMetricFamily, dialect: str) -> None:
        """Cumulative counts, as the exposition has them."""
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        family.add_metric([dialect], buckets, self._sum)


class Histogram(Collector):
    """Latencies by dialect."""

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._dialects: dict[str, Buckets] = {}

    def of(self, dialect: str) -> Buckets:
        """The counts of one dialect."""
        return self._dialects.setdefault(dialect, Buckets(self._bounds))

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        family = HistogramMetricFamily(self._name, self._text, labels=["dialect"])
        for dialect, buckets in self._dialects.items():
            buckets.add_to(family, dialect)
        yield family


class Metrics:
    """The instruments. All of them belong to the server's event loop."""

    def __init__(self, engine: Engine, admission: Admission) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(engine, admission))
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "From submission to the first token.", _LATENCY
        )
        self.inter_token = self._histogram(
            "inter_token_latency_seconds", "Between two results of one sample.", _TOKEN
        )
        self.duration = self._histogram(
            "request_duration_seconds", "From submission to the end of the request.", _LATENCY
        )
        self.samples = self._counter("samples", "Finished samples.", ("dialect", "finish_reason"))
        self.aborts = self._counter("aborts", "Abandoned requests.", ("dialect", "reason"))
        self.requests = self._counter(
            "http_requests", "Answered HTTP requests.", ("route", "method", "status")
        )

    def render(self) -> bytes:
        """The text exposition of everything."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...]) -> Histogram:
        histogram = Histogram(f"diglot_{name}", text, bounds)
        self._registry.register(histogram)
        return histogram

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"diglot_{name}", text, labels, registry=self._registry)


class _EngineCollector(Collector):
    """The engine's statistics and the door's, read at scrape time."""

    def __init__(self, engine: Engine, admission: Admission) -> None:
        self._engine = engine
        self._admission = admission

    def collect(self) -> Iterable[Metric]:
        stats = self._engine.stats
        gauges = {
            "ready": ("1 when the engine takes requests.", int(self._engine.phase == "ready")),
            "samples_open": ("Samples admitted and not ended.", self._admission.samples),
            "prompt_tokens_open": ("Prompt tokens of open requests.", self._admission.tokens),
            "sequences_running": ("Sequences in the running batch.", stats.running),
            "sequences_waiting": ("Sequences waiting for the batch.", stats.waiting),
            "kv_blocks_used": ("KV cache blocks held by live sequences.", stats.blocks_used),
            "kv_blocks": ("KV cache blocks in all.", stats.blocks_total),
        }
        totals = {
            "engine_steps": ("Engine steps.", stats.steps),
            "preemptions": ("Sequences put back for want of memory.", stats.preemptions),
            "prompt_tokens": ("Prompt tokens taken in.", stats.prompt_tokens),
            "cached_prompt_tokens": (
                "Prompt tokens served by the prefix cache.",
                stats.cached_prompt_tokens,
            ),
            "generated_tokens": ("Tokens generated.", stats.generated_tokens),
            "draft_tokens": ("Tokens guessed and computed ahead.", stats.draft_tokens),
            "accepted_draft_tokens": (
                "Guessed tokens that turned out right.",
                stats.accepted_draft_tokens,
            ),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"diglot_{name}", text, value)
        for name, (text, value) in totals.items():
            yield CounterMetricFamily(f"diglot_{name}", text, value)
