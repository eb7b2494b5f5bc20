"""The form of a completion as its reward, the second of R1-Zero's two rules."""

import re
from collections.abc import Sequence
from typing import Any

from prm_train.rewards.texts import completion_text


class FormatReward:
    """1.0 for a completion in which the regular expression is found, else 0.0."""

    def __init__(self, pattern: str) -> None:
        self.__name__ = "format"  # under which the trainer logs it
        self.pattern = re.compile(pattern)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float]:
        return [float(self.pattern.search(completion_text(each)) is not None) for each in completions]
