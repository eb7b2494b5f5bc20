"""PRMs that others have published, behind the `Scorer` of this project: `load_scorer(path,
prm_format=PrmFormat(…))`.

| format | network | a step's score is read | published as | |---|---|---|---| | trl | token classifier, class
1 is good | at the last token of the separator behind it | TRL's PRMTrainer (up to 1.13) | | qwen | Qwen2 with
a head of two layers, class 1 is good | at `<extra_0>` behind it | Qwen2.5-Math-PRM | | math_shepherd |
language model: p("+") against p("-") | at `ки` behind it | math-shepherd-mistral-7b-prm | | rlhflow |
language model: p("+") against p("-") | where the turn that answers it begins | Llama3.1-8B-PRM-…-Data | |
skywork | Qwen2 with a value head, sigmoid | at the newline behind it | Skywork-o1-Open-PRM |

The first two and the last are recognised from config.json; a language model says nothing there, so its format
must be named. All are scored through the incremental cache, every token once. No code of a checkpoint is run:
the heads are built here and their weights must be there. How each makes one score of the step scores is its
authors' choice where they name one, else the smallest.
"""

import logging
from collections.abc import Callable
from typing import Any, get_args

from transformers import PretrainedConfig

from data_gen.models.names import model_line
from data_gen.models.pretrained import from_hub_or_folder
from data_gen.models.weights_digest import SCORER_LINE, weights_digest
from data_gen.records.draw_keys import content_hash
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CONFIG_KEY
from prm_train.scoring.foreign.math_shepherd import load_math_shepherd
from prm_train.scoring.foreign.paths import ForeignPrm, PathEncoding, PathScorer
from prm_train.scoring.foreign.qwen import load_qwen
from prm_train.scoring.foreign.rlhflow import load_rlhflow
from prm_train.scoring.foreign.settings import ForeignFormat, PrmFormat
from prm_train.scoring.foreign.skywork import load_skywork
from prm_train.scoring.foreign.trl import load_trl
from prm_train.scoring.incremental import IncrementalScorer

logger = logging.getLogger(__name__)
LOADERS: dict[ForeignFormat, Callable[[str, str, str], ForeignPrm]] = {
    "trl": load_trl,
    "qwen": load_qwen,
    "math_shepherd": load_math_shepherd,
    "rlhflow": load_rlhflow,
    "skywork": load_skywork,
}


def format_of(path: str, prm_format: PrmFormat) -> ForeignFormat | None:
    """The format that was named, else the one that the config.json of a folder or Hub name speaks of; None
    for this project's own.

    Raises InputError where it speaks of none.
    """
    if prm_format.name != "auto":
        return prm_format.name
    with from_hub_or_folder(path):
        config: dict[str, Any] = PretrainedConfig.get_config_dict(path)[0]
    if CONFIG_KEY in config:
        return None
    architecture = (config.get("architectures") or ["?"])[0]
    if architecture == "Qwen2ForProcessRewardModel":
        return "qwen"
    if architecture == "Qwen2ForPrmModel":
        return "skywork"
    labels = list(config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"}).values())
    if architecture.endswith("ForTokenClassification") and labels == ["LABEL_0", "LABEL_1"]:
        return "trl"
    raise InputError(
        f"{path}: no {CONFIG_KEY!r} in its config.json, and architecture {architecture} with labels {labels} "
        "does not say how its scores "
        "are read; expected a model that a train-… command has written, or its format to be named: "
        f"{', '.join(get_args(ForeignFormat))}"
    )


def load_foreign_scorer(
    path: str,
    name: ForeignFormat,
    separator: str,
    *,
    dtype: str,
    device: str,
    cache_bytes: int | None,
    max_batch_tokens: int,
) -> IncrementalScorer:
    """Raises InputError if the folder or Hub name holds something else than that format."""
    prm = LOADERS[name](path, dtype, separator)
    logger.info(
        "%s",
        model_line(
            f"PRM ({name})", path, sum(each.numel() for each in prm.model.parameters()), dtype, device
        ),
    )
    tokenizer = (sorted(prm.tokenizer.get_vocab().items()), prm.tokenizer.chat_template)
    kind: Callable[..., IncrementalScorer] = (
        PathScorer if isinstance(prm.encoding, PathEncoding) else IncrementalScorer
    )
    return kind(
        prm.model.to(device),
        prm.encoding,
        scorer_id=content_hash(
            "foreign scorer", name, separator, weights_digest(SCORER_LINE, prm.model), tokenizer
        ),
        aggregation=prm.aggregation,
        cache_bytes=cache_bytes,
        max_batch_tokens=max_batch_tokens,
    )
