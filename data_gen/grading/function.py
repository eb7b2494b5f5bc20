"""A grader of one's own: `grader: module:function` in a config, or `--grader module:function`.

    def grade(question: str, gold_answer: str, solution: str) -> bool | None | Verdict

True is correct, False incorrect, None unknown; a `Verdict` (data_gen.records.verdicts) says why it is
unknown. The module is found as `python -c` would find it: in the working directory or among what is
installed. A plain function is called in threads, several at a time, so that a slow one holds up no draw, and
no end of the run; one that needs the main thread (signals, math-verify's own time-outs) is written `async
def`. Whatever it raises ends the run, or in `search` that problem: a fault is no verdict. A module that needs
something of the machine may have a function `check_machine()`, which is called before anything is drawn and
raises InputError. data_gen/grading/program.py is an example.
"""

import asyncio
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from data_gen.answers.find import find_answer
from data_gen.answers.vote_key import answer_key
from data_gen.grading.source_hash import source_hash
from data_gen.process.daemon_threads import DaemonThreads
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, Problem, Question, Solution
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown
from data_gen.settings.errors import InputError, ProblemFaultError

Opinion = bool | Verdict | None
PARAMETERS = ["question", "gold_answer", "solution"]
# What a grader may meet that has nothing to do with the answer: the user's to mend, the disk, the memory
OF_THE_MACHINE = (InputError, OSError, MemoryError)


class GraderFaultError(ProblemFaultError):
    """A grader of one's own raised something (the cause) on one answer."""


class FunctionGrader:
    """Verdicts by a function. An edit of its module, or of what that imports from its own package or folder,
    changes `grader_version`.

    A truncated solution that the function does not call correct is unknown (truncated): what was cut off
    might have been right.
    """

    def __init__(self, name: str, function: Callable[[str, str, str], Opinion | Awaitable[Opinion]]) -> None:
        self.name = name
        self.grader_version = (
            f"{name} {source_hash(FunctionGrader, name.partition(':')[0], 'data_gen.answers.find')}"
        )
        self._function, self._threads = function, DaemonThreads()

    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        verdict = self._verdict(await self._opinion(problem.question, problem.gold_answer, solution.text))
        if solution.finish_reason is FinishReason.LENGTH and not verdict.is_correct:
            verdict = unknown("truncated")
        return GradedSolution(solution, self.read_answer(problem, solution), verdict)

    def read_answer(self, question: Question, solution: Solution) -> str | None:
        return find_answer(solution.text, solution.finish_reason is FinishReason.LENGTH)

    async def _opinion(self, *arguments: str) -> object:
        """What the function returns. What it raises is the cause of a GraderFaultError, unless the machine
        or the user's settings are at fault.
        """
        try:
            return await self._called(*arguments)
        except OF_THE_MACHINE:
            raise
        except Exception as error:
            if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):  # torch's
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise GraderFaultError(
                f"grader {self.name}: {type(error).__name__} {error} ({where.filename}:{where.lineno})"
            ) from error

    async def _called(self, *arguments: str) -> object:
        """What the function returns. What it raises is raised, as RuntimeError where it would mean something
        to the event loop.
        """
        if not inspect.iscoroutinefunction(self._function):
            return await self._threads.call(_without_control_flow, self._function, *arguments)
        try:
            return await self._function(*arguments)
        except (asyncio.CancelledError, SystemExit) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # from outside
            raise RuntimeError(f"the grader raised {error!r}") from error

    async def is_same(self, question: Question, one: str, other: str) -> bool:
        return answer_key(one) == answer_key(other)

    def _verdict(self, opinion: object) -> Verdict:
        if isinstance(opinion, Verdict):
            return opinion
        if opinion is None:
            return unknown("undecided")
        if isinstance(opinion, bool):
            return CORRECT if opinion else INCORRECT
        raise InputError(f"grader {self.name}: returned {opinion!r}, expected True, False, None or a Verdict")


def _without_control_flow(function: Callable[[str, str, str], Opinion], *arguments: str) -> object:
    """Call it. What ends loops, tasks and processes elsewhere is an error like others here: `next` of
    nothing, `sys.exit`.
    """
    try:
        return function(*arguments)
    except (
        StopIteration,
        StopAsyncIteration,
        GeneratorExit,
        SystemExit,
        KeyboardInterrupt,
        asyncio.CancelledError,
    ) as error:
        raise RuntimeError(f"the grader raised {error!r}") from error


def load_function_grader(name: str) -> FunctionGrader:
    """The grader of `module:function`. Raises InputError where there is none or it takes other arguments."""
    module_name, _, function_name = name.partition(":")
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.util.find_spec(module_name)
    except (ModuleNotFoundError, ValueError):  # a package on the way is missing; an empty name
        found = None
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        raise InputError(
            f"grader {name}: found no Python module {module_name!r} in {Path.cwd()} or among what is "
            "installed"
        )
    module = importlib.import_module(module_name)
    function = getattr(module, function_name, None)
    if not inspect.isroutine(function):
        raise InputError(f"grader {name}: {found.origin} has no function {function_name!r}")
    if list(inspect.signature(function).parameters) != PARAMETERS:
        raise InputError(
            f"grader {name}: takes {inspect.signature(function)}, expected ({', '.join(PARAMETERS)})"
        )
    getattr(module, "check_machine", lambda: None)()
    return FunctionGrader(name, function)
