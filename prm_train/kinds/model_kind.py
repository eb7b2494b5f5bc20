"""A kind of model that this project trains: everything that its checkpoints have in common and other kinds do
otherwise.

One object a kind, in a file of its own; `prm_train.kinds.lookup` finds it by the name in config.json:

| kind | class | numbers of a path | |---|---|---| | prm | AutoModelForTokenClassification | a score a step,
p(good) at its marker | | orm | AutoModelForSequenceClassification | one: the sigmoid of its logit; the logit
itself if it is a reward | | generative_verifier | AutoModelForCausalLM | a score a step, p(Yes) against p(No)
behind the question | | implicit_prm | AutoModelForCausalLM, twice | a reward a step | | revision |
AutoModelForCausalLM | the log-prob of each token of the answer |

A new kind derives from `ClassifierKind` or `LanguageModelKind`, fills in what they leave open, and brings the
template of its card. Then it is loaded, used as a scorer, published and served like the others. How it is
trained is the subject of `prm_train.training`.

The numbers of a path are computed here with transformers alone, as users of a checkpoint would. What the
toolkit itself scores with (`prm_train.scoring`) is another implementation, and the cards' code is a third:
tests compare them.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from data_gen.models.names import model_line
from data_gen.models.pretrained import load_model, load_model_config
from data_gen.models.tokenizer import load_tokenizer
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts, Kind, read_facts_of
from prm_train.checkpoints.identity import content_id
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.examples import ExampleSet
from prm_train.examples.targets import OWN_LABELS, LabelAlgebra
from prm_train.kinds.paths import EncodedPath, Labels, ScoredPath, encode_steps
from prm_train.kinds.score_meaning import ScoreMeaning
from prm_train.kinds.serving import Serving
from prm_train.kinds.tolerances import LOGIT_TOLERANCES, SCORE_TOLERANCES
from prm_train.metrics.calibration import calibrated
from prm_train.metrics.ranking import Floats, sigmoid
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.scoring.protocol import Scorer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds: networks in evaluation mode, and what config.json says of them.

    `others` are networks beside the model, by their folders inside the checkpoint's: an implicit PRM's
    reference.
    """

    kind: "ModelKind"
    facts: CheckpointFacts
    encoding: ScorerEncoding
    model: Any
    others: Mapping[str, Any] = field(default_factory=dict)

    def encode(self, path: ScoredPath) -> EncodedPath:
        return self.kind.encode(path, self.encoding)

    @torch.no_grad()
    def logits(self, path: ScoredPath) -> list[float]:
        """See `ModelKind.logits`."""
        return self.kind.logits(self, self.encode(path))


class Classifier(NamedTuple):
    """A single network that scores: a token classifier of two classes, or a sequence classifier of one; in
    evaluation mode.
    """

    model: Any
    encoding: ScorerEncoding
    facts: CheckpointFacts


@dataclass(frozen=True)
class ScorerOptions:
    """How a scorer is loaded: see `prm_train.kinds.load.load_scorer`."""

    dtype: str = "float32"
    device: str = "cpu"
    trust_remote_code: bool = False
    cache_bytes: int | None = None
    max_batch_tokens: int = 4096


DEFAULT_OPTIONS = ScorerOptions()


class ModelKind(ABC):
    """See the module. Attributes without a value here are each kind's to say."""

    name: Kind  # in config.json
    title: str  # heading of a card, and what it is tagged with
    reading: str  # how a reader with transformers alone gets to its numbers; config.json holds it, for people
    rows: str  # the kinds of rows that it learns from
    auto_class: Any  # of transformers, which loads it
    serving: Serving
    facts_class: type[CheckpointFacts] = CheckpointFacts
    # What config.json says of a new head: names of its classes, what servers apply to its logits
    head: ClassVar[dict[str, Any]] = {}
    layouts: tuple[str, ...] = ("transformers",)  # in which `publish` can write it
    is_scorer = True  # or a policy, which writes solutions
    scores_steps = True  # or whole solutions
    # What peft calls its training with LoRA. Under another name it would wrap a new head's random weights in
    # LoRA, or look for methods that the model lacks.
    lora_task = "CAUSAL_LM"
    # Whether the settings of a training or a calibration say what its scores are labels of
    has_label_settings = False

    # --- loading

    def read_facts(self, model_config: Any) -> CheckpointFacts:
        """Raises InputError where config.json does not say what such a checkpoint must."""
        return read_facts_of(model_config, self.facts_class)

    def encoding(self, tokenizer: Any, facts: CheckpointFacts) -> ScorerEncoding:
        """As training encodes."""
        return ScorerEncoding(tokenizer, facts.encoding)

    def load(self, path: str, dtype: str = "float32", trust_remote_code: bool = False) -> Checkpoint:
        """A folder or Hub name, loaded by transformers alone. Raises InputError where weights are missing."""
        facts = self.read_facts(load_model_config(path, trust_remote_code))
        encoding = self.encoding(load_tokenizer(path, trust_remote_code), facts)
        return Checkpoint(self, facts, encoding, self.load_network(path, dtype, trust_remote_code))

    def load_network(self, path: str, dtype: str, trust_remote_code: bool, **more: Any) -> Any:
        """In evaluation mode."""
        return load_model(
            self.auto_class, path, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code, **more
        ).eval()

    def load_classifier(
        self, path: str, dtype: str = "float32", trust_remote_code: bool = False
    ) -> Classifier:
        """Raises InputError for a kind whose scores are not the log-odds of one network."""
        raise InputError(f"{path}: got a checkpoint of kind {self.name}, expected one of a single network")

    def load_scorer(self, path: str, options: ScorerOptions = DEFAULT_OPTIONS) -> Scorer:
        """Raises InputError for a kind that does not score."""
        model, encoding, facts = self.load_classifier(path, options.dtype, options.trust_remote_code)
        scorer_id = content_id((model,), encoding, facts)
        logger.info(
            "%s", model_line(self.name.upper(), path, model.num_parameters(), options.dtype, options.device)
        )
        scorer = IncrementalScorer(
            model.to(options.device),
            encoding,
            scorer_id=scorer_id,
            aggregation=facts.aggregation,
            calibration=facts.calibration,
            cache_bytes=options.cache_bytes,
            max_batch_tokens=options.max_batch_tokens,
        )
        scorer.sees_attempts = facts.has_attempts
        return scorer

    # --- rows

    @abstractmethod
    def read_rows(self, path: Path) -> Sequence[Any]:
        """The rows of a file. Raises InputError naming file and line if they are none that this kind learns
        from.
        """

    def rows_of(self, facts: CheckpointFacts) -> str:
        """Which of `rows` a certain checkpoint takes."""
        return self.rows

    def fault_of_rows(self, rows: Sequence[Any], facts: CheckpointFacts) -> str | None:
        """Why a certain checkpoint does not take rows that its kind learns from; None if it does."""
        return None

    @abstractmethod
    def examples(
        self, rows: Sequence[Any], encoding: Any, max_length: int, algebra: LabelAlgebra = OWN_LABELS
    ) -> ExampleSet:
        """What is learnt from the rows; `algebra` counts where `has_label_settings`. Raises InputError if
        nothing is left to learn.
        """

    def calibration_labels(self, path: str, facts: CheckpointFacts, algebra: LabelAlgebra) -> LabelAlgebra:
        """The labels that a calibration under these settings fits. Raises InputError for settings that mean
        nothing to this kind.
        """
        return algebra

    @abstractmethod
    def paths(self, row: Any, separator: str) -> tuple[ScoredPath, ...]:
        """The path of a row; of a pair two, that of the right solution first."""

    @abstractmethod
    def labels(self, row: Any, n_steps: Sequence[int], algebra: LabelAlgebra) -> tuple[Labels, ...]:
        """For each path of a row the label of each of its scores; `n_steps` are those of its paths."""

    # --- numbers of a path

    def encode(self, path: ScoredPath, encoding: ScorerEncoding) -> EncodedPath:
        """As training encodes it; positions are where `logits` reads."""
        return encode_steps(path, encoding)

    @abstractmethod
    def logits(self, checkpoint: Checkpoint, path: EncodedPath) -> list[float]:
        """Log-odds of each step or of the solution, or whatever else the kind gives: rewards, log-probs. Of
        the network alone.
        """

    def gives_scores(self, facts: CheckpointFacts) -> bool:
        """Whether users read sigmoids of `logits`, scores in [0, 1]; else they read the logits themselves."""
        return True

    def shown(self, facts: CheckpointFacts, logits: Sequence[float]) -> tuple[float, ...]:
        """What users read, and what an export is compared by."""
        return tuple(sigmoid(logits).tolist()) if self.gives_scores(facts) else tuple(logits)

    def printed(self, facts: CheckpointFacts, logits: Sequence[float]) -> tuple[float, ...]:
        """What the card's code prints."""
        return self.shown(facts, logits)

    def tolerance(self, facts: CheckpointFacts, dtype: str) -> float:
        """Largest difference of a number that is `shown` after its weights were rounded to `dtype`."""
        return (SCORE_TOLERANCES if self.gives_scores(facts) else LOGIT_TOLERANCES)[dtype]

    def scorer_logits(self, facts: CheckpointFacts, logits: Sequence[float]) -> Floats:
        """The log-odds whose sigmoids `load_scorer` gives."""
        return calibrated(np.array(logits, dtype=float), facts.calibration)

    # --- publishing

    def head_settings(self, facts: CheckpointFacts) -> dict[str, Any]:
        """What config.json says of the head of a trained checkpoint."""
        return self.head

    @abstractmethod
    def settle_padding(self, checkpoint: Checkpoint) -> None:
        """Raises InputError where there is no padding token, or it is EOS, and none can be had."""

    def score_meaning(
        self, facts: CheckpointFacts, training: Mapping[str, Any], calibration: LabelAlgebra | None
    ) -> ScoreMeaning:
        """`training` holds the settings of the training, {} where nobody knows them; `calibration` the labels
        that a later calibration was fitted on, None where there was none.
        """
        return ScoreMeaning(OWN_LABELS, "probability")

    def card(self) -> str:
        """The template of its card, which fills in the blocks of model_card.md.jinja."""
        return (files("prm_train.publishing") / "cards" / f"model_card_{self.name}.md.jinja").read_text()
