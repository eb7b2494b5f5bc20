"""Are the draws of a ledger independent? Two tests on what was drawn, each with a bound on false alarms, and
the share of distinct draws.

A seed that is shared or ignored by an engine (a restarted job that draws the same texts again, one seeded
request broadcast over a batch) makes copies that look like evidence. Two tests at temperature > 0 find them:

- repeats: the probability of a draw is known where it was sampled at temperature 1, since the ledger stores
  log-probabilities at temperature 1. So is the probability that a draw repeats an earlier one from the same
  prefix: the sum of exp(log-probability) over the distinct earlier ones. Far more repeats than these sum to
  are a duplicate seed. A policy whose numbers cannot be probabilities (those of different draws from one
  prefix add up to more than 1) is said to be untested, as is every other temperature.
- shared noise: indices are names, so over two prompts draw 3 of one agrees with draw 3 of the other no more
  than with draw 4. If draws of equal index begin alike more often than that, their noise is the same. No
  probabilities are needed; prompts after which the policy never begins in the same two ways show nothing.
  Only the prompts of questions are compared: what labeling draws after steps may stop at a success, and what
  a chain of revisions draws after one chat stops when the chat changes; the index of a draw then tells
  something about it.
"""

import json
import math
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from data_gen.ledger.prefix_blocks import whole_ids
from data_gen.records.token_rules import TokenRules

FALSE_ALARM = 1e-6  # chance that a test which finds nothing wrong by right says that there is
# Probabilities of another batch shape or a low precision are off: by less than this factor is no finding
INEXACT = 1.25
N_HEAD = 32  # tokens of a draw's beginning that are compared
N_COMPARED = 16  # draws of a prompt that are compared
N_NAMED = 5  # prefixes that a report names


class Repeats(NamedTuple):
    """Draws from one prefix: how many, how many different ones, and how many repeats independent draws would
    have (None: not known).
    """

    n_draws: int
    n_distinct: int
    expected: float | None

    @property
    def n_repeats(self) -> int:
        return self.n_draws - self.n_distinct


def count_repeats(draws: Iterable[tuple[bytes, float]]) -> Repeats:
    """Over (token ids, log-probability of the whole draw at the temperature it was drawn at), in an order
    that does not depend on them.

    Given the draws before it, a draw repeats one of them with the probability that those have together;
    `expected` is the sum.
    """
    seen: set[bytes] = set()
    n_draws, mass, expected = 0, 0.0, 0.0
    for token_ids, logprob in draws:
        n_draws += 1
        expected += min(mass, 1.0)
        if token_ids not in seen:
            seen.add(token_ids)
            mass += math.exp(min(logprob, 0.0))
    return Repeats(n_draws, len(seen), expected if mass < INEXACT else None)  # None for NaN too


def tail_bound(n_observed: int, expected: float) -> float:
    """At most this likely are so many events or more whose probabilities, each given the past, sum to
    `expected` (Chernoff, Poisson).
    """
    if n_observed <= expected:
        return 1.0
    if expected == 0.0:
        return 0.0
    return math.exp(n_observed - expected - n_observed * math.log(n_observed / expected))


def n_common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two beginnings share."""
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length


@dataclass
class SharedNoise:
    """How far draws of equal index begin alike over pairs of prompts, against the same draws with their
    indices rotated.

    If indices are but names, every rotation of one prompt's draws against the other's is equally likely: the
    sum over pairs of what the actual one shares then has the mean `expected` and the variance `variance`, and
    no pair is further than `largest` above its mean.
    """

    n_pairs: int = 0
    observed: float = 0.0
    expected: float = 0.0
    variance: float = 0.0
    largest: float = 0.0
    _waiting: dict[int, tuple[int, ...]] | None = None

    def add_prompt(self, heads: dict[int, tuple[int, ...]]) -> None:
        """`heads` are the beginnings of one prompt's draws by index; each prompt is compared with the next
        one.
        """
        if self._waiting is None:
            self._waiting = heads
            return
        first, self._waiting = self._waiting, None
        common = sorted(first.keys() & heads.keys())[:N_COMPARED]
        if len(common) < 2:
            return
        n = len(common)
        alike = [[n_common(first[i], heads[j]) for j in common] for i in common]
        sums = [sum(alike[row][(row + shift) % n] for row in range(n)) for shift in range(n)]
        mean = sum(sums) / n
        self.n_pairs += 1
        self.observed += sums[0]
        self.expected += mean
        self.variance += sum((each - mean) ** 2 for each in sums) / n
        self.largest = max(self.largest, max(sums) - mean)

    def bound(self) -> float:
        """At most this likely is what is observed, or more, if indices are but names (Bernstein's
        inequality).
        """
        excess = self.observed - self.expected
        if excess <= 0:
            return 1.0
        return math.exp(-(excess**2) / (2 * (self.variance + self.largest * excess / 3)))


@dataclass
class Independence:
    """What one policy drew with one set of sampling parameters. `findings` say in words what is wrong;
    `untested` what was not tested.
    """

    policy_id: str
    params_hash: str
    temperature: float
    # By top_p, top_k, min_p or rules about ids: log-probabilities are those of the whole distribution
    is_truncated: bool = False
    n_prefixes: int = 0
    n_draws: int = 0
    n_distinct: int = 0
    expected_repeats: float = 0.0
    # Prefixes whose draws' log-probabilities are none: together they are more likely than 1
    n_impossible: int = 0
    suspects: list[tuple[float, str]] = field(default_factory=list)
    n_suspects: int = 0
    noise: dict[int, SharedNoise] = field(default_factory=dict)  # by base seed

    @property
    def n_repeats(self) -> int:
        return self.n_draws - self.n_distinct

    @property
    def knows_expected(self) -> bool:
        return self.temperature == 1 and not self.is_truncated and not self.n_impossible

    @property
    def findings(self) -> list[str]:
        found = []
        if self.knows_expected and tail_bound(self.n_repeats, INEXACT * self.expected_repeats) < FALSE_ALARM:
            found.append(
                f"duplicate seed: {self.n_repeats} of {self.n_draws} draws repeat an earlier one from their "
                "prefix; "
                f"{self.expected_repeats:.3g} repeats were to be expected"
            )
        if self.knows_expected:
            found += [words for _, words in sorted(self.suspects)]
            if self.n_suspects > len(self.suspects):
                found.append(f"duplicate seed: {self.n_suspects - len(self.suspects)} more prefixes")
        for base_seed, noise in sorted(self.noise.items()):
            if noise.bound() < FALSE_ALARM:
                found.append(
                    f"shared noise: over {noise.n_pairs} pairs of prompts, draws of equal index share "
                    f"{noise.observed:.0f} tokens at their "
                    f"beginnings, {noise.expected:.0f} were to be expected (base seed {base_seed})"
                )
        return found

    @property
    def untested(self) -> list[str]:
        reasons = []
        if self.temperature == 0:
            return ["temperature 0: draws from a prefix are equal by right"]
        if self.temperature != 1:
            reasons.append(
                f"repeats: stored log-probabilities are those of temperature 1, drawn at {self.temperature:g}"
            )
        elif self.is_truncated:
            reasons.append(
                "repeats: stored log-probabilities are those of all tokens, drawn with top_p, top_k, min_p, "
                "or ids that are banned, allowed or biased"
            )
        elif self.n_impossible:
            reasons.append(
                f"repeats: the log-probabilities are not those of the policy; from {self.n_impossible} "
                "prefixes they add up to more than 1"
            )
        if not any(noise.variance for noise in self.noise.values()):
            reasons.append("shared noise: no two prompts after which draws begin alike now and then")
        return reasons

    def add_prefix(self, repeats: Repeats, name: str) -> None:
        self.n_prefixes += 1
        self.n_draws += repeats.n_draws
        self.n_distinct += repeats.n_distinct
        if repeats.expected is None:
            self.n_impossible += 1
            return
        self.expected_repeats += repeats.expected
        # Each of very many prefixes has its own test: k of them share the chance of a false alarm as 1/k²,
        # whose sum is below 2.
        likelihood = tail_bound(repeats.n_repeats, INEXACT * repeats.expected) * self.n_prefixes**2
        if likelihood < FALSE_ALARM / 2:
            self.n_suspects += 1
            words = (
                f"duplicate seed: {name}: {repeats.n_draws} draws, {repeats.n_distinct} distinct, "
                f"{repeats.expected:.3g} repeats expected"
            )
            self.suspects = sorted([*self.suspects, (likelihood, words)])[:N_NAMED]

    def summary(self) -> dict[str, Any]:
        """As `prm-train ledger stats` shows it."""
        return {
            "temperature": self.temperature,
            "n_prefixes": self.n_prefixes,
            "n_draws": self.n_draws,
            "distinct_ratio": round(self.n_distinct / self.n_draws, 4),
            "n_repeats": self.n_repeats,
            **({"expected_repeats": round(self.expected_repeats, 3)} if self.knows_expected else {}),
            "findings": self.findings,
            "untested": self.untested,
        }


def _distribution(params: dict[str, Any] | None) -> tuple[float, bool]:
    """The temperature, and whether tokens were left out or biased; for a draw without its params NaN."""
    if params is None:
        return math.nan, False
    return params["temperature"], any(name in params for name in ("top_p", *TokenRules._fields))


def examine_draws(database: sqlite3.Connection) -> list[Independence]:
    """One report for each (policy, sampling parameters) of a ledger; reads the draws once, prefix by
    prefix.
    """
    params = {name: json.loads(text) for name, text in database.execute("SELECT hash, json FROM params")}
    reports: dict[tuple[str, str], Independence] = {}
    n_bytes = _shortest_prompts(database)
    for (_, policy_id, params_hash), rows in groupby(_draws_by_prefix(database), key=itemgetter(0, 1, 2)):
        group = list(rows)
        report = reports.get((policy_id, params_hash))
        if report is None:
            report = Independence(policy_id, params_hash, *_distribution(params.get(params_hash)))
            reports[policy_id, params_hash] = report
        first = group[0]
        report.add_prefix(
            count_repeats((row[5], _log_probability(row[5], row[6])) for row in group),
            f"prefix {first[0].hex()} of problem {first[8]}",
        )
        is_prompt = first[7] and first[9] == n_bytes[policy_id, first[8]]
        if is_prompt and report.temperature > 0:
            for base_seed, same_seed in groupby(group, key=itemgetter(3)):
                heads = {row[4]: tuple(array("i", row[5][: 4 * N_HEAD])) for row in same_seed}
                report.noise.setdefault(base_seed, SharedNoise()).add_prompt(heads)
    return [reports[key] for key in sorted(reports)]


def _shortest_prompts(database: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """By policy and problem the bytes of the shortest prompt, the question's: a chat that shows attempts to
    it is longer.
    """
    rows = database.execute(
        f"SELECT policy_id, problem_id, min(length({whole_ids(database)})) FROM prefixes JOIN draws ON "
        "prefix_hash = prefixes.hash WHERE parent_hash IS NULL GROUP BY policy_id, problem_id"
    )
    return {(policy_id, problem_id): n_bytes for policy_id, problem_id, n_bytes in rows}


def _draws_by_prefix(database: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """(prefix hash, policy, params, base seed, index, token ids, log-probs, whether the prefix is a prompt,
    problem id, bytes of a prompt), in key order.
    """
    yield from database.execute(
        "SELECT prefix_hash, policy_id, params_hash, base_seed, draw_index, draws.token_ids, logprobs, "
        "parent_hash IS NULL, problem_id, "
        f"CASE WHEN parent_hash IS NULL THEN length({whole_ids(database)}) END"
        " FROM draws JOIN prefixes ON prefixes.hash = prefix_hash"
        " ORDER BY prefix_hash, policy_id, params_hash, base_seed, draw_index"
    )


def _log_probability(token_ids: bytes, logprobs: bytes) -> float:
    """Of a whole draw; NaN where it has no log-probability for each token."""
    return math.fsum(array("f", logprobs)) if len(token_ids) == len(logprobs) else math.nan
