import subprocess
import sys
from typing import Any

import pytest
from transformers import Qwen2Config

from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.paths import EncodingFacts
from prm_train.kinds.lookup import KINDS, kind_named, kind_of, write_facts


def test_a_kind_has_the_name_that_it_is_found_by():
    for name in KINDS:
        assert kind_named(name).name == name


def test_a_checkpoint_of_a_kind_that_nobody_knows_is_refused():
    config: Any = Qwen2Config(name_or_path="somewhere")
    write_facts(CheckpointFacts("prm", EncodingFacts("chat", "\n", "<|step|>"), "right", "min"), config)
    assert kind_of(config) is kind_named("prm")
    config.prm_train["kind"] = "oracle"
    with pytest.raises(
        InputError,
        match=r"somewhere: config.json: prm_train.kind: got 'oracle', expected one of prm, orm, "
        r"implicit_prm, ",
    ):
        kind_of(config)


def test_a_kind_is_loaded_when_it_is_asked_for_and_without_a_trainer():
    code = """
import sys
from prm_train.kinds.load import load_scorer
from prm_train.kinds.lookup import KINDS, kind_named
def loaded():
    return [name for name in KINDS if f"prm_train.kinds.{name}" in sys.modules]
print(loaded())
kind_named("prm")
print(loaded())
for name in KINDS:
    kind_named(name)
print([name for name in sys.modules if name.split(".")[0] == "trl" or name.startswith("prm_train.training")])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.splitlines() == ["[]", "['prm']", "[]"], run.stderr
