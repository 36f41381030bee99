"""The words of a refusal: there for every field, and with the bound that was crossed."""

from __future__ import annotations

import pytest

from wheeld.client.failures import refused_job
from wheeld.edge.hot_submit import refused_item
from wheeld.model import errors
from wheeld.model.acceptable import ACCEPTABLE, refused_field
from wheeld.model.errors import FIELD_NAMES, Field


def test_every_field_has_its_words() -> None:
    assert set(ACCEPTABLE) == set(FIELD_NAMES)
    assert all(refused_field(number) for number in FIELD_NAMES)


@pytest.mark.parametrize("error", [refused_item(errors.FIELD_INVALID, Field.PRIORITY), refused_job(2, "priority")])
def test_a_refusal_names_field_and_bound(error: errors.Refused) -> None:
    assert "field `priority` takes 0 to 9" in str(error)
    assert error.field == Field.PRIORITY


def test_a_field_of_a_newer_daemon_is_named_as_it_came() -> None:
    assert "colour" in str(refused_job(errors.FIELD_INVALID, "colour"))


def test_a_job_refused_for_no_field() -> None:
    assert refused_field(Field.NONE) == ""
    assert "the job is refused" in str(refused_item(errors.INTERNAL, Field.NONE))
