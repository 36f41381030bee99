"""Names, histograms, counts."""

from __future__ import annotations

import random

from prometheus_client.parser import text_string_to_metric_families

from tests.tidy.project import ROOT
from tests.unit.edge.fake_driver import FakeDriver, queue_view, skew
from wheeld.admission.gate import Gate
from wheeld.core.api import HISTOGRAM_BUCKETS, Counters, histogram_index, histogram_upper_us
from wheeld.metrics import names
from wheeld.metrics.calls import CallCounts
from wheeld.metrics.histogram import counts_of, cumulative, maximum, quantile
from wheeld.runtime.clock import SimClock
from wheeld.web.exporter import Exporter, Sources

BOUNDS = [histogram_upper_us(index) for index in range(HISTOGRAM_BUCKETS)]


def test_the_document_is_generated() -> None:
    text = (ROOT / "docs/metrics.md").read_text()
    assert text == names.render_markdown(), "run: python -m wheeld.metrics.names > docs/metrics.md"


def test_names_follow_the_conventions() -> None:
    for metric in names.ALL:
        assert metric.name.startswith("wheeld_") and metric.help.endswith(".")
        assert metric.name.endswith("_total") == (metric.kind == names.COUNTER), metric.name


def test_sources_name_counters_that_exist() -> None:
    known = set(Counters.__dataclass_fields__)
    named = {metric.source.removeprefix("counters.") for metric in names.PLAIN if metric.source.startswith("counters.")}
    assert named <= known


def test_quantiles_against_sorted_values(rng: random.Random) -> None:
    values = sorted(int(rng.expovariate(1 / 3000)) for _ in range(1000))
    counts = [0] * HISTOGRAM_BUCKETS
    for value in values:
        counts[histogram_index(value)] += 1
    for fraction in (0.5, 0.9, 0.99, 0.999, 1.0):
        true = values[max(0, -int(-len(values) * fraction // 1) - 1)]
        found = quantile(counts, BOUNDS, fraction)
        assert true <= found <= true * 17 / 16 + 1, (fraction, true, found)
    assert maximum(counts, BOUNDS) >= values[-1]


def test_an_empty_histogram() -> None:
    counts = counts_of(skew())
    assert quantile(counts, BOUNDS, 0.5) == maximum(counts, BOUNDS) == 0
    assert cumulative(counts, BOUNDS, [10.0]) == ([0, 0], 0.0)


def test_cumulative_counts_never_fall_and_end_with_all() -> None:
    counts = counts_of(skew(1, 5, 90, 5000, 10**9))
    found, total = cumulative(counts, BOUNDS, [4, 100, 6000])
    assert found == [1, 3, 4, 5] and total >= 10**9


def test_calls_are_counted_until_idle() -> None:
    counts, idle = CallCounts(), []
    counts.on_idle = lambda: idle.append(counts.in_flight)
    counts.enter()
    counts.enter()
    counts.leave("s", "m", "OK")
    assert counts.in_flight == 1 and not idle
    counts.leave("s", "m", "OK")
    assert counts.handled == {("s", "m", "OK"): 2} and idle == [0]


async def test_a_scrape_holds_what_the_driver_counts() -> None:
    driver, counts, clock = FakeDriver(), CallCounts(), SimClock()
    counts.enter()
    counts.leave("S", "M", "OK")
    driver.views = [
        queue_view(b"default/q", ready=4, running=2, oldest_due_ms=clock.wall_ms() - 1500, release_skew=skew(50, 900)),
        queue_view(b"n/q", paused=True),
    ]
    text = Exporter(Sources(driver, clock, Gate(), counts, "1.0", "n1", 5000)).render().decode()
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    of_q = (("queue", "q"),)
    assert samples["wheeld_jobs_submitted_total", ()] == 7
    assert samples["wheeld_lead_seconds", ()] == 0.006
    assert samples["wheeld_queue_depth", (("queue", "q"), ("state", "pending"))] == 4
    assert samples["wheeld_queue_oldest_age_seconds", of_q] == 1.5
    assert samples["wheeld_queue_paused", (("queue", "n/q"),)] == 1
    assert samples["wheeld_fire_skew_seconds_bucket", (("le", "0.0001"), *of_q)] == 1
    assert samples["wheeld_fire_skew_seconds_bucket", (("le", "+Inf"), *of_q)] == 2
    assert samples[
        "wheeld_grpc_server_handled_total", (("grpc_code", "OK"), ("grpc_method", "M"), ("grpc_service", "S"))
    ]
    known = {metric.name.removesuffix("_total") for metric in names.ALL}
    assert {family.name for family in text_string_to_metric_families(text)} <= known
