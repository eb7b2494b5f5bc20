"""A checkpoint as transformers computes it, and how far what vLLM returned for the same ids is from that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download

from data_gen.models.pretrained import from_hub_or_folder, is_hub_name, load_model_config
from data_gen.models.tokenizer import load_tokenizer
from data_gen.problems.tasks import DEFAULT_TASK
from data_gen.records.steps import join_steps
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CONFIG_KEY, CheckpointFacts
from prm_train.encoding.paths import EncodingFacts, ScorerEncoding
from prm_train.examples.evenly import evenly
from prm_train.kinds.load import load_checkpoint
from prm_train.kinds.model_kind import ModelKind
from prm_train.kinds.paths import EncodedPath, ScoredPath, question_path
from prm_train.kinds.revision import RevisionKind
from prm_train.kinds.tolerances import Bounds, bounds
from prm_train.networks.special_ids import check_padding
from prm_train.publishing.scored_rows import read_scored_rows

N_WORST = 5


class OthersLanguageModel(RevisionKind):
    """A causal language model of others, without facts of ours: its paths are read as revisions are, without
    the EOS.
    """

    def encode(self, path: ScoredPath, encoding: ScorerEncoding) -> EncodedPath:
        """Without positions: nothing is read."""
        solution = encoding.encode_text(join_steps(path.steps, encoding.facts.step_separator))
        return EncodedPath((*encoding.encode_chat(path.messages), *solution), ())


@dataclass(frozen=True)
class Subject:
    """A model in evaluation mode, how to encode for it, and what its scores are: `kind.serving` says.

    `name` is what it was called, `folder` where its files are: elsewhere, if it came from the Hub.
    """

    kind: ModelKind
    name: str
    folder: Path
    architecture: str
    model: Any
    encoding: ScorerEncoding
    facts: CheckpointFacts

    @property
    def marker_id(self) -> int | None:
        return self.kind.serving.marker_id(self.encoding)

    def tolerance(self, dtype: str) -> float:
        """Largest difference that rounding makes."""
        return self.kind.serving.tolerance(self.model.config, dtype)

    @property
    def context_length(self) -> int:
        return int(self.model.config.max_position_embeddings)

    def encode(self, path: ScoredPath) -> EncodedPath:
        return self.kind.encode(path, self.encoding)

    @torch.no_grad()
    def scores(self, path: EncodedPath) -> list[float]:
        """p(class 1) of each step, the one score of a solution (its raw logit under problem_type regression),
        or each token's log-prob.
        """
        logits = self.model(input_ids=torch.tensor([path.ids])).logits[0].float()
        return [float(score) for score in self.kind.serving.scores(logits, path, self.model.config)]


def load_subject(name: Path, dtype: str) -> Subject:
    """A checkpoint of this project, in transformers' classes or in Qwen's PRM layout, or any causal language
    model; a folder, or user/name on the Hub, which is downloaded. Raises InputError.
    """
    folder = downloaded(str(name)) if is_hub_name(str(name)) else name
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json there; expected the folder of a model")
    config = load_model_config(str(folder))
    architecture = (config.architectures or [""])[0]
    if architecture.endswith("ForCausalLM") and not hasattr(config, CONFIG_KEY):
        tokenizer, kind = load_tokenizer(str(folder)), OthersLanguageModel()
        encoding = ScorerEncoding(
            tokenizer, EncodingFacts("chat" if tokenizer.chat_template else "plain", "\n", marker_token="")
        )
        model = kind.load_network(str(folder), dtype, trust_remote_code=False)
        return Subject(
            kind, str(name), folder, architecture, model, encoding, kind.facts(encoding, n_attempts=0)
        )
    found = load_checkpoint(str(folder), dtype)
    found.kind.serving.prepare(found.model)
    return Subject(found.kind, str(name), folder, architecture, found.model, found.encoding, found.facts)


def downloaded(name: str) -> Path:
    """The files of a model on the Hub; those that are here already are not sent again. Raises InputError
    where there is none.
    """
    with from_hub_or_folder(name):
        return Path(snapshot_download(name))


def read_paths(rows: Path, subject: Subject, n_rows: int) -> list[ScoredPath]:
    """The paths of up to n_rows of the rows, evenly spread. Raises InputError if these are not the rows of
    such a model.
    """
    chosen = evenly(read_scored_rows(rows, subject.kind, subject.facts), n_rows)
    return [path for row in chosen for path in subject.kind.paths(row, subject.encoding.facts.step_separator)]


def sample_paths(n_paths: int) -> list[ScoredPath]:
    """Right and wrong solutions of the built-in task, always the same ones."""
    return [question_path(question, steps) for question, steps in DEFAULT_TASK.sample_solutions(n_paths)]


def config_faults(served: Subject, wanted: Sequence[EncodedPath], found: Sequence[EncodedPath]) -> list[str]:
    """What a client of the served model would stumble over: padding, labels, problem_type, ids other than by
    the reference tokenizer.
    """
    faults, config = [], served.model.config
    if served.kind.serving.has_head:
        try:
            check_padding(config, served.name)
        except InputError as fault:
            faults.append(str(fault))
        settings = served.kind.head_settings(served.facts)
        expected = settings["id2label"]
        if config.id2label != expected or config.label2id != {
            label: index for index, label in expected.items()
        }:
            faults.append(
                f"labels: got id2label {config.id2label}, label2id {config.label2id}; expected {expected} "
                "and its inverse"
            )
        # By it servers choose what they apply to the logit
        if config.problem_type != settings.get("problem_type"):
            faults.append(f"problem_type: got {config.problem_type}, expected {settings.get('problem_type')}")
    n_other = sum(one != other for one, other in zip(wanted, found, strict=True))
    if n_other:
        faults.append(
            f"tokenizer: {n_other} of {len(wanted)} paths have other ids than with the tokenizer of the "
            "reference"
        )
    if max(len(path.ids) for path in wanted) > served.context_length:
        raise InputError(
            f"{served.name}: a path of {max(len(path.ids) for path in wanted)} tokens, context "
            f"{served.context_length}"
        )
    return faults


# --- comparing


@dataclass(frozen=True)
class Place:
    """Score number `index` of a path, as transformers and as vLLM has it."""

    path: int
    index: int
    transformers: float
    vllm: float

    @property
    def difference(self) -> float:
        return abs(self.transformers - self.vllm)


@dataclass(frozen=True)
class Comparison:
    """`read_by`: vLLM's pooling. `error`: why there is nothing to compare; the differences are None then."""

    read_by: str
    n_scores: int
    max_abs_difference: float | None
    mean_abs_difference: float | None
    worst: tuple[Place, ...] = ()
    error: str | None = None

    def is_within(self, tolerance: float) -> bool:
        if self.max_abs_difference is None or self.mean_abs_difference is None:
            return False
        return self.bounds(tolerance).hold(self.max_abs_difference, self.mean_abs_difference)

    def bounds(self, tolerance: float) -> Bounds:
        """Log-probs have none of their mean: those of improbable tokens stray too far in bfloat16."""
        return (
            Bounds(tolerance, None) if self.read_by == "PROMPT_LOGPROBS" else bounds(self.n_scores, tolerance)
        )


def compare(
    read_by: str, returned: Sequence[Any], served: Subject, reference: Subject, paths: Sequence[EncodedPath]
) -> Comparison:
    """`returned` holds, for each path, what `prm_train.publishing.vllm_scoring` got from vLLM pooled by
    `read_by`.
    """
    places: list[Place] = []
    read = partial(
        served.kind.serving.read, read_by=read_by, config=served.model.config, marker_id=served.marker_id
    )
    for number, (rows, path) in enumerate(zip(returned, paths, strict=True)):
        scores, wanted = read(rows, path=path), reference.scores(path)
        if len(scores) != len(wanted):
            error = f"path {number}: got {len(scores)} scores from vLLM, expected {len(wanted)}"
            return Comparison(read_by, 0, None, None, error=error)
        places += [
            Place(number, i, one, other) for i, (one, other) in enumerate(zip(wanted, scores, strict=True))
        ]
    worst = sorted(places, key=lambda place: (math.isnan(place.difference), place.difference), reverse=True)[
        :N_WORST
    ]
    mean = sum(place.difference for place in places) / len(places)
    return Comparison(read_by, len(places), worst[0].difference, mean, tuple(worst))
