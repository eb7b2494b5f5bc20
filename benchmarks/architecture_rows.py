"""A few made up training rows of each kind, for `benchmarks.architectures`."""

from pathlib import Path

from data_gen.records.chats import Message
from data_gen.rows.layouts import OrmRow, PrmRow, RevisionRow, write_rows


def write_step_rows(path: Path, n_rows: int = 24) -> None:
    def row(i: int) -> PrmRow:
        steps = (
            f"{i % 10} plus 1 = {(i + 1) % 10}",
            f"then {i // 10} = {9 - i % 2}" + " and more" * (i % 5),
            "Answer: 1",
        )
        labels = (True, i % 2 == 0, None if i % 2 else True)
        n_correct, n_rollouts, n_unknown = (4, 0 if i % 2 else 3, 0), (4, 4, 0), (0, 0, 0)
        evidence = (n_correct, n_rollouts, n_unknown, ("fixed",) * 3, ("rollouts",) * 3)
        return PrmRow(f"p{i // 2}", f"Start with {i // 2}", steps, labels, *evidence)

    write_rows(path, [row(i) for i in range(n_rows)])


def write_outcome_rows(path: Path, n_rows: int = 36) -> None:
    def row(i: int) -> OrmRow:
        completion = f"{i % 10} plus 1 = {9 - (i % 3 == 0)}{' and more' * (i % 5)}\nAnswer: {i % 7}"
        return OrmRow(f"p{i // 3}", f"Start with {i // 3}", completion, i % 3 == 0)

    write_rows(path, [row(i) for i in range(n_rows)])


def write_revision_rows(path: Path, n_rows: int = 18) -> None:
    def row(i: int) -> RevisionRow:
        n_wrong, question = i % 3, Message("user", f"Start with {i}: plus 4.")
        wrong = [
            turn
            for k in range(n_wrong)
            for turn in (Message("assistant", f"{i} plus 4 = {k}\nAnswer: {k}"), question)
        ]
        right = Message("assistant", f"{i} plus 4 = 7\nAnswer: 7")
        return RevisionRow(
            f"p{i}",
            (question, *wrong),
            (right,),
            "revision" if n_wrong else "first_attempt",
            n_wrong,
            2,
            (0,),
        )

    write_rows(path, [row(i) for i in range(n_rows)])
