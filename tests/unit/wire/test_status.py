"""Errors survive the way over a gRPC status, and foreign failures are not taken for the daemon's."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from wheeld.model import errors
from wheeld.wire import status
from wheeld.wire.pb.v1 import job_pb2


class Call:
    """The parts of a failed call that are read."""

    def __init__(self, details: str, trailing: tuple[tuple[str, bytes], ...] | None) -> None:
        self._details, self._trailing = details, trailing

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...] | None:
        return self._trailing


@pytest.mark.parametrize("code", errors.REGISTRY)
@pytest.mark.parametrize("field", [errors.Field.NONE, errors.Field.QUEUE, errors.Field.RESULT])
def test_there_and_back(code: int, field: int) -> None:
    sent = status.to_status(code, "the queue is odd", field, hint="mend it")
    refusal = status.from_rpc_error(Call(sent.details, sent.trailing_metadata))
    assert sent.code is getattr(grpc.StatusCode, errors.REGISTRY[code].status)
    assert refusal is not None
    error = refusal.error
    assert (error.kind.code, error.detail, error.hint, error.field) == (code, "the queue is odd", "mend it", field)
    assert refusal.retry_delay_ms == status.retry_delay_ms(code)
    assert bool(refusal.retry_delay_ms) == errors.REGISTRY[code].retry


def trailer(reason: str, domain: str) -> tuple[tuple[str, bytes], ...]:
    found = status_pb2.Status(code=3)
    found.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    return (("other", b"x"), (status.DETAILS_KEY, found.SerializeToString()))


@pytest.mark.parametrize("trailing", [None, (), ((status.DETAILS_KEY, b"\xff"),), trailer("MALFORMED", "example.com")])
def test_foreign_failures(trailing: tuple[tuple[str, bytes], ...] | None) -> None:
    assert status.from_rpc_error(Call("connection refused", trailing)) is None


def test_a_reason_of_a_newer_daemon() -> None:
    refusal = status.from_rpc_error(Call("text", trailer("NEWER", status.DOMAIN)))
    assert refusal is not None
    assert refusal.error.kind.code == errors.INTERNAL
    assert "NEWER" in refusal.error.detail


def test_the_schema_knows_the_registry() -> None:
    names = {kind.code: f"ERROR_CODE_{kind.reason}" for kind in errors.REGISTRY.values()} | {
        0: "ERROR_CODE_UNSPECIFIED"
    }
    assert {value.number: value.name for value in job_pb2.ErrorCode.DESCRIPTOR.values} == names
