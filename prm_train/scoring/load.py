"""`load_scorer`: any scorer from its folder or Hub name, ours or another project's."""

import logging

from data_gen.models.names import check_device, model_line
from data_gen.models.pretrained import load_model_config
from prm_train.checkpoints.facts import read_facts
from prm_train.checkpoints.identity import content_id
from prm_train.checkpoints.load import load_checkpoint
from prm_train.scoring.foreign.settings import AUTO, PrmFormat
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.scoring.protocol import Scorer

logger = logging.getLogger(__name__)


def load_scorer(
    path: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    trust_remote_code: bool = False,
    cache_bytes: int = 2**30,
    max_batch_tokens: int = 4096,
    prm_format: PrmFormat = AUTO,
) -> Scorer:
    """The scorer that a `train-…` command wrote to a folder, or that was published under a Hub name, by this project or by others.

    Raises InputError if it is none of these. On a GPU more `max_batch_tokens` are faster, as far as its memory goes. (An implicit PRM has
    no cache.) `prm_format` names the format of others where their config.json does not say it.
    """
    from prm_train.scoring.foreign.formats import format_of, load_foreign_scorer

    check_device(device)
    foreign = format_of(path, prm_format)
    if foreign is not None:
        return load_foreign_scorer(
            path,
            foreign,
            prm_format.separator,
            dtype=dtype,
            device=device,
            cache_bytes=cache_bytes,
            max_batch_tokens=max_batch_tokens,
        )
    if read_facts(load_model_config(path, trust_remote_code)).kind == "implicit_prm":
        from prm_train.scoring.implicit import load_implicit_prm

        implicit = load_implicit_prm(path, dtype, device, trust_remote_code)
        logger.info("%s", model_line("implicit PRM", path, implicit.model.num_parameters(), dtype, device))
        return implicit
    model, encoding, facts = load_checkpoint(path, dtype, trust_remote_code)
    scorer_id = content_id((model,), encoding, facts)
    logger.info("%s", model_line(facts.kind.upper(), path, model.num_parameters(), dtype, device))
    return IncrementalScorer(
        model.to(device),
        encoding,
        scorer_id=scorer_id,
        aggregation=facts.aggregation,
        calibration=facts.calibration,
        cache_bytes=cache_bytes,
        max_batch_tokens=max_batch_tokens,
    )
