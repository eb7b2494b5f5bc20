"""What is seen of progress in a log, and what stands beside it."""

import logging
import sys

import pytest

from data_gen.files import progress_bar as progress
from data_gen.files.progress_bar import Progress
from data_gen.files.result_tables import counted, number_table, result_table
from data_gen.process.library_noise import drop_known_warnings
from data_gen.process.log_lines import LogAboveBars


def test_a_log_has_whole_lines_and_no_carriage_return(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    with caplog.at_level(logging.INFO), Progress("search", 8) as all_known:
        for _ in range(2):
            all_known.update()
    with caplog.at_level(logging.INFO), Progress("judge", None, lambda: "3 refused", "solutions") as endless:
        endless.update(5)
    first, second, third = caplog.messages
    assert first.startswith("search: 1 of 8 problems, ")
    assert first.endswith(" problems/s")
    assert second.split(", ")[0] == "search: 2 of 8 problems"
    assert second.endswith(" left")  # a quarter is done
    assert third == "judge: 5 solutions, 3 refused"
    assert "\r" not in capsys.readouterr().err


def test_a_log_line_takes_the_bar_away_and_puts_it_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    record = logging.LogRecord("x", logging.INFO, "", 0, "epoch 1", (), None)
    with Progress("train", 4, unit="steps") as steps:
        steps.update()
        LogAboveBars().emit(record)
    shown = capsys.readouterr().err
    line = next(line for line in shown.split("\n") if "epoch 1" in line)
    assert line.split("\r")[-1] == "epoch 1"  # nothing stands before it when it is written
    assert "train: 1/4 steps" in shown.split("epoch 1\n")[1]


def test_only_the_warnings_that_are_known_are_dropped(caplog: pytest.LogCaptureFixture):
    drop_known_warnings()
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    logger.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s", "no kernels")
    logger.warning("another one")
    assert caplog.messages == ["another one"]


def test_results_are_tables_that_fit_eighty_columns():
    counts = {"correct": 139, "incorrect": 1098, "unknown:no_answer": 3}
    assert counted(counts) == "1,098 incorrect, 139 correct, 3 unknown (no answer)"
    table = result_table(
        {"solutions": f"1,240: {counted(counts)}", "left out": "", "tokens": "many words " * 12}
    )
    assert table.split("\n")[0] == "  solutions  1,240: 1,098 incorrect, 139 correct, 3 unknown (no answer)"
    assert [line[:13].strip() for line in table.split("\n")] == ["solutions", "tokens", ""]
    assert max(map(len, table.split("\n"))) <= 79
    assert number_table({"loss": 0.5, "n_labels": 1234}) == "  loss        0.5000    n labels     1,234"
