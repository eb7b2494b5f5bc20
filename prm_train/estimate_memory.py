"""`prm-train estimate-memory`: what training a scorer will take on each GPU, before one is rented.

    prm-train estimate-memory --config configs/train_prm/lora.yaml --batch_size 2 prm-train estimate-memory
    --config configs/train_prm/snell.yaml --model Qwen/Qwen3-8B --n_gpus 8 --zero_stage 3

Reads the same settings as `train-prm` (those of an ORM take the same memory) and only the model's
config.json, never its weights. Counted:

    weights       of the network without a language model head; a bfloat16 copy beside float32 ones under
                  autocast
    gradients     of what is trained; under DDP a second time, in its buckets
    optimizer     AdamW: two moments; under DeepSpeed also a float32 copy of the weights
    activations   what autograd keeps of one forward pass of a decoder with RMS norms and a gated MLP (Llama,
                  Qwen2, Qwen3, Mistral), with an attention kernel that keeps no table of scores; with
                  checkpointing one layer's, and the input of the others
    workspace     gradients under way inside a layer, buckets of DeepSpeed, 5 % that the allocator cannot use

Not counted: the CUDA context (about 1 GiB) and rows longer than `max_length`, which training cuts.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.training.config import TrainPrmConfig
from prm_train.training.settings import LoraSettings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

GIB = 2**30
FLOAT32, BFLOAT16 = 4, 2
NF4 = 0.5 + 1 / 64  # bytes of a weight: 4 bits, and an 8-bit scale for every 64
BUCKET = 500_000_000  # elements of a DeepSpeed bucket, its default
ALLOCATOR_SLACK = 0.05


@dataclass(frozen=True, kw_only=True)
class EstimateMemoryConfig(TrainPrmConfig):
    """Estimate the GPU memory of a training. Takes the settings of `train-prm`, as a file or one by one, and
    these.
    """

    rows: Path = field(default=Path("rows.jsonl"), metadata={"help": "has no influence on the estimate"})
    output: Path = field(default=Path("scorer"), metadata={"help": "has no influence on the estimate"})
    n_gpus: Annotated[int, Ge(1)] = field(default=1, metadata={"help": "number of GPUs that train together"})
    zero_stage: Literal[0, 1, 2, 3] = field(
        default=0,
        metadata={
            "help": "ZeRO stage of DeepSpeed; 0: without DeepSpeed, one copy of the model on each GPU (DDP)"
        },
    )
    offload: bool = field(
        default=False,
        metadata={
            "help": "let DeepSpeed keep the optimizer's state, and in stage 3 the weights, in the memory of "
            "the host"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.offload and not self.zero_stage:
            raise ValueError("offload: got true with zero_stage 0, expected zero_stage 1, 2 or 3")


@dataclass(frozen=True)
class Network:
    """What of an architecture decides the memory: numbers of parameters, and widths in elements a token."""

    n_parameters: int
    n_trained: int
    n_in_linear_layers: int  # weights that autocast copies
    n_layers: int
    hidden: int
    intermediate: int
    queries: int
    keys: int  # or values
    normalizes_queries: bool


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each GPU at the fullest moment."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    workspace: float

    @property
    def total(self) -> float:
        return sum(getattr(self, each.name) for each in fields(self))


def read_network(model_config: "PreTrainedConfig", lora: LoraSettings | None) -> Network:
    """The PRM that training would build from this model, counted on the meta device: nothing is allocated.

    Raises InputError for an architecture whose layers are not those that the estimate is made for.
    """
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification

    text, where = (
        model_config.get_text_config(),
        f"model {model_config.name_or_path}: {model_config.model_type}",
    )
    if not any(
        type(model_config) in known._model_mapping
        for known in (AutoModelForTokenClassification, AutoModelForSequenceClassification)
    ):
        raise InputError(f"{where}: transformers has neither a PRM's nor an ORM's network for it")
    with torch.device("meta"):
        model = AutoModel.from_config(model_config)
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    n_gated = sum(
        1 for name, _ in model.named_modules() if name.endswith((".mlp.gate_proj", ".mlp.gate_up_proj"))
    )
    if n_gated < text.num_hidden_layers:
        raise InputError(
            f"{where}: {n_gated} of its {text.num_hidden_layers} layers have one gated MLP, expected all, as "
            "in Llama, Qwen2, Qwen3 or "
            "Mistral: what other architectures take is not known"
        )
    n_in_head = 2 * text.hidden_size + 2
    n_parameters = sum(parameter.numel() for parameter in model.parameters()) + n_in_head
    heads, head_size = (
        text.num_attention_heads,
        getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
    )
    n_adapters = sum(lora.rank * (layer.in_features + layer.out_features) for layer in linear) if lora else 0
    return Network(
        n_parameters=n_parameters + n_adapters,
        # The last of the three: the marker's embedding
        n_trained=n_adapters + n_in_head + text.hidden_size if lora else n_parameters,
        n_in_linear_layers=sum(layer.weight.numel() for layer in linear),
        n_layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        queries=heads * head_size,
        keys=(getattr(text, "num_key_value_heads", None) or heads) * head_size,
        normalizes_queries=any(name.endswith("q_norm") for name, _ in model.named_modules()),
    )


def layer_bytes(network: Network, stream: int, compute: int, lora: LoraSettings | None = None) -> int:
    """What autograd keeps of one token in one layer. `stream` and `compute` are the bytes of a number between
    and inside the layers.

    A norm keeps its input and, to train its own weight, the normalized input; a linear layer its input, to
    train its weight; attention its queries, keys, values and result; the gated MLP gate, activated gate, up
    projection and their product.
    """
    hidden, keys, queries, intermediate = network.hidden, network.keys, network.queries, network.intermediate
    attention = compute * 2 * (queries + keys)
    normalized = (queries + keys) if network.normalizes_queries else 0
    if lora is not None:
        # Frozen weights need no input
        kept = FLOAT32 * (2 * hidden + normalized) + attention + 3 * compute * intermediate
        return kept + _adapter_bytes(network, compute, lora)
    norms = hidden * 2 * (FLOAT32 + stream)
    # Autocast makes a copy for each of five layers that take one
    norm_results = hidden * (2 if stream == compute else 5) * compute
    return norms + norm_results + normalized * (FLOAT32 + compute) + attention + 4 * compute * intermediate


def _adapter_bytes(network: Network, compute: int, lora: LoraSettings) -> int:
    """What the float32 adapters of a layer's seven linear layers keep of a token: their input, as a copy of
    their own where it had to be converted or where dropout changed it (and which elements it dropped, a byte
    each), and its projection to `rank` numbers.
    """
    inputs = 5 * network.hidden + network.queries + network.intermediate
    if lora.dropout:
        kept = inputs * (FLOAT32 + 1)
    else:
        kept = FLOAT32 * (inputs if compute < FLOAT32 else 2 * network.hidden + network.intermediate)
    return kept + 7 * lora.rank * FLOAT32


def estimate_memory(network: Network, config: EstimateMemoryConfig) -> MemoryEstimate:
    """The estimate for one GPU of `config.n_gpus`."""
    # DeepSpeed converts the weights
    is_bfloat16 = config.dtype == "bfloat16" or (config.bf16_autocast and config.zero_stage > 0)
    stream = BFLOAT16 if is_bfloat16 else FLOAT32
    compute = BFLOAT16 if is_bfloat16 or config.bf16_autocast else FLOAT32
    activations, under_way = _activations(network, config, stream, compute)
    frozen: float = (network.n_parameters - network.n_trained) * stream
    if config.quantization == "nf4":
        frozen -= network.n_in_linear_layers * (stream - NF4)
    if config.zero_stage:
        weights, gradients, optimizer = _zero(network.n_trained, frozen, stream, config)
        under_way += 2 * min(BUCKET, network.n_trained) * stream
    else:
        # Adapters, head and marker have float32
        trained = network.n_trained * (FLOAT32 if config.lora else stream)
        weights = frozen + trained + (network.n_in_linear_layers * compute if compute < stream else 0)
        gradients = trained * (2 if config.n_gpus > 1 else 1)
        optimizer = 2 * trained
    counted = weights + gradients + optimizer + activations + under_way
    return MemoryEstimate(weights, gradients, optimizer, activations, under_way + ALLOCATOR_SLACK * counted)


def _activations(network: Network, config: TrainPrmConfig, stream: int, compute: int) -> tuple[float, float]:
    """Bytes kept of a forward pass of full rows, and bytes of the gradients under way inside one layer."""
    n_tokens = config.batch_tokens or config.batch_size * config.max_length
    one_layer = layer_bytes(network, stream, compute, config.lora)
    boundaries = network.n_layers * network.hidden * stream
    layers = one_layer + boundaries if config.gradient_checkpointing else network.n_layers * one_layer
    ends = network.hidden * (2 * FLOAT32 + 2 * stream)  # the last norm, and the head's input in float32
    under_way = 3 * network.intermediate * compute + 2 * network.hidden * stream
    return n_tokens * (layers + ends), n_tokens * under_way


def _zero(
    n_trained: int, frozen: float, stream: int, config: EstimateMemoryConfig
) -> tuple[float, float, float]:
    """Weights, gradients and optimizer state of one GPU under DeepSpeed, which keeps a float32 copy of the
    trained weights as well.
    """
    parts = config.n_gpus
    weights = (frozen + n_trained * stream) / (parts if config.zero_stage == 3 else 1)
    gradients = n_trained * stream / (parts if config.zero_stage >= 2 else 1)
    optimizer = 3 * n_trained * FLOAT32 / parts
    if config.offload:
        return (0.0 if config.zero_stage == 3 else weights), gradients, 0.0
    return weights, gradients, optimizer


def describe(network: Network, found: MemoryEstimate, config: EstimateMemoryConfig) -> str:
    """The estimate as a person reads it."""
    layout = (
        f"ZeRO stage {config.zero_stage}"
        if config.zero_stage
        else "DDP"
        if config.n_gpus > 1
        else "one process"
    )
    lines = [
        f"{config.model}: {network.n_parameters / 1e9:.3g} billion parameters, {network.n_trained / 1e9:.3g} "
        f"billion trained; {layout}, "
        f"{config.n_gpus} GPU{'s' * (config.n_gpus > 1)}, "
        f"{config.batch_tokens or config.batch_size * config.max_length} tokens a pass",
        *(f"  {each.name:<12} {getattr(found, each.name) / GIB:8.1f} GiB" for each in fields(found)),
        f"  {'total':<12} {found.total / GIB:8.1f} GiB a GPU, and about 1 GiB for the CUDA context",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(EstimateMemoryConfig, argv)
    network = read_network(_model_config(config), config.lora)
    sys.stdout.write(describe(network, estimate_memory(network, config), config) + "\n")


def _model_config(config: EstimateMemoryConfig) -> Any:
    from data_gen.models.pretrained import load_model_config
    from data_gen.problems.tasks import model_path

    path = model_path(config.model)
    return load_model_config(path, config.trust_remote_code)


if __name__ == "__main__":
    run_command(main, "estimate-memory")
