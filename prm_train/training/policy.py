"""Training a policy on solutions: SFT of whole texts, the loss on the solution alone.

Its rows are those of an ORM, of which it takes the right ones: solutions of a data set, or right ones of the
policy's own (rejection-sampling fine-tuning). Or they are distill rows (`data_gen.rows.distill`), all of
which it takes, as it does the rows of others that hold a prompt and a completion alone. A question is encoded
as `sample` asks it, with the same `prompt_template`. A first attempt is a chain without earlier attempts, so
encoding, loss and checkpoint are those of a revision model.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_gen.files.jsonl import read_objects
from data_gen.records.chats import QUESTION, Message
from data_gen.rows.layouts import DistillRow, OrmRow, RevisionRow, read_rows
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.examples import Example, ExampleSet
from prm_train.examples.revision import revision_examples, sft_row
from prm_train.training.config import TrainPolicyConfig
from prm_train.training.sft_trainer import GroupedSFTTrainer, ScoredByTokens


@dataclass(frozen=True)
class PolicyTraining(ScoredByTokens):
    """A language model that answers a question, from solutions."""

    rows: Sequence[OrmRow] | Sequence[DistillRow]
    config: TrainPolicyConfig

    @property
    def title(self) -> str:
        return "policy"

    def examples(self, encoding: ScorerEncoding, max_length: int) -> ExampleSet:
        """Raises InputError if no row is right."""
        right = first_attempts(self.rows, self.config.prompt_template)
        if not right:
            raise InputError(
                f"{self.config.rows}: none of {len(self.rows)} rows is labeled right; expected some "
                "to learn from"
            )
        found = revision_examples(right, encoding.tokenizer, max_length)
        n_wrong = len(self.rows) - len(right)  # of distill rows none
        return replace(found, left_out=found.left_out + Counter({"solutions labeled wrong": n_wrong}))

    def trainer(
        self,
        model: Any,
        arguments: Any,
        encoding: ScorerEncoding,
        training: Sequence[Example],
        validation: Sequence[Example],
    ) -> GroupedSFTTrainer:
        rows = ([sft_row(example) for example in examples] for examples in (training, validation))
        return GroupedSFTTrainer(model, arguments, encoding.tokenizer, *rows)

    def facts(self, encoding: ScorerEncoding) -> CheckpointFacts:
        is_labeled = isinstance(self.rows[0], OrmRow)
        meaning = "right solutions" if is_labeled else "solutions of a teacher"
        return CheckpointFacts(self.kind, encoding.facts, meaning, "last")


def read_solutions(path: Path) -> Sequence[OrmRow] | Sequence[DistillRow]:
    """ORM rows where any row has a label, else distill rows. Raises InputError naming file and line."""
    is_labeled = any("label" in fields for _, fields in read_objects(path))
    return read_rows(path, OrmRow) if is_labeled else read_rows(path, DistillRow)


def first_attempts(rows: Sequence[OrmRow] | Sequence[DistillRow], prompt_template: str) -> list[RevisionRow]:
    """The solutions to learn, those that are not labeled wrong, each behind its question as the policy is
    asked it.
    """
    return [
        RevisionRow(
            row.problem_id,
            (Message("user", prompt_template.replace(QUESTION, row.prompt)),),
            (Message("assistant", row.completion),),
            "first_attempt",
            0,
            None,
            (0,),
            row.prompt,
        )
        for row in rows
        if isinstance(row, DistillRow) or row.label
    ]
