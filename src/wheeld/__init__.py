"""A distributed job scheduler: what a program needs to submit jobs and to run them.

Owns: the public names of the SDK. Everything is imported when it is first used, so that `import wheeld` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wheeld._version import __version__ as __version__
    from wheeld.client.app import App as App
    from wheeld.client.client import Client as Client
    from wheeld.client.client import JobHandle as JobHandle
    from wheeld.client.context import Context as Context
    from wheeld.client.context import current_context as current_context
    from wheeld.client.failures import Unreachable as Unreachable
    from wheeld.client.jobs import RetryPolicy as RetryPolicy
    from wheeld.client.outcomes import Fail as Fail
    from wheeld.client.outcomes import Retry as Retry
    from wheeld.client.views import Attempt as Attempt
    from wheeld.client.views import Job as Job
    from wheeld.model.errors import Misused as Misused
    from wheeld.model.errors import Refused as Refused
    from wheeld.model.errors import WheeldError as WheeldError
    from wheeld.model.job import JobState as JobState
    from wheeld.worker.worker import Worker as Worker

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
