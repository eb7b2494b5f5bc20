"""A program in one process, its tests in another: what the tests compare, they compare where the program
cannot reach.

The tests run as they are written. Each name of the program that they use is a `Remote` or a plain value;
calling it sends the arguments over, and what comes back is a plain value (plain_values.py) or a `Remote` for
an object that stays there. So the program sees the arguments of its functions and never the value that a test
compares with: it cannot know what to answer, unless by doing the task. Two consequences:

- An object of the program's own is never asked whether it equals, exceeds or contains a value of the tests,
  since it would see that value and could say yes. Where it has such an operator of its own, this cannot be
  tested, and the verdict is unknown. The same holds for objects of the tests' own classes as arguments: only
  plain values, functions and iterators cross.
- Its methods, and operators between two of its own objects, are asked: that is the only way to test a class.
  A test that rests on nothing but these believes the program.
"""

import builtins
import importlib
import json
import operator
import sys
from collections import deque
from collections.abc import Callable, Iterator
from io import BufferedRWPair
from types import CoroutineType, ModuleType
from typing import Any

from data_gen.grading.plain_values import decode, encode

MESSAGE_BYTES = 64 << 20
_BINARY = "add sub mul truediv floordiv mod pow matmul lshift rshift and or xor"
_COMPARED = "eq ne lt le gt ge"
_OPERATORS = [f"__{prefix}{name}__" for prefix in ("", "r") for name in _BINARY.split()] + [
    f"__{name}__" for name in _COMPARED.split()
]
_MUTABLE = (list, dict, set, bytearray, deque)


class ProgramEnded(BaseException):
    """The process of the program is gone or sent what is no message."""


class Untestable(BaseException):
    """A test needs what does not cross between the processes; see the head of the module."""


class Peer:
    """One end of the conversation. With `program` it serves that, loaded when asked; without, what it gave
    can be called or iterated.
    """

    def __init__(self, stream: BufferedRWPair, program: Callable[[], ModuleType] | None = None) -> None:
        self._stream, self._program = stream, program
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._remotes: dict[int, Remote] = {}
        self.exceptions: dict[str, type[BaseException]] = {}
        self.failure: BaseException | None = None  # outlasts an `except:` in the tests

    def ask(self, do: str, *arguments: object, **keywords: object) -> Any:
        """The other end's `do(*arguments, **keywords)`; raises what that raised, or ProgramEnded."""
        self._send({"do": do, "arguments": self._encode(list(arguments)), "keywords": self._encode(keywords)})
        while True:
            message = self._receive()
            if message is None:
                raise self._failed(ProgramEnded("the process has ended"))
            if "do" in message:
                self._answer(message)
                continue
            for argument, after in zip(arguments, self._decode(message.get("after", [])), strict=False):
                _replace_content(argument, after)
            if "raised" in message:
                raise self._exception(message["raised"], message["details"])
            return self._decode(message["value"])

    def serve(self) -> None:
        """Answers until the other end is gone."""
        while (message := self._receive()) is not None:
            self._answer(message)

    def _answer(self, message: dict[str, Any]) -> None:
        reply: dict[str, Any] = {}
        try:
            if self._program is None and not (
                message["do"] in ("call", "iter", "next") and "yours" in message["arguments"][0]
            ):
                raise PermissionError(
                    f"{message['do']}: functions of the tests can be called and iterators read, and that is "
                    "all"
                )
            arguments, keywords = self._decode(message["arguments"]), self._decode(message["keywords"])
            value = self._function(message["do"])(*arguments, **keywords)
            reply["value"] = self._encode(value)
            after = (
                self._encode(arguments)
                if any(type(argument) in _MUTABLE for argument in arguments)
                else message["arguments"]
            )
            if after != message["arguments"]:
                reply["after"] = after
        # It is the other end's to handle, like any exception of a function it calls
        except BaseException as error:
            if isinstance(error, ProgramEnded | Untestable):
                raise
            names = [kind.__name__ for kind in type(error).__mro__]
            reply = {
                "raised": names,
                "details": self._encode(
                    [str(detail) if _is_odd(detail) else detail for detail in error.args]
                ),
            }
        self._send(reply)

    def _function(self, do: str) -> Callable[..., Any]:
        if do == "call":
            return _call
        if do == "await":
            return importlib.import_module("asyncio").run  # slow to import and seldom needed
        if do == "load" and self._program:
            return lambda wanted: _contents(self._program(), wanted)  # type: ignore[misc]
        return getattr(operator, do, None) or getattr(builtins, do)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._stream.write(json.dumps(message).encode() + b"\n")
            self._stream.flush()
        except OSError as error:
            raise self._failed(ProgramEnded(str(error))) from error

    def _receive(self) -> dict[str, Any] | None:
        try:
            line = self._stream.readline(MESSAGE_BYTES)
            message = json.loads(line) if line else None
        except (OSError, ValueError, RecursionError) as error:
            raise self._failed(ProgramEnded(f"no message: {error}")) from error
        if message is not None and not isinstance(message, dict):
            raise self._failed(ProgramEnded("no message"))
        return message

    def _failed(self, error: BaseException) -> BaseException:
        self.failure = self.failure or error
        return error

    def untestable(self, why: str) -> BaseException:
        return self._failed(Untestable(why))

    def _exception(self, names: list[str], details: Any) -> BaseException:
        for name in names:
            kind = self.exceptions.get(name) or getattr(builtins, name, None)
            if isinstance(kind, type) and issubclass(kind, BaseException):
                try:
                    return kind(*self._decode(details))
                except TypeError:  # it wants other arguments, as UnicodeDecodeError
                    continue
        return RuntimeError(names)

    # --- objects that stay where they are

    def _encode(self, value: object) -> Any:
        return encode(value, self._reference)

    def _decode(self, code: Any) -> Any:
        return decode(code, self._resolve)

    def _reference(self, value: object) -> dict[str, Any]:
        if isinstance(value, Remote):
            return {"yours": object.__getattribute__(value, "_number")}
        module = _home(value)
        if module and (self._program is None or (module == "builtins" and isinstance(value, type))):
            return {"imported": [module, value.__qualname__]}  # type: ignore[attr-defined]
        if self._program is None and not _is_lent(value):
            raise self.untestable(f"an argument of type {type(value).__name__}")
        number = self._numbers.setdefault(id(value), len(self._objects))
        if number == len(self._objects):
            self._objects.append(value)  # which also keeps its id from being given to another
        own = [
            name
            for name in [*_OPERATORS, "__contains__"]
            if getattr(type(value), name, None) is not getattr(object, name, None)
        ]
        own += ["__ne__"] if "__eq__" in own else []  # what is not equal follows from what is
        return {"mine": [number, type(value).__name__, own, isinstance(value, CoroutineType)]}

    def _resolve(self, name: str, content: Any) -> object:
        if name == "yours":
            return self._objects[content]
        if name == "mine":
            number, kind, own, is_coroutine = content
            remote = self._remotes.setdefault(number, Remote(self, number, kind, own))
            return _awaited(remote) if is_coroutine else remote
        if name == "imported":
            value = getattr(importlib.import_module(content[0] if self._program else "builtins"), content[1])
            # Of other things a program could name one that equals everything, or `exec`
            if self._program or isinstance(value, type):
                return value
        raise ValueError(f"{name}: no kind of value")


class Remote:
    """Stands for an object of the other process."""

    def __init__(self, peer: Peer, number: int, kind: str, own_operators: list[str]) -> None:
        for name, value in (
            ("_peer", peer),
            ("_number", number),
            ("_kind", kind),
            ("_own_operators", own_operators),
        ):
            object.__setattr__(self, name, value)

    def __call__(self, *arguments: object, **keywords: object) -> Any:
        return self._peer.ask("call", self, *arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return self._peer.ask("getattr", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._peer.ask("setattr", self, name, value)

    def __contains__(self, item: object) -> bool:
        if "__contains__" not in self._own_operators:
            return any(other is item or other == item for other in iter(self))
        return self._operator("__contains__", item)

    def __enter__(self) -> Any:
        return self.__getattr__("__enter__")()

    def __exit__(self, *error: object) -> Any:
        return self.__getattr__("__exit__")(None, None, None)

    def __mro_entries__(self, bases: tuple[type, ...]) -> tuple[type, ...]:
        raise self._peer.untestable(f"a class of the tests derived from {self._kind}")

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, Remote) and self._peer.ask("isinstance", instance, self)

    def _operator(self, name: str, *operands: object) -> Any:
        if all(isinstance(operand, Remote) for operand in operands):
            return self._peer.ask(name, self, *operands)
        if name in self._own_operators:
            raise self._peer.untestable(
                f"{name} between a {self._kind} of the program and a value of the tests"
            )
        return NotImplemented


def _asks(do: str) -> Callable[..., Any]:
    return lambda self, *arguments: self._peer.ask(do, self, *arguments)


def _operates(name: str) -> Callable[..., Any]:
    return lambda self, *operands: self._operator(name, *operands)


for _name in [
    "len",
    "iter",
    "next",
    "bool",
    "int",
    "float",
    "complex",
    "str",
    "repr",
    "hash",
    "round",
    "abs",
    "reversed",
]:
    setattr(Remote, f"__{_name}__", _asks(_name))
for _name in ["getitem", "setitem", "delitem", "neg", "pos", "invert", "index"]:
    setattr(Remote, f"__{_name}__", _asks(f"__{_name}__"))
for _name in _OPERATORS:
    setattr(Remote, _name, _operates(_name))


def _contents(module: ModuleType, wanted: list[str]) -> dict[str, tuple[str, object]]:
    """By name what a program holds, in the form that `names_for_tests` reads."""
    contents: dict[str, tuple[str, object]] = {}
    for name, value in vars(module).items():
        if name not in wanted:
            continue
        if isinstance(value, ModuleType):
            contents[name] = ("module", value.__name__)
        elif _home(value) and value.__qualname__ == name:
            contents[name] = ("imported", _home(value))
        elif isinstance(value, type) and issubclass(value, BaseException):
            contents[name] = ("exception", [kind.__name__ for kind in value.__mro__])
        else:
            contents[name] = ("value", value)
    return contents


def names_for_tests(peer: Peer, wanted: set[str]) -> dict[str, Any]:
    """Those of the `wanted` names that the program has; raises what the program raised.

    What it imported from elsewhere is imported here, so that tests that rely on its `import math` have the
    real one. A name of a builtin stays the builtin's, unless the tests use no other name of the program: then
    it must be what they test.
    """
    contents = peer.ask("load", sorted(wanted))
    names: dict[str, Any] = {}
    for name in [name for name in contents if not hasattr(builtins, name)] or contents:
        kind, content = contents[name]
        if kind == "module" and content != "__main__":
            names[name] = importlib.import_module(content)
        elif kind == "imported" and content in sys.stdlib_module_names:
            names[name] = getattr(importlib.import_module(content), name)
        elif kind == "exception":
            known = next(
                found for each in content if isinstance(found := getattr(builtins, each, None), type)
            )
            names[name] = peer.exceptions[content[0]] = type(name, (known,), {})
        elif kind == "value":
            names[name] = content
    return names


def _is_lent(value: object) -> bool:
    return isinstance(value, Iterator) or (callable(value) and not isinstance(value, type))


def _call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    return function(*arguments, **keywords)


async def _awaited(remote: Remote) -> Any:
    return remote._peer.ask("await", remote)


def _replace_content(value: Any, after: Any) -> None:
    if type(value) in (list, bytearray) and type(after) is type(value):
        value[:] = after
    elif type(value) in (dict, set, deque) and type(after) is type(value):
        value.clear()
        value.extend(after) if isinstance(value, deque) else value.update(after)


def _home(value: Any) -> str | None:
    """The module of the standard library under whose name this function or class is found."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if (
        not isinstance(module, str)
        or not isinstance(name, str)
        or module.partition(".")[0] not in sys.stdlib_module_names
    ):
        return None
    return module if getattr(sys.modules.get(module), name, None) is value else None


def _is_odd(detail: object) -> bool:
    return not isinstance(detail, str | int | float | bytes | None)
