"""A checkpoint as transformers computes it, and how far what vLLM returned for the same ids is from that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM

from data_gen.models.pretrained import from_hub_or_folder, is_hub_name, load_model, load_model_config
from data_gen.models.tokenizer import load_tokenizer
from data_gen.problems.tasks import DEFAULT_TASK
from data_gen.records.chats import Message
from data_gen.records.steps import join_steps
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CONFIG_KEY, CheckpointFacts
from prm_train.checkpoints.load import head_settings, load_checkpoint
from prm_train.encoding.paths import EncodingFacts, ScorerEncoding
from prm_train.examples.evenly import evenly
from prm_train.networks.heads import head_name
from prm_train.networks.special_ids import check_padding
from prm_train.publishing.export import LOGIT_TOLERANCES, TOLERANCES, Bounds, bounds
from prm_train.publishing.plain_checkpoints import load_plain
from prm_train.publishing.scored_paths import EncodedPath, ScoredPath, encode_path, paths_of, read_scored_rows

N_WORST = 5


@dataclass(frozen=True)
class Subject:
    """A model in evaluation mode and how to encode for it. `kind` decides what its scores are: see `scores`.

    `name` is what it was called, `folder` where its files are: elsewhere, if it came from the Hub.

    Language models of others have no facts of ours; their paths are read as revisions are, without the EOS.
    """

    kind: Literal["prm", "orm", "causal_lm"]
    name: str
    folder: Path
    architecture: str
    model: Any
    encoding: ScorerEncoding
    facts: CheckpointFacts | None

    @property
    def marker_id(self) -> int | None:
        return self.encoding.marker_id if self.kind == "prm" else None

    def tolerance(self, dtype: str) -> float:
        """Largest difference that rounding makes. In bfloat16 every number has 8 bits: scores of one network are up to 0.02 from its own in
        float32, whichever library computes them, and the log-probs of its tokens up to 0.1.
        """
        is_score = self.kind == "prm" or (self.kind == "orm" and self.model.config.problem_type != "regression")
        return (TOLERANCES if is_score else LOGIT_TOLERANCES)[dtype]

    @property
    def context_length(self) -> int:
        return int(self.model.config.max_position_embeddings)

    def encode(self, path: ScoredPath) -> EncodedPath:
        if self.facts is not None:
            return encode_path(path, self.encoding, self.facts.kind)
        solution = self.encoding.encode_text(join_steps(path.steps, self.encoding.facts.step_separator))
        return EncodedPath((*self.encoding.encode_chat(path.messages), *solution), ())

    @torch.no_grad()
    def scores(self, path: EncodedPath) -> list[float]:
        """p(class 1) of each step, the one score of a solution (its raw logit under problem_type regression), or each token's log-prob."""
        logits = self.model(input_ids=torch.tensor([path.ids])).logits[0].float()
        if self.kind == "prm":
            found = logits[list(path.positions)].softmax(-1)[:, 1]
        elif self.kind == "orm":
            found = logits if self.model.config.problem_type == "regression" else logits.sigmoid()
        else:
            found = logits[:-1].log_softmax(-1).gather(1, torch.tensor(path.ids[1:])[:, None])[:, 0]
        return [float(score) for score in found]


def load_subject(name: Path, dtype: str) -> Subject:
    """A PRM or ORM of this project, in transformers' classes or in Qwen's PRM layout, or any causal language model; a folder, or user/name
    on the Hub, which is downloaded. Raises InputError.
    """
    folder = downloaded(str(name)) if is_hub_name(str(name)) else name
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json there; expected the folder of a model")
    config = load_model_config(str(folder))
    architecture = (config.architectures or [""])[0]
    if architecture.endswith("ForCausalLM") and hasattr(config, CONFIG_KEY):
        checkpoint = load_plain(str(folder))
        model = checkpoint.model.to(getattr(torch, dtype))
        return Subject("causal_lm", str(name), folder, architecture, model, checkpoint.encoding, checkpoint.facts)
    if architecture.endswith("ForCausalLM"):
        tokenizer = load_tokenizer(str(folder))
        facts = EncodingFacts("chat" if tokenizer.chat_template else "plain", "\n", marker_token="")
        model = load_model(AutoModelForCausalLM, str(folder), dtype=getattr(torch, dtype)).eval()
        return Subject("causal_lm", str(name), folder, architecture, model, ScorerEncoding(tokenizer, facts), None)
    model, encoding, checkpoint_facts = load_checkpoint(str(folder), dtype)
    head = getattr(model, head_name(model)).float()
    head.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))  # vLLM's heads compute in float32
    return Subject("orm" if checkpoint_facts.kind == "orm" else "prm", str(name), folder, architecture, model, encoding, checkpoint_facts)


def downloaded(name: str) -> Path:
    """The files of a model on the Hub; those that are here already are not sent again. Raises InputError where there is none."""
    with from_hub_or_folder(name):
        return Path(snapshot_download(name))


def read_paths(rows: Path, subject: Subject, n_rows: int) -> list[ScoredPath]:
    """The paths of up to n_rows of the rows, evenly spread. Raises InputError if these are not the rows of such a model."""
    facts = subject.facts or CheckpointFacts("revision", subject.encoding.facts, "", "last")
    chosen = evenly(read_scored_rows(rows, facts), n_rows)
    return [path for row in chosen for path in paths_of(row, facts.encoding.step_separator)]


def sample_paths(n_paths: int) -> list[ScoredPath]:
    """Right and wrong solutions of the built-in task, always the same ones."""
    return [ScoredPath((Message("user", question),), steps) for question, steps in DEFAULT_TASK.sample_solutions(n_paths)]


def config_faults(served: Subject, wanted: Sequence[EncodedPath], found: Sequence[EncodedPath]) -> list[str]:
    """What a client of the served model would stumble over: padding, labels, problem_type, ids other than by the reference tokenizer."""
    faults, config = [], served.model.config
    if served.kind != "causal_lm" and served.facts is not None:
        try:
            check_padding(config, served.name)
        except InputError as fault:
            faults.append(str(fault))
        settings = head_settings(served.facts)
        expected = settings["id2label"]
        if config.id2label != expected or config.label2id != {label: index for index, label in expected.items()}:
            faults.append(f"labels: got id2label {config.id2label}, label2id {config.label2id}; expected {expected} and its inverse")
        if config.problem_type != settings.get("problem_type"):  # by it servers choose what they apply to the logit
            faults.append(f"problem_type: got {config.problem_type}, expected {settings.get('problem_type')}")
    n_other = sum(one != other for one, other in zip(wanted, found, strict=True))
    if n_other:
        faults.append(f"tokenizer: {n_other} of {len(wanted)} paths have other ids than with the tokenizer of the reference")
    if max(len(path.ids) for path in wanted) > served.context_length:
        raise InputError(f"{served.name}: a path of {max(len(path.ids) for path in wanted)} tokens, context {served.context_length}")
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
        return Bounds(tolerance, None) if self.read_by == "PROMPT_LOGPROBS" else bounds(self.n_scores, tolerance)


def compare(read_by: str, returned: Sequence[Any], served: Subject, reference: Subject, paths: Sequence[EncodedPath]) -> Comparison:
    """`returned` holds, for each path, what `prm_train.publishing.vllm_scoring` got from vLLM pooled by `read_by`."""
    places: list[Place] = []
    for number, (rows, path) in enumerate(zip(returned, paths, strict=True)):
        scores, wanted = served_scores(read_by, rows, served, path), reference.scores(path)
        if len(scores) != len(wanted):
            error = f"path {number}: got {len(scores)} scores from vLLM, expected {len(wanted)}"
            return Comparison(read_by, 0, None, None, error=error)
        places += [Place(number, i, one, other) for i, (one, other) in enumerate(zip(wanted, scores, strict=True))]
    worst = sorted(places, key=lambda place: (math.isnan(place.difference), place.difference), reverse=True)[:N_WORST]
    mean = sum(place.difference for place in places) / len(places)
    return Comparison(read_by, len(places), worst[0].difference, mean, tuple(worst))


def served_scores(read_by: str, returned: Any, served: Subject, path: EncodedPath) -> list[float]:
    """The scores as a client takes them from what vLLM returned: of a PRM those of the class that the checkpoint labels good."""
    if served.kind == "orm":
        return [returned]
    if served.kind == "causal_lm":
        return list(returned)
    good = next((index for index, label in served.model.config.id2label.items() if label == "good"), 1)
    tags = [position for position, token in enumerate(path.ids) if token == served.marker_id]
    if read_by == "STEP" and len(tags) != len(returned):
        return [row[good] for row in returned]
    # STEP gives a row for each marker, of which a step that holds the separator has several
    rows = dict(zip(tags if read_by == "STEP" else range(len(returned)), returned, strict=True))
    return [rows[position][good] for position in path.positions if position in rows]
