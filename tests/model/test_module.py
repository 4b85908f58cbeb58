"""Any module: hooks see and replace submodules' outputs, live for one pass, complain when never called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from assay.errors import ComponentError, ModelError
from assay.model.load import load
from assay.model.module import ModuleModel
from assay.names import Site


class CNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.conv1(x)).relu()).mean((2, 3)))


class Paired(nn.Module):
    """An LSTM gives a tuple; the whole gives a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.out = nn.Linear(5, 2)

    def forward(self, x: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        return {"score": self.out(self.lstm(x)[0][:, -1]) * scale}


def opened(network: nn.Module) -> ModuleModel:
    model = load(network)
    assert isinstance(model, ModuleModel)
    return model


@pytest.fixture
def cnn() -> CNN:
    torch.manual_seed(0)
    return CNN().train()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_output_is_the_module_in_evaluation_mode_and_its_state_stays(cnn: CNN, images: Tensor) -> None:
    model, mean = opened(cnn), cnn.norm.running_mean
    assert mean is not None
    before = mean.clone()
    logits = model(images)
    assert cnn.training
    assert torch.equal(mean, before)
    assert torch.equal(logits, cnn.eval()(images))


def test_tap_sees_and_replaces_a_channel(cnn: CNN, images: Tensor) -> None:
    model, seen = opened(cnn), []
    model.forward(images, {("conv1", 0): seen.append})
    assert torch.equal(seen[0], cnn.conv1(images))

    def without_third(value: Tensor) -> Tensor:
        value = value.clone()
        value[:, 3] = 0
        return value

    edited = model.forward(images, {("conv1", 0): without_third})
    cnn.eval()
    hidden = cnn.norm(without_third(cnn.conv1(images))).relu().mean((2, 3))
    assert torch.allclose(edited, cnn.head(hidden))
    assert torch.equal(model.forward(images, {("conv1", 0): torch.clone}), model(images))


def test_names_are_those_of_the_submodules(cnn: CNN) -> None:
    model = opened(cnn)
    assert model.components == ("conv1", "norm", "drop", "head", "unused")
    assert model.site("conv1[3]") == Site("module", None, 3, "conv1")
    with pytest.raises(ComponentError, match="'conv2' is no submodule of CNN; did you mean 'conv1'"):
        model.site("conv2[3]")
    mlp = opened(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
    assert mlp.components == ("0", "1", "2")
    seen: list[Tensor] = []
    mlp.forward(torch.ones(2, 4), {("1", 0): seen.append})
    assert seen[0].shape == (2, 8)
    assert mlp.parameters == 4 * 8 + 8 + 8 * 2 + 2


def test_hooks_and_mode_are_restored_after_an_exception(cnn: CNN, images: Tensor) -> None:
    model = opened(cnn)

    def fails(value: Tensor) -> None:
        raise RuntimeError("in a tap")

    with pytest.raises(RuntimeError, match="in a tap"):
        model.forward(images, {("conv1", 0): torch.clone, ("norm", 0): fails})
    with pytest.raises(ModelError, match="'nowhere' is no submodule"):
        model.forward(images, {("conv1", 0): torch.clone, ("nowhere", 0): torch.clone})
    assert not any(module._forward_hooks for module in cnn.modules())
    assert all(module.training for module in cnn.modules())


def test_a_hook_that_never_fired_is_an_error(cnn: CNN, images: Tensor) -> None:
    with pytest.raises(ModelError, match="the submodule 'unused' of CNN was not called in the forward pass"):
        opened(cnn).forward(images, {("unused", 0): torch.clone})


def test_gradient_flows_to_edits_and_not_to_the_weights(cnn: CNN, images: Tensor) -> None:
    shift = torch.zeros(4, 1, 1, requires_grad=True)
    opened(cnn).forward(images, {("norm", 0): lambda value: value + shift}).square().sum().backward()
    assert shift.grad is not None
    assert bool(shift.grad.any())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in cnn.parameters())


def test_structured_inputs_and_outputs() -> None:
    torch.manual_seed(0)
    network, x = Paired().eval(), torch.randn(2, 7, 3)
    model = opened(network)
    with torch.no_grad():
        expected = network(x)["score"]  # an LSTM takes another path with gradients
        assert torch.equal(model(x), expected)
        assert torch.equal(model((x,)), expected)
        assert torch.allclose(model({"x": x, "scale": 2.0}), 2 * expected)
        zeroed = model.forward(x, {("lstm", 0): torch.zeros_like})
    assert network.out.bias is not None
    assert torch.equal(zeroed, network.out.bias.expand(2, 2))
    with pytest.raises(ModelError, match="an output of type str holds no tensor"):
        opened(Silent())(x)


class Silent(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return "nothing"


def test_an_index_that_is_not_there_and_inputs_that_do_not_fit_are_one_sentence(cnn: CNN, images: Tensor) -> None:
    model = opened(cnn).on(images)
    assert model.site("conv1[3]").index == 3
    with pytest.raises(ComponentError, match=r"^'conv1\[4\]': 'conv1' gives 4 values, 0 to 3$"):
        model.site("conv1[4]")
    with pytest.raises(ModelError, match=r"^CNN does not take these inputs, of shape \[2, 8, 8\] an example: "):
        opened(cnn).on(images.expand(-1, 2, -1, -1))


def test_a_network_that_draws_at_random_is_refused(images: Tensor) -> None:
    class Noisy(CNN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.randn(3)

    with pytest.raises(ModelError, match=r"^Noisy draws at random in evaluation mode: of one example it gives two"):
        opened(Noisy()).on(images)
