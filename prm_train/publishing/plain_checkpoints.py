"""A checkpoint as its users read it: loaded by transformers alone, and the numbers that it gives for a path.

| kind | class | numbers of a path |
|---|---|---|
| prm | AutoModelForTokenClassification | a score a step, p(good) at its marker |
| orm | AutoModelForSequenceClassification | one: the sigmoid of its logit; the logit itself if it is a reward |
| generative_verifier | AutoModelForCausalLM | a score a step, p(Yes) against p(No) behind the question |
| implicit_prm | AutoModelForCausalLM, twice | a reward a step |
| revision | AutoModelForCausalLM | the log-prob of each token of the answer |

What the toolkit itself scores with (`prm_train.scoring.incremental`) is another implementation, and the cards' code is a third: tests compare them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from data_gen.models.pretrained import load_model, load_model_config
from data_gen.models.tokenizer import load_tokenizer
from prm_train.checkpoints.facts import CheckpointFacts, read_facts, read_facts_of
from prm_train.checkpoints.implicit import ImplicitPrmFacts, TextEncoding, token_log_probs
from prm_train.checkpoints.load import load_checkpoint
from prm_train.checkpoints.verifier import VerdictEncoding, VerifierFacts
from prm_train.encoding.paths import ScorerEncoding
from prm_train.metrics.calibration import calibrated
from prm_train.metrics.ranking import Floats, sigmoid
from prm_train.publishing.scored_paths import EncodedPath, ScoredPath, encode_path


@dataclass(frozen=True)
class PlainCheckpoint:
    """Its networks in float32 and evaluation mode (`reference`: an implicit PRM's), and what config.json says of them."""

    facts: CheckpointFacts
    encoding: ScorerEncoding
    model: Any
    reference: Any = None

    def encode(self, path: ScoredPath) -> EncodedPath:
        return encode_path(path, self.encoding, self.facts.kind)

    @torch.no_grad()
    def logits(self, path: ScoredPath) -> list[float]:
        """Log-odds of each step or of the solution; rewards of an implicit PRM, log-probs of a revision model."""
        encoded = self.encode(path)
        ids, places = torch.tensor([encoded.ids]), list(encoded.positions)
        logits = self.model(input_ids=ids).logits.float()
        if self.facts.kind == "orm":
            return [float(logits[0, 0])]
        if self.facts.kind == "revision":
            return [float(value) for value in token_log_probs(logits, ids)[0, places]]
        if isinstance(self.facts, ImplicitPrmFacts):
            reference = token_log_probs(self.reference(input_ids=ids).logits.float(), ids)
            log_ratios = self.facts.beta * (token_log_probs(logits, ids) - reference)[0]  # (T,)
            ends = [encoded.n_head, *(place + 1 for place in places)]
            return [float(log_ratios[start:end].sum()) for start, end in pairwise(ends)]
        bad, good = self.facts.verdict_ids if isinstance(self.facts, VerifierFacts) else (0, 1)
        at_steps = logits[0, places].double()  # (S, classes)
        return [float(value) for value in at_steps[:, good] - at_steps[:, bad]]


def load_plain(folder: str) -> PlainCheckpoint:
    """Raises InputError if no `train-…` command wrote it, or where weights are missing."""
    config = load_model_config(folder)
    facts = read_facts(config)
    if facts.kind in ("prm", "orm"):
        model, encoding, facts = load_checkpoint(folder)
        return PlainCheckpoint(facts, encoding, model)
    tokenizer = load_tokenizer(folder)
    model = load_model(AutoModelForCausalLM, folder, dtype=torch.float32).eval()
    if facts.kind == "generative_verifier":
        verifier = read_facts_of(config, VerifierFacts)
        return PlainCheckpoint(verifier, VerdictEncoding(tokenizer, facts.encoding, verifier.ask, verifier.yes, verifier.no), model)
    if facts.kind == "implicit_prm":
        implicit = read_facts_of(config, ImplicitPrmFacts)
        reference = load_model(AutoModelForCausalLM, folder, subfolder=implicit.reference, dtype=torch.float32).eval()
        return PlainCheckpoint(implicit, TextEncoding(tokenizer, facts.encoding), model, reference)
    return PlainCheckpoint(facts, ScorerEncoding(tokenizer, facts.encoding), model)


def shown(facts: CheckpointFacts, logits: Sequence[float]) -> tuple[float, ...]:
    """What the card's code prints for `PlainCheckpoint.logits`: scores, or the numbers themselves where they are rewards or log-probs."""
    is_as_it_is = facts.is_reward or facts.kind in ("implicit_prm", "revision")
    return tuple(logits) if is_as_it_is else tuple(sigmoid(logits).tolist())


def scorer_logits(facts: CheckpointFacts, logits: Sequence[float]) -> Floats:
    """The log-odds whose sigmoids `load_scorer` gives: calibrated, and of an implicit PRM those of the sum of rewards so far."""
    return calibrated(np.array([*accumulate(logits)] if facts.kind == "implicit_prm" else logits, dtype=float), facts.calibration)
