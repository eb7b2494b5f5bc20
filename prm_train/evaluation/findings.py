"""Numbers put into words, so that every sentence of a report follows from the sign and the width of an
interval.

"Beats" and "loses to" are said of a paired difference whose 95 % interval lies wholly on one side of 0 and
that is significant with Holm's correction for all comparisons of the report, "cannot be told apart from" of
all others, whichever way the mean points.
"""

from collections.abc import Sequence

from prm_train.evaluation.methods import CEILING, method_label, method_phrase
from prm_train.evaluation.results import ALL_PROBLEMS, PairedDifference, SearchReport, VerifierQuality
from prm_train.metrics.coverage import Coverage, PowerLaw
from prm_train.metrics.estimators import Interval
from prm_train.metrics.many_comparisons import LEVEL

CHANCE = 0.5  # AUROC of a coin
PREDICTED = {  # kinds of predicted difficulty, in words
    "score": "by the PRM's mean score of the first draws, which are samples of the search",
    "prompt": "by the policy's state of the prompt, before any draw",
}
DIRECTION_WORDS = {1: "beats", -1: "loses to", 0: "cannot be told apart from"}


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def span(interval: Interval) -> str:
    """The ends of an interval of fractions, in percent."""
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def points(difference: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def short_count(value: float) -> str:
    """A count in at most four characters and a unit: 999, 1.2 k, 34 M."""
    for unit in ("", " k", " M", " G", " T", " P", " E"):
        if abs(value) < 999.5:
            return f"{value:.0f}{unit}" if value >= 10 or float(value).is_integer() else f"{value:.1f}{unit}"
        value /= 1000
    return f"{1000 * value:.0f} E"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60:02d} min"
        if minutes >= 60
        else f"{minutes} min {rest:02d} s"
        if minutes
        else f"{seconds:.1f} s"
    )


def enumerate_words(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def headline_method(report: SearchReport) -> str:
    """The method that the report is about: the first of the catalogue that was run, not the best one of the
    test set.
    """
    return next((name for name in report.methods if name != CEILING), CEILING)


def verdict(report: SearchReport) -> list[str]:
    """Three sentences: what the method solves, what the paired differences show, and how well the verifier
    ranks if that was measured.
    """
    sentences = [_accuracy_sentence(report), _paired_sentence(report)]
    if report.verifiers:
        sentences.append(_verifier_sentence(report.verifiers))
    return sentences


def declines(report: SearchReport) -> list[str]:
    """A sentence for each method that ends below its own peak, 95 % intervals apart: what over-optimising a
    score looks like.
    """
    sentences = []
    for name in report.methods:
        curve = report.accuracy[name]
        peak, last = max(curve, key=lambda n: curve[n].mean), max(curve)
        if curve[last].high < curve[peak].low:
            fall = f"{percent(curve[peak].mean)} at N = {peak} to {percent(curve[last].mean)} at N = {last}"
            sentences.append(
                f"{_capital(method_phrase(name))} falls from {fall}: more samples make its choice worse."
            )
    return sentences


def correction(pairs: Sequence[PairedDifference]) -> str | None:
    """How paired differences were tested; None where an earlier version did not."""
    if not any(pair.p_holm is not None for pair in pairs):
        return None
    return (
        f"p is that of a sign-flip test over problems with Holm's correction for the {len(pairs)} "
        f"comparisons here; beats and loses are said below {LEVEL:g}."
    )


def coverage_sentences(coverage: Coverage) -> list[str]:
    """The curve and the power laws that fit it."""
    first, last = min(coverage.curve), max(coverage.curve)
    ends = [
        f"{percent(coverage.curve[k].mean)} at k = {k} ({span(coverage.curve[k])})" for k in (first, last)
    ]
    return [f"pass@k is {ends[0]} and {ends[1]}.", *map(_law_sentence, coverage.laws)]


def _law_sentence(law: PowerLaw) -> str:
    left = {"log": "log(pass@k)", "failure": "1 − pass@k"}[law.form]
    a, b = (
        f"{each.mean:.3f} ({each.low:.3f} to {each.high:.3f})".replace("-", "−") for each in (law.a, law.b)
    )
    missing = f"; {law.n_without_fit} resamples had no fit" if law.n_without_fit else ""
    return (
        f"{left} = a k^b with a = {a} and b = {b} is at most {100 * law.largest_residual:.1f} points off "
        f"at the {law.n_points} points fitted{missing}."
    )


def describe_difference(pair: PairedDifference) -> str:
    """What a paired difference shows, without its numbers."""
    where = "" if pair.problems == ALL_PROBLEMS else f" on the {pair.problems}"
    direction = DIRECTION_WORDS[pair.direction]
    return (
        f"{_capital(method_label(pair.method))} {direction} {method_label(pair.baseline)} at N = "
        f"{pair.n}{where}."
    )


def _accuracy_sentence(report: SearchReport) -> str:
    name = headline_method(report)
    n = max(report.accuracy[name])
    ours, n_problems = report.accuracy[name][n], report.run.n_problems.get("test")
    problems = f"the {n_problems} test problems" if n_problems else "the test problems"
    sentence = (
        f"At N = {n}, {method_phrase(name)} solves {percent(ours.mean)} of {problems} (95 % interval "
        f"{span(ours)})"
    )
    others = [(single.label, single.accuracy) for single in report.single_samples if single.temperature == 0]
    if name != "majority" and n in report.accuracy.get("majority", {}):
        others.insert(0, ("majority", report.accuracy["majority"][n]))
    return f"{sentence}{''.join(f', {method_phrase(label)} {percent(interval.mean)} ({span(interval)})' for label, interval in others)}."  # noqa: E501


def _paired_sentence(report: SearchReport) -> str:
    name = headline_method(report)
    pairs = [pair for pair in report.paired if pair.method == name and pair.problems == ALL_PROBLEMS]
    if not pairs:
        return (
            "No paired differences were computed for it, so whether it is better than other methods is "
            "left open."
        )
    clauses = []
    for direction, words in DIRECTION_WORDS.items():
        counts: dict[str, list[str]] = {}
        for pair in sorted(pairs, key=lambda pair: pair.n):
            if pair.direction == direction:
                counts.setdefault(pair.baseline, []).append(str(pair.n))
        if counts:
            rivals = [
                f"{method_phrase(baseline)} (N = {enumerate_words(ns)})" for baseline, ns in counts.items()
            ]
            clauses.append(f"{words} {enumerate_words(rivals)}")
    return f"Compared problem by problem, it {'; it '.join(clauses)}."


def _verifier_sentence(verifiers: Sequence[VerifierQuality]) -> str:
    first, *others = verifiers
    auroc = first.within_problem_auroc
    above_chance = Interval(auroc.mean - CHANCE, auroc.low - CHANCE, auroc.high - CHANCE).direction
    against_chance = {1: "better than a coin", -1: "worse than a coin", 0: "not told apart from a coin"}[
        above_chance
    ]
    ranks = (
        f"Among solutions of one problem, the {first.name} puts a right one above a wrong one "
        f"{percent(auroc.mean)} of the time"
    )
    rest = (
        "; for comparison: "
        + ", ".join(f"{other.name} {percent(other.within_problem_auroc.mean)}" for other in others)
        if others
        else ""
    )
    return f"{ranks} (95 % interval {span(auroc)}), {against_chance}{rest}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
