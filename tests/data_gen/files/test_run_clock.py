"""Seconds of a run over several processes, one of which may be killed."""

import asyncio
import json
from pathlib import Path

import pytest

from data_gen.files import run_clock
from data_gen.files.run_clock import RunClock, Seconds
from data_gen.settings.errors import InputError


def saved(path: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(path.read_text())
    return found


def test_the_next_process_goes_on_from_what_was_saved(tmp_path: Path) -> None:
    path, cpu = tmp_path / "seconds.json", iter([2.0, 5.0, 10.0, 11.5])
    first = RunClock(path, lambda: next(cpu))
    first.save()
    assert saved(path)["cpu_seconds"] == 3.0
    second = RunClock(path, lambda: next(cpu))
    assert second.spent().cpu_seconds == 4.5
    assert second.saved.cpu_seconds == 3.0
    second.remove()
    assert RunClock(path).saved == Seconds()


def test_a_killed_process_loses_what_came_after_the_last_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cpu = tmp_path / "seconds.json", iter(range(1000))
    monkeypatch.setattr(run_clock, "SAVE_SECONDS", 0.001)
    while_running: list[float] = []

    async def run() -> None:
        async with RunClock(path, lambda: float(next(cpu))).running():
            for _ in range(3):
                while_running.append(saved(path)["cpu_seconds"])  # what a kill here would leave
                await asyncio.sleep(0.05)
            raise RuntimeError("the run fails")

    with pytest.raises(RuntimeError, match="the run fails"):
        asyncio.run(run())
    assert 0 < while_running[0] < while_running[1] < while_running[2] < saved(path)["cpu_seconds"]


def test_a_damaged_clock_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "seconds.json").write_text('{"seconds": ')
    with pytest.raises(InputError, match=r"seconds\.json: is damaged"):
        RunClock(tmp_path / "seconds.json")
