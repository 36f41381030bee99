"""The account of a large run: what is lost, done twice or strange must show, or the run proves nothing."""

from __future__ import annotations

import pytest

from bench.ledger import Ledger, accepted_runs, seq_of, seq_of_token
from bench.scale import rate_over
from bench.watch import parse_metrics
from wheeld.model.ids import id_to_text, pack_id
from wheeld.wire.pb.v1 import job_service_pb2


def token(seq: int) -> bytes:
    return pack_id(3, 77, seq) + (1 << 40).to_bytes(8, "big")


def answer(*seqs: int, code: int = 0) -> bytes:
    response = job_service_pb2.BatchCreateJobsResponse()
    for seq in seqs:
        response.results.add(job_id=id_to_text(pack_id(3, 77, seq)), code=code)
    return response.SerializeToString()


def test_a_number_is_the_same_from_id_and_token() -> None:
    for seq in (0, 1, 255, 256, (1 << 40) + 9):
        assert seq_of(id_to_text(pack_id(9, 8, seq))) == seq_of_token(token(seq)) == seq


@pytest.mark.parametrize("seqs", [(7, 8, 9), (7, 8, 12, 13, 14, 3), (5,), (9, 8, 7)])
def test_an_answer_names_its_runs(seqs: tuple[int, ...]) -> None:
    runs = accepted_runs(answer(*seqs), len(seqs))
    assert [seq for run in runs for seq in run] == list(seqs)


@pytest.mark.parametrize("bad", [answer(7, 8), answer(7, 8, 7), answer(7, 8, 9, code=15)], ids=["few", "twice", "no"])
def test_an_answer_that_is_not_all_yes_is_refused(bad: bytes) -> None:
    with pytest.raises(RuntimeError):
        accepted_runs(bad, 3)


def test_all_done_once_is_a_clean_account() -> None:
    ledger = Ledger()
    ledger.accept(range(10, 13))
    ledger.delivered = 3
    ledger.settle(token(seq) for seq in (12, 10, 11))
    figures = ledger.figures()
    assert figures["accepted"] == figures["done"] == 3
    assert not any(figures[name] for name in ("lost", "duplicated", "foreign", "early", "delivered_again"))


def test_each_fault_shows_under_its_name() -> None:
    ledger = Ledger()
    ledger.accept(range(10, 14))
    ledger.accept(range(20, 22))
    ledger.delivered = 7
    ledger.settle(token(seq) for seq in (10, 11, 11, 20, 21, 15))
    figures = ledger.figures()
    assert figures["lost"] == 2
    assert figures["duplicated"] == 1
    assert figures["foreign"] == 1
    assert figures["delivered_again"] == 3


def test_metrics_without_labels_are_read() -> None:
    page = '# HELP a b\nwheeld_a 3\nwheeld_b{queue="x y"} 4\nwheeld_c_total 2.5e+06\n'
    assert parse_metrics(page) == {"wheeld_a": 3.0, "wheeld_c_total": 2.5e6}


def test_rates_over_equal_spans_add_up() -> None:
    marks = [(at / 10, (at + 1) * 5) for at in range(100)]
    rates = rate_over(marks, 10.0)
    assert len(rates) == 10
    assert sum(rates) == pytest.approx(500)
    assert rate_over([], 10.0) == [0.0] * 10
