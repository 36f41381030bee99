"""The entry of the command: commands by name, errors as one line, exit codes.

Owns the list of commands and the last word on errors. Invariant: no traceback reaches a user whose input or daemon is
at fault.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from wheeld._version import __version__
from wheeld.cli.plain import serve_plainly

if TYPE_CHECKING:
    from cyclopts import App

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

COMMANDS: Final = (
    ("dev", "wheeld.cli.serve:dev", "Run a daemon for development, with a worker for jobs of type `echo`."),
    ("serve", "wheeld.cli.serve:serve", "Run the daemon."),
    ("worker", "wheeld.cli.worker:worker", "Run the handlers of an app."),
    (
        "demo",
        "wheeld.cli.demo:run",
        "Half a minute of a daemon, a producer and a worker, with the fire skew at the end.",
    ),
    ("job", "wheeld.cli.jobs:app", "Submit jobs, look at them, change what has not run."),
    ("queue", "wheeld.cli.queues:app", "Look at queues, pause and resume them."),
    ("skew", "wheeld.cli.queues:skew", "How late jobs fired, by queue."),
    ("bench", "wheeld.cli.bench:app", "Measure a running daemon."),
    ("store", "wheeld.cli.stores:app", "Check a data directory while no daemon uses it."),
    ("config", "wheeld.cli.configs:app", "Look at the daemon's configuration."),
)

# gRPC's own lines say less than our errors do, and say it first. Its reader looks when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def build() -> App:
    """The command tree. Modules are imported when their command is used."""
    from cyclopts import App

    app = App(
        name="wheeld",
        help="A distributed job scheduler: one daemon, on time, nothing lost.",
        version=__version__,
        help_epilogue="Start with `wheeld dev`, then `wheeld job submit echo '{\"hi\": 1}' --in 3s --wait`.",
        exit_on_error=False,
        print_error=False,
    )
    for name, place, text in COMMANDS:
        app.command(place, name=name, help=text)
    app.command(version)
    return app


def version() -> None:
    """Print the version."""
    print(f"wheeld {__version__}")


def run() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    if arguments == ["version"]:
        version()
        return 0
    from wheeld.model.errors import StartFailure, WheeldError

    if arguments[:1] == ["serve"]:
        try:
            code = serve_plainly(arguments[1:])
        except StartFailure as failure:
            return complain(failure.cause, failure.remedy, failure.exit_code)
        if code is not None:
            return code
    from cyclopts import CycloptsError, UnknownCommandError

    try:
        result = build()(arguments, result_action="return_value")
    except UnknownCommandError as error:
        return unknown_command(error.unused_tokens[0] if error.unused_tokens else "")
    except CycloptsError as error:
        return complain(" ".join(str(error).split()), "`wheeld --help` lists commands and options.", EXIT_USAGE)
    except StartFailure as failure:
        return complain(failure.cause, failure.remedy, failure.exit_code)
    except WheeldError as error:
        return complain(f"{error.kind.reason}: {error.detail}", error.hint, EXIT_FAILED)
    except TimeoutError as error:
        return complain(str(error) or "time is over", "Wait longer, or look with `wheeld job get`.", EXIT_FAILED)
    except BrokenPipeError:
        # The reader of our output has left; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def unknown_command(word: str) -> int:
    """Said here, because cyclopts would import every command to guess."""
    import difflib

    near = difflib.get_close_matches(word, [*(name for name, _, _ in COMMANDS), "version"], n=1)
    remedy = f"Did you mean `wheeld {near[0]}`?" if near else "`wheeld --help` lists the commands."
    return complain(f"there is no command `{word}`", remedy, EXIT_USAGE)


def complain(cause: str, remedy: str, code: int) -> int:
    """One line: what is wrong, and what to do."""
    dot = "" if cause.endswith((".", "!", "?")) else "."
    print(f"wheeld: {cause}{dot} {remedy}".rstrip(), file=sys.stderr)
    return code
