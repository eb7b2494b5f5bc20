"""RLHFlow's PRMs: a chat in which the user gives step after step and the assistant answers each with "+" or
"-".

    user: question step 1    assistant: +    user: step 2    assistant: …

The score of a step is p("+") / (p("+") + p("-")) where the answer to it begins; the answers before it are
always "+", as the authors score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import AutoModelForCausalLM

from data_gen.models.prompt_ids import encode_messages
from data_gen.models.tokenizer import load_tokenizer
from data_gen.records.chats import Message
from data_gen.settings.errors import InputError
from prm_train.networks.load_whole import load_whole
from prm_train.networks.word_classifier import as_classifier
from prm_train.scoring.foreign.paths import ForeignPrm, PathEncoding


@dataclass(frozen=True)
class RlhflowEncoding(PathEncoding):
    tokenizer: Any

    def encode_path(self, question: str, steps: Sequence[str]) -> tuple[int, ...]:
        """Up to where the last step's answer begins; without steps, what two different first steps have in
        common.
        """
        if not steps:
            one, other = (self.encode_path(question, (step,)) for step in ("a", "1"))
            n_common = next(
                i for i, (left, right) in enumerate(zip(one, other, strict=False)) if left != right
            )
            # The space before the step may be a token by itself, or part of the step's
            return one[: n_common - 1]
        turns = [f"{question} {steps[0]}", *steps[1:]]
        chat = [message for turn in turns for message in (Message("user", turn), Message("assistant", "+"))]
        return encode_messages(self.tokenizer, chat[:-1])


def load_rlhflow(path: str, dtype: str, separator: str) -> ForeignPrm:
    """`separator` is not used: turns stand between steps. Raises InputError for a tokenizer without a chat
    template.
    """
    tokenizer = load_tokenizer(path)
    if not tokenizer.chat_template:
        raise InputError(f"{path}: its tokenizer has no chat template, which this format needs")
    model = load_whole(AutoModelForCausalLM, path, dtype)
    good, bad = (tokenizer.encode(sign, add_special_tokens=False)[-1] for sign in "+-")
    return ForeignPrm(as_classifier(model, bad, good), tokenizer, RlhflowEncoding(tokenizer), "min")
