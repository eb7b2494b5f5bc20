"""A grader or scorer that is named where a reward is made, and loaded where it is first needed."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Thing = TypeVar("Thing")


class LoadedOnce(Generic[Thing]):
    """What a name stands for, or the thing itself.

    Pickled, as TRL's asynchronous GRPO and Ray do with rewards, a name is a name again: what was loaded has
    locks, processes or a model. A thing that was given as itself is pickled as itself.
    """

    def __init__(self, given: "str | Thing", load: Callable[[str], Thing]) -> None:
        self.given, self._load = given, load
        self._loaded: Thing | None = None if isinstance(given, str) else given

    def get(self) -> Thing:
        if self._loaded is None:
            assert isinstance(self.given, str)
            self._loaded = self._load(self.given)
        return self._loaded

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if isinstance(self.given, str):
            state["_loaded"] = None
        return state
