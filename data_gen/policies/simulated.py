"""Policies whose behaviour is known exactly, for tests that need true step values and for dry runs. Their
tokens are the bytes of the text.

- `SimulatedPolicy` writes as the program of a built-in task does, and reads no other questions.
- `SimulatedSolver` answers any question, for it is told the answers: what a dry run puts in the place of the
  configured policy.
"""

import random
from collections.abc import Mapping

from data_gen.policies.protocol import Policy
from data_gen.problems.built_in_task import BuiltInTask
from data_gen.problems.tasks import DEFAULT_TASK
from data_gen.records.draw_keys import content_hash, derive_seed, draw_seed
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.token_rules import refuse_rules

EOS_ID = 256
END_OF_PROMPT_ID = 257  # of SimulatedSolver, whose questions may hold any text


class SimulatedPolicy(Policy):
    """Continues any prefix of a solution line by line; `temperature` and log-probs are those of the process
    itself (log-probs are 0).
    """

    def __init__(
        self, base_seed: int = 0, context_length: int = 4096, task: BuiltInTask = DEFAULT_TASK
    ) -> None:
        self.policy_id = f"simulated-{task.source}-1"
        self._simulate = task.simulate
        self.base_seed = base_seed
        self.context_length = context_length

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return tuple(f"{question}\n".encode())

    def token_bytes(self) -> list[bytes]:
        return [*(bytes([i]) for i in range(256)), b""]

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        if len(prefix_ids) >= self.context_length:
            raise ValueError(
                f"a prefix of {len(prefix_ids)} tokens leaves no room in a context of {self.context_length}"
            )
        rng = random.Random(draw_seed(self.base_seed, self.policy_id, prefix_ids, index))
        question, _, written = bytes(prefix_ids).decode().partition("\n")
        text = self._simulate(question, written, rng)
        return _completion(text.encode(), len(prefix_ids), params)


def _completion(text: bytes, n_prefix: int, params: SamplingParams) -> Completion:
    """The draw of which `text` would be the whole: up to the stop rule, the length limit or EOS."""
    refuse_rules(params.token_rules, "a simulated policy")
    finish_reason = FinishReason.EOS
    stops = [stop.encode() for stop in (params.stop, *params.stop_strings) if stop is not None]
    ends = [text.index(stop) + len(stop) for stop in stops if stop in text]
    if ends:
        text, finish_reason = text[: min(ends)], FinishReason.STOP
    ids = (*text, EOS_ID) if finish_reason is FinishReason.EOS else tuple(text)
    if len(ids) > params.max_new_tokens:
        ids, text, finish_reason = (
            ids[: params.max_new_tokens],
            text[: params.max_new_tokens],
            FinishReason.LENGTH,
        )
    usage = Usage(n_generated=len(ids), n_prefilled=n_prefix)
    return Completion(ids, text.decode(errors="replace"), (0.0,) * len(ids), finish_reason, usage)


class SimulatedSolver(Policy):
    """Writes steps that go right with probability `p_step` each, and an answer: the gold one if all went
    right, else another.

    With probability `p_silent` it gives no answer. `gold_answers` maps questions to answers; each step ends
    with `separator`; a question decides how many steps its solutions have. They are short (about 100 tokens)
    whatever the problem: a dry run shows that a config works, and its tokens and seconds say nothing of a
    real policy.
    """

    def __init__(
        self,
        gold_answers: Mapping[str, str],
        separator: str = "\n",
        base_seed: int = 0,
        p_step: float = 0.9,
        p_silent: float = 0.02,
    ) -> None:
        self.policy_id = content_hash(
            "simulated solver 1", sorted(gold_answers.items()), separator, p_step, p_silent
        )
        self.base_seed = base_seed
        self.context_length = 2**20
        self.p_step, self.p_silent = p_step, p_silent
        self._gold_answers, self._separator = gold_answers, separator.encode()

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return (*question.encode(), END_OF_PROMPT_ID)

    def token_bytes(self) -> list[bytes]:
        return [*(bytes([i]) for i in range(256)), b"", b""]

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        rng = random.Random(draw_seed(self.base_seed, self.policy_id, prefix_ids, index))
        end = prefix_ids.index(END_OF_PROMPT_ID)
        question, written = bytes(prefix_ids[:end]).decode(), bytes(prefix_ids[end + 1 :])
        return _completion(self._continuation(question, written, rng), len(prefix_ids), params)

    def n_steps(self, question: str) -> int:
        """Of a solution, before the line with the answer: 3 to 6."""
        return 3 + derive_seed("steps", question) % 4

    def success_probability(self, question: str, n_steps_done: int) -> float:
        """The exact value of a right prefix of `n_steps_done` whole steps (a wrong one has value 0)."""
        return float((1 - self.p_silent) * self.p_step ** (self.n_steps(question) - n_steps_done))

    def _continuation(self, question: str, written: bytes, rng: random.Random) -> bytes:
        """What follows `written`, which may end inside a step; what that step has become already is not drawn
        again.
        """
        *lines, begun = written.split(self._separator)
        text = self._separator.join([*lines, b""])
        is_right = not any(line.endswith(b"wrong.") for line in lines)
        for step in range(len(lines) + 1, self.n_steps(question) + 1):
            outcomes = [b"Step %d goes right." % step, b"Step %d goes wrong." % step]
            line = _one_that_begins(begun, outcomes if rng.random() < self.p_step else outcomes[::-1])
            is_right, begun = is_right and line == outcomes[0], b""
            text += line + self._separator
        if len(lines) <= self.n_steps(question):
            gold_answer = " ".join(self._gold_answers[question].split())
            wrong = next(
                str(number)
                for number in range(1000 + rng.randrange(1000), 3000)
                if str(number) != gold_answer
            )
            answers = [
                b"Answer: " + answer.encode()
                for answer in ((gold_answer, wrong) if is_right else (wrong, gold_answer))
            ]
            text += _one_that_begins(
                begun,
                [b"No answer.", *answers] if rng.random() < self.p_silent else [*answers, b"No answer."],
            )
        return text[len(written) :]


def _one_that_begins(begun: bytes, lines: list[bytes]) -> bytes:
    """The first of `lines` that begins with `begun`; itself if none does (a text that this policy did not
    write).
    """
    return next((line for line in lines if line.startswith(begun)), begun)
