"""Revision model: a language model that is shown earlier attempts and writes the next one. A policy, not a
scorer.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from data_gen.models.prompt_ids import encode_chain
from data_gen.rows.layouts import RevisionRow, read_rows
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.examples import ExampleSet
from prm_train.examples.revision import encode_answer, revision_examples
from prm_train.examples.targets import OWN_LABELS, LabelAlgebra
from prm_train.kinds.language_models import LanguageModelKind
from prm_train.kinds.model_kind import Checkpoint
from prm_train.kinds.paths import EncodedPath, Labels, ScoredPath
from prm_train.networks.token_log_probs import token_log_probs


class RevisionKind(LanguageModelKind):
    """A path's one step is the whole answer, as it was written; its numbers are the log-probs of the answer's
    tokens.
    """

    name = "revision"
    title = "Revision model"
    reading = (
        "the chat template over the question, each earlier attempt and the user's turn after it, up to the "
        "assistant's turn; in layout "
        "plain each turn and a newline, all as one text, with BOS where the tokenizer begins every text with "
        "it; the model writes the next "
        "attempt and EOS"
    )
    rows = "revision"
    is_scorer = False
    scores_steps = False

    def facts(self, encoding: ScorerEncoding, n_attempts: int) -> CheckpointFacts:
        """Of a new checkpoint; `n_attempts` is the most that a row shows."""
        return CheckpointFacts(
            self.name, encoding.facts, f"right answers after up to {n_attempts} earlier attempts", "last"
        )

    def read_rows(self, path: Path) -> list[RevisionRow]:
        return read_rows(path, RevisionRow)

    def examples(
        self, rows: Sequence[RevisionRow], encoding: Any, max_length: int, algebra: LabelAlgebra = OWN_LABELS
    ) -> ExampleSet:
        return revision_examples(rows, encoding.tokenizer, max_length)

    def paths(self, row: RevisionRow, separator: str) -> tuple[ScoredPath, ...]:
        return (ScoredPath(row.prompt, ("".join(message.content for message in row.completion),)),)

    def labels(self, row: RevisionRow, n_steps: Sequence[int], algebra: LabelAlgebra) -> tuple[Labels, ...]:
        """It has no score to be compared with a label."""
        return ((),)

    def encode(self, path: ScoredPath, encoding: ScorerEncoding) -> EncodedPath:
        """Positions are those of the answer's tokens."""
        text = encoding.facts.step_separator.join(path.steps)
        head, answer = (
            encode_chain(encoding.tokenizer, path.messages),
            encode_answer(encoding.tokenizer, path.messages, text),
        )
        return EncodedPath(head + answer, tuple(range(len(head), len(head) + len(answer))), len(head))

    def logits(self, checkpoint: Checkpoint, path: EncodedPath) -> list[float]:
        """The log-prob of each token of the answer."""
        ids = torch.tensor([path.ids])
        log_probs = token_log_probs(checkpoint.model(input_ids=ids).logits.float(), ids)
        return [float(value) for value in log_probs[0, list(path.positions)]]

    def gives_scores(self, facts: CheckpointFacts) -> bool:
        return False

    def printed(self, facts: CheckpointFacts, logits: Sequence[float]) -> tuple[float, ...]:
        """The log-prob of the whole answer."""
        return (sum(logits),)


REVISION = RevisionKind()
