"""The old name of `prm_train.scoring`, which cards of published models import."""

import warnings

from prm_train.kinds.load import load_scorer
from prm_train.scoring.incremental import IncrementalScorer, IncrementalTree

__all__ = ["IncrementalScorer", "IncrementalTree", "load_scorer"]
warnings.warn(
    "prm_train.incremental is now prm_train.scoring; load_scorer is in prm_train", FutureWarning, stacklevel=2
)
