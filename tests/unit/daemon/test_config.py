"""Configuration: where values come from, what is refused, and that the documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.tidy.project import ROOT
from wheeld.daemon.config import NAMES, kind_of, load, meta_of, render_table, written
from wheeld.daemon.options import Config, is_loopback, parse_size, parse_span_ms, split_address
from wheeld.model import limits
from wheeld.model.errors import StartFailure

D = {"data_dir": "/tmp/x"}


def refusal(**arguments: Any) -> str:
    """What load says, as one text."""
    with pytest.raises(StartFailure) as caught:
        load(**arguments)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "wheeld.toml"
    file.write_text('data_dir = "/a"\nshards = 4\nlog_level = "error"\nresident_bytes = "64MiB"\n')
    loaded = load(file, {"WHEELD_SHARDS": "5", "WHEELD_LOG_LEVEL": "debug", "HOME": "/"}, {"log_level": "warning"})
    config, origin = loaded.config, loaded.origin
    assert (config.data_dir, config.shards, config.log_level) == ("/a", 5, "warning")
    assert config.resident_bytes == 64 * limits.MIB
    assert origin["data_dir"] == origin["resident_bytes"] == f"file {file}"
    assert origin["shards"] == "environment WHEELD_SHARDS"
    assert (origin["log_level"], origin["core"]) == ("flag --log-level", "default")


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "wheeld.toml"
    file.write_text('node = "n9"')
    assert load(None, {"WHEELD_CONFIG": str(file)}, D).config.node == "n9"


def test_unknown_keys_are_named_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "wheeld.toml"
    file.write_text("resident_byte = 1")
    said = refusal(file=file, flags=D)
    assert "`resident_byte`" in said and str(file) in said and "`resident_bytes`" in said
    assert "`WHEELD_SHARDS`" in refusal(environment={"WHEELD_SHARD": "1"}, flags=D)
    assert "config show" in refusal(environment={"WHEELD_XYZZY": "1"}, flags=D)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shards", "0"), ("shards", "many"), ("resident_bytes", "1KiB"), ("resident_bytes", "2 parsecs"),
        ("segment_bytes", "2GiB"), ("segment_bytes", "64MiB1"), ("history_retention", "1h"), ("lead_max", "51ms"),
        ("core", "fast"), ("log_level", "loud"), ("insecure", "perhaps"), ("node", "no spaces"), ("listen", "7733"),
        ("listen", "127.0.0.1:port"), ("http_listen", "127.0.0.1:99999"), ("data_dir", ""),
    ],
)  # fmt: skip
def test_values_out_of_bounds_are_refused_with_their_origin(name: str, value: str) -> None:
    said = refusal(environment={f"WHEELD_{name.upper()}": value}, flags=D if name != "data_dir" else {})
    assert f"`{name}`" in said and f"WHEELD_{name.upper()}" in said


def test_a_data_directory_is_required() -> None:
    assert "--data-dir" in refusal()


def test_lead_bounds_must_agree() -> None:
    assert "lead_min" in refusal(flags={**D, "lead_min": "40ms", "lead_max": "39ms"})
    assert load(flags={**D, "lead_min": "40ms", "lead_max": "40ms"}).config.lead_min == 40


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(file=tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("a = = b")
    assert "no TOML" in refusal(file=broken)


@pytest.mark.parametrize("name", ["listen", "http_listen"])
def test_other_machines_are_let_in_only_when_told(name: str) -> None:
    for address in ("0.0.0.0:7000", "[::]:7000", "10.0.0.1:7000", "example.org:7000"):
        assert "--insecure" in refusal(flags={**D, name: address})
        assert getattr(load(flags={**D, name: address, "insecure": True}).config, name) == address
    for address in ("127.0.0.1:0", "[::1]:7000", "localhost:7000", "127.8.8.8:1"):
        load(flags={**D, name: address})


def test_sockets_and_off() -> None:
    config = load(flags={**D, "listen": "unix:/tmp/s", "http_listen": "off"}).config
    assert is_loopback(config.listen) and config.http_listen == "off"


def test_units() -> None:
    assert [parse_size(text) for text in ("7", "1 KiB", "2mib", "3GiB")] == [7, 1024, 2 << 20, 3 << 30]
    assert [parse_span_ms(text) for text in ("2", "250ms", "1.5h", "7d")] == [2000, 250, 5_400_000, 604_800_000]
    assert split_address("[::1]:80") == ("::1", 80)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_back(name: str) -> None:
    config = Config(data_dir="/d")
    value = getattr(config, name)
    again = load(environment={f"WHEELD_{name.upper()}": written(name, value)}, flags=D if name != "data_dir" else {})
    assert getattr(again.config, name) == value
    assert meta_of(name).description and kind_of(name) in ("", "size", "span")


def test_every_option_has_an_effect() -> None:
    """Each is read somewhere behind the configuration."""
    source = "".join(
        (ROOT / "src/wheeld/daemon" / name).read_text() for name in ("node.py", "drain.py", "run.py", "config.py")
    )
    unread = [name for name in NAMES if not re.search(rf"config\.{name}\b", source)]
    assert unread == []


def test_the_document_holds_the_table() -> None:
    assert render_table() in (ROOT / "docs/configuration.md").read_text()
