"""The decoding step of Llama-like networks on a CPU, written out.

The arithmetic of transformers' modules with fewer and larger operations, over weights that lie as products
read them fastest: where a network is tiny, calls cost more than arithmetic, and where it is not, the products
of a step of 64 rows take a quarter less time with weights that are stored (input, output)
(benchmarks/results/decoding_parts.json). Covers what Llama and Qwen2 are made of: RMS norms, rotary
positions, grouped queries with or without biases, gated SiLU.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers import PreTrainedModel

from data_gen.policies.engine.key_value_rows import Block

MODEL_TYPES = ("llama", "qwen2")
MAX_COPIED_SIZE = 512  # of the hidden states: beyond it copies of the weights are no longer small


def has_llama_decoder(model: PreTrainedModel) -> bool:
    """Whether `LlamaDecoder` may stand in for the model: float32, on a CPU, and made of plain modules."""
    config = model.config
    return (
        config.model_type in MODEL_TYPES
        and config.hidden_act == "silu"
        and not getattr(config, "attention_bias", False)
        and not getattr(config, "mlp_bias", False)
        and model.dtype == torch.float32
        and model.device.type == "cpu"
        and all(
            type(module) is nn.Linear
            for name, module in model.model.layers.named_modules()
            if name.endswith("_proj")
        )
    )


class LlamaDecoder:
    """Of a small network it holds copies of the weights as they are when it is made; the scale of each norm
    is folded into the weights that follow it. The weights of a larger one are laid out anew, and the model
    goes on with views of them: the same numbers, and no second copy.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        inner = model.model
        self._embedding = model.get_input_embeddings().weight
        self._rotary = inner.rotary_emb
        self._n_heads, self._n_kv_heads = model.config.num_attention_heads, model.config.num_key_value_heads
        self._scaling: float = inner.layers[0].self_attn.scaling
        is_copied = model.config.hidden_size <= MAX_COPIED_SIZE
        self._layers = [_Layer(layer, is_copied=is_copied) for layer in inner.layers]
        # The head may be the embedding itself. A product as wide as a vocabulary does not mind how it lies.
        self._head = (
            _transposed([model.lm_head.weight], inner.norm.weight) if is_copied else model.lm_head.weight.t()
        )
        self._scale = None if is_copied else inner.norm.weight
        self._eps = torch.tensor(inner.norm.variance_epsilon)

    def __call__(
        self, token_ids: Int[Tensor, " row"], positions: Int[Tensor, " row"], blocks: list[Block]
    ) -> Float[Tensor, "row vocabulary"]:
        """Logits of what follows each row's new token; its keys and values are written into the blocks."""
        x = self._embedding[token_ids]
        cos, sin = (part[0, :, None] for part in self._rotary(x, positions[None]))  # (row, 1, dim)
        half = cos.shape[-1] // 2
        sin = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
        n_rotated = self._n_heads + self._n_kv_heads
        for index, layer in enumerate(self._layers):
            states = torch.addmm(layer.qkv_bias, self._normed(x, layer.scale), layer.qkv).view(
                len(x), n_rotated + self._n_kv_heads, -1
            )
            rotated, value = states[:, :n_rotated], states[:, n_rotated:]
            rotated = (rotated * cos).addcmul_(rotated.roll(half, -1), sin)
            query, key = rotated[:, : self._n_heads], rotated[:, self._n_heads :]
            parts = [
                block.attend(index, query[block.span], key[block.span], value[block.span], self._scaling)
                for block in blocks
            ]
            x = torch.addmm(x, (parts[0] if len(parts) == 1 else torch.cat(parts)).flatten(1), layer.out)
            normed = self._normed(x, layer.mlp_scale)
            products = [torch.mm(normed, weight) for weight in layer.gate_up]
            gate, up = products if len(products) == 2 else products[0].chunk(2, dim=-1)
            x = torch.addmm(x, silu(gate, inplace=True).mul_(up), layer.down)
        return torch.mm(self._normed(x, self._scale), self._head)

    def _normed(
        self, x: Float[Tensor, "row hidden"], scale: Float[Tensor, " hidden"] | None
    ) -> Float[Tensor, "row hidden"]:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        normed = x * torch.addcmul(self._eps, norm, norm, value=1 / x.shape[-1]).rsqrt_()
        return normed if scale is None else normed.mul_(scale)


class _Layer:
    """One layer's weights, (input, output) in memory because such products are the faster; those that read
    the same input are joined. (Joined gates of a larger network are wider than its caches: two products are
    the faster there.) `scale` and `mlp_scale` are those of the norms where they are not folded.
    """

    def __init__(self, layer: Any, *, is_copied: bool) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        projections = [attention.q_proj, attention.k_proj, attention.v_proj]
        scales = (layer.input_layernorm.weight, layer.post_attention_layernorm.weight)
        self.scale: Tensor | None = None if is_copied else scales[0]
        self.mlp_scale: Tensor | None = None if is_copied else scales[1]
        if is_copied:
            self.qkv = _transposed([projection.weight for projection in projections], scales[0])
            self.gate_up = [_transposed([mlp.gate_proj.weight, mlp.up_proj.weight], scales[1])]
            self.out, self.down = _transposed([attention.o_proj.weight]), _transposed([mlp.down_proj.weight])
        else:
            self.qkv = _laid_out_anew(*projections)
            self.gate_up = [_laid_out_anew(mlp.gate_proj), _laid_out_anew(mlp.up_proj)]
            self.out, self.down = _laid_out_anew(attention.o_proj), _laid_out_anew(mlp.down_proj)
        biases = [projection.bias for projection in projections]
        self.qkv_bias = self.qkv.new_zeros(self.qkv.shape[1]) if biases[0] is None else torch.cat(biases)


def _transposed(weights: list[Tensor], scale: Tensor | None = None) -> Float[Tensor, "input output"]:
    weight = torch.cat(weights)
    return (weight if scale is None else weight * scale).t().contiguous()


def _laid_out_anew(*projections: nn.Linear) -> Float[Tensor, "input output"]:
    """The joined weights, which the projections share from now on."""
    # Parameters take no tensors that were made in inference mode.
    with torch.inference_mode(False), torch.no_grad():
        joined = _transposed([projection.weight for projection in projections])
        parts = joined.split([len(projection.weight) for projection in projections], dim=1)
        for projection, part in zip(projections, parts, strict=True):
            projection.weight.data = part.t()
    return joined
