"""What the server counts, in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

#: Of the engine's figures, those that go up and down.
GAUGES = {"running", "waiting", "clip_cache_bytes", "prefix_cache_bytes", "rows_per_step"}
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters of requests, and the engine's own figures.

    Args:
        stats: `Engine.stats`.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, stats: Callable[[], Mapping[str, float]]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "pal_requests", "Requests answered", ["path", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "pal_request_seconds",
            "From a request to the end of its answer",
            ["path"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._audio = Counter(
            "pal_audio_seconds", "Audio in requests, decoded", registry=self.registry
        )
        self.registry.register(_OfEngine(stats))

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request; `path` is one of few, else the counters would grow without end."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def heard(self, seconds: float) -> None:
        """Count the audio of a request."""
        self._audio.inc(seconds)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self.registry)


class _OfEngine:
    def __init__(self, stats: Callable[[], Mapping[str, float]]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        for name, value in self._stats().items():
            family = GaugeMetricFamily if name in GAUGES else CounterMetricFamily
            yield family(f"pal_engine_{name}", f"Engine.stats: {name}", value=value)
