"""Files of pinned versions, as pip reads them."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["constraints.txt", "benchmarks/peers.txt"])
def test_every_line_pins_one_version_of_another_package(name: str):
    lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert [str(pin) for pin in pins if [each.operator for each in pin.specifier] != ["=="]] == []
    names = [pin.name.lower().replace("_", "-").replace(".", "-") for pin in pins]
    assert sorted(names) == sorted(set(names))
