"""Which questions are held out of the published training file."""

from data_gen.records.draw_keys import derive_seed
from data_gen.records.solutions import Problem
from data_gen.rows.contamination import question_key
from data_gen.rows.settings import Split


def published_split(problem: Problem, validation_share: float) -> Split:
    """The file that a question's rows go into, from its words alone: copies of it in other layouts, runs and
    machines are on the same side.

    Trainings hold out questions of the rows that they are given by a hash of their own
    (`prm_train.examples.examples`).
    """
    is_validation = (
        derive_seed("validation split", question_key(problem.question)) % 10_000 < 10_000 * validation_share
    )
    return "validation" if is_validation else "train"
