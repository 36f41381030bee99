"""A distributed job scheduler: what a program needs to submit jobs and to run them.

Owns: the public names of the SDK. Everything is imported when it is first used, so that `import wheeld` costs nothing.
Type checkers read `__init__.pyi`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "App": "wheeld.client.app",
    "Attempt": "wheeld.client.views",
    "Client": "wheeld.client.client",
    "Context": "wheeld.client.context",
    "Fail": "wheeld.client.outcomes",
    "Job": "wheeld.client.views",
    "JobHandle": "wheeld.client.client",
    "JobState": "wheeld.model.job",
    "Misused": "wheeld.model.errors",
    "Refused": "wheeld.model.errors",
    "Retry": "wheeld.client.outcomes",
    "RetryPolicy": "wheeld.client.jobs",
    "Unreachable": "wheeld.client.failures",
    "WheeldError": "wheeld.model.errors",
    "Worker": "wheeld.worker.worker",
    "__version__": "wheeld._version",
    "current_context": "wheeld.client.context",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'wheeld' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
