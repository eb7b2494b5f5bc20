"""Random models of a few thousand weights, one of each architecture that `benchmarks.architectures` tries,
with a byte-level tokenizer.

Windows, chunks and state sizes are small, so that a text of some dozen tokens goes beyond them.
"""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast, set_seed

from data_gen.models.forward_settings import attention_settings
from data_gen.models.tokenizer import train_tokenizer

CONTEXT = 256
WINDOW = 40
TEXTS = [
    "Start with 3: plus 4, times 2.\n3 plus 4 = 7\n7 times 2 = 14, keep 4\nAnswer: 7 4",
    "user assistant Right so far? Yes No\n",
] * 20
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% "
    "endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

LAYERS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.2,
}
LLAMA = LAYERS | {"num_key_value_heads": 2, "intermediate_size": 48}
SMALLEST = {
    **{
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
    },
    "max_position_embeddings": CONTEXT,
}
WIDE = LLAMA | {"head_dim": 8}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT, "initializer_range": 0.2}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
DEEPSEEK = LLAMA | {
    "num_key_value_heads": 4,
    **{
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
        "n_shared_experts": 1,
        "n_group": 1,
    },
    **{
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "first_k_dense_replace": 1,
        "topk_group": 1,
    },
}
LINEAR = WIDE | {
    **{
        "num_hidden_layers": 4,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
    },
    "linear_value_head_dim": 8,
}
# The sizes of each; a name with a bar is an architecture under another setting.
SIZES: dict[str, dict[str, Any]] = {
    "qwen2": LLAMA,
    "qwen3": WIDE,
    "qwen2_moe": LLAMA | EXPERTS | {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "qwen3_moe": WIDE | EXPERTS | {"moe_intermediate_size": 16},
    "llama": LLAMA,
    "arcee": LLAMA,
    "smollm3": LLAMA,
    "mistral": WIDE | {"sliding_window": None},
    "mistral|window": WIDE | {"sliding_window": WINDOW},
    "ministral": WIDE | {"sliding_window": WINDOW},
    "mixtral": LLAMA | LOCAL_EXPERTS | {"sliding_window": None},
    "gemma": WIDE,
    "gemma2": WIDE
    | {
        "sliding_window": WINDOW,
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
    },
    "gemma3_text": WIDE | {"sliding_window": WINDOW, "query_pre_attn_scalar": 8},
    "phi": LLAMA,
    "phi3": LLAMA | {"sliding_window": None},
    "phi3|longrope": LLAMA
    | {
        "sliding_window": None,
        "original_max_position_embeddings": 64,
        "rope_parameters": {
            **{
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "short_factor": [1.0] * 4,
                "long_factor": [4.0] * 4,
            },
            "original_max_position_embeddings": 64,
        },
    },
    "starcoder2": LLAMA | {"sliding_window": None},
    "stablelm": LLAMA,
    "nemotron": LLAMA,
    "glm": WIDE,
    "glm4": WIDE,
    "seed_oss": WIDE,
    "exaone4": LLAMA | {"sliding_window": WINDOW, "sliding_window_pattern": 2},
    "helium": WIDE,
    "persimmon": LLAMA,
    "apertus": LLAMA,
    "gpt_oss": WIDE | LOCAL_EXPERTS | {"sliding_window": WINDOW},
    "deepseek_v3": DEEPSEEK | {"q_lora_rank": 8},
    "deepseek_v2": DEEPSEEK | {"q_lora_rank": None},
    "gpt2": GPT,
    "gpt_neox": LAYERS | {"intermediate_size": 48},
    "gpt_neo": {
        **{
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": CONTEXT,
        },
        **{"attention_types": [[["global", "local"], 1]], "window_size": WINDOW, "initializer_range": 0.2},
    },
    "gpt_bigcode": GPT,
    "gptj": GPT | {"rotary_dim": 4},
    "opt": {
        **{
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 48,
            "word_embed_proj_dim": 32,
        },
        **{"max_position_embeddings": CONTEXT, "init_std": 0.2},
    },
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
    "falcon": LAYERS,
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": CONTEXT, "initializer_range": 0.2},
    "olmo": LLAMA,
    "olmo2": LLAMA,
    "olmo3": LLAMA | {"sliding_window": WINDOW},
    "hunyuan_v1_dense": WIDE,
    "cohere": LLAMA,
    "cohere2": LLAMA | {"sliding_window": WINDOW},
    "granite": LLAMA
    | {
        "logits_scaling": 4.0,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
        "attention_multiplier": 0.2,
    },
    "granitemoe": LLAMA | LOCAL_EXPERTS,
    "olmoe": LLAMA | EXPERTS,
    "ernie4_5": WIDE,
    "qwen3_next": LINEAR | EXPERTS | {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "qwen3_5_text": LINEAR,
    "minimax": WIDE
    | {
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "layer_types": ["linear_attention", "full_attention"],
        "block_size": 16,
    },
    "jamba": LLAMA
    | {
        **{
            "num_hidden_layers": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
        },
        **{
            "num_experts": 2,
            "num_experts_per_tok": 1,
            "use_mamba_kernels": False,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
        },
    },
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "initializer_range": 0.2},
    "mamba2": {
        **{
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 8,
            "head_dim": 8,
            "num_heads": 8,
            "n_groups": 1,
            "chunk_size": 16,
        },
    },
    "lfm2": LLAMA | {"layer_types": ["conv", "full_attention"], "block_ff_dim": 48},
    "recurrent_gemma": {
        **{
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "intermediate_size": 48,
        },
        **{"lru_width": 32, "attention_window_size": WINDOW},
    },
    "falcon_h1": LLAMA
    | {
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
        "mamba_chunk_size": 16,
    },
}


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """Of a token a byte and some merges, with a chat template and a padding token that is not EOS."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL_TOKENS, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<pad>")
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_config(
    name: str,
    vocab_size: int,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
    **changes: Any,
) -> Any:
    ids = {
        "vocab_size": vocab_size,
        "bos_token_id": None,
        "eos_token_id": eos_token_id,
        "pad_token_id": pad_token_id,
    }
    return AutoConfig.for_model(name.partition("|")[0], **(ids | SIZES[name] | changes))


def tiny_model(auto_class: Any, config: Any) -> Any:
    """A random model, the same at every call."""
    set_seed(0)
    return auto_class.from_config(config, **attention_settings(config)).eval()


def write_tiny_model(name: str, folder: Path, **changes: Any) -> Path:
    """The same as a folder, with a tokenizer that its architecture does not replace."""
    tokenizer = (
        train_tokenizer(TEXTS, 320, CONTEXT) if name in ("qwen2", "qwen2_moe") else byte_level_tokenizer()
    )
    config = tiny_config(name, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id, **changes)
    tiny_model(AutoModelForCausalLM, config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
