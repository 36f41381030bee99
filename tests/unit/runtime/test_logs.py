"""Logging: its two forms, its levels, one line per event."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from wheeld.runtime.logs import configure_logs, get_logger


@pytest.fixture(autouse=True)
def _restore_structlog() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_json_is_the_form_for_anything_but_a_terminal() -> None:
    out = io.StringIO()
    configure_logs("info", stream=out)
    get_logger("journal").info("group durable", group=7)
    line = json.loads(out.getvalue())
    assert (line["part"], line["level"], line["event"], line["group"]) == ("journal", "info", "group durable", 7)
    assert line["time"].endswith("Z")


def test_the_console_form_keeps_one_line_per_event() -> None:
    out = io.StringIO()
    configure_logs("info", json=False, stream=out)
    get_logger("edge").warning("refused", reason="two\nlines")
    assert out.getvalue().count("\n") == 1
    assert "level=warning event=refused part=edge reason=two\\nlines" in out.getvalue()


def test_exceptions_stay_within_their_line() -> None:
    out = io.StringIO()
    configure_logs("info", json=True, stream=out)
    try:
        raise KeyError("gone")
    except KeyError:
        get_logger("driver").exception("crashed")
    assert "KeyError" in json.loads(out.getvalue())["exception"]


def test_the_level_filters_and_must_be_known() -> None:
    out = io.StringIO()
    configure_logs("warning", stream=out)
    get_logger("edge").info("quiet")
    assert out.getvalue() == ""
    with pytest.raises(ValueError, match="unknown log level 'loud': use one of debug, info, warning, error"):
        configure_logs("loud")
