"""Whether a scorer meets what it was calibrated on: the share of its scores in each bin, against the shares
on held-out labels.

Where the reference comes from: the end of a PRM's training counts the scores of held-out labels by bins,
which its config.json keeps (`Reliability`). `score_reference` names a JSON file of such bins for scorers that
have none; `prm_train_scorer_bin_share` or the histogram `prm_train_step_scores` of a good week make one.
Labels end at the first error, and searches keep what scores well, so that even a scorer at home is some way
from its training's reference: watch how the distance changes.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_gen.files.stored_record import StoredRecord
from prm_train.checkpoints.calibration import Reliability

WINDOW = 10_000  # scores that are looked at, the last ones


@dataclass(frozen=True)
class ScoreReference(StoredRecord):
    """`counts` of scores from each of `lows` to the next; the lows ascend from 0."""

    WRITTEN_BY = "whoever runs the server"
    lows: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.lows) != len(self.counts) or not self.lows or self.lows[0] != 0 or not sum(self.counts):
            raise ValueError("expected as many counts as lows, of which the first is 0, and not only zeros")
        if [*self.lows] != sorted({*self.lows}) or min(self.counts) < 0:
            raise ValueError("expected lows that ascend, and no count below 0")

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(count / sum(self.counts) for count in self.counts)

    def place(self, score: float) -> int:
        return max(0, bisect_right(self.lows, score) - 1)


def reference_of(reliability: Reliability) -> ScoreReference:
    bins = reliability.bins
    return ScoreReference(tuple(each.low for each in bins), tuple(each.n_labels for each in bins))


class Drift:
    """Of the last `WINDOW` scores."""

    def __init__(self, reference: ScoreReference) -> None:
        self.reference = reference
        self._places = deque[int](maxlen=WINDOW)
        self._counts = [0] * len(reference.lows)

    def observe(self, score: float) -> None:
        if len(self._places) == WINDOW:
            self._counts[self._places[0]] -= 1
        self._places.append(self.reference.place(score))
        self._counts[self._places[-1]] += 1

    @property
    def shares(self) -> tuple[float, ...]:
        """All 0 where nothing was scored yet."""
        return tuple(count / max(1, len(self._places)) for count in self._counts)

    @property
    def distance(self) -> float:
        """Total variation distance of the two, in [0, 1]: the share of scores that would have to be in other
        bins. 0 where nothing was scored yet.
        """
        if not self._places:
            return 0.0
        pairs = zip(self.shares, self.reference.shares, strict=True)
        return sum(abs(one - other) for one, other in pairs) / 2


def find_reference(path: Path | None, scorer_folder: str | None) -> ScoreReference | None:
    """Of the file, or as the scorer's training left it in its folder. Raises InputError for a file that does
    not say it.
    """
    if path is not None:
        return ScoreReference.read(path)
    if scorer_folder is None or not Path(scorer_folder).is_dir():
        return None
    reliability = _stored_reliability(Path(scorer_folder))
    return None if reliability is None or not reliability.bins else reference_of(reliability)


def _stored_reliability(folder: Path) -> Reliability | None:
    """None of a checkpoint of another project."""
    from data_gen.models.pretrained import load_model_config
    from prm_train.checkpoints.facts import CONFIG_KEY, read_facts

    config: Any = load_model_config(str(folder))
    return read_facts(config).reliability if hasattr(config, CONFIG_KEY) else None
