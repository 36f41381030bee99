"""One workload on one system, in a process of its own: `python -m bench.compare.single SYSTEM WORKLOAD [options]`.

Owns: which class stands for which system. A fresh interpreter for each run, so that no system pays for the threads,
the heap or the event loop that another one left. Garbage collection is off while it runs, for every system.
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from bench.compare.peer import Peer
from bench.compare.plan import SYSTEMS, WORKLOADS, Plan, plan_for
from wheeld._version import __version__
from wheeld.bench.judge import Report

PEERS = {
    "redis": ("bench.compare.redis_peer", "RedisPeer"),
    "redis-leased": ("bench.compare.redis_peer", "LeasedRedisPeer"),
    "redis-everysec": ("bench.compare.redis_peer", "EverysecRedisPeer"),
    "postgres": ("bench.compare.postgres_peer", "PostgresPeer"),
    "beanstalkd": ("bench.compare.beanstalkd_peer", "BeanstalkdPeer"),
    "beanstalkd-50ms": ("bench.compare.beanstalkd_peer", "RelaxedBeanstalkdPeer"),
    "celery": ("bench.compare.celery_peer", "CeleryPeer"),
}
EXTRA = "the Python package {} is not installed: pip install -e '.[bench]'"


def peer_class(system: str) -> type[Peer]:
    """The peer's class; raises ImportError when its client library is missing."""
    module, name = PEERS[system]
    found: type[Peer] = getattr(import_module(module), name)
    return found


def missing(system: str) -> str | None:
    """What this machine lacks to run the system; None when nothing."""
    if system not in PEERS:
        return None
    try:
        return peer_class(system).missing()
    except ImportError as lack:
        return EXTRA.format(lack.name)


def version(system: str) -> str:
    """For the record."""
    return __version__ if system not in PEERS else peer_class(system).version()


def run(system: str, workload: str, plan: Plan, chosen: Mapping[str, float | str]) -> Report:
    """Start, measure, end."""
    gc.disable()
    if system not in PEERS:
        from bench.compare import wheeld_side

        return wheeld_side.run(workload, plan)
    peer_type = peer_class(system)
    peer = peer_type(plan, {**(peer_type.for_pending if workload == "pending" else {}), **chosen})
    try:
        peer.start()
        return peer.run(workload)
    finally:
        peer.stop()


def choice(text: str) -> tuple[str, float | str]:
    """An argument type: NAME=VALUE."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"NAME=VALUE, not {text}")
    try:
        return name, float(value)
    except ValueError:
        return name, value


def main() -> None:
    """Write the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--same-counts", action="store_true")
    parser.add_argument(
        "--choose", type=choice, action="append", default=[], metavar="NAME=VALUE", help="instead of a peer's tuning"
    )
    parser.add_argument("--json", type=Path, help="write here instead of standard output")
    options = parser.parse_args()
    # The servers are ended in `finally`: a plain SIGTERM would skip that.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    if options.choose and options.system not in PEERS:
        parser.error("--choose is for peers")
    plan = plan_for(options.system, options.scale, options.same_counts)
    report = run(options.system, options.workload, plan, dict(options.choose))
    text = json.dumps(report.as_dict())
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
