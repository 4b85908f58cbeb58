"""What the family files share: views of the library's tensors, RoPE's frequencies, and refusals by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from assay.errors import ModelError
from assay.model.layer import Linear, Norm

STATIC_ROPE = ("default", "linear", "llama3", "yarn")  # frequencies that do not depend on the input's length


def linear(module: nn.Module) -> Linear:
    """A map as a view: `nn.Linear` keeps [out, in], the library's `Conv1D` keeps [in, out].

    Raises:
        ModelError: for another kind of module (an adapter, quantised weights), which may compute something else.
    """
    if type(module).__name__ not in ("Linear", "Conv1D"):
        raise ModelError(
            f"a {type(module).__name__} stands where a linear map is expected; merge adapters, do not quantise"
        )
    weight, bias = module.get_parameter("weight").detach(), getattr(module, "bias", None)
    stored = weight if isinstance(module, nn.Linear) else weight.T
    return Linear(stored, None if bias is None else bias.detach())


def layer_norm(module: nn.Module) -> Norm:
    assert isinstance(module, nn.LayerNorm)
    bias = None if module.bias is None else module.bias.detach()
    return Norm(module.weight.detach(), bias, module.eps, centred=True)


def rms_norm(module: nn.Module) -> Norm:
    eps = module.variance_epsilon
    assert isinstance(eps, float)
    return Norm(module.get_parameter("weight").detach(), None, eps, centred=False)


def is_zero(linear: Linear) -> bool:
    """Whether a map writes nothing at all: an MLP that ends in it is dropped."""
    return not linear.weight.any() and (linear.bias is None or not linear.bias.any())


def activation(name: Any) -> Callable[[Tensor], Tensor]:
    from transformers.activations import ACT2FN

    if name not in ACT2FN:
        raise ModelError(f"the activation {name!r} is unknown to the transformers library")
    return ACT2FN[name]


def frequencies(config: Any, rotary: Any, width: int) -> tuple[Tensor, float]:
    """RoPE's inverse frequencies [width / 2] as the library holds them (a model that was cast has rounded ones), in
    float32, and the factor on cosines and sines.

    Raises:
        ModelError: for a kind of RoPE whose frequencies change with the input's length, or an unknown one.
    """
    settings = dict(config.rope_parameters or {})
    if "rope_theta" not in settings and any(isinstance(value, dict) for value in settings.values()):
        raise ModelError("RoPE with settings that differ between layers (rope_parameters) is not supported")
    kind = settings.get("rope_type", "default")
    if kind not in STATIC_ROPE:
        supported = ", ".join(STATIC_ROPE)
        raise ModelError(f"RoPE of type {kind!r} (rope_parameters) is not supported; supported: {supported}")
    found = rotary.inv_freq.detach().float()
    if 2 * len(found) != width:
        raise ModelError(f"RoPE of type {kind!r} turns {2 * len(found)} of {width} dims here, which is not supported")
    return found, float(rotary.attention_scaling)


def refuse_features(config: Any) -> None:
    """Refuses what the view does not compute, by name.

    Raises:
        ModelError: for soft-capping, experts, cross-attention or quantised weights.
    """
    for name in ("attn_logit_softcapping", "final_logit_softcapping", "logits_soft_cap"):
        if getattr(config, name, None):
            raise ModelError(f"soft-capping ({name}={getattr(config, name)}) is not supported")
    for name in ("num_experts", "num_local_experts", "n_routed_experts"):
        if (getattr(config, name, None) or 0) > 1:
            raise ModelError(f"mixtures of experts ({name}={getattr(config, name)}) are not supported")
    if getattr(config, "add_cross_attention", False):
        raise ModelError("cross-attention (add_cross_attention=True) is not supported")
    if getattr(config, "quantization_config", None):
        raise ModelError("quantised weights (quantization_config) are not supported; load the model unquantised")


def window(config: Any, positions: int) -> int | None:
    """The longest input for which a sliding window hides nothing, where the model has one that could."""
    kinds = set(getattr(config, "layer_types", None) or ())
    unknown = kinds - {"full_attention", "sliding_attention"}
    if unknown:
        raise ModelError(f"attention of type {sorted(unknown)[0]!r} (layer_types) is not supported")
    size = getattr(config, "sliding_window", None)
    if size is None or (kinds and "sliding_attention" not in kinds) or size >= positions:
        return None
    return int(size)
