"""A call of a submodule is a place of its own: what is seen on an example, how it is named, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from assay.errors import ComponentError, ModelError
from assay.intervene.components import complement, expand
from assay.model.load import load
from assay.model.module import ModuleModel


class Shared(nn.Module):
    """One activation for two layers of different widths, in the name of the first block."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.block = nn.Sequential(nn.Linear(4, 7), self.act)
        self.out = nn.Linear(5, 3)
        self.inner = nn.Linear(7, 5)
        self.spare = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.act(self.inner(self.block(x))))


def opened(network: nn.Module, *shape: int) -> ModuleModel:
    torch.manual_seed(0)
    model = load(network.eval())
    assert isinstance(model, ModuleModel)
    return model.on(torch.randn(3, *shape))


def test_every_call_is_a_place_with_its_own_shape() -> None:
    model = opened(Shared(), 4)
    assert model.components == ("act#1", "act#2", "block", "block.0", "out", "inner")
    assert {name: place.shape for name, place in model.places.items()} == {
        "act#1": (7,), "act#2": (5,), "block": (7,), "block.0": (7,), "out": (3,), "inner": (5,)
    }  # fmt: skip
    assert model.places["act#1"].within == ("block",)
    assert model.places["act#2"].within == ()


def test_a_name_without_a_call_is_all_of_its_calls() -> None:
    model = opened(Shared(), 4)
    assert [str(site) for site in expand(["act", "out"], model)] == ["act#1", "act#2", "out"]
    assert [str(site) for site in expand(["act[3]"], model)] == ["act#1[3]", "act#2[3]"]
    assert [str(site) for site in expand(["act#2", "out#1"], model)] == ["act#2", "out"]
    with pytest.raises(ComponentError, match="'act#3': 'act' is called 2 times; did you mean 'act#"):
        expand(["act#3"], model)
    with pytest.raises(ComponentError, match="named twice"):
        expand(["act", "act#1"], model)


def test_parts_are_the_innermost_places_with_parameters() -> None:
    model = opened(Shared(), 4)
    assert model.parts == ("block.0", "out", "inner")
    assert complement(expand(["block", "out", "inner"], model), model) == []
    assert [str(site) for site in complement(expand(["act", "out"], model), model)] == ["block.0", "inner"]
    bare = opened(nn.Sequential(nn.ReLU(), nn.Flatten()), 4)
    assert bare.parts == ("0", "1")  # nothing has parameters, so everything is a part


def test_a_tap_sees_its_own_call_alone() -> None:
    model, x = opened(Shared(), 4), torch.randn(3, 4)
    seen: dict[str, Tensor] = {}
    model.forward(x, {(name, 0): (lambda v, name=name: seen.__setitem__(name, v)) for name in model.components})
    assert {name: tuple(v.shape) for name, v in seen.items()} == {
        n: (3, *(p.shape or ())) for n, p in model.places.items()
    }
    zeroed, network = model.forward(x, {("act#2", 0): torch.zeros_like}), model.network
    assert isinstance(network, Shared)
    assert torch.equal(zeroed, network.out.bias.expand(3, 3))  # the first call is left as it is


def test_a_call_that_is_not_named_is_refused_by_name() -> None:
    x = torch.randn(3, 4)
    for model in (opened(Shared(), 4), load(Shared().eval())):
        with pytest.raises(ModelError, match=r"'act' is called 2 times or more on these inputs, .* such as 'act#2'"):
            model.forward(x, {("act", 0): torch.zeros_like})
    with pytest.raises(ModelError, match="'spare' of Shared was not called"):
        opened(Shared(), 4).forward(x, {("spare", 0): torch.zeros_like})


class Varying(nn.Module):
    """One layer for each row, one more call where the input says so, and an output whose rows are not the examples."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.again, self.wide, self.table = (
            nn.Linear(4, 4),
            nn.Linear(4, 4),
            nn.Linear(4, 4),
            nn.Embedding(4, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = torch.stack([self.each(row) for row in x]) + self.table(torch.arange(4)).mean(0)
        for _ in range(1 + int(x.max() > 100)):
            h = self.again(h)
        both = self.wide(torch.cat([h, -h]))
        return both[: len(x)] + both[len(x) :]


def test_what_cannot_be_told_apart_by_examples_is_refused_by_name() -> None:
    model, x = opened(Varying(), 4), torch.randn(3, 4)
    for name, why in (
        ("each", "is called 1 times for one example and 2 times for two"),
        ("wide", r"shape \[2, 4\] for one example and \[4, 4\] for two"),
        ("table", "its value has no axis of examples"),
    ):
        with pytest.raises(ModelError, match=f"{name}' of Varying cannot be replaced: .*{why}"):
            model.forward(x, {(name, 0): torch.zeros_like})
    assert model.parts == ("each", "again", "wide")
    with pytest.raises(
        ModelError, match=r"'again' is called 2 times or more .* depends on the input .* name another submodule"
    ):
        model.forward(x + 1000, {("again", 0): torch.zeros_like})
