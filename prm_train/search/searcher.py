"""The search of one problem: every method of the settings, what it found and what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass

from data_gen.grading.graders import Grader
from data_gen.ledger.store import Ledger
from data_gen.policies.protocol import Policy
from data_gen.records.draw_keys import DrawKey
from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.protocol import PathTooLongError, Scorer, ScorerUsage
from prm_train.search.answer_classes import classify_answers, with_classes
from prm_train.search.beam import BeamConfig, beam_search
from prm_train.search.best_of_n import draw_candidates, score_candidates
from prm_train.search.candidates import Candidate
from prm_train.search.method_policy import MethodPolicy
from prm_train.search.results import Cost, ProblemResult
from prm_train.search.settings import SearchConfig


@dataclass(frozen=True)
class Searcher:
    """What a search needs besides the problem."""

    config: SearchConfig
    policy: Policy
    ledger: Ledger
    grader: Grader
    scorers: Mapping[str, Scorer]

    @property
    def beam_aggregation(self) -> Aggregation | None:
        """What ranks the paths of beam searches, and weighs their votes; None without beam searches."""
        if not self.config.beams:
            return None
        return self.config.beam_aggregation or self.scorers["prm"].aggregation

    async def search(self, problem: Problem) -> ProblemResult:
        """What became of a problem, with all of its draws committed: those of a finished problem are never made again."""
        return await ProblemSearch(self, problem).run()


class ProblemSearch:
    """The methods on one problem, one after the other, and what they cost."""

    def __init__(self, searcher: Searcher, problem: Problem) -> None:
        self.searcher, self.config, self.problem = searcher, searcher.config, problem
        self.costs: dict[str, Cost] = {}
        self.drawn: dict[DrawKey, Usage] = {}  # all draws, each once
        policy = searcher.policy
        self.too_long_for = ["policy"] if len(policy.encode_prompt(problem.question)) >= policy.context_length else []

    async def run(self) -> ProblemResult:
        config = self.config
        (greedy,) = await self.draw("greedy", 0.0, range(1))
        samples = {
            temperature: await self.draw(f"samples T={temperature:g}", temperature, range(config.n_samples))
            for temperature in (config.temperature, *config.other_temperatures)
        }
        held_out = range(config.n_samples, config.n_samples + config.n_difficulty_draws)
        extra = await self.draw("difficulty draws", config.temperature, held_out)
        samples[config.temperature] = await self.score(samples[config.temperature])
        beams = {n: await self.beam(n) for n in config.beams}
        stated = [candidate for some in (*samples.values(), *beams.values()) for candidate in some]
        classes = await classify_answers(self.problem, stated, self.searcher.grader)
        self.searcher.ledger.commit()
        return ProblemResult(
            self.problem,
            config.temperature,
            greedy,
            {temperature: with_classes(candidates, classes) for temperature, candidates in samples.items()},
            {n: with_classes(candidates, classes) for n, candidates in beams.items()},
            sum(candidate.is_correct for candidate in extra),
            len(extra),
            self.costs,
            tuple(self.too_long_for),
            sum(self.drawn.values(), Usage()),
        )

    def method_policy(self) -> MethodPolicy:
        return MethodPolicy(self.searcher.policy, self.searcher.ledger, self.problem, self.drawn)

    async def draw(self, name: str, temperature: float, indices: range) -> list[Candidate]:
        policy = self.method_policy()
        candidates = await draw_candidates(policy, self.searcher.grader, self.config.params(temperature), indices)
        self.costs[name] = Cost(policy.usage_alone)
        return candidates

    async def score(self, candidates: list[Candidate]) -> list[Candidate]:
        """With the scores of every scorer that can read the question; candidates that are too long are known by having no score."""
        for name, scorer in self.searcher.scorers.items():
            usage = ScorerUsage()
            try:
                candidates, usage = await score_candidates(self.problem, candidates, scorer, name, self.config.step_separator)
            except PathTooLongError:  # the question alone
                self.too_long_for.append(name)
            self.costs[f"score {name}"] = Cost(scorer=usage)
        return candidates

    async def beam(self, n: int) -> list[Candidate]:
        config, policy, name = self.config, self.method_policy(), f"beam {n}"
        if "prm" in self.too_long_for:
            self.costs[name] = Cost()
            return []
        params, aggregation = config.params(config.temperature, config.step_separator), self.searcher.beam_aggregation
        assert aggregation is not None
        beam = BeamConfig(n, config.beam_width, config.beam_max_steps, aggregation)
        candidates, usage = await beam_search(policy, self.searcher.grader, self.searcher.scorers["prm"], "prm", params, beam)
        self.costs[name] = Cost(policy.usage_alone, usage)
        return candidates
