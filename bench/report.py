"""Figures out of bench/results/local: skew percentiles, lateness over time, throughput over time. `make bench-report`.

Owns: the plots, and a page that shows them with the comparison's tables. Measures nothing: it reads what `bench.run`,
`bench.compare` and their like have written, and leaves out the plots that nothing was measured for.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

try:
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
except ModuleNotFoundError as missing:
    # pytest.importorskip asks for matplotlib first, so nobody but a person at a terminal gets here.
    raise SystemExit(f"{missing}: `make bench-report` installs it, or `pip install -e '.[bench]'`.") from None

RESULTS = Path(__file__).parent / "results" / "local"
QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p99.9_ms": 0.999}
PARTS_MAX = 60
MARKS_PER_PART = 5
"""Fewer answers in an interval would draw the batches, not the rate."""

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Measured:
    """A report and where it comes from: a system of the comparison, or a file of our own."""

    source: str
    report: dict[str, Any]


def load(folder: Path) -> list[Measured]:
    """Every report in the folder's JSON files; runs that broke have none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "runs" in content:
            found += [Measured(run["system"], run["report"]) for run in content["runs"] if run["report"]]
        elif isinstance(content, list):
            found += [Measured(f"wheeld ({path.stem})", report) for report in content]
    return found


def skew_curves(measured: Sequence[Measured]) -> dict[str, Points]:
    """(quantile, ms) for each system and rate: the median over the rounds."""
    samples: dict[str, dict[str, list[float]]] = {}
    for item in measured:
        figures = item.report.get("figures", {})
        if item.report["name"] in ("skew", "skew_own") and all(
            math.isfinite(figures.get(n, math.nan)) for n in QUANTILES
        ):
            label = f"{item.source}, {item.report['terms'].get('rate', '?')}/s"
            for name in QUANTILES:
                samples.setdefault(label, {}).setdefault(name, []).append(figures[name])
    return {
        label: [(quantile, median(by_name[name])) for name, quantile in QUANTILES.items()]
        for label, by_name in samples.items()
    }


def throughput(marks: Sequence[Sequence[float]], parts: int = 0) -> Points:
    """A cumulative count over time as a rate over time: (middle of the interval in s, per second)."""
    if not marks:
        return []
    parts = parts or min(max(len(marks) // MARKS_PER_PART, 1), PARTS_MAX)
    step = marks[-1][0] / parts
    ends, at, count = [0.0], 0, 0.0
    for part in range(1, parts + 1):
        while at < len(marks) and (marks[at][0] <= part * step or part == parts):
            count = marks[at][1]
            at += 1
        ends.append(count)
    return [((part + 0.5) * step, (ends[part + 1] - ends[part]) / step) for part in range(parts)] if step else []


def series(measured: Sequence[Measured], name: str) -> dict[str, list[list[float]]]:
    """The last curve of that name for each source and workload."""
    return {
        f"{item.source} {item.report['name']}": item.report["series"][name]
        for item in measured
        if item.report.get("series", {}).get(name)
    }


def plot_percentiles(measured: Sequence[Measured], axes: Axes) -> bool:
    """Skew by percentile, both axes so that the tail shows."""
    curves = skew_curves(measured)
    for label, points in curves.items():
        axes.plot([1 / (1 - q) for q, _ in points], [max(ms, 0.001) for _, ms in points], marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel="percentile", ylabel="receipt minus due time, ms", title="Fire skew")
    axes.set_xticks([1 / (1 - q) for q in QUANTILES.values()], [name.removesuffix("_ms") for name in QUANTILES])
    return bool(curves)


def plot_lateness(measured: Sequence[Measured], axes: Axes) -> bool:
    """Lateness of single jobs over the run."""
    curves = series(measured, "skew_ms")
    for label, points in curves.items():
        axes.plot([x for x, _ in points], [max(y, 0.001) for _, y in points], ".", markersize=2, label=label)
    axes.set(yscale="log", xlabel="due time, s", ylabel="receipt minus due time, ms", title="Fire skew over time")
    return bool(curves)


def plot_throughput(measured: Sequence[Measured], axes: Axes) -> bool:
    """Jobs made durable per second, each curve over its own duration."""
    curves = {label: throughput(marks) for label, marks in series(measured, "submitted").items()}
    for label, points in curves.items():
        whole = 2 * points[0][0] * len(points) if points else 1.0
        axes.plot([x / whole * 100 for x, _ in points], [y for _, y in points], marker=".", label=label)
    axes.set(yscale="log", xlabel="share of the run, %", ylabel="jobs/s", title="Durable submits over time")
    return bool(curves)


BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
PLOTS = {"skew-percentiles": plot_percentiles, "skew-over-time": plot_lateness, "submit-over-time": plot_throughput}


def draw(measured: Sequence[Measured], folder: Path, suffix: str) -> list[Path]:
    """One file for each plot that something was measured for."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, plot in PLOTS.items():
        figure, axes = plt.subplots(figsize=(10, 5.5), layout="constrained")
        if plot(measured, axes):
            axes.grid(True, which="both", alpha=0.25)
            axes.legend(fontsize="small", markerscale=4 if name == "skew-over-time" else 1, **BESIDE)
            path = folder / f"{name}.{suffix}"
            figure.savefig(path, dpi=150)
            written.append(path)
        plt.close(figure)
    return written


def page(folder: Path, plots: Sequence[Path]) -> str:
    """The comparison's tables and the plots, as Markdown."""
    tables = folder / "compare.md"
    parts = [tables.read_text(encoding="utf-8")] if tables.exists() else ["# Benchmarks"]
    return "\n\n".join([*parts, *(f"![{path.stem}]({path.relative_to(folder)})" for path in plots)]) + "\n"


def main() -> None:
    """Draw everything there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=RESULTS, help="with the JSON files; plots/ and report.md go there"
    )
    parser.add_argument("--format", default="png", choices=("png", "svg", "pdf"))
    options = parser.parse_args()
    measured = load(options.folder)
    if not measured:
        raise SystemExit(
            f"nothing was measured yet: no reports in {options.folder}; run make bench or make bench-compare"
        )
    plots = draw(measured, options.folder / "plots", options.format)
    (options.folder / "report.md").write_text(page(options.folder, plots), encoding="utf-8")
    for path in [*plots, options.folder / "report.md"]:
        print(f"written: {path}")


if __name__ == "__main__":
    main()
