"""What the methods of a report cost on a problem if each runs alone, in tokens and floating point operations.

N samples cost what they and nothing else cost: the policy reads the prompt once, the scorer computes the tree
of their steps. As accuracies are, costs at N are means over the disjoint blocks of N samples, and then over
problems.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prm_train.evaluation.results import TokensPerProblem
from prm_train.evaluation.tree_methods import TreeMethod
from prm_train.metrics.estimators import blocks
from prm_train.scoring.flops import ForwardFlops
from prm_train.scoring.work import Work, passed
from prm_train.search.model_flops import flops_of, flops_of_cost
from prm_train.search.model_work import Nodes, scored_nodes, work_of
from prm_train.search.results import ProblemResult, StrategyRun
from prm_train.strategies.candidates import Candidate


@dataclass(frozen=True, eq=False)
class Costs:
    """Of a search in which `separator` ends a step; `flops` of its models by name, as far as known."""

    results: Sequence[ProblemResult]
    separator: str
    flops: Mapping[str, ForwardFlops]
    _known: dict[tuple[int, str], Nodes] = field(default_factory=dict, init=False)

    def of_samples(
        self,
        n: int,
        temperature: float,
        scorer: str | None,
        n_drawn: Callable[[Sequence[Candidate]], int] = len,
    ) -> TokensPerProblem:
        """Of `n` samples at a temperature, or of so many of them as are drawn, scored by a scorer or by
        none.
        """
        return mean(mean(self.of_blocks(result, n, temperature, scorer, n_drawn)) for result in self.results)

    def of_blocks(
        self,
        result: ProblemResult,
        n: int,
        temperature: float,
        scorer: str | None,
        n_drawn: Callable[[Sequence[Candidate]], int] = len,
    ) -> list[TokensPerProblem]:
        """The same of one problem, of each of its blocks."""
        n_prompt = result.cost_of_samples(temperature).policy.n_prefilled
        return [
            self.of_block(block[: n_drawn(block)], n_prompt, scorer)
            for block in blocks(result.samples[temperature], n)
        ]

    def of_tree(self, tree: TreeMethod) -> dict[int, TokensPerProblem]:
        """By N: what its searches booked."""
        return {
            n: mean(self.of_run(result.trees[spec][n]) for result in self.results)
            for n, (spec, _) in tree.at.items()
        }

    def of_block(self, block: Sequence[Candidate], n_prompt: int, scorer: str | None) -> TokensPerProblem:
        drawn = sum((passed(n_prompt, each.n_tokens) for each in block), Work())
        scored = work_of(self._nodes(each, scorer) for each in block) if scorer else Work()
        written = drawn + passed(0, n_prompt)
        flops = flops_of(self.flops, "policy", written, drawn.n_tokens, scorer, scored)
        return TokensPerProblem(drawn.n_tokens, scored.n_tokens, n_prompt, flops)

    def _nodes(self, candidate: Candidate, scorer: str) -> Nodes:
        """Made once: a candidate is in a block of each N, and of several methods."""
        key = (id(candidate), scorer)  # the results keep it alive
        if key not in self._known:
            self._known[key] = scored_nodes(candidate, scorer, self.separator)
        return self._known[key]

    def of_run(self, run: StrategyRun) -> TokensPerProblem:
        """What a search of one problem booked."""
        usage, scored = run.cost.policy, run.cost.scorer.n_new
        scorer = None if run.scorer == "none" else run.scorer
        flops = flops_of_cost(self.flops, run.writer, scorer, run.cost)
        return TokensPerProblem(usage.n_generated, scored, usage.n_prefilled, flops)


def mean(costs: Iterable[TokensPerProblem]) -> TokensPerProblem:
    each = list(costs)

    def of(values: Iterable[float]) -> float:
        return sum(values) / len(each)

    flops = [cost.flops for cost in each if cost.flops is not None]
    return TokensPerProblem(
        of(cost.n_generated for cost in each),
        of(cost.n_scorer for cost in each),
        of(cost.n_prefilled for cost in each),
        of(flops) if len(flops) == len(each) else None,
    )
