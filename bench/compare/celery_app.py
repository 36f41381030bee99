"""The Celery application of the comparison: one task that notes when it ran.

Owns: Celery's settings, the same for producer and worker. The task's record goes to a file opened for appending: one
write of 16 bytes, which the kernel keeps whole, is the cheapest way out of a pool of processes.
"""

from __future__ import annotations

import functools
import os
import struct
import time
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_ready

RECORD = struct.Struct("=qq")
BROKER = "WHEELD_COMPARE_BROKER"
RECEIPTS = "WHEELD_COMPARE_RECEIPTS"
NUMBER_DIGITS = 16

app = Celery("bench", broker=os.environ.get(BROKER, "redis://127.0.0.1:1/0"))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    task_serializer="json",
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=False,
    # The default hour would deliver a job that waits longer for its eta a second time.
    broker_transport_options={"visibility_timeout": 86_400},
)


@functools.cache
def receipts_file() -> int:
    """This process's descriptor."""
    return os.open(os.environ[RECEIPTS], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@app.task(name="bench.note")
def note(payload: str) -> None:
    """Record the job's number and the moment."""
    os.write(receipts_file(), RECORD.pack(int(payload[:NUMBER_DIGITS], 16), time.time_ns() // 1000))


@worker_ready.connect
def tell_ready(**_: Any) -> None:
    """The file's existence tells the bench that the worker consumes."""
    Path(os.environ[RECEIPTS]).touch()
