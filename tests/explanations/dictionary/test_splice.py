"""A spliced dictionary equals a plain hook on the library's own model, at every site and by every rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from assay.errors import ClaimError, ComponentError
from assay.explanations import Dictionary
from assay.names import parse_site
from assay.train.dictionary.code import SparseCode
from tests.explanations.dictionary.made import code
from tests.intervene.naive_cases import KINDS, assert_close, bench_of, logits, make
from tests.naive import hooks

DOUBLE = torch.float64


def naive(own: SparseCode, x: Tensor, kept: Tensor | None = None) -> Tensor:
    """By the definition, value by value, with all features in sight."""
    out = []
    for value in x.reshape(-1, x.shape[-1]):
        pre = own.encoder @ (value - own.before) + own.encoder_bias
        if own.rule == "topk":
            least = pre.sort(descending=True).values[own.k - 1]
            features = torch.where(pre >= least, pre, 0.0).clamp(min=0)
        elif own.rule == "threshold":
            features = torch.where(pre > own.threshold, pre, 0.0).clamp(min=0)
        elif own.rule == "gated":
            size = own.gate_scale.exp() * (own.encoder @ (value - own.before)) + own.gate_bias
            features = (pre > 0) * size.clamp(min=0)
        else:
            features = pre.clamp(min=0)
        features = features if kept is None else features * kept
        said = own.decoder_bias + sum(feature * row for feature, row in zip(features, own.decoder, strict=True))
        out.append(said if own.skip is None else said + own.skip @ value)
    return torch.stack(out).view(*x.shape[:-1], -1)


def spliced(own: SparseCode, x: Tensor, kept: Tensor | None = None, error: bool = False) -> Tensor:
    said = naive(own, x, kept)
    said = x + said - naive(own, x) if error else said
    said[:, 0] = x[:, 0]
    large = x.norm(dim=-1) > (float("inf") if own.most is None else own.most)
    return torch.where(large.unsqueeze(-1), x, said)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["r1", "m0", "a1.h2", "r2"])
def test_a_splice_equals_a_hook(kind, name):
    workbench, (_, network) = bench_of(kind, DOUBLE), make(kind, DOUBLE)
    width = workbench.model.config.d_head if ".h" in name else 32
    own = code(width).to("cpu", DOUBLE)
    plan = Dictionary({name: own}).plan(workbench, "mean")
    tokens = workbench.task.tokens

    def given(old: Tensor) -> Tensor:
        return spliced(own, old)

    site = parse_site(name)
    if site.kind == "stream":
        wanted = hooks.run(network, tokens, {}, streams={site.layer: given})
    else:
        wanted = hooks.run(network, tokens, {name: given})
    for reuse in (True, False):
        assert_close(logits(workbench, plan, reuse=reuse), wanted, 1e-5)


@pytest.mark.parametrize("rule", ["relu", "topk", "threshold", "gated"])
@pytest.mark.parametrize("options", [{}, {"without": [2, 5]}, {"keep": [1, 2, 3, 30]}, {"without": [4], "error": True}])
def test_every_rule_and_option(rule, options):
    workbench, (_, network) = bench_of("gpt2", DOUBLE), make("gpt2", DOUBLE)
    own = replace(code(rule=rule).to("cpu", DOUBLE), most=6.0)
    kept = None
    if options:
        kept = torch.ones(own.width, dtype=DOUBLE)
        if "keep" in options:
            kept[[i for i in range(own.width) if i not in options["keep"]]] = 0
        kept[options.get("without", [])] = 0
    plan = Dictionary({"r1": {"code": own, **options}}).plan(workbench, "mean")
    large = []

    def given(old: Tensor) -> Tensor:
        large.append(float((old[:, 1:].norm(dim=-1) > 6).double().mean()))
        return spliced(own, old, kept, options.get("error", False))

    wanted = hooks.run(network, workbench.task.tokens, {}, streams={1: given})
    assert_close(logits(workbench, plan), wanted, 1e-10)
    assert large[0] < 1


def test_all_heads_of_a_layer_side_by_side():
    workbench, (_, network) = bench_of("llama", DOUBLE), make("llama", DOUBLE)
    heads, d_head = workbench.model.config.heads, workbench.model.config.d_head
    own = code(heads * d_head).to("cpu", DOUBLE)
    names = [f"a1.h{head}" for head in range(heads)]
    values = hooks.values(network, workbench.task.tokens, names)
    said = spliced(own, torch.cat([values[name].double() for name in names], -1)).split(d_head, -1)
    wanted = hooks.run(network, workbench.task.tokens, dict(zip(names, said, strict=True)))
    assert_close(logits(workbench, Dictionary({"a1": own}).plan(workbench, "mean")), wanted, 1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "parallel"])
def test_a_transcoder_reads_what_the_mlp_reads(kind):
    workbench, (_, network) = bench_of(kind, DOUBLE), make(kind, DOUBLE)
    own = code().to("cpu", DOUBLE)
    own = replace(own, skip=torch.randn(32, 32, dtype=DOUBLE, generator=torch.Generator().manual_seed(3)))
    seen: dict[str, Tensor] = {}
    mlp = hooks._modules(hooks._layers(network)[1])[1]
    handle = mlp.register_forward_pre_hook(lambda module, args: seen.update(read=args[0]))
    written = hooks.values(network, workbench.task.tokens, ["m1"])["m1"]
    handle.remove()
    said = naive(own, seen["read"])
    said[:, 0] = written[:, 0]
    wanted = hooks.run(network, workbench.task.tokens, {"m1": said})
    claim = Dictionary({"m1": {"code": own, "reads": "m1.in"}})
    assert_close(logits(workbench, claim.plan(workbench, "mean")), wanted, 1e-5)


def test_hidden_values_of_an_mlp():
    workbench, (_, network) = bench_of("gpt2", DOUBLE), make("gpt2", DOUBLE)
    width = workbench.model.config.d_mlp[0]
    own = code(width).to("cpu", DOUBLE)
    names = [f"m0.n{n}" for n in range(width)]
    values = hooks.values(network, workbench.task.tokens, names)
    said = spliced(own, torch.cat([values[name].double() for name in names], -1))
    wanted = hooks.run(network, workbench.task.tokens, dict(zip(names, said.split(1, -1), strict=True)))
    assert_close(logits(workbench, Dictionary({"m0.hidden": own}).plan(workbench, "mean")), wanted, 1e-5)


def test_the_identity_recovers_everything_and_an_error_that_stays_changes_nothing():
    workbench = bench_of("gpt2", DOUBLE)
    eye, zeros = torch.eye(32, dtype=DOUBLE), torch.zeros(64, dtype=DOUBLE)
    rows = torch.cat([eye, -eye])
    identity = SparseCode(rows, zeros, rows, zeros[:32], zeros[:32])
    clean = logits(workbench, workbench.plan(()))
    assert_close(logits(workbench, Dictionary({"r1": identity}).plan(workbench, "mean")), clean, 1e-10)
    claim = Dictionary({"m0": {"code": code(), "error": True}})
    assert_close(logits(workbench, claim.plan(workbench, "mean")), clean, 1e-10)


@pytest.mark.parametrize(
    ("components", "error", "said"),
    [
        ({"r9": code()}, ComponentError, "'r9': layer 9 does not exist"),
        ({"r1": code(16)}, ClaimError, "reads values of width 16, and 'r1' of"),
        ({"r1": {"code": code(), "keep": [48]}}, ClaimError, "has no feature 48; it has 0 to 47"),
        ({"m1.in": code()}, ClaimError, "'m1.in' is what an MLP reads"),
        ({"m1.n3": code(1)}, ComponentError, "'m1.n3' is no site of a dictionary"),
        ({"a1": code(32), "a1.h0": code(8)}, ComponentError, "named twice"),
    ],
)
def test_what_is_no_dictionary_of_a_site_is_one_sentence(components, error, said):
    with pytest.raises(error) as caught:
        Dictionary(components).plan(bench_of("gpt2", torch.float32), "mean")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
