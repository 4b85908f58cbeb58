"""The methods that search, by name: what each does, needs, takes and costs. Light: none is imported before it runs.

Those for edges give `EdgeScores` (`edge_methods.edge_scores`); all but the slow ones are also run again to find a claim
like another one (`similar_claims.search`). Other packages add searches for edges by the entry-point group
`assay.methods`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from assay import plugins
from assay.errors import ClaimError, nearest

TAUS = (1e-4, 1e-3, 1e-2, 1e-1)  # nats a token
HALF = 0.5  # of a pass: what a change somewhere in the model recomputes, as a mean
EAP_IG = 12.0  # passes of a row: 5 steps, forward and backward, and the ends


@dataclass(frozen=True)
class Options:
    """Options of searches for edges.

    Attributes:
        size: edges that masks and greedy aim at.
        tau: thresholds of ACDC, in nats a token; with several an edge is the better the more of the runs keep it.
        steps: how many learned masks take.
        seed_with: the method whose scores begin a search that takes them.
        seed: decides what is drawn.
    """

    size: int
    tau: tuple[float, ...] = TAUS
    steps: int = 400
    seed_with: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class SearchSize:
    """What a cost depends on: a model's edges and components, how many rows are searched on, and the options."""

    edges: int
    components: int
    rows: int
    options: Options


@dataclass(frozen=True)
class Method:
    """A search.

    Attributes:
        what: one phrase for the help, on what the method does.
        function: its file in this package, and its name there.
        needs: of a search for edges: "edges" (their names alone), "weights", "passes" (runs of the model on rows, with
            gradients or without) or "trials" (circuits run one after the other); "claim": a claim, whose like it finds.
        takes: what else it is called with: options, "begin" (another method's scores), "advance" (what to call with
            every step), "shuffle" (the draw of a shuffled task).
        fixed: arguments that make the function this method.
        begin: the method whose scores it begins from where no other is named.
        passes: forward passes of one row that it takes in all; a backward pass counts as one.
    """

    what: str
    function: str
    needs: Literal["edges", "weights", "passes", "trials", "claim"] = "passes"
    takes: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    begin: str | None = None
    passes: Callable[[SearchSize], float] = lambda job: 0.0

    @property
    def on_shuffled(self) -> bool:
        """Whether a shuffled task, in which there is nothing to find, says something about it."""
        return self.needs != "claim" or "shuffle" in self.takes

    def load(self) -> Callable[..., Any]:
        """The function itself."""
        module, name = self.function.split(".")
        return getattr(import_module(f"assay.methods.{module}"), name)


def _each(passes: float) -> Callable[[SearchSize], float]:
    return lambda job: passes * job.rows


_IG = "integrated_attribution.integrated_attribution"

METHODS: dict[str, Method] = {
    "attribution": Method(
        "gradient x (value - fill) at the model's run (EAP)", "attribution.attribution", passes=_each(2.0)
    ),
    "integrated_attribution": Method(
        "the same, averaged over inputs between fill and model (EAP-IG)", _IG, passes=_each(EAP_IG)
    ),
    "integrated_attribution_activations": Method(
        "the same, a path for each layer's outputs", _IG, fixed={"along": "activations"},
        passes=lambda job: EAP_IG * HALF * job.components * job.rows,
    ),
    "integrated_attribution_kl": Method(
        "EAP-IG on inputs, of KL to the model", _IG, fixed={"loss": "kl"}, passes=_each(EAP_IG)
    ),
    "gim": Method(
        "EAP whose gradients self-repair hides less (Edin et al. 2025)", "attribution.gim", passes=_each(2.0)
    ),
    "saliency": Method("gradient x value", "attribution.saliency", passes=_each(2.0)),
    "information_flow": Method(
        "what is near what the reader reads (Ferrando and Voita 2024)", "information_flow.information_flow",
        passes=_each(1.0),
    ),
    "activation_norm": Method("size of what an edge carries", "activation_norm.activation_norm", passes=_each(1.0)),
    "weight_norm": Method("size of the product of the two maps", "weight_norm.weight_norm", "weights"),
    "composition": Method(
        "composition scores of heads' circuits (Elhage et al. 2021)", "weight_norm.weight_norm", "weights",
        fixed={"through": "circuit", "relative": True},
    ),
    "first_layers": Method("early layers first", "orders.first_layers", "edges"),
    "random": Method("a random order", "orders.random_scores", "edges", ("seed",)),
    "exact": Method(
        "every edge cut alone, exactly", "exact.exact_edges", "trials", ("advance",),
        passes=lambda job: HALF * job.edges * job.rows,
    ),
    "patching": Method(
        "every component filled alone, exactly; an edge is as good as the worse of its ends", "patching.patching",
        "trials", passes=lambda job: 2.0 * job.components * job.rows,
    ),
    "acdc": Method(
        "ACDC at one or more thresholds tau", "acdc.acdc_scores", "trials", ("tau", "begin", "advance"),
        passes=lambda job: HALF * job.edges * job.rows * len(job.options.tau),
    ),
    "masks": Method(
        "hard-concrete gates learned to a target size", "masks.learned_masks", "trials",
        ("size", "steps", "seed", "begin", "advance"),
        passes=lambda job: 2.0 * job.options.steps * min(8, job.rows),  # rows of a step
    ),
    "greedy": Method(
        "the worst of a method's best edges dropped by exact cost", "greedy.greedy", "trials",
        ("size", "seed", "begin", "advance"), begin="attribution",
        passes=lambda job: HALF * 3 * 4 * job.options.size * job.rows,  # from 4 times the edges, each run 3 times
    ),
    "largest_norm": Method("parts of the largest norm", "similar_claims.largest_norm", "claim"),
    "largest_attribution": Method("parts of the largest attribution", "similar_claims.largest_attribution", "claim"),
    "head_scores": Method(
        "heads that attend as the claim says, other parts by attribution", "similar_claims.head_scores_like", "claim",
        ("shuffle",),
    ),
}  # fmt: skip


EDGE_METHODS = {name: method for name, method in METHODS.items() if method.needs != "claim"}

ELSEWHERE = {  # what other tools and papers call them
    "attribution": ("eap", "edge-attribution-patching", "attribution-patching", "atp"),
    "integrated_attribution": ("eap-ig", "eap-ig-inputs", "integrated-gradients", "ig"),
    "integrated_attribution_activations": ("eap-ig-activations",),
    "integrated_attribution_kl": ("eap-ig-kl",),
    "information_flow": ("ifr", "information-flow-routes"),
    "patching": ("activation-patching", "node-patching", "causal-tracing"),
    "masks": ("edge-pruning", "subnetwork-probing", "sp", "hisp", "ugs"),
}


def edge_methods() -> dict[str, Method]:
    """Searches for edges: ours, and those that other packages add."""
    return EDGE_METHODS | {name: Method("a plug-in", "") for name in plugins.names(plugins.METHODS, METHODS)}


def method_of(name: str) -> Method | None:
    """The method of this name, ours or a plug-in; None where there is none."""
    return METHODS[name] if name in METHODS else edge_methods().get(name)


def check_methods(methods: Sequence[str], seed_with: str | None = None) -> None:
    """Raises `ClaimError` for no, unknown or repeated methods, and for a seed that none of them takes."""
    known = edge_methods()
    if not methods:
        raise ClaimError("no method is given" + nearest("", known))
    for what, names in (("method", methods), ("method for 'seed-with'", [] if seed_with is None else [seed_with])):
        for name in names:
            if name not in known:
                here = next((own for own, others in ELSEWHERE.items() if _bare(name) in map(_bare, others)), None)
                others = [other for several in ELSEWHERE.values() for other in several]
                tail = f"; it is called {here!r} here" if here else nearest(name, [*known, *others])
                raise ClaimError(f"unknown {what} {name!r}{tail}")
            if clause := plugins.problem(plugins.METHODS, name, METHODS):
                raise ClaimError(clause)
    for name in methods:
        if list(methods).count(name) > 1:
            raise ClaimError(f"the method {name!r} is given twice")
    able = takers("begin")
    if seed_with is not None and not set(methods) & set(able):
        raise ClaimError(
            f"no method is given that the scores of {seed_with!r} could seed; {', '.join(able)} can be seeded"
        )
    if seed_with in able:
        raise ClaimError(f"{seed_with!r} cannot seed another search, as it would need a seed itself")


def _bare(name: str) -> str:
    """The letters of a name: EAP-IG is eap_ig, and EAPIG."""
    return "".join(filter(str.isalnum, name.lower()))


def takers(option: str) -> tuple[str, ...]:
    """The methods that take an option."""
    return tuple(name for name, method in METHODS.items() if option in method.takes)
