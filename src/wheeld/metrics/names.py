"""Every metric of the daemon: name, kind, help, labels. docs/metrics.md is generated from this table.

Owns the names. Does not own the numbers: `source` says which counter or fact of the driver a plain metric shows, and
those with labels are filled in by the exporter. Invariant: names are unique, in base units, and never change their
meaning.
"""

from __future__ import annotations

from typing import Final, NamedTuple

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"


class Metric(NamedTuple):
    """One metric. `source` is `counters.NAME` or `facts.NAME` of the driver, "" when the exporter fills it in; `scale`
    divides it.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    source: str = ""
    scale: float = 1.0


SKEW_BUCKETS_SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0,
)  # fmt: skip
"""Bounds of the skew histograms as Prometheus sees them; the daemon keeps 16 buckets per power of two."""

LOOP_LAG_BUCKETS_SECONDS: Final = (
    0.00005, 0.0001, 0.00015, 0.0002, 0.0003, 0.0004, 0.0005, 0.00065, 0.0008, 0.001, 0.0013, 0.0016, 0.002, 0.0025,
    0.003, 0.004, 0.005, 0.0065, 0.008, 0.01, 0.013, 0.016, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0,
)  # fmt: skip
"""Bounds of the histograms of the event loop's lag: close enough for percentiles."""

FIRE_SKEW: Final = Metric(
    "wheeld_fire_skew_seconds",
    HISTOGRAM,
    "From the schedule time until the lease frame was given to the transport.",
    ("queue",),
)
RECEIPT_SKEW: Final = Metric(
    "wheeld_receipt_skew_seconds",
    HISTOGRAM,
    "From the schedule time until the worker had the lease, by its clock.",
    ("queue",),
)
QUEUE_DEPTH: Final = Metric(
    "wheeld_queue_depth",
    GAUGE,
    "Jobs in memory that wait for a worker (pending) or are leased (running).",
    ("queue", "state"),
)
QUEUE_OLDEST_AGE: Final = Metric(
    "wheeld_queue_oldest_age_seconds",
    GAUGE,
    "How long the oldest waiting job has been due; 0 when none is.",
    ("queue",),
)
QUEUE_PAUSED: Final = Metric("wheeld_queue_paused", GAUGE, "1 while the queue gives out nothing.", ("queue",))
QUEUE_BACKLOG: Final = Metric("wheeld_queue_backlog", GAUGE, "1 while due jobs of the queue wait on disk.", ("queue",))
QUEUE_WORKERS: Final = Metric("wheeld_queue_workers", GAUGE, "Lease streams that are open for the queue.", ("queue",))
WORKER_CREDIT: Final = Metric(
    "wheeld_worker_credit", GAUGE, "Jobs that the queue's workers would take at once.", ("queue",)
)
GRPC_HANDLED: Final = Metric(
    "wheeld_grpc_server_handled_total", COUNTER, "Finished calls.", ("grpc_service", "grpc_method", "grpc_code")
)
GRPC_IN_FLIGHT: Final = Metric("wheeld_grpc_server_in_flight", GAUGE, "Calls and streams that are open.")
BUILD_INFO: Final = Metric("wheeld_build_info", GAUGE, "Always 1; the labels say what runs.", ("version", "node"))
START_TIME: Final = Metric("wheeld_start_time_seconds", GAUGE, "Unix time at which the daemon began to serve.")
LOOP_LAG: Final = Metric(
    "wheeld_loop_lag_seconds", HISTOGRAM, "How late the event loop runs a deadline; one sample every 10 ms."
)
LOOP_LAG_OWN: Final = Metric(
    "wheeld_loop_lag_own_seconds",
    HISTOGRAM,
    "The same, less what the daemon's threads waited for a CPU since the sample before: the process's own doing.",
)
DRAINING: Final = Metric("wheeld_draining", GAUGE, "1 once the daemon has begun to shut down.")

FILLED: Final = (
    FIRE_SKEW, RECEIPT_SKEW, QUEUE_DEPTH, QUEUE_OLDEST_AGE, QUEUE_PAUSED, QUEUE_BACKLOG, QUEUE_WORKERS, WORKER_CREDIT,
    GRPC_HANDLED, GRPC_IN_FLIGHT, BUILD_INFO, START_TIME, DRAINING,
    LOOP_LAG, LOOP_LAG_OWN,
)  # fmt: skip


def _counter(name: str, counter: str, text: str) -> Metric:
    return Metric(f"wheeld_{name}_total", COUNTER, text, (), f"counters.{counter}")


def _gauge(name: str, source: str, text: str, scale: float = 1.0) -> Metric:
    return Metric(f"wheeld_{name}", GAUGE, text, (), source, scale)


def _fact(name: str, fact: str, text: str) -> Metric:
    return Metric(f"wheeld_{name}_total", COUNTER, text, (), f"facts.{fact}")


PLAIN: Final = (
    _counter("jobs_submitted", "submitted", "Jobs accepted."),
    _counter("jobs_duplicate", "duplicates", "Submits answered with a job that their idempotency key named."),
    _counter("jobs_refused", "refused", "Submits that were refused."),
    _counter("jobs_fired", "released_leases", "Leases given to the transport, redeliveries included."),
    _counter("jobs_granted", "granted", "Attempts begun."),
    _counter("jobs_taken_back", "taken_back", "Grants taken back before they left; no attempt was spent."),
    _counter("jobs_redelivered", "redelivered", "Leases sent again to a session that had lost them."),
    _counter("jobs_acked", "acked", "Attempts that succeeded."),
    _counter("jobs_nacked", "nacked", "Attempts that failed."),
    _counter("jobs_failed", "failed", "Jobs that ended in the dead letter."),
    _counter("jobs_cancelled", "cancelled", "Jobs cancelled."),
    _counter("jobs_expired", "expired", "Jobs not started within their start timeout."),
    _counter("jobs_rescheduled", "rescheduled", "Jobs moved to another time."),
    _counter("leases_renewed", "renewed", "Renewals."),
    _counter("lease_expirations", "lease_expirations", "Leases that were neither settled nor renewed in time."),
    _counter(
        "stale_settles", "stale_settles", "Settles refused because the lease had ended or a newer attempt held the job."
    ),
    _counter("lease_frames", "released_frames", "Lease frames given to the transport."),
    _counter("jobs_spilled", "spilled", "Due jobs moved to disk for lack of room in memory."),
    _counter("jobs_loaded", "loaded", "Jobs brought from disk into memory."),
    _counter("jobs_load_skipped", "load_skipped", "Rows from disk that memory knew better."),
    _gauge("resident_jobs", "counters.resident_jobs", "Jobs in memory."),
    _gauge("resident_bytes", "counters.resident_bytes", "Bytes that jobs hold in memory."),
    _gauge("leases_outstanding", "counters.leases", "Leases that are out."),
    _gauge("ready_jobs", "counters.ready", "Jobs in memory that wait for a worker."),
    _gauge("wheel_timers", "counters.armed", "Timers in the wheel."),
    _gauge("lease_streams", "counters.streams", "Lease streams that are open."),
    _gauge("open_group_bytes", "counters.open_group_bytes", "Bytes of decisions that wait to be written."),
    _gauge("lead_seconds", "facts.lead_ms", "How far the wheel runs ahead of the clock.", 1000.0),
    _gauge("resident_bytes_max", "facts.resident_bytes_max", "Cap of wheeld_resident_bytes."),
    _gauge("journal_durable_group", "facts.durable_group", "Number of the last durable journal group."),
    _gauge("journal_retained_bytes", "facts.retained_bytes", "Journal bytes that the storekeeper has not folded yet."),
    _gauge(
        "journal_retained_bytes_max", "facts.submit_limit_bytes", "Past this many retained bytes submits are refused."
    ),
    _gauge("journal_segments", "facts.journal_segments", "Segment files of the journal."),
    _gauge(
        "journal_sync_p50_seconds",
        "facts.sync_ms_p50",
        "Median of the last 1,024 journal writes with their syncs.",
        1000.0,
    ),
    _gauge("journal_sync_p999_seconds", "facts.sync_ms_p999", "99.9th percentile of the same.", 1000.0),
    _gauge("journal_sync_longest_seconds", "facts.sync_ms_longest", "The longest of them since the start.", 1000.0),
    _gauge(
        "journal_group_longest_seconds",
        "facts.group_ms_longest",
        "The longest time from a decision until the loop knew that it is durable, since the start.",
        1000.0,
    ),
    _gauge("store_position_group", "facts.store_position", "Journal group up to which the store is complete."),
    _gauge("horizon_timestamp_seconds", "facts.horizon_ms", "Jobs due before this Unix time are in memory.", 1000.0),
    _gauge(
        "watermark_timestamp_seconds",
        "facts.watermark_ms",
        "A restart never looks at buckets before this Unix time.",
        1000.0,
    ),
    _gauge("loop_lag_p50_seconds", "facts.loop_lag_us_p50", "Median lag of the event loop, over the last 40 s.", 1e6),
    _gauge("loop_lag_p99_seconds", "facts.loop_lag_us_p99", "99th percentile of the same.", 1e6),
    _gauge("loop_lag_p999_seconds", "facts.loop_lag_us_p999", "99.9th percentile of the same.", 1e6),
    _gauge("loop_lag_max_seconds", "facts.loop_lag_us_max", "Longest lag since start.", 1e6),
    _fact("loop_samples", "loop_samples", "Samples of the event loop's lag, one every 10 ms."),
    _fact("loop_stalls", "loop_stalls", "Samples in which the event loop was more than half a millisecond late."),
    _fact("journal_groups", "groups_written", "Journal groups written."),
    _fact("journal_bytes", "journal_bytes", "Bytes written to the journal."),
    _fact("pump_beats", "beats", "Turns of the driver."),
    _fact("clock_steps", "clock_steps", "Steps of the wall clock that the daemon saw."),
    _fact("horizon_passes", "horizon_passes", "Times that jobs were fetched from disk ahead of their time."),
    _fact("backlog_pages", "backlog_pages", "Pages of due jobs fetched back from disk."),
)

ALL: Final = FILLED + PLAIN

if len({metric.name for metric in ALL}) != len(ALL):
    raise RuntimeError("a metric is named twice")


def render_markdown() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Generated from `src/wheeld/metrics/names.py` by `python -m wheeld.metrics.names`; a test compares them.",
        "The daemon serves them at `/metrics` on its HTTP port. Units are seconds and bytes; counters start at 0 with",
        "the process.",
        "A metric whose number the running daemon does not keep is left out.",
        "",
        "| name | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for metric in sorted(ALL):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    for what, found in (("skew", SKEW_BUCKETS_SECONDS), ("loop lag", LOOP_LAG_BUCKETS_SECONDS)):
        bounds = ", ".join(f"{bound:g}" for bound in found)
        lines += ["", f"Bounds of the {what} histograms, in seconds: {bounds}."]
    lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    import sys

    sys.stdout.write(render_markdown())
