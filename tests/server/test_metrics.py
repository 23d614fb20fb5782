"""The latencies' histogram says what the library's own would say, without its locks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Reference

from server.metrics import Histogram

BOUNDS = (0.005, 0.01, 1, 2.5)
SECONDS = st.one_of(st.sampled_from(BOUNDS), st.floats(0, 10))


def exposition(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if "_created" not in line)


@given(st.lists(st.tuples(st.sampled_from(["openai", "gemini"]), SECONDS)))
def test_buckets_are_those_of_the_library(observed: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("latency_seconds", "How long.", BOUNDS)
    ours.register(histogram)
    reference = Reference(
        "latency_seconds", "How long.", ("dialect",), buckets=BOUNDS, registry=theirs
    )
    for dialect, seconds in observed:
        histogram.of(dialect).observe(seconds)
        reference.labels(dialect).observe(seconds)
    assert exposition(ours) == exposition(theirs)
