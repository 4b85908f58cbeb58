"""The component view's forward pass beside the transformers library's own, on the same weights and tokens."""

from __future__ import annotations

from collections.abc import Iterator

import torch

import assay
from assay.model.transformer import Model
from assay.zoo.index import folder, names
from speed.timing import best

ROWS, POSITIONS = 16, 256


def rows() -> Iterator[tuple[str, float, str, float]]:
    """A comparison for each built-in model; with every head's output tapped, too."""
    from transformers import AutoModelForCausalLM

    for name in names():
        library = AutoModelForCausalLM.from_pretrained(folder(name), dtype=torch.float32).eval()
        view = assay.load(f"zoo:{name}")
        assert isinstance(view, Model)
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(1, view.config.vocab, (ROWS, min(POSITIONS, view.config.context)), generator=generator)
        taps = {("z", layer): (lambda value: None) for layer in range(view.config.layers)}
        with torch.no_grad():
            theirs = best(lambda m=library, t=tokens: m(t).logits)
            yield f"{name}, forward", best(lambda m=view, t=tokens: m(t)), "transformers, forward", theirs
            tapped = best(lambda m=view, t=tokens, k=taps: m.forward(t, k))
            yield f"{name}, forward, every head tapped", tapped, "transformers, forward", theirs
