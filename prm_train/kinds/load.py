"""Any checkpoint from its folder or Hub name: as a whole, as the network that scores, or as a scorer, ours or
another project's.
"""

from data_gen.models.names import check_device
from data_gen.models.pretrained import load_model_config
from prm_train.kinds.lookup import kind_of
from prm_train.kinds.model_kind import Checkpoint, Classifier, ScorerOptions
from prm_train.scoring.foreign.settings import AUTO, PrmFormat
from prm_train.scoring.protocol import Scorer


def load_checkpoint(path: str, dtype: str = "float32", trust_remote_code: bool = False) -> Checkpoint:
    """All that the checkpoint holds, in evaluation mode, as users of transformers load it. Raises InputError
    if no `train-…` command wrote it, or where weights are missing.
    """
    return kind_of(load_model_config(path, trust_remote_code)).load(path, dtype, trust_remote_code)


def load_classifier(path: str, dtype: str = "float32", trust_remote_code: bool = False) -> Classifier:
    """A trained scorer in evaluation mode, its encoding and what its scores mean. Raises InputError if no
    `train-…` command wrote it, or where its scores are not those of a single network.
    """
    return kind_of(load_model_config(path, trust_remote_code)).load_classifier(path, dtype, trust_remote_code)


def load_scorer(
    path: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    trust_remote_code: bool = False,
    cache_bytes: int | None = None,
    max_batch_tokens: int = 4096,
    prm_format: PrmFormat = AUTO,
) -> Scorer:
    """The scorer that a `train-…` command wrote to a folder, or that was published under a Hub name, by this
    project or by others.

    Raises InputError if it is none of these. On a GPU more `max_batch_tokens` are faster, as far as its
    memory goes. (An implicit PRM has no cache.) `prm_format` names the format of others where their
    config.json does not say it.
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
    options = ScorerOptions(dtype, device, trust_remote_code, cache_bytes, max_batch_tokens)
    return kind_of(load_model_config(path, trust_remote_code)).load_scorer(path, options)
