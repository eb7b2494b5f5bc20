import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
ADAPTERS = ROOT / "prm_train/rewards/adapters"


def test_an_adapter_has_at_most_50_lines():
    lines = {path.name: len(path.read_text().splitlines()) for path in ADAPTERS.glob("*.py")}
    assert {name: n for name, n in lines.items() if n > 50} == {}


@pytest.mark.slow
def test_the_example_of_the_page_trains(tmp_path, monkeypatch):
    """With a PRM of a few weights, for a step."""
    from tests.prm_train.serving.conftest import write_scorer

    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/rl.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write_scorer("prm", tmp_path / "runs/quickstart/prm")
    short = example.replace("max_steps=50", "max_steps=1, use_cpu=True, report_to=[]")
    names: dict = {}
    exec(compile(short, "docs/rl.md", "exec"), names)
    logged = names["trainer"].state.log_history[0]
    assert {"reward", "step_credit/seconds", "step_credit/n_steps", "monitor/alarm"} <= logged.keys()
