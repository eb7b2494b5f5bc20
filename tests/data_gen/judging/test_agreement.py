from dataclasses import asdict

from data_gen.judging.agreement import Agreement, place_of


def test_where_the_judges_first_error_lies() -> None:
    """No error lies after every step: an error where the labels have none is earlier."""
    assert [place_of(2, judge) for judge in (None, -1, 1, 2, 3)] == [
        "unknown",
        "none",
        "earlier",
        "same",
        "later",
    ]
    assert [place_of(-1, judge) for judge in (None, -1, 0)] == ["unknown", "none", "earlier"]
    assert [place_of(None, judge) for judge in (None, -1, 0)] == ["unknown", "none", "error"]


def test_only_the_same_first_error_is_kept_and_everything_else_is_counted() -> None:
    agreement = Agreement()
    pairs = [
        (-1, -1),
        (1, 1),
        (1, 2),
        (2, 0),
        (1, -1),
        (-1, 1),
        (1, None),
        (-1, None),
        (None, 1),
        (None, None),
    ]
    kept = [
        agreement.add(labels, judge, "truncated", "correct" if labels == -1 else "incorrect")
        for labels, judge in pairs
    ]
    assert kept == [True, True] + [False] * 8
    config = {"run": "runs/a", "judge": None, "judgements": "judged.jsonl"}
    assert asdict(agreement.summary(config)) == {
        "config": config,
        "n_solutions": 10,
        "n_kept": 2,
        "kept_share": 0.2,
        "left_out": {
            "judge unknown: truncated": 2,
            "judge: earlier": 2,
            "judge: later": 1,
            "judge: none": 1,
            "labels leave it open": 2,
        },
        "matrix": {
            "error": {"earlier": 1, "later": 1, "none": 1, "same": 1, "unknown": 1},
            "none": {"earlier": 1, "none": 1, "unknown": 1},
            "unknown": {"error": 1, "unknown": 1},
        },
        "judge_by_verdict": {
            "correct": {"error": 1, "none": 1, "unknown": 1},
            "incorrect": {"error": 4, "none": 1, "unknown": 2},
        },
        # of the seven judged, five are wrong somewhere and one of those is named exactly; two are right and
        # one is named so
        "f1": {
            "n_erroneous": 5,
            "n_correct": 2,
            "accuracy_on_erroneous": 0.2,
            "accuracy_on_correct": 0.5,
            "f1": 2 * 0.2 * 0.5 / 0.7,
        },
        "first_errors": [
            (-1, -1, 1),
            (-1, 1, 1),
            (-1, None, 1),
            (1, -1, 1),
            (1, 1, 1),
            (1, 2, 1),
            (1, None, 1),
            (2, 0, 1),
            (None, 1, 1),
            (None, None, 1),
        ],
    }


def test_no_solutions_have_no_share() -> None:
    summary = Agreement().summary({})
    assert (summary.n_solutions, summary.kept_share, summary.f1.f1) == (0, None, None)
