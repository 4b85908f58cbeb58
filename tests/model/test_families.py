"""Every family and option: the view gives the library's logits, each tap sees the library's value, the parts sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from assay.model.transformer import LAYER_KINDS, NOWHERE, Model
from tests.model.tiny import tiny, tokens

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    "gpt2 untied": ("gpt2", {"tie": False}),
    "gpt2 attention only": ("gpt2", {"d_mlp": None}),
    "gpt2 scaled by layer": ("gpt2", {"scale_attn_by_inverse_layer_idx": True, "layers": 3}),
    "gpt2 unscaled, relu": ("gpt2", {"scale_attn_weights": False, "activation_function": "relu"}),
    "llama": ("llama", {}),
    "llama ungrouped": ("llama", {"kv_heads": 4}),
    "llama one key": ("llama", {"kv_heads": 1}),
    "llama wide heads": ("llama", {"d_head": 12, "tie": False}),
    "llama biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama attention only": ("llama", {"d_mlp": None}),
    "llama linear rope": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}}),
    "llama llama3 rope": ("llama", {"rope_parameters": LLAMA3}),
    "llama yarn rope": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1e4,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
            }
        },
    ),
    "mistral": ("mistral", {"tie": False}),
    "mistral wide window": ("mistral", {"sliding_window": 64}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"d_head": 16}),
    "qwen3 biases": ("qwen3", {"attention_bias": True, "tie": False}),
    "neox": ("gpt_neox", {"tie": False}),
    "neox tied": ("gpt_neox", {"tie": True}),
    "neox in sequence": ("gpt_neox", {"use_parallel_residual": False}),
    "neox all rotated": (
        "gpt_neox",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0}},
    ),
    "neox half rotated, no biases": (
        "gpt_neox",
        {
            "attention_bias": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
        },
    ),
    "neox attention only": ("gpt_neox", {"d_mlp": None}),
}
every_case = pytest.mark.parametrize("case", list(CASES))


def both(case: str, dtype: torch.dtype) -> tuple[Model, Any, Tensor]:
    family, options = CASES[case]
    key = {name: value for name, value in options.items() if not isinstance(value, dict)}
    if len(key) == len(options):
        model = tiny(family, dtype=dtype, **options)
    else:  # a dictionary cannot be a key of the cache
        from assay.model.load import load
        from tests.model.tiny import build

        found = load(build(family, **options).to(dtype))
        assert isinstance(found, Model)
        model = found
    return model, model.source, tokens(model, length=30)


@contextmanager
def exact_norms(network: nn.Module) -> Iterator[None]:
    """The library's RMSNorm without its detour through float32, which would hide all differences below 1e-7."""
    kinds = {type(module) for module in network.modules() if type(module).__name__.endswith("RMSNorm")}
    before = {kind: kind.forward for kind in kinds}

    def forward(self: Any, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon))

    try:
        for kind in kinds:
            kind.forward = forward
        yield
    finally:
        for kind, method in before.items():
            kind.forward = method


def rms(value: Tensor) -> float:
    return float(value.double().square().mean().sqrt())


@every_case
@torch.no_grad()
def test_view_equals_the_library_to_1e10_in_float64(case: str) -> None:
    model, network, ids = both(case, torch.float64)
    with exact_norms(network):
        expected = network(ids, use_cache=False).logits
    assert float((model(ids) - expected).abs().max()) < 1e-10 * max(1.0, rms(expected))


@every_case
@torch.no_grad()
def test_view_equals_the_library_to_1e5_of_rms_in_float32(case: str) -> None:
    model, network, ids = both(case, torch.float32)
    expected = network(ids, use_cache=False).logits
    assert float((model(ids) - expected).abs().max()) < 1e-5 * rms(expected)
    assert model.proof.logits < 1e-5
    assert model.proof.layers < 3
    assert 0 <= model.proof.noise_kl <= model.proof.noise < 1e-4


@every_case
@torch.no_grad()
def test_parts_sum_to_the_stream_at_every_layer(case: str) -> None:
    model, _, ids = both(case, torch.float64)
    seen = record(model, ids)
    total = seen["input", 0].clone()
    for layer in range(model.config.layers):
        assert_close(seen["stream", layer], total)
        heads = torch.einsum("bphe,hed->bpd", seen["z", layer], model.W_O(layer))
        assert_close(seen["attention", layer], heads + model.attention_bias(layer))
        total += seen["attention", layer]
        if model.config.d_mlp[layer] is not None:
            total += seen["mlp", layer]
    assert_close(seen["stream", model.config.layers], total)


@every_case
@torch.no_grad()
def test_restart_from_a_stream_equals_the_full_run(case: str) -> None:
    model, _, ids = both(case, torch.float64)
    seen = record(model, ids)
    full = model(ids)
    for start in range(model.config.layers + 1):
        assert_close(model.forward(ids, stream=seen["stream", start], start=start), full)
    assert_close(model.forward(ids, positions=slice(3, 7)), full[:, 3:7])
    some = torch.tensor([1, 29, 4])
    assert_close(model.forward(ids, positions=some), full[:, some])


@every_case
@torch.no_grad()
def test_taps_see_what_hooks_on_the_library_see(case: str) -> None:
    model, network, ids = both(case, torch.float64)
    taken: dict[str, Tensor] = {}
    handles = []
    for name, module in network.named_modules():

        def hook(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
            if args and isinstance(args[0], Tensor):
                taken[name + "<"] = args[0]
            taken[name + ">"] = output[0] if isinstance(output, tuple) else output

        handles.append(module.register_forward_hook(hook))
    try:
        with exact_norms(network):
            output = network(ids, use_cache=False, output_hidden_states=True)
    finally:
        for handle in handles:
            handle.remove()
    seen = record(model, ids)
    heads, width = model.config.heads, model.config.d_head
    for layer in range(model.config.layers):
        assert_close(seen["stream", layer], output.hidden_states[layer])
        block, attention, out, mlp, down = _paths(model.family, layer)
        assert_close(seen["z", layer].flatten(2), taken[f"{out}<"])
        assert_close(seen["attention", layer], taken[f"{out}>"])
        if model.config.d_mlp[layer] is not None:
            assert_close(seen["neurons", layer], taken[f"{down}<"])
            assert_close(seen["mlp", layer], taken[f"{mlp}>"])
        if model.family == "gpt2":
            q, k, v = taken[f"{attention}.c_attn>"].split(heads * width, dim=-1)
        elif model.family == "gpt_neox":
            q, k, v = (
                x.flatten(2) for x in taken[f"{attention}.query_key_value>"].unflatten(-1, (heads, 3, width)).unbind(3)
            )
        else:
            after = "norm" if model.family == "qwen3" else "proj"
            q, k, v = taken[f"{attention}.q_{after}>"], taken[f"{attention}.k_{after}>"], taken[f"{attention}.v_proj>"]
        for kind, value in (("q", q), ("k", k), ("v", v)):
            assert_close(seen[kind, layer].flatten(2), value.flatten(2) if value.ndim == 4 else value)
        first, second = _norms(model.family, block)
        for scale, name in (("scale1", first), ("scale2", second)):
            if (scale, layer) in seen:
                assert_close(seen[scale, layer], _divisor(model, network.get_submodule(name), taken[f"{name}<"]))
        assert_close(model.norm(seen["stream", layer], layer), taken[f"{first}>"])
    read = model.norm(seen["stream", 1], 1)
    for kind in ("Q", "K", "V") if model.family != "qwen3" else ("V",):  # what is left of q, k and v is the bias
        bias = seen[kind.lower(), 1] - torch.einsum("bpd,hde->bphe", read, getattr(model, f"W_{kind}")(1))
        assert_close(bias, bias[:1, :1].expand_as(bias))
    assert_close(seen["input", 0], output.hidden_states[0])
    assert_close(model.values(seen["stream", 1], 1), seen["v", 1])
    assert_close(seen["logits", model.config.layers], output.logits)
    assert_close(model.norm(seen["stream", model.config.layers], 0, "final") @ model.W_U, output.logits)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "gpt_neox"])
@torch.no_grad()
def test_pattern_is_what_the_library_attends(family: str) -> None:
    from tests.model.tiny import build

    network = build(family).float()
    network.set_attn_implementation("eager")
    expected = network(torch.arange(1, 21)[None], use_cache=False, output_attentions=True).attentions
    model = tiny(family)
    seen = record(model, torch.arange(1, 21)[None])
    for layer in range(model.config.layers):
        assert torch.allclose(seen["pattern", layer], expected[layer], atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "qwen2", "qwen3", "gpt_neox"])
def test_gradient_of_every_tap_equals_finite_differences(family: str) -> None:
    model = tiny(family, dtype=torch.float64)
    ids = tokens(model, rows=2, length=6)
    layers = model.config.layers
    keys = [("input", 0), ("stream", layers), ("scale", layers), ("logits", layers), *((k, 1) for k in LAYER_KINDS)]
    plain = record(model, ids)
    for key in keys:
        direction = torch.randn(plain[key].shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

        def loss(amount: Tensor, key: tuple[str, int] = key, direction: Tensor = direction) -> Tensor:
            return model.forward(ids, {key: lambda value: value + amount * direction})[:, -1].square().sum()

        amount = torch.zeros((), dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(loss(amount), amount)
        step = torch.tensor(1e-5, dtype=torch.float64)
        with torch.no_grad():
            expected = (loss(step) - loss(-step)) / 2e-5
        assert torch.allclose(slope, expected, rtol=1e-5, atol=1e-6), key


def test_taps_fire_in_the_order_of_the_computation_and_can_replace() -> None:
    model = tiny("llama")
    ids, order = tokens(model), []
    keys = [(kind, layer) for layer in range(2) for kind in LAYER_KINDS] + [("stream", 2), ("scale", 2), ("logits", 2)]

    def note(key: tuple[str, int]) -> Callable[[Tensor], None]:
        return lambda value: order.append(key)

    model.forward(ids, {key: note(key) for key in reversed([("input", 0), *keys])})
    assert order == [("input", 0), *keys]
    zeroed = model.forward(ids, {("stream", 2): torch.zeros_like})
    assert not zeroed.any()


def test_an_edit_does_not_reach_earlier_positions() -> None:
    model = tiny("gpt_neox", dtype=torch.float64)
    ids = tokens(model)

    def late(value: Tensor) -> Tensor:
        return torch.cat([value[:, :8], value[:, 8:] + 1], dim=1)

    changed = (model.forward(ids, {("z", 0): late}) - model(ids)).abs().amax((0, 2))
    assert not changed[:8].any()
    assert bool(changed[8:].all())


@torch.no_grad()
def test_half_precision_passes_the_looser_proof() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        for family in ("gpt2", "llama", "gpt_neox"):
            assert tiny(family, dtype=dtype).dtype == dtype


@torch.no_grad()
def test_weights_are_shared_with_the_library_model() -> None:
    for family in ("gpt2", "llama", "qwen3", "gpt_neox"):
        model = tiny(family, tie=False)
        own = {p.untyped_storage().data_ptr() for p in model.source.parameters()}
        views = [model.W_E, model.W_U, *(f(1) for f in (model.W_Q, model.W_K, model.W_V, model.W_O))]
        assert all(view.untyped_storage().data_ptr() in own for view in views)


def record(model: Model, ids: Tensor) -> dict[tuple[str, int], Tensor]:
    layers = model.config.layers
    keys = [(kind, layer) for layer in range(layers) for kind in LAYER_KINDS]
    keys += [("input", 0), ("stream", layers), ("scale", layers), ("logits", layers)]
    seen: dict[tuple[str, int], Tensor] = {}

    def keep(key: tuple[str, int]) -> Callable[[Tensor], None]:
        return lambda value: seen.__setitem__(key, value.detach())

    model.forward(ids, {key: keep(key) for key in keys})
    return seen


def assert_close(value: Tensor, expected: Tensor) -> None:
    assert value.shape == expected.shape
    assert float((value - expected).abs().max()) < 1e-10 * max(1.0, rms(expected))


def _paths(family: str, layer: int) -> tuple[str, str, str, str, str]:
    if family == "gpt2":
        block = f"transformer.h.{layer}"
        return block, f"{block}.attn", f"{block}.attn.c_proj", f"{block}.mlp", f"{block}.mlp.c_proj"
    if family == "gpt_neox":
        block = f"gpt_neox.layers.{layer}"
        return block, f"{block}.attention", f"{block}.attention.dense", f"{block}.mlp", f"{block}.mlp.dense_4h_to_h"
    block = f"model.layers.{layer}"
    return block, f"{block}.self_attn", f"{block}.self_attn.o_proj", f"{block}.mlp", f"{block}.mlp.down_proj"


def _norms(family: str, block: str) -> tuple[str, str]:
    names = ("ln_1", "ln_2") if family == "gpt2" else ("input_layernorm", "post_attention_layernorm")
    return f"{block}.{names[0]}", f"{block}.{names[1]}"


def _divisor(model: Model, norm: Any, x: Tensor) -> Tensor:
    if model.config.norm == "layer":
        return (x.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    return (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()


@every_case
@torch.no_grad()
def test_a_pass_without_logits_ends_with_its_last_tap_and_gives_the_same_values(case: str) -> None:
    """Every kind at every layer, alone: the value is the full pass's, and no later layer or MLP is run."""
    model, _, ids = both(case, torch.float32)
    layers = model.config.layers
    for kind, layer in record(model, ids):
        if kind in ("scale", "logits"):
            continue
        seen: list[Tensor] = []
        taps = {(kind, layer): seen.append}
        model.forward(ids, taps)
        logits = model.forward(ids, taps, positions=NOWHERE)
        assert logits.shape[1] == 0
        assert torch.equal(*seen)
        assert model.depth(taps) == {"input": 0, "stream": layer}.get(kind, min(layers, layer + 1))


@torch.no_grad()
def test_layers_behind_the_last_tap_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ran = tiny("gpt2", layers=4), []
    layer = Model.run_layer
    monkeypatch.setattr(
        Model, "run_layer", lambda self, x, index, *rest: ran.append(index) or layer(self, x, index, *rest)
    )
    model.forward(torch.tensor([[1, 2, 3]]), {("z", 1): lambda value: None}, positions=NOWHERE)
    assert ran == [0, 1]
