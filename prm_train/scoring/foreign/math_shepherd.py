"""Math-Shepherd (Wang et al. 2024): a language model whose "+" and "-" are compared at `ки`, which ends every
step.

    question Step 1: 3 plus 4 = 7 ки
    Step 2: Answer: 7 ки

The text is tokenized as a whole, as the authors do it. They rank solutions by the smallest step score.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import AutoModelForCausalLM

from data_gen.models.prompt_ids import encode_around
from data_gen.models.tokenizer import load_tokenizer
from data_gen.settings.errors import InputError
from prm_train.networks.load_whole import load_whole
from prm_train.networks.word_classifier import as_classifier
from prm_train.scoring.foreign.paths import ForeignPrm, PathEncoding

TAG, GOOD, BAD = "ки", "+", "-"
NUMBERED = re.compile(r"Step \d+:")


@dataclass(frozen=True)
class ShepherdEncoding(PathEncoding):
    tokenizer: Any

    @property
    def tag_id(self) -> int:
        return int(self.tokenizer.encode(TAG)[-1])

    def encode_path(self, question: str, steps: Sequence[str]) -> tuple[int, ...]:
        """Raises InputError where there are other than one tag a step, as where a step holds the tag
        itself.
        """
        numbered = [
            step if NUMBERED.match(step) else f"Step {number}: {step}" for number, step in enumerate(steps, 1)
        ]

        def render(texts: Sequence[str]) -> str:
            return (
                " ".join([texts[0], "\n".join(f"{step} {TAG}" for step in texts[1:])]) if steps else texts[0]
            )

        ids = encode_around(self.tokenizer, [question, *numbered], render, add_special_tokens=True)
        if ids.count(self.tag_id) != len(steps) or (steps and ids[-1] != self.tag_id):
            raise InputError(
                f"{ids.count(self.tag_id)} tags {TAG!r} in a path of {len(steps)} steps, expected one behind "
                "each step"
            )
        return ids


def load_math_shepherd(path: str, dtype: str, separator: str) -> ForeignPrm:
    """`separator` is not used: a newline stands between steps. Raises InputError if the tokenizer cuts the
    tag or the signs.
    """
    tokenizer = load_tokenizer(path)
    encoding = ShepherdEncoding(tokenizer)
    good, bad = tokenizer.encode(f"{GOOD} {BAD}")[-2:]
    if good == bad or (tokenizer.encode(GOOD)[-1], tokenizer.encode(BAD)[-1]) != (good, bad):
        raise InputError(
            f"{path}: its tokenizer has no single tokens for {GOOD!r} and {BAD!r}, which this format compares"
        )
    ids = tokenizer.encode(f"1 plus 1 = 2 {TAG}\nAnswer: 2 {TAG}")
    if (
        ids.count(encoding.tag_id) != 2
        or ids[-1] != encoding.tag_id
        or tokenizer.decode([encoding.tag_id]).strip(" ▁") != TAG
    ):
        raise InputError(
            f"{path}: its tokenizer has no token for {TAG!r} alone, at which this format reads scores: a "
            "step ends with "
            f"{tokenizer.convert_ids_to_tokens(ids[-2:])}, expected "
            f"{tokenizer.convert_ids_to_tokens([encoding.tag_id])} behind its space"
        )
    model = load_whole(AutoModelForCausalLM, path, dtype)
    return ForeignPrm(as_classifier(model, bad, good), tokenizer, encoding, "min")
