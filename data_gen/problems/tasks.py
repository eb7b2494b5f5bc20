"""The tasks that ship with the project, by the name that `problems.source` takes. Whoever needs more of a
task than its problems asks here.

A further task is one folder beside `data_gen.problems.arithmetic` and one entry of `TASKS`.
"""

from data_gen.models.gguf import is_gguf, unpacked
from data_gen.problems.arithmetic.task import ARITHMETIC
from data_gen.problems.built_in_task import BuiltInTask
from data_gen.records.solutions import Problem

TASKS: dict[str, BuiltInTask] = {task.source: task for task in (ARITHMETIC,)}
DEFAULT_TASK = ARITHMETIC  # where no source of problems is named


def task_of(source: str) -> BuiltInTask | None:
    """The task of this name; None for a file, a folder or a dataset."""
    return TASKS.get(source)


def task_of_problem(problem: Problem) -> BuiltInTask | None:
    """The task that drew a problem, which its id says wherever it has been stored since; None for problems
    that come from elsewhere.
    """
    return next((task for task in TASKS.values() if problem.problem_id.startswith(f"{task.source}-")), None)


def step_truth(problem: Problem, text: str) -> list[bool | None] | None:
    """Whether each step of a solution is right (see `BuiltInTask.step_truth`); None where only rollouts could
    tell.
    """
    task = task_of_problem(problem)
    return task.step_truth(problem.question, text) if task else None


def shipped_models() -> dict[str, str]:
    """The folders of the models that ship with the project, by the names that settings call them."""
    return {
        name: str(folder)
        for task in TASKS.values()
        for name, folder in {task.policy: task.policy_folder, **task.more_policies}.items()
    }


def model_path(name: str) -> str:
    """Where a model is: the folder of one that ships with the project, the one into which a GGUF file is
    unpacked (which is done here, once); a folder or a name on the Hub is what it says.
    """
    return unpacked(name) if is_gguf(name) else shipped_models().get(name, name)
