"""Rules about single token ids in a draw: those that are banned, those that alone are allowed, and logit
biases.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

# As OpenAI's logit_bias has it: engines clamp a bias to this range, and take its lower end for a ban.
LARGEST_BIAS = 100.0


class TokenRules(NamedTuple):
    """`banned_ids` are never drawn; where `allowed_ids` are given, no others are; `biases`, pairs of an id
    and a number of nats, are added to the logits.

    This comes before the temperature and before `Truncation`, as in vLLM. Temperature 0 takes the most likely
    token with its bias.
    """

    banned_ids: tuple[int, ...] = ()
    allowed_ids: tuple[int, ...] = ()
    biases: tuple[tuple[int, float], ...] = ()

    @property
    def facts(self) -> dict[str, object]:
        """The rules that are given, each in an order that does not depend on how it was written."""
        all_facts = {
            "banned_ids": sorted(set(self.banned_ids)),
            "allowed_ids": sorted(set(self.allowed_ids)),
            "biases": sorted([token_id, float(bias)] for token_id, bias in self.biases if bias),
        }
        return {name: values for name, values in all_facts.items() if values}

    def broken_by(self, token_ids: Iterable[int]) -> int | None:
        """The first of `token_ids` that may not be drawn."""
        banned, allowed = frozenset(self.banned_ids), frozenset(self.allowed_ids)
        return next((each for each in token_ids if each in banned or (allowed and each not in allowed)), None)


NO_RULES = TokenRules()


def check_token_rules(rules: TokenRules) -> None:
    """Raises ValueError for what is no id, a bias out of its range, and rules that contradict each other."""
    biased_ids = [token_id for token_id, _ in rules.biases]
    named = {"banned_ids": rules.banned_ids, "allowed_ids": rules.allowed_ids, "biases": biased_ids}
    for name, ids in named.items():
        for token_id in ids:
            if not isinstance(token_id, int) or isinstance(token_id, bool) or token_id < 0:
                raise ValueError(f"{name}: got id {token_id!r}, expected whole numbers of 0 or more")
    for token_id, bias in rules.biases:
        if not -LARGEST_BIAS < bias <= LARGEST_BIAS:
            raise ValueError(
                f"biases: got {bias} for id {token_id}, expected more than {-LARGEST_BIAS:g} and at most "
                f"{LARGEST_BIAS:g}; an id that must not be drawn belongs in banned_ids"
            )
    if len(set(biased_ids)) < len(biased_ids):
        raise ValueError(f"biases: got ids {_shown(biased_ids)}, expected each id once")
    both = set(rules.banned_ids).intersection(rules.allowed_ids)
    if both:
        raise ValueError(f"banned_ids, allowed_ids: got {_shown(sorted(both))} in both, expected it in one")
    idle = rules.broken_by(biased_ids)
    if idle is not None:
        raise ValueError(f"biases: got a bias for id {idle}, which may not be drawn at all")


def check_known_ids(rules: TokenRules, n_ids: int) -> None:
    """Raises ValueError for ids that a vocabulary of `n_ids` does not have, and where every id is banned."""
    named = {
        "banned_ids": rules.banned_ids,
        "allowed_ids": rules.allowed_ids,
        "biases": [token_id for token_id, _ in rules.biases],
    }
    for name, ids in named.items():
        if max(ids, default=0) >= n_ids:
            raise ValueError(f"{name}: got id {max(ids)}, expected ids in [0, {n_ids})")
    if len(set(rules.banned_ids)) == n_ids:
        raise ValueError(f"banned_ids: got all {n_ids} ids of the vocabulary, expected one that may be drawn")


def refuse_rules(rules: TokenRules, policy: str) -> None:
    """Raises ValueError where rules are asked of a policy that has no logits."""
    if rules.facts:
        raise ValueError(
            f"{', '.join(rules.facts)}: {policy} has no logits to change; expected none of these"
        )


def _shown(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:8])) + (", …" if len(ids) > 8 else "")
