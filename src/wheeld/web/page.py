"""The status page: one HTML document, rendered here, without scripts and without anything from elsewhere.

Owns the markup. Invariant: every value that somebody else chose is escaped.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from html import escape

from wheeld.core.api import QueueView
from wheeld.metrics.histogram import QUANTILES, counts_of, maximum, quantile
from wheeld.web.exporter import BOUNDS_US, Sources, oldest_age_ms

REFRESH_SECONDS = 2

_STYLE = """
:root{--ink:#1c2330;--soft:#5d6b82;--line:#e3e7ee;--page:#f6f7f9;--card:#fff;
--accent:#2456d6;--bad:#b42318;--good:#12734a}
@media(prefers-color-scheme:dark){:root{--ink:#e7ebf3;--soft:#93a1b8;--line:#2a3242;--page:#10141c;
--card:#171d28;--accent:#7aa2ff;--bad:#ff8a7a;--good:#5fd09b}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}
header{display:flex;align-items:baseline;gap:14px;flex-wrap:wrap}
h1{font-size:26px;margin:0;letter-spacing:-.02em}h2{font-size:15px;margin:34px 0 10px;color:var(--soft);font-weight:600}
.soft{color:var(--soft)}.pill{border-radius:99px;padding:1px 10px;font-size:13px;border:1px solid currentColor}
.good{color:var(--good)}.bad{color:var(--bad)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:10px;margin-top:22px}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.card b{display:block;font-size:21px;font-variant-numeric:tabular-nums;letter-spacing:-.01em}
.card span{color:var(--soft);font-size:13px}
.small{grid-template-columns:repeat(auto-fill,minmax(135px,1fr));margin-top:0}.small b{font-size:17px}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:10px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:8px 14px;text-align:right;white-space:nowrap}
th{color:var(--soft);font-weight:500;font-size:13px}td:first-child,th:first-child{text-align:left}
tr+tr td{border-top:1px solid var(--line)}
code{font:13px ui-monospace,monospace}a{color:var(--accent)}
"""


def render(sources: Sources) -> str:
    """The page as it stands now."""
    now_ms = sources.clock.wall_ms()
    views = sorted(sources.driver.queues(), key=lambda view: view.queue)
    state = (
        '<span class="pill bad">draining</span>' if sources.gate.draining else '<span class="pill good">serving</span>'
    )
    uptime = _span((now_ms - sources.start_ms) / 1000)
    body = (
        f"<header><h1>wheeld</h1>{state}<span class=soft>{escape(sources.version)} &middot; "
        f"node {escape(sources.node)} &middot; up {uptime}</span></header>"
        f"<div class=cards>{_cards(sources)}</div>"
        f"<h2>Queues</h2><div class=wide>{_queues(views, now_ms)}</div>"
        f"<h2>Fire skew, from the schedule time to the transport</h2><div class=wide>{_skews(views)}</div>"
        f'<h2>Totals since start</h2><div class="cards small">{_totals(sources)}</div>'
        '<p class=soft><a href="/metrics">metrics</a> &middot; <a href="/readyz">ready?</a> &middot; '
        f"{_clock(now_ms)}, refreshed every {REFRESH_SECONDS} s</p>"
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f'<meta http-equiv=refresh content="{REFRESH_SECONDS}"><title>wheeld: {escape(sources.node)}</title>'
        f"<style>{_STYLE}</style><main>{body}</main></html>"
    )


def _cards(sources: Sources) -> str:
    counters, facts = sources.driver.counters(), sources.driver.facts()
    values = (
        (_number(counters.resident_jobs), "jobs in memory"),
        (_size(counters.resident_bytes), "held by them"),
        (_number(counters.ready), "wait for a worker"),
        (_number(counters.leases), "leases out"),
        (_number(counters.streams), "lease streams"),
        (f"{facts.get('lead_ms', 0)} ms", "prepared ahead"),
        (_size(facts.get("retained_bytes", 0)), "of journal to fold"),
        (f"{float(facts.get('sync_ms_p50', 0)):.2f} ms", "median sync"),
    )
    return "".join(_card(value, name) for value, name in values)


def _card(value: str, name: str) -> str:
    return f"<div class=card><b>{value}</b><span>{name}</span></div>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> str:
    if not rows:
        return f"<table><tr><td class=soft>{empty}</td></tr></table>"
    head = "".join(f"<th>{name}</th>" for name in heads)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{lines}</table>"


def _queues(views: list[QueueView], now_ms: int) -> str:
    rows = [
        (
            _name(view),
            _number(view.ready) + ("+" if view.backlog else ""),
            _number(view.running),
            _span(oldest_age_ms(view, now_ms) / 1000) if view.ready else "&ndash;",
            _number(view.streams),
            _number(view.credit),
            '<span class="pill bad">paused</span>' if view.paused else '<span class="pill good">open</span>',
        )
        for view in views
    ]
    heads = ("queue", "pending", "running", "oldest due for", "workers", "credit", "")
    return _table(heads, rows, "No queue yet: submit a job.")


def _skews(views: list[QueueView]) -> str:
    rows = []
    for view in views:
        counts = counts_of(view.release_skew)
        total = sum(counts)
        if total:
            spans = [_ms(quantile(counts, BOUNDS_US, fraction)) for fraction in QUANTILES]
            rows.append((_name(view), _number(total), *spans, _ms(maximum(counts, BOUNDS_US))))
    return _table(("queue", "fires", "p50", "p90", "p99", "p99.9", "max"), rows, "Nothing has fired yet.")


def _totals(sources: Sources) -> str:
    counters = sources.driver.counters()
    shown = (
        "submitted", "duplicates", "granted", "acked", "nacked", "failed", "cancelled", "expired", "lease_expirations",
        "redelivered", "taken_back", "stale_settles", "spilled", "loaded",
    )  # fmt: skip
    return "".join(_card(_number(getattr(counters, name)), name.replace("_", " ")) for name in shown)


def _name(view: QueueView) -> str:
    return f"<code>{escape(view.queue.decode().removeprefix('default/'))}</code>"


def _number(value: float) -> str:
    return f"{value:,}"


def _ms(value_us: int) -> str:
    return f"{value_us / 1000:,.2f} ms"


def _size(value: float | str) -> str:
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= 1024
    return ""


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    return f"{days:.1f} d" if days >= 2 else f"{hours:.1f} h" if hours >= 2 else f"{minutes:.0f} min"


def _clock(now_ms: int) -> str:
    return datetime.datetime.fromtimestamp(now_ms / 1000, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
