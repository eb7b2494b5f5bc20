"""Texts that think, and what is read of a thought."""

import random

from benchmarks.thinking.texts import ANSWER, END, START, WAIT, draw_text, read_thought
from data_gen.problems.arithmetic.rules import parse_question

QUESTION = "Start with 3: fold 4, times 9."  # 3 fold 4 = 9, 9 times 9 = 81
RIGHT = "3 fold 4=9\n9 times 9=81, keep 1\n"
WRONG = "3 fold 4=9\n9 times 9=19, keep 9\n"


def test_a_thought_is_read_attempt_by_attempt() -> None:
    text = f"{START}{WRONG}{WAIT}\n{RIGHT}{WAIT}\n{WRONG}{END}\nAnswer: 9 9"
    read = read_thought(parse_question(QUESTION), text)
    assert read.are_right == (False, True, False)
    first = len(WRONG)
    second = first + len(WAIT) + 1 + len(RIGHT)
    third = second + len(WAIT) + 1 + len(WRONG)
    assert read.ends == (first, second, third)
    assert read.n_characters == third


def test_an_attempt_that_is_cut_or_no_attempt_is_not_right() -> None:
    chain = parse_question(QUESTION)
    for thought in ("3 fold 4=9\n", RIGHT + "1 plus 2=3\n", "3 fold 4=?\n9 times 9=81, keep 1\n", ""):
        assert read_thought(chain, f"{START}{thought}{END}\nAnswer: 9 1").are_right == (False,)
    assert read_thought(chain, START + RIGHT).are_right == (True,)  # nothing ended it


def test_drawn_texts_end_with_the_answer_of_their_last_attempt() -> None:
    rng, n_attempts, n_lost = random.Random(0), [], 0
    for _ in range(1500):
        question, text = draw_text(rng)
        chain = parse_question(question)
        read = read_thought(chain, text)
        answer = text.partition(ANSWER)[2].strip()
        assert read.are_right[-1] == (answer == chain.gold_answer())
        n_attempts.append(len(read.are_right))
        n_lost += read.are_right[0] and not read.are_right[-1]
    assert set(n_attempts) == {1, 2, 3, 4}
    assert 0 < n_lost < 60  # there is something to overthink
