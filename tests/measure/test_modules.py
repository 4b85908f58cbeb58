"""Claims about parts of any module: controls, bits, residual parts and rivals on a small classifier of digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import assay
from assay.errors import ModelError, TaskError
from assay.explanations import Constant, Keep, Remove
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.measure.controls.controls import ControlledClaim, controls
from assay.measure.controls.random_weights import randomised
from assay.measure.settings import Settings
from assay.methods import module_parts
from assay.methods.part_sets import exchangeable, other_sets
from assay.methods.part_sizes import largest, sizes
from assay.methods.similar_claims import by_attention
from assay.model.load import load
from assay.model.module import ModuleModel
from assay.names import Site
from assay.stats.fits import p_value
from assay.task.rows import control_rows
from tests.measure.digits import Spared, digits, task, workbench
from tests.oracles import two_components

CLAIMS = {
    "remove": Remove(["conv2[0]", "conv2[2]"]),
    "keep": Keep(["conv1", "conv2", "out"]),
    "constant": Constant(["hidden[1]", "hidden[2]", "hidden[5]"], "zero"),
}


@pytest.fixture(scope="module", params=list(CLAIMS))
def record(request):
    return assay.measure(CLAIMS[request.param], digits(), task(), controls=30, ablation="mean").record


def sites(*names: str) -> dict[Site, None]:
    return dict.fromkeys(digits().site(name) for name in names)


def named(draws) -> list[set[str]]:
    return [{str(site) for site in item} for item in draws.items]


def test_the_classifier_has_learned_something():
    logits = digits()(task().tokens)
    assert float((logits.argmax(-1) == task().answers[:, 0]).double().mean()) > 0.8


def test_shapes_are_those_of_the_submodules_that_are_called():
    found = module_parts.shapes(workbench())
    assert found == {"conv1": (6, 6, 6), "conv2": (8, 4, 4), "hidden": (24,), "out": (10,)}
    assert module_parts.channels(workbench()) == 6 + 8 + 24 + 10
    spared = load(Spared().eval())
    assert isinstance(spared, ModuleModel)
    assert module_parts.shapes(PlanContext(Runner(spared, task()))) == found


def test_channels_are_exchanged_within_their_submodule_and_fewer_than_a_thousand_are_enumerated():
    draws = other_sets(workbench(), sites("conv2[0]", "conv2[2]"), most=100, seed=0)
    assert draws.possible == len(draws.items) == 8 * 7 // 2 - 1
    assert draws.enumerated
    assert all(site.module == "conv2" for item in draws.items for site in item)
    assert "channels of the same submodules" in draws.how
    mixed = other_sets(workbench(), sites("conv1[1]", "conv2[0]"), most=100, seed=0)
    assert mixed.possible == 6 * 8 - 1
    many = other_sets(workbench(), sites(*(f"hidden[{i}]" for i in range(12))), most=20, seed=0)
    assert len(many.items) == 20 < many.possible
    assert not many.enumerated


def test_submodules_are_exchanged_within_their_class_and_else_with_any():
    assert named(other_sets(workbench(), sites("conv1", "conv2", "out"), 10, 0)) == [{"conv1", "conv2", "hidden"}]
    both = other_sets(workbench(), sites("hidden", "out"), 10, 0)
    assert {frozenset(item) for item in named(both)} == {
        frozenset(pair)
        for pair in (("conv1", "conv2"), ("conv1", "hidden"), ("conv1", "out"), ("conv2", "hidden"), ("conv2", "out"))
    }
    assert "any submodules" in both.how
    every = other_sets(
        workbench(), sites(*(f"conv1[{i}]" for i in range(6))), 5, 0
    )  # all there are: another convolution's
    assert "of the same class" in every.how
    assert {site.module for item in every.items for site in item} == {"conv1", "conv2"}


def test_no_set_holds_a_submodule_and_something_within_it():
    network = torch.nn.Sequential(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 12)),
        torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(12, 10)),
    )
    model = load(network.eval())
    assert isinstance(model, ModuleModel)
    at = PlanContext(Runner(model, task()))
    assert [site.module for site in module_parts.population(at, ("container 0", "Sequential", None))] == ["0", "1"]
    draws = other_sets(at, dict.fromkeys([Site("module", module="0"), Site("module", module="1.1")]), 10, 0)
    assert all(not module_parts.nested(model, item) for item in draws.items)
    assert module_parts.nested(at.model, [Site("module", module="0"), Site("module", module="0.1")])
    assert module_parts.nested(at.model, [Site("module", module="0"), Site("module", module="0", index=3)])


def test_attribution_is_gradient_times_deviation_from_the_mean():
    at = workbench()
    everything = exchangeable(at, sites("hidden[0]"))
    norm, attribution = sizes(at, everything)
    assert len(norm) == len(attribution) == 24
    network, reference = digits().network, task().reference
    assert reference is not None
    seen: dict[str, torch.Tensor] = {}
    handle = network.hidden.register_forward_hook(lambda m, i, o: seen.__setitem__("hidden", o))
    try:
        logits = network(reference.tokens)
    finally:
        handle.remove()
    slope = torch.autograd.grad(
        torch.nn.functional.cross_entropy(logits, reference.answers[:, 0], reduction="sum"), seen["hidden"]
    )[0]
    value = seen["hidden"].detach()
    by_hand = (slope * (value - value.mean(0))).abs().mean(0)
    top = sorted(range(24), key=lambda i: -attribution[everything[i]])[:6]
    assert len(set(top) & set(by_hand.topk(6).indices.tolist())) >= 4  # on a sample of the reference
    chosen = largest(at, sites("hidden[0]", "hidden[1]"), attribution)
    assert {site.index for site in chosen} == set(top[:2])


def test_controls_rank_the_claim_among_others_of_its_kind(record):
    block = record.controls
    group = block.groups[0]
    assert group.what.startswith("the claim made about")
    assert group.n == len(group.values) == min(30, group.possible) > 0
    assert group.measure == ("kl" if record.claim.kind == "remove" else "recovered")
    values = [v for v in group.values if v is not None]
    assert group.p == p_value(group.claim.value, values)
    assert [g.name for g in block.groups[1:]] == ["top norm", "top attribution"]
    assert block.random_weights.difference.value is not None
    assert block.random_weights_reason is None
    assert block.rows == 300
    record.model_dump_json()


def test_removal_controls_cost_what_removing_them_would():
    settings = Settings(controls=30, ablation=("mean",))
    at = workbench()
    claim = ControlledClaim(at, CLAIMS["remove"], settings, "mean", control_rows(at.task))
    block = controls(claim, random_weights=False)
    group = block.groups[0]
    assert group.enumerated
    name = group.names[3]
    other = assay.measure(Remove(name.split(", ")), digits(), task(), controls=0, ablation="mean").record
    assert group.values[3] == pytest.approx(other.table[0].kl_explained.value, rel=1e-5)


def test_bits_are_the_claims_own_and_stand_alone_ones_have_a_reason(record):
    bits = record.bits
    total = {"keep": 4, "remove": 4 + 48, "constant": 4 + 48}[record.claim.kind]
    size = len(record.claim.scope)
    choose = np.prod([(total - i) / (i + 1) for i in range(size)])
    constant = 2 if record.claim.kind == "constant" else 0
    assert bits.claim.bits == pytest.approx(2 + np.log2(total + 1) + np.log2(choose) + constant)
    assert bits.standalone.bits is None
    assert "transformers only" in bits.reason


def test_restoring_a_part_closes_a_share_with_an_interval(record):
    parts = record.residual.parts
    expected = {"keep": ("hidden",)}.get(record.claim.kind, record.claim.scope)
    assert tuple(row.part for row in parts) == expected
    assert all(row.closes.value is not None and row.closes.low is not None for row in parts)
    if len(parts) == 1:
        assert parts[0].closes.value == pytest.approx(1, abs=1e-6)


def test_what_is_not_defined_for_a_module_is_said(record):
    kind = record.claim.kind
    states = {check.name: check for check in record.checks}
    assert "no residual stream" in states["off-manifold"].evidence
    assert ("transformers only" if kind != "constant" else "not that its parts matter") in states["redundant"].evidence
    signal = record.residual.signal
    assert (kind == "keep") == (signal.value.value is not None)
    assert kind == "keep" or signal.value.reason
    assert bool(record.rivals) == (kind != "constant")
    assert kind != "constant" or "predict tokens" in record.rivals_reason
    assert record.compute.reason
    assert record.agreement.accuracy_model.value > 0.8
    assert bool(record.parts.components) == (kind != "keep")


def test_a_module_without_matrices_has_no_random_copy_and_says_so():
    with pytest.raises(ModelError, match="no weight matrix"):
        randomised(two_components.model())
    claim = Remove(["a"])
    record = assay.measure(claim, two_components.model(), two_components.task(), ablation="mean", controls=5).record
    assert record.controls.random_weights is None
    assert "no weight matrix" in record.controls.random_weights_reason
    assert record.controls.groups[0].names == ("b",)


class Blind(torch.nn.Module):
    """A classifier that gives no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = torch.nn.Linear(64, 12), torch.nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.two(self.one(x.flatten(1)))


def test_a_module_without_a_gradient_has_no_attribution_and_says_so():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = load(Blind().eval())
    assert isinstance(model, ModuleModel)
    at = PlanContext(Runner(model, task()))
    claim = dict.fromkeys([Site("module", module="one", index=0)])
    assert sizes(at, list(claim))[1] == {}
    with pytest.raises(TaskError, match="no gradient"):
        by_attention(at, claim, {})
    record = assay.measure(Remove(["one[0]"]), model, task(), ablation="mean", controls=5).record
    group = next(g for g in record.controls.groups if g.name == "top attribution")
    assert "no gradient" in group.reason
    assert "no gradient" in record.controls.random_weights_reason


def test_a_randomised_copy_leaves_the_module_alone_and_is_keyed():
    before = digits().fingerprint
    first, again, other = (randomised(digits(), "permuted", seed) for seed in (0, 0, 1))
    assert digits().fingerprint == before != first.fingerprint
    assert first.fingerprint == again.fingerprint != other.fingerprint
    found, how = by_attention(PlanContext(Runner(first, task())), sites("conv2[0]", "conv2[2]"), {})
    assert {site.module for site in found} == {"conv2"}
    assert "attribution" in how


@pytest.mark.parametrize("kind", ["keep", "remove", "constant"])
def test_every_listed_component_of_a_sequential_can_be_claimed(kind: str, tmp_path: Path):
    torch.manual_seed(0)
    parts = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
    model = assay.load(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), parts, torch.nn.Linear(8, 3)))
    assert model.components == ("0", "1", "2", "2.0", "2.1", "3")
    inputs, labels = torch.randn(60, 4), torch.arange(60) % 3
    np.savez(tmp_path / "data.npz", inputs=inputs.numpy(), labels=labels.numpy())
    bench = assay.Workbench(model, assay.Task.classify(model, inputs, labels))
    for name in model.components:
        claim = tmp_path / "claim.yaml"
        task = f"task: {{kind: classify, file: {tmp_path / 'data.npz'}}}"
        claim.write_text(f"model: mine\n{task}\nexplanation: {{kind: {kind}, components: [{name}]}}\n")
        record = bench.measure(claim, only=("headline",), ablation="mean").record
        assert record.claim.scope == (name,)
        python = {"keep": assay.Keep, "remove": assay.Remove, "constant": assay.Constant}[kind]([name])
        assert bench.measure(python, only=("headline",), ablation="mean").record.losses == record.losses
