"""Tiny transformers with random weights, of every family and option, for tests everywhere. Cached: never change one."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import nn

from assay.model.load import load
from assay.model.transformer import Model

FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gpt_neox")


@cache
def tiny(
    family: str = "llama", *, dtype: torch.dtype = torch.float32, tokenizer: bool = False, **options: Any
) -> Model:
    """The component view of `tiny_network(family, **options)`; with `tokenizer`, of words w1, w2, ..."""
    given = tiny_tokenizer(options.get("vocab", 50)) if tokenizer else None
    model = load(tiny_network(family, dtype=dtype, **options), tokenizer=given)
    assert isinstance(model, Model)
    return model


@cache
def tiny_tokenizer(vocab: int = 50) -> Any:
    """Words "<s>" (id 0, BOS), "w1", "w2", ... split at white space."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<s>": 0} | {f"w{index}": index for index in range(1, vocab)}
    inner = Tokenizer(models.WordLevel(words, unk_token="w1"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="w1")


@cache
def tiny_network(family: str = "llama", *, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """The library's model; the same weights for every dtype, up to rounding. Options as in `build`."""
    return build(family, **options).to(dtype).eval()


def build(
    family: str,
    *,
    layers: int = 2,
    d: int = 32,
    heads: int = 4,
    kv_heads: int | None = None,
    d_head: int | None = None,
    d_mlp: int | None = 48,
    vocab: int = 50,
    context: int = 64,
    seed: int = 0,
    tie: bool = True,
    **more: Any,
) -> Any:
    """A fresh network in float64, that the caller may change. d_mlp None: attention only; `more`: library settings.

    kv_heads defaults to half the heads, where the family can share them.
    """
    import transformers as library

    common: dict[str, Any] = {"vocab_size": vocab, "tie_word_embeddings": tie, "bos_token_id": 0, "eos_token_id": 0}
    if family == "gpt2":
        sizes = {"n_layer": layers, "n_embd": d, "n_head": heads, "n_inner": d_mlp or 1, "n_positions": context}
        config: Any = library.GPT2Config(**common, **sizes, **more)
    else:
        sizes = {
            "num_hidden_layers": layers,
            "hidden_size": d,
            "num_attention_heads": heads,
            "intermediate_size": d_mlp or 1,
            "max_position_embeddings": context,
        }
        if family != "gpt_neox":
            sizes |= {"num_key_value_heads": kv_heads or max(1, heads // 2)}
        if family == "mistral":
            more.setdefault("sliding_window", None)
        if family == "qwen3" or d_head is not None:
            sizes |= {"head_dim": d_head or d // heads}
        kinds = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "gpt_neox": "GPTNeoX"}
        config = getattr(library, kinds[family] + "Config")(**common, **sizes, **more)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = library.AutoModelForCausalLM.from_config(config).double()
    randomise(network, seed, zero_mlp=d_mlp is None)
    return network.eval()


def randomise(network: nn.Module, seed: int, *, zero_mlp: bool = False) -> None:
    """Weights at which everything matters: gains about 1, biases and a logit spread that are not small."""
    generator = torch.Generator().manual_seed(seed)
    outputs = ("mlp.c_proj", "mlp.down_proj", "mlp.dense_4h_to_h")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.ndim == 2:
                parameter.copy_(noise * (1.0 if "w" + "te" in name or "embed" in name else parameter.shape[-1] ** -0.5))
            else:
                parameter.copy_(noise * 0.2 + float("bias" not in name))
            if zero_mlp and any(output in name for output in outputs):
                parameter.zero_()


def tokens(model: Model, rows: int = 3, length: int = 12, seed: int = 0) -> torch.Tensor:
    """Random ids, BOS first where the model has one."""
    ids = torch.randint(1, model.config.vocab, (rows, length), generator=torch.Generator().manual_seed(seed))
    if model.bos is not None:
        ids[:, 0] = model.bos
    return ids
