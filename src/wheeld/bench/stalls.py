"""The rule of half a millisecond under full load: how long the daemon's event loop makes a deadline wait.

Three loads at once, each by a process of its own: far jobs submitted at full speed, jobs leased and acked as fast as
one worker takes them, and jobs due at a steady rate. The daemon samples its loop every 10 ms and publishes two
histograms; this reads them before and after. `loop_*` is what a deadline waited. `loop_own_*` leaves out what the
daemon's threads waited for a CPU meanwhile: on a machine with fewer cores than busy processes only the latter says what
the daemon itself held up, be it by the GIL or by a long call in the loop. `idle_*` are the same two of an idle process
on the same machine at the same time: what a hypervisor takes away is in both, and the daemon's doing is what it is
worse by.
"""

from __future__ import annotations

import asyncio
import re
import sys
import urllib.error
import urllib.request

from wheeld.bench.histogram import Histogram, between, figures_of
from wheeld.bench.idle import idle_apart
from wheeld.bench.judge import Report
from wheeld.bench.living import live_apart
from wheeld.bench.workloads import Terms, skew
from wheeld.model.errors import StartFailure

FAMILIES = {"loop": "wheeld_loop_lag_seconds", "loop_own": "wheeld_loop_lag_own_seconds"}
_BUCKET = re.compile(r'(\w+)_bucket\{le="([^"]+)"\} (\S+)')


def histograms(text: str) -> dict[str, Histogram]:
    """The loop's histograms in a page of metrics, by their name here."""
    found: dict[str, Histogram] = {name: [] for name in FAMILIES}
    for line in text.splitlines():
        matched = _BUCKET.match(line)
        for name, family in FAMILIES.items():
            if matched is not None and matched[1] == family:
                found[name].append((float(matched[2]), float(matched[3])))
    return found


def scrape(http: str) -> dict[str, Histogram]:
    """The histograms of the daemon whose HTTP side listens there."""
    try:
        with urllib.request.urlopen(f"http://{http}/metrics", timeout=10) as answer:
            return histograms(answer.read().decode())
    except (urllib.error.URLError, OSError) as error:
        raise StartFailure(
            f"the metrics of the daemon at {http} cannot be read: {error}",
            "Name its --http-listen address with --http.",
        ) from None


async def stalls(terms: Terms, http: str, rate: int, seconds: float) -> Report:
    """See the module."""
    before = await asyncio.to_thread(scrape, http)
    arguments = [terms.address, "0", str(seconds + 3), str(terms.payload_bytes)]
    flood = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wheeld.bench.background", *arguments, stdout=asyncio.subprocess.PIPE
    )
    lived, fired, idled = await asyncio.gather(
        live_apart(terms, seconds + 2), skew(terms, rate, seconds), idle_apart(seconds + 2)
    )
    out, _ = await flood.communicate()
    after = await asyncio.to_thread(scrape, http)
    report = Report("stalls", terms=terms.stated(rate=rate, seconds=seconds, sample="every 10 ms, in the daemon"))
    for name, found in after.items():
        report.figures |= figures_of(name, between(before[name], found))
    for name, found in idled.items():
        report.figures |= figures_of(name, found)
    if not all(idled.values()):
        report.failures.append("the idle process beside it failed")
    report.figures["samples"] = int(after["loop"][-1][1] - before["loop"][-1][1])
    report.figures["flood_jobs_per_s"] = round(int(out) / (seconds + 3))
    report.failures += lived["failures"]
    report.figures["lifecycle_jobs_per_s"] = lived["jobs_per_s"]
    report.figures |= {f"skew_{name}": fired.figures[name] for name in ("p50_ms", "p99_ms", "max_ms")}
    report.figures |= {name: fired.figures[name] for name in ("lost", "early", "duplicated")}
    report.failures += fired.failures
    return report
