"""The tricky pairs of answers, one row each. Where mathematics leaves a choice, the comment names ours."""

from collections.abc import Iterator

import pytest

from data_gen.grading.graders import MathGrader
from data_gen.records.verdicts import Verdict

# gold | answer | verdict, or the reason why there is none
CASES = r"""
# fractions and decimals
1/2 | 0.5 | correct
1/3 | 0.333 | incorrect
1/3 | 0.333333 | correct                # six places are taken as a rounding
2/3 | 0.666666 | correct                # or as cut off
7/9 | 0.7778 | incorrect
-1/2 | \frac{-1}{2} | correct
3\frac12 | 3.5 | correct
3 1/2 | 7/2 | correct
12 | 12. | correct
1e-7 | 2e-7 | incorrect                 # no rounding to six places of numbers that are exact
0.0000001 | 0.0000002 | incorrect
\pi | 3.14 | incorrect                  # a rounding is no exact answer
3.14 | \pi | rounded_gold           # but a decimal in the gold answer may be one
12 | twelve | correct

# large numbers
10{,}000 | 10000 | correct
10{,}000 | 10,000 | correct
1,000 | 1000 | correct
(10,000) | 10,000 | ambiguous           # a pair, or a number in brackets
(10,000) | 10000 | ambiguous
1.23e5 | 123000 | correct
1.23\times10^5 | 123000 | correct
3.5\text{ million} | 3500000 | correct
2000000 | 2 million | correct
10^{20} | 10^{20}+1 | incorrect
10^{100} | 10^{100}+1 | incorrect
10^100 | 10^100+1 | incorrect
11 | 111 | incorrect                    # no search for a substring
72 | 7 | incorrect

# percentages, money, units
50\% | 0.5 | correct
50\% | 50 | correct                     # "what percent" is answered either way
5.5\% | 5.5 | correct
5.5\% | 5.5\% | correct
9\% | 9 | correct
50\% | 5 | incorrect
\$5.00 | 5 | correct
18 | $18 | correct
-$5 | $-5 | correct
10\text{ cm} | 10 | correct             # a unit counts only if both answers name one
10 cm | 10 m | incorrect
10 cm | 100 mm | correct
10 \text{ cm}^2 | 0.001 \text{ m}^2 | correct
10 cm^2 | 1 cm | ambiguous              # other kinds of units: nobody can convert them, so nobody can say
2 hours | 120 minutes | correct
5 apples | 5 apple | correct
18 eggs | 18 dollars | ambiguous
18 | 18 dollars per day | correct
12\sqrt{3}\text{ cm} | 12\sqrt{3} | correct
4t | 4 | incorrect                      # t is a variable here, not tonnes
12 days | 12 | correct                  # words that look like units are kept where they matter, and only there
Monday | day | incorrect
football | ball | incorrect

# angles
90^\circ | 90 | correct
90 | 90^{\circ} | correct
\frac{\pi}{2} | 90^\circ | correct      # degrees are converted
\pi/2 | 90 degrees | correct
\frac{2\pi}{3} | 120^\circ | correct
\frac{\pi}{2} | 60^\circ | incorrect
\frac{\pi}{2} | 90 | incorrect          # without a degree sign it is a number
\sin 30^\circ | \frac12 | correct
\sin 30^\circ | 1 | incorrect

# points, intervals, sets, lists
(1,2) | [1,2] | incorrect
(1,2) | \{1,2\} | incorrect
(1,2) | 1,2 | correct
(1,2) | (2,1) | incorrect
(1,2) | (1,2) | correct
1,2 | 2,1 | correct                     # without brackets a set
1, 2 | 1, 2, 3 | incorrect
1, 2 | 2 and 1 | correct
\{1,2\} | 2,1 | correct
(\frac12, 3) | (0.5, 3) | correct
\left( 3, \frac{\pi}{2} \right) | (3,\pi/2) | correct
(1,2),(3,4) | (3,4),(1,2) | correct
10, 4, -2 | 4, 10, -2 | correct         # hendrycks/math calls this wrong
[1,2) | 1 \le x < 2 | correct
(1,3) | 1<x<3 | correct
x<2 | (-\infty,2) | correct             # an inequality is its solution set, both ways
(-\infty,2) | x<2 | correct
(-\infty,2] | (-\infty,2) | incorrect
(-\infty,1)\cup(2,\infty) | (2,\infty)\cup(-\infty,1) | correct
x \in (1,2) | (1,2) | correct
\emptyset | \varnothing | correct
\{\} | \emptyset | correct
\text{no solution} | \emptyset | correct
\text{no solution} | 0 | incorrect

# vectors and matrices
\begin{pmatrix}1\\2\end{pmatrix} | \begin{bmatrix}1\\2\end{bmatrix} | correct
\begin{pmatrix}1\\2\end{pmatrix} | (1,2) | correct     # a point may be written as a column
\begin{pmatrix}1 & 2\end{pmatrix} | (1,2) | correct    # or as a row
\begin{pmatrix}1\\2\end{pmatrix} | (2,1) | incorrect
\begin{pmatrix}1&0\\0&1\end{pmatrix} | \begin{bmatrix}1&0\\0&1\end{bmatrix} | correct
\begin{pmatrix}1&0\\0&1\end{pmatrix} | \begin{pmatrix}0&1\\1&0\end{pmatrix} | incorrect

# equations and names
x=5 | 5 | correct
5 | x=5 | correct
x=5 | y=5 | incorrect
x=5 | x=6 | incorrect
y=2x+1 | 2x-y+1=0 | correct
\pm2 | 2,-2 | correct
x=1 \text{ or } x=2 | 1,2 | correct
x^2+2x+1 | (x+1)^2 | correct            # unless the question says "factor", which is not looked at
2x+3 | 2y+3 | incorrect

# words and choices
\text{(A)} | A | correct
(A) | B | incorrect
A | C | incorrect
even | odd | incorrect
yes | Yes | correct
\text{Evelyn} | Evelyn | correct
yes | yes it is | ambiguous             # words that contain the other's words may mean the same, or "not even"
5 | I do not know | incorrect           # an answer was given, and it is another one
50 | 10+John's age | incorrect
18 | about 18 | ambiguous               # a sentence that names the number may state it
18 | about 17 | incorrect
1/2 | one half | correct

# roots, powers, complex numbers
\sqrt8 | 2\sqrt2 | correct
\sqrt{12} | \sqrt12 | correct
28 | \sqrt{34} + 3\sqrt{10} | incorrect
\frac{1}{\sqrt2} | \frac{\sqrt{2}}{2} | correct
\frac{1}{\sqrt2} | \frac{\sqrt{2}}{3} | incorrect
2+3i | 3i+2 | correct
i | \sqrt{-1} | correct
e^{i\pi} | -1 | correct
2i | 2 | incorrect

# bases, times, ratios
2516_8 | 2516 | correct                 # the question names the base
11001_2 | 25 | incorrect
2516_8 | 2516_7 | incorrect
6:30 | 6:30 | correct
6:30 \text{ p.m.} | 6:30 | correct      # as with units, a half of the day counts only if both name one
4:30p.. | 4:30 \text{ p.m.} | ambiguous # a gold answer that was mangled before it was stored; nobody guesses what it was
6:30 p.m. | 6:30 a.m. | incorrect
6:30 | 6:31 | incorrect
2:4 | 1:2 | ambiguous                   # equal ratios, other scores
3:4 | 3/4 | correct                     # a ratio is its quotient
3:4 | 4:3 | incorrect

# unreadable
5 | \frac{1 | unparsable
\frac{1 | x+1 | unparsable_gold         # a gold answer that cannot be read makes no answer wrong
"""  # noqa: E501
ROWS = [
    tuple(part.strip() for part in line.partition(" # ")[0].split(" | "))
    for line in CASES.strip().splitlines()
    if line and not line.startswith("# ")
]


@pytest.fixture(scope="module")
def math_grader() -> Iterator[MathGrader]:
    grader = MathGrader(timeout_seconds=10)
    yield grader
    grader.close()


def said(verdict: Verdict) -> str:
    return verdict.reason if verdict.is_unknown else verdict.kind.value


@pytest.mark.parametrize(("gold", "answer", "verdict"), ROWS)
def test_pair(math_grader: MathGrader, gold: str, answer: str, verdict: str) -> None:
    assert said(math_grader.compare(gold, answer)) == verdict


def test_no_row_is_wrong_when_its_sides_are_exchanged_and_the_policy_is_symmetric(
    math_grader: MathGrader,
) -> None:
    different = [
        (gold, answer)
        for gold, answer, verdict in ROWS
        if verdict not in ("unparsable", "unparsable_gold", "rounded_gold")
        # Only a gold answer may be a rounding
        and said(math_grader.compare(answer, gold)) not in (verdict, "rounded_gold")
    ]
    assert different == []
