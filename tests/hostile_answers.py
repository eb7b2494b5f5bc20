r"""Solutions whose answers make graders hang, crash or eat memory, drawn from a seeded grammar; none equals
one of GOLD_ANSWERS.
"""

import random
from collections.abc import Callable, Iterator

GOLD_ANSWERS = (
    "8675309",
    r"\frac{8675309}{7}",
    r"\sqrt{8675309}",
    "x^{17}+8675309",
    "(8675309,2)",
    r"\text{Jenny}",
    "[3,8675309)",
)
FRAMES = (
    "So \\boxed{%s}.",
    "Hence $\\boxed{%s}$. I hope this helps!",
    "…\n#### %s",
    "The answer is %s",
    "A: %s\n",
    "<think>\\boxed{1}</think>\\boxed{%s}",
)
OPERATORS = ("+", "-", r"\cdot ", "/", "^", "=", "<", ",", r"\cup ", r"\pm ", "!", "%", ":", "_")
ATOMS = (
    "x",
    "y",
    "i",
    "e",
    r"\pi",
    r"\infty",
    "7",
    "0.5",
    "10^6",
    r"\emptyset",
    r"\text{ cm}",
    "٣",
    "²",
    "½",
    "\x00",
    "\ud800",
    "é",
    "\u202e",
    "&",
    "\\\\",
    "#",
)
WRAPPERS = (
    r"\sqrt{%s}",
    r"\frac{%s}{3}",
    r"\log(%s)",
    r"\sin{%s}",
    "(%s)",
    "{%s}",
    r"\left[%s\right)",
    r"\{%s\}",
    "|%s|",
    r"\lfloor %s \rfloor",
    "%s!",
)


def hostile_solutions(seed: int, n: int) -> Iterator[tuple[str, str]]:
    """`n` pairs (gold answer, text of a solution)."""
    rng = random.Random(seed)
    for _ in range(n):
        answer = rng.choice(KINDS)(rng)
        text = rng.choice(FRAMES).replace("%s", answer)
        if rng.random() < 0.1:
            text = text[: rng.randrange(1, len(text))]
        yield rng.choice(GOLD_ANSWERS), text


def power_tower(rng: random.Random) -> str:
    height = rng.randrange(2, 8)
    return (
        "^{".join(str(rng.randrange(2, 99)) for _ in range(height))
        + "}" * (height - 1)
        + rng.choice(("", "+1", "!", r"\%", " cm"))
    )


def nested(rng: random.Random) -> str:
    """One wrapper in itself, or many in each other, up to hundreds deep."""
    depth, wrappers = rng.randrange(3, 400), rng.choices(WRAPPERS, k=rng.randrange(1, 4))
    answer = rng.choice(ATOMS)
    for _ in range(depth):
        answer = rng.choice(wrappers).replace("%s", answer)
    return answer


def nested_logarithms(rng: random.Random) -> str:
    depth = rng.randrange(2, 30)
    return r"\log_{2}(" * depth + f"{rng.randrange(2, 10**6)}^{{{rng.randrange(2, 10**6)}}}" + ")" * depth


def factorials(rng: random.Random) -> str:
    n = rng.choice((10**6, 10**7, 10**9, rng.randrange(10**5, 10**8)))
    return rng.choice(
        (
            f"{n}!",
            f"({n}!)!",
            rf"\binom{{{n}}}{{{n // 2}}}",
            f"10^{rng.randrange(6, 99)}!",
            rf"\frac{{{n}!}}{{{n - 1}!}}+\pi",
        )
    )


def digits(rng: random.Random) -> str:
    alphabet = rng.choice(
        (
            "0123456789",
            "9",
            "0123456789,",
            "0123456789.",
            "٠١٢٣٤٥٦٧٨٩",
            "０１２３",
            "²³¹",
            "1 ",
            "1e",
            "(,1)",
            "-1",
        )
    )
    n = rng.choice((50, 900, 5000, 200_000))
    return "".join(rng.choices(alphabet, k=50)) * (n // 50)


def sums(rng: random.Random) -> str:
    n = rng.randrange(10**3, 10**12)
    body = rng.choice(("k^k", "k!", r"\frac{1}{k}", r"\sin(k)", r"\sqrt{k}"))
    return rng.choice(
        (
            rf"\sum_{{k=1}}^{{{n}}} {body}",
            rf"\prod_{{k=1}}^{{{n}}} {body}",
            rf"\int_0^{{{n}}} {body.replace('k', 'x')} dx",
        )
    )


def polynomials(rng: random.Random) -> str:
    n = rng.randrange(50, 10**5)
    return rng.choice(
        (
            f"(x+y+z)^{{{n}}}",
            f"(x+1)^{{{n}}}-(x-1)^{{{n}}}=0",
            f"x^{{{n}}}+x^2+1<0",
            "*".join(f"(x-{i})" for i in range(n % 80)),
        )
    )


def collections(rng: random.Random) -> str:
    n = rng.randrange(5, 150)
    parts = [rng.choice(ATOMS) + str(rng.randrange(99)) for _ in range(n)]
    matrix = r"\\".join("&".join(parts[i : i + 8]) for i in range(0, n, 8))
    intervals = r"\cup".join(f"({i},{i}.5]" for i in range(n))
    return rng.choice(
        (
            r"\{" + ",".join(parts) + r"\}",
            "(" + ",".join(parts) + "]",
            rf"\begin{{pmatrix}}{matrix}\end{{pmatrix}}",
            intervals,
        )
    )


def soup(rng: random.Random) -> str:
    return "".join(
        rng.choice(rng.choice((ATOMS, OPERATORS, WRAPPERS))).replace("%s", rng.choice(ATOMS))
        for _ in range(rng.randrange(2, 60))
    )


def unbalanced(rng: random.Random) -> str:
    answer = rng.choice((nested, soup, collections))(rng)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(answer) + 1)
        answer = answer[:at] + rng.choice("{}()[]$\\") + answer[at:]
    return answer


def repetition(rng: random.Random) -> str:
    return rng.choice(
        (
            "The answer is ",
            "A: ",
            "\\boxed{",
            "\\boxed ",
            "Answer: ",
            "{",
            "\\frac",
            "*",
            " ",
            "\n",
            "####\n",
            "wait, ",
        )
    ) * rng.randrange(10, 5000)


KINDS: tuple[Callable[[random.Random], str], ...] = (
    power_tower,
    nested,
    nested_logarithms,
    factorials,
    digits,
    sums,
    polynomials,
    collections,
    soup,
    unbalanced,
    repetition,
)
