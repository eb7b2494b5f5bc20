"""Implicit PRM: step rewards from outcome labels alone (Yuan et al. 2024, "Free process rewards without process labels").

The reward of a text is how much likelier a trained policy finds it than the policy it was trained from, the reference::

    reward(step) = beta * sum over the tokens of the step of  log pi(token | all before) - log pi_ref(token | all before)

Rewards add up along a solution. Training (their cross-entropy variant) makes the sigmoid of a whole solution's sum the probability that its
answer is right; the sum up to a step is then a value of the prefix (their proposition 3.1: an exponential average over its continuations),
and what the step adds is its own reward. So the score of a step is the sigmoid of the sum up to it (aggregation `last`), and
`ImplicitPrmTree.reward` gives what it adds.

A checkpoint is a causal language model with the reference beside it, in the folder `reference`; scoring runs both. Tokens are those that a
policy would write: the head, then the steps with their separators, no marker.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from transformers import AutoModelForCausalLM
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from data_gen.config import InputError
from data_gen.forward_settings import context_length, short_length
from data_gen.pretrained import load_model, load_model_config
from data_gen.rows import OrmRow
from data_gen.tokenizer import load_tokenizer
from prm_train.aggregation import Aggregation
from prm_train.checkpoints import CheckpointFacts, read_facts_of, write_facts
from prm_train.collators import Batching, Collator
from prm_train.encoding import ScorerEncoding
from prm_train.examples import Example, ExampleSet, orm_examples
from prm_train.language_models import build_language_model, whole_language_model
from prm_train.metrics import sigmoid
from prm_train.parity import Parity, compare_scores
from prm_train.scorer_identity import content_id
from prm_train.scoring import PathTooLongError, ScorerUsage
from prm_train.trainer import RewardTrainer
from prm_train.training_config import TrainingConfig
from prm_train.training_run import Task

REFERENCE = "reference"  # the folder of the reference inside a checkpoint


class TextEncoding(ScorerEncoding):
    """Paths as a policy writes them: steps end with their separator, and no marker follows."""

    def encode_piece(self, piece: str) -> tuple[int, ...]:
        return self.encode_text(piece + self.facts.step_separator)


@dataclass(frozen=True, kw_only=True)
class ImplicitPrmFacts(CheckpointFacts):
    """`beta` turns log-ratios into log-odds; `reference` is the folder of the reference inside the checkpoint."""

    beta: float
    reference: str = REFERENCE


@dataclass(frozen=True)
class ImplicitExample(Example):
    """The first `n_head` ids are the question; `reference` is the log-probability of the rest under the reference."""

    n_head: int = 0
    reference: float = 0.0


@dataclass(frozen=True)
class ImplicitCollator(Collator):
    """An ORM's batch, and (B, 1) each of `n_head`, `n_tokens` (without padding) and `reference`."""

    def _padded(self, batch: Sequence[Any]) -> dict[str, Tensor]:
        return super()._padded(batch) | {
            "n_head": torch.tensor([[example.n_head] for example in batch]),
            "n_tokens": torch.tensor([[len(example.input_ids)] for example in batch]),
            "reference": torch.tensor([[example.reference] for example in batch], dtype=torch.float64),
        }


def implicit_examples(rows: Sequence[OrmRow], encoding: ScorerEncoding, max_length: int) -> ExampleSet:
    """One example a row. Raises InputError if no row is left; a row longer than `max_length` tokens is left out."""
    found = orm_examples(rows, encoding, max_length)
    examples = [ImplicitExample(**vars(example), n_head=len(encoding.encode_head(example.question))) for example in found.examples]
    return ExampleSet(tuple(examples), found.left_out)


def token_log_probs(logits: Float[Tensor, "batch kept vocabulary"], input_ids: Int[Tensor, "batch token"]) -> Float[Tensor, "batch token"]:
    """log p(token | all before it), 0 for the first token; where `logits` are those of the last positions only, 0 further on, too."""
    n_found = logits.shape[1] - 1  # the last position predicts nothing that is there
    logits = logits[:, :-1].to(torch.promote_types(logits.dtype, torch.float32))
    n_missing = input_ids.shape[1] - n_found
    return pad(-cross_entropy(logits.transpose(1, 2), input_ids[:, n_missing:], reduction="none"), (n_missing, 0))


def solution_log_probs(model: Any, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch 1"]:
    """log p(solution | question) of each row."""
    input_ids, n_head = batch["input_ids"], batch["n_head"]
    n_kept = input_ids.shape[1] - int(n_head.min()) + 1  # logits of the questions are of no use
    log_probs = token_log_probs(model(input_ids=input_ids, logits_to_keep=n_kept).logits, input_ids)  # (B, T)
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    is_solution = (columns >= n_head) & (columns < batch["n_tokens"])
    return (log_probs * is_solution).sum(1, keepdim=True)


class ImplicitPrmTrainer(RewardTrainer):
    """Binary cross-entropy of the sum of a solution's rewards: all else is as for an ORM. The examples know their reference."""

    def __init__(self, beta: float, *arguments: Any) -> None:
        self.beta = beta
        super().__init__(*arguments)
        self._loss_shifts_labels = False  # Trainer would count a language model's labels without the first, which is a row here

    def place_logits(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        return self.beta * (solution_log_probs(model, batch) - batch["reference"])


@torch.no_grad()
def with_reference(examples: Sequence[Example], model: Any, collator: Collator, device: torch.device, bf16_autocast: bool) -> list[Example]:
    """The examples with their log-probabilities under `model`, which is not trained yet; in their order. Every process computes all.

    `bf16_autocast` as in the training, whose rounding a log-ratio would hold otherwise.
    """
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].input_ids))
    model.to(device).eval()
    found: list[float] = []
    for batch in collator([examples[i] for i in order])["batches"]:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16_autocast):
            found += solution_log_probs(model, {name: tensor.to(device) for name, tensor in batch.items()})[:, 0].tolist()
    by_place = dict(zip(order, found, strict=True))
    return [replace(example, reference=by_place[i]) for i, example in enumerate(examples)]  # type: ignore[call-arg]


@dataclass(frozen=True)
class ImplicitPrmTask(Task):
    """A training from outcome rows to a checkpoint with its reference."""

    beta: float

    def build(self, config: TrainingConfig) -> tuple[Any, ScorerEncoding]:
        """Raises InputError under ZeRO stage 3, whose models cannot run before training."""
        if is_deepspeed_zero3_enabled():
            raise InputError("DeepSpeed ZeRO stage 3: the reference runs before training, when no model is whole; expected stage 2 or DDP")
        model, encoding = build_language_model(config)
        return model, TextEncoding(encoding.tokenizer, encoding.facts)

    def trainer(
        self, model: Any, arguments: Any, encoding: ScorerEncoding, data: tuple[list[Example], list[Example]], config: TrainingConfig
    ) -> ImplicitPrmTrainer:
        n_rows = config.batch_size if config.batch_tokens is None else config.batch_size * config.n_accumulated
        pad_id = encoding.tokenizer.pad_token_id or 0  # any id: no token that counts sees padding
        collator = ImplicitCollator("orm", pad_id, Batching(n_rows, config.batch_tokens))
        device, bf16 = arguments.device, config.bf16_autocast
        training, validation = (with_reference(examples, model, collator, device, bf16) for examples in data)
        return ImplicitPrmTrainer(self.beta, model, arguments, collator, training, validation, self.loss)

    def save(self, trainer: Any, encoding: ScorerEncoding, rows: Sequence[Example], config: TrainingConfig) -> Parity | None:
        """The trained model, its reference, and whether both together score `rows` as in memory."""
        known = {example.input_ids: example for example in (*trainer.train_dataset, *trainer.validation)}
        rows = [known[row.input_ids] for row in rows]  # with their reference
        trainer.model.eval()
        with torch.no_grad(), trainer.compute_loss_context_manager():
            batches = trainer._prepare_inputs(trainer.data_collator(rows))["batches"]
            logits = torch.cat([trainer.place_logits(trainer.model_wrapped, batch)[:, 0] for batch in batches])
        model = whole_language_model(trainer, config)
        if model is None:
            return None
        write_facts(self.facts(encoding), model.config)
        model.config.use_cache = True
        model.save_pretrained(config.output)
        encoding.tokenizer.save_pretrained(config.output)
        reference, _ = build_language_model(replace(config, lora=None, attention="auto", backbone_dropout=0.0))
        reference.save_pretrained(config.output / REFERENCE)
        scorer = load_implicit_prm(str(config.output), "float64" if config.dtype == "float64" else "float32")
        ends = [(len(encoding.encode_head(row.question)), len(row.input_ids)) for row in rows]
        loaded = [scorer.rewards(row.input_ids, each)[0] for row, each in zip(rows, ends, strict=True)]
        return compare_scores(torch.sigmoid(logits.double()).tolist(), sigmoid(loaded).tolist(), config, len(rows))


@dataclass(eq=False, slots=True)
class ImplicitNode:
    """A step of a tree, or its head (`parent` None): its tokens, and what it adds to the log-odds once that is computed."""

    tree: "ImplicitPrmTree"
    parent: "ImplicitNode | None"
    token_ids: tuple[int, ...]
    reward: float | None = None
    children: dict[str, "ImplicitNode"] = field(default_factory=dict)

    def path(self) -> list["ImplicitNode"]:
        """From the head to this node."""
        return [*(self.parent.path() if self.parent else ()), self]


class ImplicitPrmTree:
    """A session's tree: see `prm_train.scoring.ScoringTree`. A path is computed whole, once for all of its steps that are new."""

    def __init__(self, scorer: "ImplicitPrmScorer", question: str) -> None:
        self.usage = ScorerUsage()
        self.scorer = scorer
        self.root = ImplicitNode(self, None, scorer.encoding.encode_head(question))

    def extend(self, parent: ImplicitNode, step: str) -> ImplicitNode:
        """The child of `parent` with this step. Raises ValueError if the step is blank, PathTooLongError if the path outgrows a context."""
        child = parent.children.get(step)
        if child is None:
            if not step.strip():
                raise ValueError(f"step {step!r}: got a blank step, expected text (a separator at the end of a solution is not a step)")
            child = ImplicitNode(self, parent, self.scorer.encoding.encode_step(step))
            n_tokens = sum(len(node.token_ids) for node in child.path())
            if n_tokens > self.scorer.context_length:
                raise PathTooLongError(f"path of {n_tokens} tokens: longer than the scorer's context of {self.scorer.context_length}")
            parent.children[step] = child
        return child

    def reward(self, node: ImplicitNode) -> float:
        """What the step adds to the log-odds of a right answer."""
        if node.parent is None:
            raise ValueError("got the root, expected a node that `extend` returned: the question alone has no score")
        if node.reward is None:
            path = node.path()
            ends = list(accumulate(len(each.token_ids) for each in path))
            n_known = self._n_steps_of_their_own(path, ends)
            rewards = self.scorer.rewards([token for each in path for token in each.token_ids], ends)
            rewards[n_known] += sum(rewards[:n_known]) - sum(self.reward(each) for each in reversed(path[1 : n_known + 1]))
            for each, found in zip(path[n_known + 1 :], rewards[n_known:], strict=True):
                each.reward = found if each.reward is None else each.reward
            self.usage += ScorerUsage(n_new=2 * ends[-1])  # by the model and by its reference
            assert node.reward is not None
        return node.reward

    def _n_steps_of_their_own(self, path: list[ImplicitNode], ends: list[int]) -> int:
        """How many steps of a path have rewards by a shorter pass alone, since a pass over the path rotates all its positions otherwise
        (LongRoPE). What that changes of their sum is the first other step's, so that rewards add up to the log-odds of every path.
        """
        border = self.scorer.short_length
        return sum(end <= border for end in ends[1:]) if border is not None and ends[-1] > border else 0

    async def score(self, node: ImplicitNode) -> float:
        """The probability of a right answer given the path up to here: the sigmoid of the (calibrated) sum of rewards."""
        self.reward(node)
        return self.scorer.score(sum(self.reward(each) for each in node.path()[1:]))


class ImplicitPrmScorer:
    """The log-ratios of a model and its reference as scores of steps: see `prm_train.scoring.Scorer`."""

    scores_steps = True

    def __init__(self, model: Any, reference: Any, encoding: TextEncoding, facts: ImplicitPrmFacts, scorer_id: str) -> None:
        self.model, self.reference, self.encoding, self.facts = model.eval(), reference.eval(), encoding, facts
        self.scorer_id = scorer_id
        self.aggregation: Aggregation = facts.aggregation
        self.context_length = min(context_length(each.config) for each in (model, reference))
        self.short_length = short_length(model.config)

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator[ImplicitPrmTree]:
        yield ImplicitPrmTree(self, question)

    @torch.no_grad()
    def rewards(self, token_ids: Sequence[int], ends: Sequence[int]) -> list[float]:
        """The reward of each step of a path; `ends` says where the head and each step end."""
        input_ids = torch.tensor([token_ids], device=self.model.device)  # (1, T)
        found, reference = (token_log_probs(each(input_ids=input_ids).logits, input_ids).double() for each in (self.model, self.reference))
        log_ratios = self.facts.beta * (found - reference)[0]  # (T,)
        return [float(log_ratios[start:end].sum()) for start, end in pairwise(ends)]

    def score(self, reward_sum: float) -> float:
        return float(sigmoid(self.facts.calibration.scale * reward_sum + self.facts.calibration.bias))


def load_implicit_prm(path: str, dtype: str = "float32", device: str = "cpu", trust_remote_code: bool = False) -> ImplicitPrmScorer:
    """The scorer that `train-implicit-prm` wrote to a folder. Raises InputError if it did not."""
    facts = read_facts_of(load_model_config(path, trust_remote_code), ImplicitPrmFacts)
    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "trust_remote_code": trust_remote_code}
    model = load_model(AutoModelForCausalLM, path, **options).to(device)
    reference = load_model(AutoModelForCausalLM, path, subfolder=facts.reference, **options).to(device)
    encoding = TextEncoding(load_tokenizer(path, trust_remote_code), facts.encoding)
    return ImplicitPrmScorer(model, reference, encoding, facts, content_id((model, reference), encoding, facts))
