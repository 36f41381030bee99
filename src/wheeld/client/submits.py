"""A SubmitJobs stream as an event loop sees it: messages go out, answers come in, and at last its end.

Owns: the call, and the thread that reads it; gRPC's own writes what the queue holds. Does not own: what a message says,
or what follows its loss. Invariants: answers and the end are told on the loop, the end last and once; a stream that
nobody holds any more ends by itself.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    import grpc

_METHOD: Final = "/wheeld.v1.JobService/SubmitJobs"

_Messages = queue.SimpleQueue[bytes | None]


class Listener(Protocol):
    """Who is told, on the loop."""

    def on_answer(self, stream: SubmitStream, data: bytes) -> None:
        """One message of the daemon."""

    def on_end(self, stream: SubmitStream, error: grpc.RpcError | None) -> None:
        """Nothing more comes. None: the daemon ended it in order."""


class SubmitStream:
    """See the module. Used from its loop only."""

    def __init__(self, channel: grpc.Channel, listener: Listener) -> None:
        self.listener = listener
        self.named = False
        """Whether a message that names the session went out."""
        messages: _Messages = queue.SimpleQueue()
        method: Any = channel.stream_stream(_METHOD)
        call = method(iter(messages.get, None))
        self.send = messages.put
        self._end = weakref.finalize(self, _cancel, call, messages)
        self._end.atexit = False
        reader = threading.Thread(
            target=_read,
            args=(call, messages, asyncio.get_running_loop(), weakref.ref(self)),
            name="wheeld submits",
            daemon=True,
        )
        reader.start()

    def finish(self) -> None:
        """Say that no message follows; what is under way is still answered."""
        self._end.detach()
        self.send(None)

    def cancel(self) -> None:
        """End it at once."""
        self._end()


def _cancel(call: Any, messages: _Messages) -> None:
    call.cancel()
    messages.put(None)


def _read(call: Any, messages: _Messages, loop: asyncio.AbstractEventLoop, stream: weakref.ref[SubmitStream]) -> None:
    import grpc

    error = None
    try:
        for data in call:
            loop.call_soon_threadsafe(_hand_over, stream, data)
    except grpc.RpcError as rpc_error:
        error = rpc_error
    except RuntimeError:
        # The loop was closed; nobody waits any more.
        call.cancel()
    finally:
        # gRPC's writing thread waits there, also after the end.
        messages.put(None)
    try:
        loop.call_soon_threadsafe(_tell_end, stream, error)
    except RuntimeError:
        pass


def _hand_over(stream: weakref.ref[SubmitStream], data: bytes) -> None:
    found = stream()
    if found is not None:
        found.listener.on_answer(found, data)


def _tell_end(stream: weakref.ref[SubmitStream], error: Any) -> None:
    found = stream()
    if found is not None:
        found.listener.on_end(found, error)
