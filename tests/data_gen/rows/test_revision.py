from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import pytest

from data_gen.records.chats import ChainPrompts, Message, chain_prompt
from data_gen.records.solutions import GradedSolution, Problem, Solution
from data_gen.records.verdicts import CORRECT, INCORRECT
from data_gen.rows.filters import Filter, usable_solutions
from data_gen.rows.layouts import RevisionRow
from data_gen.rows.revision import (
    DistanceAudit,
    RevisionSettings,
    attempt_counts,
    is_below_floor,
    revision_rows,
)

PROBLEM = Problem("p", "What is 3 + 4?", "7")
ALL = RevisionSettings(p_false_negative=0)
PLAIN = ChainPrompts()


def right(index: int, text: str) -> GradedSolution:
    return GradedSolution(Solution("p", index, text), "7", CORRECT)


def wrong(index: int, text: str, answer: str = "8") -> GradedSolution:
    return GradedSolution(Solution("p", index, text), answer, INCORRECT)


def rows_of(
    solutions: list[GradedSolution],
    settings: RevisionSettings = ALL,
    prompts: ChainPrompts = PLAIN,
    seed: int = 0,
) -> list[RevisionRow]:
    usable, _ = usable_solutions(PROBLEM, solutions, Filter())
    return revision_rows(PROBLEM, usable, settings, prompts, seed)[0]


def attempts(row: RevisionRow) -> list[str]:
    return [message.content for message in row.prompt if message.role == "assistant"]


# Edits to "abcdefg": 1, 2, 3, 4 and 5 characters differ.
LADDER = [
    wrong(1, "abxxxxx"),
    wrong(2, "abcdxxx"),
    wrong(3, "abcdefx"),
    wrong(4, "abcdexx"),
    wrong(5, "abcxxxx"),
]


def test_the_closest_wrong_attempt_comes_last_and_random_ones_before_it() -> None:
    seen = set()
    for seed in range(200):
        (row,) = rows_of([right(0, "abcdefg"), *LADDER], seed=seed)
        shown = attempts(row)
        assert len(shown) == row.n_attempts <= 4
        assert row.completion == (Message("assistant", "abcdefg"),)
        assert len(set(shown)) == len(shown)
        if shown:
            assert (shown[-1], row.edit_distance, row.kind) == ("abcdefx", 1, "revision")
            assert row.sample_indices[-2:] == (3, 0)
        else:
            assert (row.edit_distance, row.kind, row.sample_indices) == (None, "first_attempt", (0,))
        seen.add(tuple(shown[:-1]))
    # before the closest: nothing, or 1 to 3 of the other four in any order: 1 + 4 + 12 + 24 ways
    assert len(seen) > 30


def test_the_number_of_attempts_is_uniform_on_0_to_4() -> None:
    counts = Counter(
        row.n_attempts for seed in range(1000) for row in rows_of([right(0, "abcdefg"), *LADDER], seed=seed)
    )
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert all(140 < count < 260 for count in counts.values())  # 200 expected, standard deviation 12.6


def test_the_number_of_attempts_is_at_most_that_of_wrong_attempts() -> None:
    two = {
        row.n_attempts for seed in range(60) for row in rows_of([right(0, "abcdefg"), *LADDER[:2]], seed=seed)
    }
    assert two == {0, 1, 2}
    assert [row.kind for row in rows_of([right(0, "abcdefg"), right(1, "gfedcba")])] == [
        "first_attempt",
        "first_attempt",
    ]
    assert rows_of(LADDER) == []


@pytest.mark.parametrize("balanced", [True, False])
def test_each_target_is_uniform_whether_balanced_or_not(balanced: bool) -> None:
    targets = [right(index, str(index)) for index in range(5)]
    counts = [attempt_counts(PROBLEM, targets, 4, balanced, seed) for seed in range(500)]
    for target in range(5):
        # 100 expected, standard deviation 9
        assert all(60 < Counter(row[target] for row in counts)[m] < 140 for m in range(5))
    assert all(sorted(row) == [0, 1, 2, 3, 4] for row in counts) == balanced


def test_balanced_counts_use_every_number_once_before_any_twice() -> None:
    counts = attempt_counts(PROBLEM, [right(index, str(index)) for index in range(8)], 2, True, seed=0)
    assert [sorted(counts[:3]), sorted(counts[3:6])] == [[0, 1, 2], [0, 1, 2]]
    assert len(set(counts[6:])) == 2


def test_rows_depend_neither_on_the_order_of_solutions_nor_on_other_questions() -> None:
    solutions = [right(0, "abcdefg"), right(6, "abcdefgh"), *LADDER]
    expected = rows_of(solutions)
    for seed in range(5):
        assert rows_of(Random(seed).sample(solutions, len(solutions))) == expected
    assert {row.n_attempts for seed in range(20) for row in rows_of(solutions, seed=seed)} == {0, 1, 2, 3, 4}


def test_ties_go_to_the_lower_sample_index_and_the_metric_is_a_setting() -> None:
    # 2 edits each; by length the longer pair is closer: 2/4 against 2/6
    tied = [right(0, "aaaa"), wrong(1, "aabb"), wrong(2, "aaaabb")]
    normalized = replace(ALL, distance="normalized")
    for settings, last in ((ALL, "aabb"), (normalized, "aaaabb")):
        rows = [row for seed in range(20) for row in rows_of(tied, settings, seed=seed)]
        assert {attempts(row)[-1] for row in rows if row.n_attempts} == {last}
        assert {row.edit_distance for row in rows if row.n_attempts} == {2}


def test_a_question_caps_its_trajectories_at_random() -> None:
    solutions = [*(right(index, f"right {index}") for index in range(10, 30)), *LADDER]
    usable, _ = usable_solutions(PROBLEM, solutions, Filter())
    chosen = set()
    for seed in range(20):
        rows, left_out, _ = revision_rows(PROBLEM, usable, replace(ALL, max_per_question=6), PLAIN, seed)
        assert len(rows) == 6
        assert left_out == {"over max_per_question": 14}
        assert [row.sample_indices[-1] for row in rows] == sorted(row.sample_indices[-1] for row in rows)
        chosen |= {row.sample_indices[-1] for row in rows}
    assert len(chosen) == 20  # a fixed choice of the first six would leave 14 out for ever


def test_a_wrong_pool_that_may_be_made_of_misses_drops_the_question() -> None:
    # 60 right, p = .01: 60 * .01 / .99 = 0.606 misses expected; with floor 4 the pool needs more than 2.42
    settings = RevisionSettings(p_false_negative=0.01, floor=4)
    assert [is_below_floor(60, n_wrong, settings) for n_wrong in (0, 1, 2, 3)] == [False, True, True, False]
    assert not is_below_floor(3, 1, settings)
    solutions = [*(right(index, f"right {index}") for index in range(60)), wrong(60, "wrong", "9")]
    rows, left_out, _ = revision_rows(
        PROBLEM, usable_solutions(PROBLEM, solutions, Filter())[0], settings, PLAIN, 0
    )
    assert (rows, left_out) == ([], {"too few wrong attempts to trust": 60})


def test_an_attempt_that_the_lenient_comparison_accepts_is_never_shown_as_wrong() -> None:
    missed = wrong(1, "abcdefG", "$7.00$ apples")  # the strict grader erred; it is the closest
    assert {
        tuple(attempts(row))
        for seed in range(20)
        for row in rows_of([right(0, "abcdefg"), missed, LADDER[0]], seed=seed)
    } == {
        (),
        ("abxxxxx",),
    }


def test_keep_rows_are_off_by_default_and_end_with_the_answer_that_is_kept() -> None:
    solutions = [right(0, "abcdefg"), *LADDER]
    assert {row.kind for seed in range(40) for row in rows_of(solutions, seed=seed)} == {
        "revision",
        "first_attempt",
    }
    n_before = Counter[int]()
    for seed in range(200):
        revision, keep = rows_of(solutions, replace(ALL, keep_share=1.0), seed=seed)
        assert revision == rows_of(solutions, seed=seed)[0]  # keep rows come besides and change no other row
        shown = attempts(keep)
        assert (keep.kind, shown[-1], keep.completion[0].content, keep.edit_distance) == (
            "keep",
            "abcdefg",
            "abcdefg",
            None,
        )
        assert keep.sample_indices[-2:] == (0, 0)
        assert shown[-2:-1] in ([], ["abcdefx"])
        n_before[len(shown) - 1] += 1
    assert sorted(n_before) == [0, 1, 2, 3]
    assert min(n_before.values()) > 25
    half = [
        row.kind for seed in range(300) for row in rows_of(solutions, replace(ALL, keep_share=0.5), seed=seed)
    ]
    assert 115 < half.count("keep") < 185


def test_no_attempts_at_all_give_first_attempts() -> None:
    rows = rows_of([right(0, "abcdefg"), *LADDER], replace(ALL, max_attempts=0, keep_share=1.0))
    assert [(row.kind, len(row.prompt)) for row in rows] == [("first_attempt", 1)]


def test_a_chat_model_may_be_asked_to_look_again() -> None:
    prompts = ChainPrompts(
        "{question} Put the answer in a box.", "That may be wrong. Look for the mistake and solve it again."
    )
    row = next(
        row
        for seed in range(20)
        for row in rows_of([right(0, "seven"), LADDER[0]], prompts=prompts, seed=seed)
        if row.n_attempts
    )
    assert row.prompt == (
        Message("user", "What is 3 + 4? Put the answer in a box."),
        Message("assistant", "abxxxxx"),
        Message("user", "That may be wrong. Look for the mistake and solve it again."),
    )
    with pytest.raises(ValueError, match=r"first: got 'Solve it', expected a text that holds \{question\}"):
        ChainPrompts("Solve it")


def test_the_default_layout_is_that_of_the_text_which_the_built_in_policy_imitates() -> None:
    from data_gen.models.tokenizer import load_tokenizer
    from data_gen.pretrain import encode_batch
    from data_gen.problems.arithmetic.task import BASE_POLICY

    tokenizer = load_tokenizer(str(BASE_POLICY))
    question, texts = (
        "Start with 3: plus 4, times 9.",
        ["3 plus 4=8\n8 times 9=72, keep 2\nAnswer: 8 2", "3 plus 4=7\n7 times 9=63, keep 3\nAnswer: 7 3"],
    )
    document = [
        message
        for text in texts
        for message in ({"role": "user", "content": question}, {"role": "assistant", "content": text})
    ]
    imitated = encode_batch(tokenizer, [document])["input_ids"][0].tolist()
    prompt = [asdict(message) for message in chain_prompt(Problem("p", question, "7 3"), texts[:1], PLAIN)]
    start = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    assert start + tokenizer.encode(texts[1]) + [tokenizer.eos_token_id] == imitated


def test_trl_learns_the_last_attempt_alone(tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from data_gen.models.tokenizer import load_tokenizer
    from data_gen.problems.arithmetic.task import BASE_POLICY
    from data_gen.rows.layouts import features

    tokenizer = load_tokenizer(str(BASE_POLICY))
    rows = [
        row for seed in range(8) for row in rows_of([right(0, "3 plus 4=7\nAnswer: 7"), *LADDER], seed=seed)
    ]
    dataset = Dataset.from_list([asdict(row) for row in rows], features=features(RevisionRow))
    settings = SFTConfig(
        output_dir=str(tmp_path), use_cpu=True, report_to="none", bf16=False, max_length=None
    )
    trainer = SFTTrainer(str(BASE_POLICY), args=settings, train_dataset=dataset, processing_class=tokenizer)
    for row, example in zip(rows, trainer.train_dataset, strict=True):
        batch = trainer.data_collator([example])
        learnt = batch["labels"][0]
        assert tokenizer.decode(learnt[learnt != -100]) == "3 plus 4=7\nAnswer: 7<|end|>"
        assert tokenizer.decode(batch["input_ids"][0]).count("<|assistant|>") == row.n_attempts + 1


def test_the_audit_counts_what_the_metric_decides() -> None:
    tied = [right(0, "aaaa"), wrong(1, "aabb"), wrong(2, "aaaabb")]
    usable, _ = usable_solutions(PROBLEM, tied, Filter())
    _, _, audit = revision_rows(PROBLEM, usable, replace(ALL, max_attempts=0), PLAIN, 0)
    other = DistanceAudit()
    other.merge(audit)
    ladder, _ = usable_solutions(PROBLEM, [right(0, "abcdefg"), *LADDER], Filter())
    other.merge(revision_rows(PROBLEM, ladder, replace(ALL, max_attempts=0), PLAIN, 0)[2])
    single, _ = usable_solutions(PROBLEM, [right(0, "abcdefg"), LADDER[0]], Filter())
    other.merge(revision_rows(PROBLEM, single, replace(ALL, max_attempts=0), PLAIN, 0)[2])
    entry = {
        "n_trajectories": 3,
        "n_with_choice": 2,
        "closest_mean": 1.5,
        "random_mean": 2.5,
        "n_ties": 1,
        "n_other_under_normalized": 1,
    }
    assert other.table() == {"all": entry, "0": entry}
