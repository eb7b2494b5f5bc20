"""Examples of a generative verifier: a path up to its first error, with the places where a verdict stands."""

from collections.abc import Sequence

from data_gen.rows.layouts import PrmRow
from prm_train.checkpoints.verifier import VerdictEncoding
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.examples import ExampleSet, prm_examples
from prm_train.examples.targets import LabelAlgebra

ALGEBRA = LabelAlgebra(until_first_error=True)  # hard labels: what follows a No is not asked


def verdict_examples(rows: Sequence[PrmRow], encoding: ScorerEncoding, max_length: int) -> ExampleSet:
    """One example a row, up to its first error or its last label; positions are those before the verdicts. Raises as `prm_examples`."""
    assert isinstance(encoding, VerdictEncoding)
    n_reserved = max(len(encoding.encode_text(word)) for word in (encoding.yes, encoding.no))
    return prm_examples(rows, encoding, ALGEBRA, max_length - n_reserved)
