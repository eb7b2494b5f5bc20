"""The old name of `data_gen.grading.program`, which configs name as their grader."""

import warnings

from data_gen.grading.program import grade

__all__ = ["grade"]
warnings.warn("data_gen.program_grading is now data_gen.grading.program", FutureWarning, stacklevel=2)
