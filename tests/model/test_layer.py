"""The operations of a layer: what is computed of some heads, in fewer passes or over a given scale is the whole's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from assay.model.layer import PARTS, Layer, Norm, per_head
from tests.model.tiny import FAMILIES, tiny

SOME = np.array([1, 3, 0])


def layer_of(family: str) -> Layer:
    return tiny(family, dtype=torch.float64).weights.layers[1]


def normed(rows: int = 2, positions: int = 5) -> Tensor:
    return torch.randn(rows, positions, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_heads_alone_are_their_share_of_the_whole(family: str, grad: bool) -> None:
    layer, x = layer_of(family), normed()
    whole = dict(zip(PARTS, layer.project(x), strict=True))
    with torch.set_grad_enabled(grad):
        for part, expected in whole.items():
            torch.testing.assert_close(layer.project_part(x, part), expected)
            index = SOME if expected.shape[2] == layer.heads else np.array([1, 0, 1])
            found = layer.project_heads(x.flatten(0, 1).expand(3, -1, -1), part, index)
            torch.testing.assert_close(found.unflatten(1, x.shape[:2]), expected.permute(2, 0, 1, 3)[index])


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_write_what_the_output_map_adds_up(family: str) -> None:
    layer = layer_of(family)
    z = torch.randn(7, layer.heads, layer.d_head, dtype=torch.float64)
    alone = [layer.head_outputs(z[None, :, head], np.array([head]))[0] for head in range(layer.heads)]
    bias = 0.0 if layer.out.bias is None else layer.out.bias
    torch.testing.assert_close(torch.stack(alone).sum(0) + bias, layer.out(z.flatten(1)))


def test_what_is_written_into_room_is_what_is_given_back() -> None:
    layer = layer_of("gpt2")
    z, room = torch.randn(3, 7, layer.d_head, dtype=torch.float64), torch.empty(3, 7, 32, dtype=torch.float64)
    assert layer.head_outputs(z, SOME, room).data_ptr() == room.data_ptr()
    torch.testing.assert_close(room, layer.head_outputs(z, SOME))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_attention_is_the_pattern_times_the_values(family: str) -> None:
    layer = layer_of(family)
    q, k, v = (x.transpose(1, 2) for x in layer.project(normed()))
    torch.testing.assert_close(layer.attend(q, k, v), layer.pattern(q, k) @ per_head(v, layer.heads))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("centred", "bias"), [(True, True), (True, False), (False, False)])
def test_a_norm_in_fewer_passes_or_over_its_own_scale_is_the_norm(
    centred: bool, bias: bool, dtype: torch.dtype
) -> None:
    norm = Norm(torch.linspace(0.5, 2, 32, dtype=dtype), torch.ones(32, dtype=dtype) if bias else None, 1e-5, centred)
    x = (3 * normed()).to(dtype)
    for found in (norm.quick(x), norm.over(x, norm.scale(x)), norm(x, lambda scale: None)):
        torch.testing.assert_close(found, norm(x))
    torch.testing.assert_close(norm.over(x, 2 * norm.scale(x)), norm(x, lambda scale: 2 * scale))
