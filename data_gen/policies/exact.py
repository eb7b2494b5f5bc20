"""A policy whose step values are known exactly, to measure labeling methods against the truth.

A solution has 16 steps of 25 tokens (bytes). A question states q and the drift, and the policy writes
accordingly::

    after i right steps a rollout ends right with probability V_i = q^(1 - drift * i / 16): constant for drift 0; for drift 1 that of a
    policy that is as likely to err at every step
    a wrong solution is right up to its first error: uniform over the steps left for drift 0, by its constant hazard for drift 1
    from the error on the value is share * V: share is 0 for half of the errors, Beta(1, 19) for the others

The error's own line states its share, so that a prefix holds everything that its value depends on.
"""  # noqa: E501

import random
from dataclasses import dataclass

from data_gen.policies.protocol import Policy
from data_gen.records.draw_keys import derive_seed, draw_seed
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.solutions import Problem
from data_gen.records.token_rules import refuse_rules

N_STEPS, STEP_TOKENS, EOS_ID = 16, 25, 256
LEVELS = {"easy": (6.0, 2.0), "mid": (3.0, 3.0), "hard": (1.5, 6.0)}  # q ~ Beta
UNRECOVERABLE, RECOVERY = 0.5, (1.0, 19.0)
RIGHT, ERROR, WRONG, RECOVERED = "right", "error", "wrong", "recovered"


@dataclass(frozen=True)
class World:
    """What a question says of the policy."""

    q: float
    drift: float

    def value(self, n_right: int) -> float:
        """Of a prefix of so many right steps."""
        return self.q ** (1 - self.drift * n_right / N_STEPS)

    def draw_error(self, n_right: int, rng: random.Random) -> int:
        """Where a wrong solution that goes on from so many right steps has its first error."""
        weights = [self.q ** (self.drift * i / N_STEPS) for i in range(n_right, N_STEPS)]
        return rng.choices(range(n_right, N_STEPS), weights)[0]


def draw_problems(level: str, drift: float, n: int) -> list[Problem]:
    """`n` questions whose q are the quantiles of the level's distribution, so that few questions stand for it
    well.
    """
    rng, per_question = random.Random(derive_seed("labeling benchmark", level)), 201
    drawn = sorted(rng.betavariate(*LEVELS[level]) for _ in range(n * per_question))
    quantiles = drawn[per_question // 2 :: per_question]
    return [
        Problem(f"{level}-{i}", f"{level} {i}: q {q:.6f} drift {drift:g}", gold_answer="1")
        for i, q in enumerate(quantiles)
    ]


def true_error(text: str) -> int:
    """The first wrong step of a wrong solution."""
    return next(i for i, line in enumerate(text.split("\n")) if line.startswith(ERROR))


def true_value(question: str, text: str, step: int) -> float:
    """The value of the prefix that ends with `step`."""
    return _value(_world(question), text.split("\n")[: step + 1])


def _world(question: str) -> World:
    words = question.split()
    return World(float(words[-3]), float(words[-1]))


def _value(world: World, lines: list[str]) -> float:
    error = next((i for i, line in enumerate(lines) if line.startswith(ERROR)), None)
    if error is None:
        return world.value(len(lines))
    if lines[-1].startswith(RECOVERED):
        return 1.0
    return float(lines[error].split()[1]) * world.value(len(lines))


def _line(state: str, is_last: bool, is_right: bool, rng: random.Random) -> str:
    """A step without its newline or EOS; random digits make solutions differ as texts do."""
    words = f"{state} Answer: {int(is_right)}" if is_last else f"{state} {rng.randrange(16**6):06x}"
    return words.ljust(STEP_TOKENS - 1)


class ExactPolicy(Policy):
    """Tokens are the bytes of the text, EOS is 256. Prefixes end with whole steps; temperature does not
    matter, log-probs are 0.
    """

    def __init__(self, base_seed: int = 0) -> None:
        self.policy_id, self.base_seed, self.context_length = "simulated-labeling-1", base_seed, 4096

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return tuple(f"{question}\n".encode())

    def token_bytes(self) -> list[bytes]:
        return [*(bytes([i]) for i in range(256)), b""]

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        refuse_rules(params.token_rules, "a simulated policy")
        rng = random.Random(draw_seed(self.base_seed, self.policy_id, prefix_ids, index))
        question, _, written = bytes(prefix_ids).decode().partition("\n")
        done = written.split("\n")[:-1]
        if len(written) != len(done) * STEP_TOKENS or len(done) >= N_STEPS:
            raise ValueError(
                f"a prefix of {len(written)} tokens after the prompt: expected less than {N_STEPS} whole "
                "steps"
            )
        text = "\n".join(_continuation(_world(question), done, rng))
        ids = (*text.encode(), EOS_ID)
        return Completion(
            ids,
            text,
            (0.0,) * len(ids),
            FinishReason.EOS,
            Usage(n_generated=len(ids), n_prefilled=len(prefix_ids)),
        )


def _continuation(world: World, done: list[str], rng: random.Random) -> list[str]:
    """The lines that a rollout adds."""
    is_right = rng.random() < _value(world, done) if done else rng.random() < world.value(0)
    states = [line.split()[0] for line in done]
    if ERROR in states:
        states += [RECOVERED if is_right else WRONG] * (N_STEPS - len(done))
    elif is_right:
        states += [RIGHT] * (N_STEPS - len(done))
    else:
        error = world.draw_error(len(done), rng)
        share = 0.0 if rng.random() < UNRECOVERABLE else rng.betavariate(*RECOVERY)
        states += [RIGHT] * (error - len(done)) + [f"{ERROR} {share:.6f}"] + [WRONG] * (N_STEPS - error - 1)
    return [_line(states[i], i == N_STEPS - 1, is_right, rng) for i in range(len(done), N_STEPS)]
