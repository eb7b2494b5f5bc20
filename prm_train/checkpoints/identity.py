"""Content hashes of scorers: by them stored scores are known to come from the same weights, whatever path
these were loaded from.
"""

from collections.abc import Sequence

from transformers import PreTrainedModel

from data_gen.models.weights_digest import SCORER_LINE, weights_digest
from data_gen.records.draw_keys import content_hash
from prm_train.checkpoints.facts import CheckpointFacts, score_facts
from prm_train.encoding.paths import ScorerEncoding


def content_id(models: Sequence[PreTrainedModel], encoding: ScorerEncoding, facts: CheckpointFacts) -> str:
    """A content hash of whatever decides a score: the weights as loaded, the tokenizer, the encoding, the
    calibration.
    """
    tokenizer = (sorted(encoding.tokenizer.get_vocab().items()), encoding.tokenizer.chat_template)
    return content_hash("scorer", weights_digest(SCORER_LINE, *models), tokenizer, score_facts(facts))
