"""Types and shapes are checked while tests run: at the first calls of a function, in each test anew."""

from __future__ import annotations

import jaxtyping
import pytest
import torch

from assay.names import parse_site
from assay.task.metrics import TokenScores, kl_divergence
from tests.conftest import CALLS

TWO, THREE = torch.zeros(2, 3), torch.zeros(3, 3)


@pytest.mark.parametrize("turn", [1, 2])
def test_a_wrong_type_or_shape_is_an_error(turn):
    right = torch.zeros(2, dtype=torch.bool)
    for _ in range(CALLS):
        with pytest.raises(jaxtyping.TypeCheckError):
            parse_site(3)
        with pytest.raises(jaxtyping.TypeCheckError):
            kl_divergence(TWO, THREE)
        with pytest.raises(jaxtyping.TypeCheckError):
            TokenScores(torch.zeros(2), torch.zeros(3), right, right)
    with pytest.raises(RuntimeError, match="size of tensor"):  # torch's own word: this call is one too many
        kl_divergence(TWO, THREE)
