"""Maps on a network whose two variables are planted in rotated subspaces of one layer, beside idle dimensions."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from assay import Task, Workbench
from assay.errors import ClaimError
from assay.explanations import Hypothesis
from assay.explanations.hypothesis.hypothesis import PERTURBED
from assay.explanations.hypothesis.maps import Couplings, Reversible, numbers, rounded
from assay.explanations.hypothesis.places import Place
from assay.explanations.hypothesis.scrub import LEFT
from assay.find.hypothesis.maps import Fitting, MapSearch
from assay.intervene.plan import Mix, Own

VALUES, IDLE = 3, 4
WIDTH = 2 * VALUES + IDLE
VARIABLES = {
    "u": lambda example: int(example.inputs[:VALUES].argmax()),
    "v": lambda example: int(example.inputs[VALUES : 2 * VALUES].argmax()),
    "answer": lambda u, v: u + v,
}


class Added(nn.Module):
    """One-hot u, one-hot v and noise, rotated; then logits of u + v by one neuron for each pair."""

    def __init__(self, seed: int = 0):
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(seed)))[0]
        self.turned, self.pairs = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, VALUES**2)
        self.out = nn.Linear(VALUES**2, 2 * VALUES - 1, bias=False)
        which = torch.zeros(VALUES**2, WIDTH)
        self.out.weight.data.zero_()
        for u in range(VALUES):
            for v in range(VALUES):
                which[u * VALUES + v, u] = which[u * VALUES + v, VALUES + v] = 1
                self.out.weight.data[u + v, u * VALUES + v] = 20.0
        self.turned.weight.data = rotation
        self.pairs.weight.data, self.pairs.bias.data = which @ rotation.T, torch.full((VALUES**2,), -1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.pairs(self.turned(x))))


@cache
def bench(seed: int, n: int = 140, network: int = 0) -> Workbench:
    random = torch.Generator().manual_seed(seed)
    u, v = (torch.randint(VALUES, (n,), generator=random) for _ in range(2))
    noise = torch.randn(n, IDLE, generator=random)
    inputs = torch.cat([nn.functional.one_hot(u, VALUES), nn.functional.one_hot(v, VALUES), noise], 1).float()
    return Workbench(
        Added(network), Task.classify(Added(network), inputs[20:], (u + v)[20:], reference=(inputs[:20], (u + v)[:20]))
    )


@cache
def search(width: int = VALUES - 1) -> MapSearch:
    claim = Hypothesis(VARIABLES, {"u": ["turned"], "answer": ["pairs", "out"]})
    return MapSearch(bench(1), bench(2), bench(3), claim, "turned", {"u": width, "v": width})


def test_a_planted_rotated_subspace_is_found_and_no_permuted_variable():
    how = Fitting(steps=600, batch=120)
    fit = search().fit(how)
    score = search().score(fit)
    assert (score.worst(LEFT).value or 0) > 0.99
    assert (score.worst(PERTURBED).value or 0) > 0.99
    basis = fit.claim.places["u"][0].map
    assert isinstance(basis, Tensor)
    planted = Added().turned.weight.data[:, :VALUES].detach()  # what is within it tells the values of u apart
    apart = planted - planted.mean(1, keepdim=True)
    assert float((basis.T @ apart).norm() / apart.norm()) > 0.95
    chance = search().score(search().fit(how, permuted=True), permuted=True)
    assert (chance.worst(LEFT).value or 0) < 0.5
    assert score.accuracy(0, LEFT, chance).low is not None
    assert (score.accuracy(0, LEFT, chance).low or 0) > 0.3
    bits, each = search().bits(fit)
    assert each < 8
    assert bits == each * 2 * (VALUES - 1) * (WIDTH - VALUES + 1)


def test_a_subspace_that_is_too_narrow_is_not_enough():
    fit = search(1).fit(Fitting(steps=300, batch=120))
    assert (search(1).score(fit).worst(LEFT).value or 0) < 0.7


def test_a_reversible_map_finds_them_too():
    fit = search().fit(Fitting("reversible", steps=600, batch=120, hidden=8, depth=4))
    assert (search().score(fit).worst(LEFT).value or 0) > 0.95
    assert fit.reached < fit.start / 4


def test_a_reversible_map_is_one():
    net = Couplings(7, 4, 5, 0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    x, y = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(2)).unbind()
    torch.testing.assert_close(net.inverse(net(x)), x, atol=1e-4, rtol=1e-4)
    part = Reversible(net, 2, 4)
    mixed = net(Mix(part, Own(), Own()).of(x, y))
    torch.testing.assert_close(mixed[:, 2:4], net(x)[:, 2:4], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mixed[:, 4:], net(y)[:, 4:], atol=1e-4, rtol=1e-4)
    assert numbers(part) == sum(p.numel() for p in net.parameters())
    coarse = rounded(part, 3)
    assert isinstance(coarse, Reversible)
    weight = next(coarse.net.parameters())
    assert len(weight.unique()) <= 8
    assert not torch.equal(weight, next(net.parameters()))


def test_maps_of_one_place_overlap_or_not():
    basis = torch.linalg.qr(torch.randn(WIDTH, 4, generator=torch.Generator().manual_seed(0)))[0]
    apart = {"u": [Place("turned", basis[:, :2])], "v": [Place("turned", basis[:, 2:])]}
    assert len(Hypothesis(VARIABLES, apart).scope(bench(1).model)) == 2
    for wrong in ([Place("turned", basis[:, 1:3])], ["turned"]):
        with pytest.raises(ClaimError, match="the variable 'v': 'turned' overlaps 'turned' of 'u'"):
            Hypothesis(VARIABLES, {**apart, "v": wrong}).scope(bench(1).model)


def test_what_cannot_be_searched_for_is_one_sentence():
    claim = Hypothesis(VARIABLES, {"u": ["turned"]})
    with pytest.raises(ClaimError, match="no variable 'w' can be searched for; valid: 'u', 'v'"):
        MapSearch(bench(1), bench(2), bench(3), claim, "turned", {"w": 1})
    with pytest.raises(ClaimError, match="'turned' has 10 numbers, and 12 coordinates were asked for"):
        MapSearch(bench(1), bench(2), bench(3), claim, "turned", {"u": 6, "v": 6})
