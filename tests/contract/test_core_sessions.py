"""Who may settle a lease, held against every implementation of `wheeld.core.api.Core`."""

from __future__ import annotations

import pytest

from tests.contract.test_core import MAIL, SESSION, MakeCore, deliver, listen, make, submit, tokens
from tests.unit.core.core_kit import BOOT_MS, START_MS, settle_batch, settle_item, settled
from wheeld.model import batch as packed
from wheeld.model import errors

__all__ = ["make"]

ANY_CALL = bytes(16 - packed.CALL_PREFIX_BYTES)


@pytest.mark.parametrize(
    ("session", "code"),
    [
        (SESSION, 0),
        (packed.NO_SESSION, 0),
        (SESSION[:8] + ANY_CALL, 0),
        (SESSION[:8] + b"another!", errors.LEASE_NOT_YOURS),
        (b"another!" + ANY_CALL, errors.LEASE_NOT_YOURS),
        (b"another!" + SESSION[8:], errors.LEASE_NOT_YOURS),
        (SESSION[:7] + b"\0" + ANY_CALL, errors.LEASE_NOT_YOURS),
        (bytes(8) + SESSION[8:], errors.LEASE_NOT_YOURS),
    ],
    ids=["holder", "nobody", "prefix", "sibling", "other prefix", "same end", "shorter prefix", "end only"],
)
@pytest.mark.parametrize("op", [packed.OP_ACK, packed.OP_NACK, packed.OP_RELEASE, packed.OP_RENEW])
def test_a_lease_is_settled_by_its_session_alone(make: MakeCore, session: bytes, code: int, op: int) -> None:
    core = make()
    submit(core, MAIL)
    listen(core)
    (token,) = tokens(deliver(core))
    core.take_group()
    _, results = core.settle(START_MS, BOOT_MS, session, settle_batch([settle_item(op, token)]))
    assert settled(results)[0][1] == code
    assert (core.take_group() is None) == bool(code)
