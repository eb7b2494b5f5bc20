"""How vLLM serves a network, and how a client reads what it returns: as a token classifier, a sequence
classifier or a language model.

| | vLLM returns for a path | its scores | |---|---|---| | TokenClassifier | a row of class probabilities for
every token, or for every marker | p(good) at each step's marker | | SequenceClassifier | one number | that
number; a reward as it is | | LanguageModel | the log-prob of each token after the first | those log-probs |
"""

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from prm_train.encoding.paths import ScorerEncoding
from prm_train.kinds.paths import EncodedPath
from prm_train.kinds.tolerances import LOGIT_TOLERANCES, SCORE_TOLERANCES
from prm_train.networks.heads import head_name


class Serving(ABC):
    """One of the three ways. `config` is the transformers config of the served checkpoint."""

    name: Literal["prm", "orm", "causal_lm"]  # what `prm_train.publishing.vllm_scoring` is told
    pipeline: str  # the Hub's name of the task
    has_head = True

    def prepare(self, model: Any) -> None:
        """Let transformers compute the head in float32, as vLLM does."""
        head = getattr(model, head_name(model)).float()
        head.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))

    def marker_id(self, encoding: ScorerEncoding) -> int | None:
        """The token at which vLLM is to pool; None where it pools at none."""
        return None

    def tolerance(self, config: Any, dtype: str) -> float:
        """Largest difference that rounding makes. In bfloat16 every number has 8 bits: scores of one network
        are up to 0.02 from its own in float32, whichever library computes them, and the log-probs of its
        tokens up to 0.1.
        """
        return SCORE_TOLERANCES[dtype]

    @abstractmethod
    def scores(self, logits: Tensor, path: EncodedPath, config: Any) -> Tensor:
        """The numbers of a path from the logits that transformers computes for it."""

    @abstractmethod
    def read(
        self, returned: Any, read_by: str, path: EncodedPath, config: Any, marker_id: int | None
    ) -> list[float]:
        """The same numbers as a client takes them from what vLLM returned, pooled by `read_by`."""

    def pooler(self, marker_id: int | None) -> dict[str, Any]:
        """vLLM's pooler configuration; {} where nothing is pooled."""
        return {}


class TokenClassifier(Serving):
    """Scores at step markers."""

    name = "prm"
    pipeline = "token-classification"

    def marker_id(self, encoding: ScorerEncoding) -> int | None:
        return encoding.marker_id

    def scores(self, logits: Tensor, path: EncodedPath, config: Any) -> Tensor:
        return logits[list(path.positions)].softmax(-1)[:, 1]

    def read(
        self, returned: Any, read_by: str, path: EncodedPath, config: Any, marker_id: int | None
    ) -> list[float]:
        """Those of the class that the checkpoint labels good."""
        good = next((index for index, label in config.id2label.items() if label == "good"), 1)
        tags = [position for position, token in enumerate(path.ids) if token == marker_id]
        if read_by == "STEP" and len(tags) != len(returned):
            return [row[good] for row in returned]
        # STEP gives a row for each marker, of which a step that holds the separator has several
        rows = dict(zip(tags if read_by == "STEP" else range(len(returned)), returned, strict=True))
        return [rows[position][good] for position in path.positions if position in rows]

    def pooler(self, marker_id: int | None) -> dict[str, Any]:
        return {"task": "token_classify", "tok_pooling_type": "STEP", "step_tag_id": marker_id}


class SequenceClassifier(Serving):
    """One score at the end. By the config's problem_type servers choose what they apply to its logit."""

    name = "orm"
    pipeline = "text-classification"

    def tolerance(self, config: Any, dtype: str) -> float:
        return (LOGIT_TOLERANCES if config.problem_type == "regression" else SCORE_TOLERANCES)[dtype]

    def scores(self, logits: Tensor, path: EncodedPath, config: Any) -> Tensor:
        return logits if config.problem_type == "regression" else logits.sigmoid()

    def read(
        self, returned: Any, read_by: str, path: EncodedPath, config: Any, marker_id: int | None
    ) -> list[float]:
        return [returned]

    def pooler(self, marker_id: int | None) -> dict[str, Any]:
        return {"task": "classify"}


class LanguageModel(Serving):
    """The log-probs of tokens, from which scores are computed by whoever asks."""

    name = "causal_lm"
    pipeline = "text-generation"
    has_head = False

    def prepare(self, model: Any) -> None:
        """vLLM computes logits in the precision of the weights, as transformers does."""

    def tolerance(self, config: Any, dtype: str) -> float:
        return LOGIT_TOLERANCES[dtype]

    def scores(self, logits: Tensor, path: EncodedPath, config: Any) -> Tensor:
        ids = torch.tensor(path.ids[1:], device=logits.device)
        return logits[:-1].log_softmax(-1).gather(1, ids[:, None])[:, 0]

    def read(
        self, returned: Any, read_by: str, path: EncodedPath, config: Any, marker_id: int | None
    ) -> list[float]:
        return list(returned)
