"""`wheeld worker MODULE:APP`: run an app's handlers."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from wheeld.cli.connection import Address
from wheeld.client.app import App
from wheeld.model.errors import StartFailure
from wheeld.worker.worker import Worker


def find_app(place: str) -> App:
    """The App at `module:name`; the current directory is searched as well."""
    module_name, _, name = place.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise StartFailure(f"There is no module {module_name}", "Name it as `package.module:app`.") from None
        raise StartFailure(f"{module_name} needs the module {error.name}, which is not there", "Install it.") from None
    found = getattr(module, name or "app", None)
    if not isinstance(found, App):
        raise StartFailure(f"{module_name} has no App named {name or 'app'}", "Make one: `app = wheeld.App()`.")
    return found


def worker(
    place: Annotated[str, Parameter(name="MODULE:APP")],
    *,
    queues: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    concurrency: int = 10,
    address: Address = None,
) -> None:
    """Run the handlers of an app until SIGTERM or SIGINT.

    Parameters
    ----------
    place
        Where the app is: `package.module:name`.
    queues
        Queues to lease from. Default: those of the app's handlers.
    concurrency
        Handlers that run at once.
    """
    found = find_app(place)
    if address:
        found.address = address
    if not found.handlers:
        raise StartFailure(f"The app at {place} has no handlers", "Register a function with `@app.job()`.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    names = ", ".join(sorted(found.handlers))
    print(f"worker for {names} at {found.address}, {concurrency} at once; stop with Ctrl-C", flush=True)
    Worker(found, queues, concurrency=concurrency).main()
