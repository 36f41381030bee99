"""The driver's numbers as Prometheus metrics, collected at a scrape.

Owns the mapping of views to samples. Does not own the names (metrics/names). Invariant: nothing on the hot path counts
for Prometheus; a scrape reads what the core counts anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from wheeld.admission.gate import Gate
from wheeld.core.api import HISTOGRAM_BUCKETS, QueueView, histogram_upper_us
from wheeld.driver.api import Driver
from wheeld.metrics import names
from wheeld.metrics.calls import CallCounts
from wheeld.metrics.histogram import counts_of, cumulative
from wheeld.runtime.clock import Clock
from wheeld.runtime.probe import LoopProbe

BOUNDS_US = [histogram_upper_us(index) for index in range(HISTOGRAM_BUCKETS)]
_COARSE_US = [bound * 1_000_000 for bound in names.SKEW_BUCKETS_SECONDS]
_LAG_LE = [*(repr(bound) for bound in names.LOOP_LAG_BUCKETS_SECONDS), "+Inf"]
_LE = [*(repr(bound) for bound in names.SKEW_BUCKETS_SECONDS), "+Inf"]


@dataclass(frozen=True)
class Sources:
    """Where the numbers come from."""

    driver: Driver
    clock: Clock
    gate: Gate
    counts: CallCounts
    version: str
    node: str
    start_ms: int
    probe: Callable[[], LoopProbe | None] = lambda: None


class Exporter:
    """A custom collector of prometheus_client."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self) -> bytes:
        """The text of /metrics."""
        return generate_latest(self._registry)

    def describe(self) -> list[Family]:
        """Nothing: the registry need not collect at start to learn the names."""
        return []

    def collect(self) -> Iterator[Family]:
        """All samples, from one moment."""
        yield from self._plain()
        yield from self._queues()
        yield from self._loop()
        yield from self._process()

    def _plain(self) -> Iterator[Family]:
        counters, facts = self._sources.driver.counters(), self._sources.driver.facts()
        for metric in names.PLAIN:
            group, _, key = metric.source.partition(".")
            value = getattr(counters, key, None) if group == "counters" else facts.get(key)
            if isinstance(value, int | float):
                family = _family(metric)
                family.add_metric([], value / metric.scale)
                yield family

    def _queues(self) -> Iterator[Family]:
        views = self._sources.driver.queues()
        now_ms = self._sources.clock.wall_ms()
        depth = _family(names.QUEUE_DEPTH)
        for view in views:
            depth.add_metric([_label(view), "pending"], view.ready)
            depth.add_metric([_label(view), "running"], view.running)
        yield depth
        for metric, value in (
            (names.QUEUE_PAUSED, lambda view: int(view.paused)),
            (names.QUEUE_BACKLOG, lambda view: int(view.backlog)),
            (names.QUEUE_WORKERS, lambda view: view.streams),
            (names.WORKER_CREDIT, lambda view: view.credit),
            (names.QUEUE_OLDEST_AGE, lambda view: oldest_age_ms(view, now_ms) / 1000),
        ):
            family = _family(metric)
            for view in views:
                family.add_metric([_label(view)], value(view))
            yield family
        for metric, field in ((names.FIRE_SKEW, "release_skew"), (names.RECEIPT_SKEW, "receive_skew")):
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for view in views:
                found, total_us = cumulative(counts_of(getattr(view, field)), BOUNDS_US, _COARSE_US)
                histogram.add_metric([_label(view)], list(zip(_LE, found, strict=True)), total_us / 1_000_000)
            yield histogram

    def _loop(self) -> Iterator[Family]:
        probe = self._sources.probe()
        if probe is None:
            return
        for metric, found in ((names.LOOP_LAG, probe.lag), (names.LOOP_LAG_OWN, probe.own)):
            buckets = list(zip(_LAG_LE, accumulate(found.counts), strict=True))
            yield HistogramMetricFamily(metric.name, metric.help, buckets=buckets, sum_value=found.total_us / 1e6)

    def _process(self) -> Iterator[Family]:
        sources = self._sources
        handled = _family(names.GRPC_HANDLED)
        for key, count in sources.counts.handled.items():
            handled.add_metric(list(key), count)
        yield handled
        single: tuple[tuple[names.Metric, tuple[str, ...], float], ...] = (
            (names.GRPC_IN_FLIGHT, (), sources.counts.in_flight),
            (names.BUILD_INFO, (sources.version, sources.node), 1),
            (names.START_TIME, (), sources.start_ms / 1000),
            (names.DRAINING, (), int(sources.gate.draining)),
        )
        for metric, labels, value in single:
            family = _family(metric)
            family.add_metric(list(labels), value)
            yield family


def _family(metric: names.Metric) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if metric.kind == names.COUNTER else GaugeMetricFamily
    return kind(metric.name, metric.help, labels=metric.labels)


def _label(view: QueueView) -> str:
    """A queue as one label: the default namespace is not said."""
    return view.queue.decode().removeprefix("default/")


def oldest_age_ms(view: QueueView, now_ms: int) -> int:
    """How long the oldest waiting job has been due."""
    return max(now_ms - view.oldest_due_ms, 0) if view.ready and view.oldest_due_ms else 0
