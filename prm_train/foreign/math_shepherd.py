"""Math-Shepherd (Wang et al. 2024): a language model whose "+" and "-" are compared at `ки`, which ends every step.

    question Step 1: 3 plus 4 = 7 ки
    Step 2: Answer: 7 ки

The text is tokenized as a whole, as the authors do it. They rank solutions by the smallest step score.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import AutoModelForCausalLM

from data_gen.config import InputError
from data_gen.tokenizer import load_tokenizer
from prm_train.foreign.paths import ForeignPrm, PathEncoding, load_whole
from prm_train.word_classifier import as_classifier

TAG, GOOD, BAD = "ки", "+", "-"
NUMBERED = re.compile(r"Step \d+:")


@dataclass(frozen=True)
class ShepherdEncoding(PathEncoding):
    tokenizer: Any

    @property
    def tag_id(self) -> int:
        return int(self.tokenizer.encode(TAG)[-1])

    def encode_path(self, question: str, steps: Sequence[str]) -> tuple[int, ...]:
        """Raises InputError where there are other than one tag a step, as where a step holds the tag itself."""
        numbered = [step if NUMBERED.match(step) else f"Step {number}: {step}" for number, step in enumerate(steps, 1)]
        ids = tuple(self.tokenizer.encode(" ".join([question, "\n".join(f"{step} {TAG}" for step in numbered)]) if steps else question))
        if ids.count(self.tag_id) != len(steps) or (steps and ids[-1] != self.tag_id):
            raise InputError(f"{ids.count(self.tag_id)} tags {TAG!r} in a path of {len(steps)} steps, expected one behind each step")
        return ids


def load_math_shepherd(path: str, dtype: str, separator: str) -> ForeignPrm:
    """`separator` is not used: a newline stands between steps. Raises InputError if the tokenizer cuts the tag or the signs."""
    tokenizer = load_tokenizer(path)
    good, bad = tokenizer.encode(f"{GOOD} {BAD}")[-2:]
    model = load_whole(AutoModelForCausalLM, path, dtype)
    if good == bad or tokenizer.encode(GOOD)[-1] != good:
        raise InputError(f"{path}: its tokenizer has no single tokens for {GOOD!r} and {BAD!r}, which this format compares")
    return ForeignPrm(as_classifier(model, bad, good), tokenizer, ShepherdEncoding(tokenizer), "min")
