"""The searches for circuits by name, in a sentence each, without importing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay import plugins
from assay.errors import ClaimError, nearest


@dataclass(frozen=True)
class Search:
    """A search.

    Attributes:
        what: it does, for the help; takes_seed: whether another method's scores can begin it; slow: whether it runs
            circuits one after the other.
    """

    what: str
    takes_seed: bool = False
    slow: bool = False


SEARCHES: dict[str, Search] = {
    "attribution": Search("gradient x (value - fill) at the model's run (EAP)"),
    "integrated_attribution": Search("the same, averaged over inputs between fill and model (EAP-IG)"),
    "integrated_attribution_activations": Search("the same, a path for each layer's outputs"),
    "integrated_attribution_kl": Search("EAP-IG on inputs, of KL to the model"),
    "gim": Search("EAP whose gradients self-repair hides less (Edin et al. 2025)"),
    "saliency": Search("gradient x value"),
    "information_flow": Search("what is near what the reader reads (Ferrando and Voita 2024)"),
    "activation_norm": Search("size of what an edge carries"),
    "weight_norm": Search("size of the product of the two maps"),
    "composition": Search("composition scores of heads' circuits (Elhage et al. 2021)"),
    "first_layers": Search("early layers first"),
    "random": Search("a random order"),
    "exact": Search("every edge cut alone, exactly", slow=True),
    "patching": Search("every component filled alone, exactly; an edge is as good as the worse of its ends", slow=True),
    "acdc": Search("ACDC at one or more thresholds tau", takes_seed=True, slow=True),
    "masks": Search("hard-concrete gates learned to a target size", takes_seed=True, slow=True),
    "greedy": Search("the worst of a method's best edges dropped by exact cost", takes_seed=True, slow=True),
}


def searches() -> dict[str, Search]:
    """Ours, and those that other packages add."""
    return SEARCHES | {name: Search("a plug-in") for name in plugins.names(plugins.METHODS, SEARCHES)}


def check_methods(methods: Sequence[str], seed_with: str | None = None) -> None:
    """Raises `ClaimError` for no, unknown or repeated methods, and for a seed that none of them takes."""
    known = searches()
    if not methods:
        raise ClaimError("no method is given" + nearest("", known))
    for what, names in (("method", methods), ("method for 'seed-with'", [] if seed_with is None else [seed_with])):
        for name in names:
            if name not in known:
                raise ClaimError(f"unknown {what} {name!r}" + nearest(name, known))
    for name in methods:
        if list(methods).count(name) > 1:
            raise ClaimError(f"the method {name!r} is given twice")
    able = [name for name, search in SEARCHES.items() if search.takes_seed]
    if seed_with is not None and not set(methods) & set(able):
        raise ClaimError(
            f"no method is given that the scores of {seed_with!r} could seed; {', '.join(able)} can be seeded"
        )
    if seed_with in able:
        raise ClaimError(f"{seed_with!r} cannot seed another search, as it would need a seed itself")
