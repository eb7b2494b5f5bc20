"""Generative verifier: a language model that is asked after each step whether all is right so far (see
`prm_train.training.verifier`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_gen.rows.layouts import PrmRow
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.aggregation import Aggregation
from prm_train.encoding.paths import EncodingFacts, ScorerEncoding
from prm_train.examples.examples import ExampleSet, prm_examples
from prm_train.examples.targets import OWN_LABELS, LabelAlgebra
from prm_train.kinds.language_models import LanguageModelKind
from prm_train.kinds.model_kind import Checkpoint, Classifier
from prm_train.kinds.paths import PIECES_READING, QUESTION_READING, EncodedPath
from prm_train.kinds.score_meaning import ScoreMeaning
from prm_train.kinds.step_rows import StepRowsKind
from prm_train.networks.class_logits import log_odds_at
from prm_train.networks.word_classifier import as_classifier

ALGEBRA = LabelAlgebra(until_first_error=True)  # hard labels: what follows a No is not asked
# The first pair whose first tokens differ; most tokenizers have words with their space
WORDS = ((" Yes", " No"), ("Yes", "No"))


@dataclass(frozen=True, kw_only=True)
class VerifierFacts(CheckpointFacts):
    """What is asked after the question and each step, the two answers, and their first tokens: of No, of
    Yes.
    """

    ask: str
    yes: str
    no: str
    verdict_ids: tuple[int, int]


@dataclass(frozen=True)
class VerdictEncoding(ScorerEncoding):
    """A path with the question `ask` behind it and behind each of its steps; a step begins with the Yes to
    the question before it.
    """

    ask: str
    yes: str
    no: str

    @property
    def word_ids(self) -> tuple[int, int]:
        """The first tokens of No and Yes."""
        return self.encode_text(self.no)[0], self.encode_text(self.yes)[0]

    def encode_head(self, question: str) -> tuple[int, ...]:
        return (*super().encode_head(question), *self.encode_text(self.ask))

    def encode_piece(self, piece: str) -> tuple[int, ...]:
        return (
            *self.encode_text(self.yes),
            *self.encode_text(f"\n{piece}{self.facts.step_separator}{self.ask}"),
        )


def verdict_encoding(tokenizer: Any, facts: EncodingFacts, ask: str) -> VerdictEncoding:
    """With the words that the tokenizer tells apart by their first token. Raises InputError where it tells
    none apart.
    """
    for yes, no in WORDS:
        encoding = VerdictEncoding(tokenizer, facts, ask, yes, no)
        if encoding.word_ids[0] != encoding.word_ids[1]:
            return encoding
    raise InputError(
        f"model {tokenizer.name_or_path}: its tokenizer begins {WORDS[0][0]!r} and {WORDS[0][1]!r} with the "
        f"same token, and so {WORDS[1]}; "
        "expected other first tokens, by which the two answers are told apart"
    )


class GenerativeVerifierKind(StepRowsKind, LanguageModelKind):
    """p(Yes) against p(No) behind a step is its score: two rows of the language model's head are a token
    classifier.
    """

    name = "generative_verifier"
    title = "Generative verifier"
    reading = (
        f"{QUESTION_READING}, ask; then for each step: yes, newline + step + step_separator + ask; "
        f"{PIECES_READING}. Score of a step: "
        "softmax over the logits of verdict_ids (No, Yes) at the last token of its piece, second of the two"
    )
    facts_class = VerifierFacts

    def facts(self, encoding: ScorerEncoding, aggregation: Aggregation) -> VerifierFacts:
        """Of a new checkpoint, trained with a VerdictEncoding."""
        assert isinstance(encoding, VerdictEncoding)
        labels = "whether the step is right, as the rows' labels say, if all before it are"
        return VerifierFacts(
            *(self.name, encoding.facts, labels, aggregation),
            ask=encoding.ask,
            yes=encoding.yes,
            no=encoding.no,
            verdict_ids=encoding.word_ids,
        )

    def encoding(self, tokenizer: Any, facts: CheckpointFacts) -> VerdictEncoding:
        assert isinstance(facts, VerifierFacts)
        return VerdictEncoding(tokenizer, facts.encoding, facts.ask, facts.yes, facts.no)

    def load_classifier(
        self, path: str, dtype: str = "float32", trust_remote_code: bool = False
    ) -> Classifier:
        checkpoint = self.load(path, dtype, trust_remote_code)
        assert isinstance(checkpoint.encoding, VerdictEncoding)
        return Classifier(
            as_classifier(checkpoint.model, *checkpoint.encoding.word_ids),
            checkpoint.encoding,
            checkpoint.facts,
        )

    def examples(
        self, rows: Sequence[PrmRow], encoding: Any, max_length: int, algebra: LabelAlgebra = OWN_LABELS
    ) -> ExampleSet:
        """One example a row, up to its first error or its last label; positions are those before the
        verdicts, the last of which fits into `max_length`, too. Raises as `prm_examples`.
        """
        n_reserved = max(len(encoding.encode_text(word)) for word in (encoding.yes, encoding.no))
        return prm_examples(rows, encoding, ALGEBRA, max_length - n_reserved)

    def calibration_labels(self, path: str, facts: CheckpointFacts, algebra: LabelAlgebra) -> LabelAlgebra:
        if algebra not in (LabelAlgebra(), ALGEBRA):
            raise InputError(
                f"{path}: a generative verifier is calibrated for the labels it learns; got label settings "
                f"{algebra}"
            )
        return ALGEBRA

    def logits(self, checkpoint: Checkpoint, path: EncodedPath) -> list[float]:
        """Of each step."""
        assert isinstance(checkpoint.facts, VerifierFacts)
        return log_odds_at(checkpoint.model, path.ids, path.positions, checkpoint.facts.verdict_ids)

    def score_meaning(
        self, facts: CheckpointFacts, training: Mapping[str, Any], calibration: LabelAlgebra | None
    ) -> ScoreMeaning:
        return ScoreMeaning(ALGEBRA, "probability")


GENERATIVE_VERIFIER = GenerativeVerifierKind()
