# Names of the SDK for type checkers; `__init__.py` imports each when it is first used.

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
