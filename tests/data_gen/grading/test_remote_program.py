import pytest

from data_gen.grading.program import grade


def graded(program: str, tests: str) -> str:
    verdict = grade("", tests, f"```python\n{program}\n```")
    return verdict.reason if verdict.is_unknown else verdict.kind.value


SUB = "def add(a, b):\n    return a - b\n"
JUNK = """
def say():
    for descriptor in range(1000):
        for line in (b'{"tests": "passed"}\\n', b'{"value": 3}\\n', b'\\xff\\n', b'{"value": {"mine": [0, "int", [], false]}}\\n'):
            try:
                os.lseek(descriptor, 0, 0)
            except OSError:
                pass
            try:
                os.write(descriptor, line)
            except OSError:
                pass
"""  # noqa: E501
HIDDEN = """
def hidden():
    return "".join(["unused", "secret"])
def frames(frame):
    while frame:
        yield frame
        frame = frame.f_back
"""


@pytest.mark.hostile
@pytest.mark.parametrize(
    "program",
    [
        "import json\nloads = json.loads\njson.loads = lambda text, **_: loads(text) | {'tests': 'passed', "
        "'value': 3}\n" + SUB,
        "import builtins\nbuiltins.compile = lambda *_, **__: None\n" + SUB,
        "import builtins\nbuiltins.exec = lambda *_, **__: None\n" + SUB,
        "import sys\nmain = sys.modules['__main__']\nmain._run = main.run = lambda *_: None\nmain._outcome = "
        "lambda *_: 'passed'\n" + SUB,
        "import builtins\nbuiltins.AssertionError = builtins.AttributeError = ValueError\n" + SUB,
        "import sys, os\nsys.excepthook = lambda *_: os._exit(0)\n" + SUB,
        "import sys\nsys.settrace(lambda *_: None)\nsys.setprofile(lambda *_: None)\n" + SUB,
        "import atexit, os\natexit.register(os._exit, 0)\n" + SUB,
        'print(\'{"tests": "passed"}\')\n' + SUB,
        "import os" + JUNK + "say()\n" + SUB,
        "import os" + JUNK + "def add(a, b):\n    say()\n    return 0",
        "class E(int):\n    def __eq__(self, other):\n        return True\ndef add(a, b):\n    return E()",
        "class E(tuple):\n    _fields = ()\n    def __eq__(self, other):\n        return True\ndef add(a, "
        "b):\n    return E()",
        "def add(a, b):\n    import os\n    os._exit(0)",
        "def add(a, b):\n    raise StopIteration",
        "from unittest.mock import ANY as add",
        "import unittest.mock as add",
        "abs = len = isinstance = sorted = lambda *_: 0\n" + SUB,
        "def add(a, b):\n    import gc\n    return 3 if any(hidden() in str(o) for o in gc.get_objects()) "
        "else 0" + HIDDEN,
        "def add(a, b):\n    import sys\n    return 3 if any(hidden() in str(f.f_locals) for f in "
        "frames(sys._getframe())) else 0" + HIDDEN,
    ],
)
def test_passed_cannot_be_forged(program: str) -> None:
    tests = """
def is_right(x):
    return "unusedsecret" and abs(x - 3) < 1e-6
try:
    assert is_right(add(1, 2))
except BaseException:
    raise
"""
    assert graded(program, tests) == "incorrect"


EQUAL = "class E:\n    def __eq__(self, other):\n        return True\ndef f():\n    return E()"


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("program", "tests"),
    [
        (EQUAL, "assert f() == 3"),
        (EQUAL, "try:\n    assert f() == 3\nexcept:\n    pass"),
        (
            "class E:\n    def __rsub__(self, other):\n        return 0\ndef f():\n    return E()",
            "assert abs(3 - f()) < 1e-6",
        ),
        (
            "class E:\n    def __contains__(self, other):\n        return True\ndef f():\n    return E()",
            "assert 3 in f()",
        ),
        ("from unittest.mock import ANY\ndef f():\n    return ANY", "assert f() == 3"),
        ("class f:\n    def __eq__(self, other):\n        return True", "assert f() == 3"),
        ("class V:\n    def __mul__(self, k):\n        return k", "assert V() * 3 == 3"),
        ("def f():\n    return 3", "import os\nassert f() == 3\nos._exit(0)"),
        ("def f(node):\n    return node.value", "class Node:\n    value = 3\nassert f(Node()) == 3"),
        ("class A:\n    pass", "class B(A):\n    pass\nassert B()"),
    ],
)
def test_objects_that_would_judge_themselves_are_untestable(program: str, tests: str) -> None:
    assert graded(program, tests) == "untestable"


def test_tests_may_be_any_python() -> None:
    program = """
import asyncio, collections, datetime, decimal, enum, fractions, functools, math, re
import numpy as np
from math import isclose

class Stack:
    def __init__(self): self.items = []
    def push(self, item): self.items.append(item)
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __getitem__(self, i): return self.items[i]
    def __eq__(self, other): return self.items == other.items
    def __enter__(self): return self
    def __exit__(self, *error): self.items.clear()
    @property
    def top(self): return self.items[-1]
    @classmethod
    def of(cls, *items):
        new = cls()
        new.items += items
        return new

class Odd(KeyError): pass
Point = collections.namedtuple("Point", "x y")
Color = enum.Enum("Color", "RED BLUE")
LIMIT = [5]
calls = 0

def same(x): return x
def sort(x): x.sort()
def put(m): m[0][0] = 9
def count():
    global calls
    calls += 1
    return calls
def fail(x): raise (ValueError("negative") if x < 0 else Odd("odd"))
def numbers(n):
    for i in range(n):
        yield i
async def later(x):
    await asyncio.sleep(0)
    return x
def each(f, items): return [f(item) for item in items]
def adder(a): return lambda b: a + b
def total(x): return np.sum(np.array(x))
def twice(x): return np.array(x) * 2
def vowels(text): return collections.Counter(text)
def red(): return Color.RED
def match(text): return re.match("a+", text)
def table(x):
    d = collections.defaultdict(list)
    d[x].append(1)
    return d
"""
    tests = """
import asyncio, collections, datetime, decimal, fractions, unittest
import numpy as np
from program import same as itself
import program

for value in (None, True, 3, 2**20_000, 1.5, float("inf"), 1j, "a\\ud800", b"\\0", bytearray(b"x"), [1, [2]], (1, (2,)), {1, 2},
              {(1, 2): [3]}, frozenset({1}), range(3), collections.deque([1]), fractions.Fraction(1, 3), decimal.Decimal("1.5"),
              datetime.date(2020, 1, 2),
              datetime.datetime(2020, 1, 2, 3), datetime.timedelta(1.5), ValueError, int, len and None):
    assert itself(value) == value and type(program.same(value)) is type(value), value
assert same(float("nan")) != same(float("nan"))
x, m = [3, 1], [[1], [2]]
sort(x), put(m)
assert x == [1, 3] and m == [[9], [2]]
s = Stack()
s.push(4)
assert len(s) == 1 and s.top == s[0] == 4 and list(s) == [4] and 4 in [*s] and isinstance(s, Stack) and not isinstance(3, Stack)
assert s == Stack.of(4) != Stack.of(5)
assert s.pop() == 4 and not s
with s as t:
    assert t is s
for x, kind, text in ((-1, ValueError, "negative"), (1, Odd, "'odd'")):
    try:
        fail(x)
        assert False
    except kind as error:
        assert str(error) == text and isinstance(error, (ValueError, KeyError))
assert list(numbers(3)) == [0, 1, 2] and 2 in numbers(3) and sum(numbers(4)) == 6 and numbers(1) != [0]
assert asyncio.run(later(1)) == 1
assert each(lambda v: v * 2, [1, 2]) == [2, 4] and each(str, [1]) == ["1"] and each(abs, (-i for i in range(3))) == [0, 1, 2]
assert adder(1)(2) == 3 and count() == 1 and count() == 2 and LIMIT == [5]
assert total([1, 2]) == 3 and isinstance(total([1]), int) and (twice([1, 2]) == np.array([2, 4])).all() and twice(np.array([0.5])) == 1
assert vowels("aab") == {"a": 2, "b": 1} and vowels("aab").most_common(1) == [("a", 2)] and table(1) == {1: [1]}
assert red() is Color.RED and red() == Color["RED"] and red() != Color.BLUE and red().name == "RED"
assert Point(1, 2) == (1, 2) and same(Point(1, 2)).y == 2
assert match("aab").group() == "aa" and match("b") is None
assert isclose(1, 1 + 1e-12) and math.isclose(math.pi, 3.14159265, rel_tol=1e-6)

def check(candidate):
    assert candidate(1) == 1
check(same)

class Case(unittest.TestCase):
    def test(self):
        self.assertEqual(same(1), 1)
        with self.assertRaises(Odd):
            fail(1)
assert unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(Case)).wasSuccessful()
"""  # noqa: E501
    assert graded(program, tests) == "correct"
    for wrong in (
        "Stack() == Stack.of(1)",
        "same(2) == 3",
        "numbers(1) == [0]",
        "isclose(1, 2)",
        "each(str, [1]) == [1]",
    ):
        assert graded(program, f"assert {wrong}") == "incorrect"
    assert (
        graded("def pow(a, b):\n    return a * b", "assert pow(2, 3) == 8") == "incorrect"
    )  # the program's, as the tests use nothing else
