"""Whether an ablation is one: it gives every part a value, the same again from the same seed, as it says of itself."""

from __future__ import annotations

import numpy as np

from assay.intervene.components import complement
from assay.intervene.fill.spec import ABLATIONS, from_means, from_runs, is_random, plugged
from assay.intervene.plan import Value
from assay.measure.workbench import Workbench
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site
from assay.planted.load import load
from assay.score.score import score
from assay.score.scores import Scores
from assay.task.task import Task
from assay.testing.defaults import MODEL, small_task
from assay.testing.promises import Promises, require


def check_ablation(
    ablation: str, model: str | Model | ModuleModel = MODEL, task: Task | None = None, *, seed: int = 0
) -> None:
    """Checks an ablation on every part of a model: each alone, and all of them together.

    Args:
        ablation: its name, of an installed plug-in or one of assay's own.
        model: as in `assay.load`; task: what it is run on; by default `small_task`.
        seed: as in `assay.measure`.

    Raises:
        AssertionError: with every promise that is broken.

    Example:
        >>> check_ablation("mean")
    """
    loaded = load(model) if isinstance(model, str) else model
    task = task or small_task(loaded)
    promises = Promises(f"the ablation {ablation!r}")
    with promises.keep("it is an ablation under its own name"):
        if ablation not in ABLATIONS:
            plugged(ablation)
        for says in (is_random, from_means, from_runs):
            says(ablation)
    promises.check()
    sites = complement([], loaded)
    with promises.keep("it gives every part a value"):
        first, again = (_scored(Workbench(loaded, task, seed=seed), sites, ablation) for _ in range(2))
        wrong = [name for name, its in first.items() if not np.isfinite(its.draw_loss).all()]
        require(not wrong, f"without {', '.join(wrong)} the loss is no number")
    promises.check()
    with promises.keep("the same seed gives the same values"):
        other = [name for name, its in first.items() if not np.array_equal(its.draw_kl, again[name].draw_kl)]
        require(not other, f"{', '.join(other)} are other runs when they are planned again")
    with promises.keep("its draws differ where it is random, and nowhere else"):
        differ = bool(np.ptp(first["everything"].draw_kl, axis=1).any())
        says = is_random(ablation)
        require(differ == says, f"'random' is {says}, and two draws give {'different' if differ else 'the same'} runs")
    with promises.keep("what it gives is the same in every row where 'constant' says so"):
        workbench = Workbench(loaded, task, seed=seed)
        if ablation not in ABLATIONS and not from_runs(ablation):
            given = [edit.source for edit in workbench.ablate(sites, ablation)]
            require(all(isinstance(source, Value) for source in given), "not every part takes a `Value`")
    promises.check()


def _scored(workbench: Workbench, sites: list[Site], ablation: str) -> dict[str, Scores]:
    """Runs in which each part is ablated alone, and all are, under two draws."""
    named = {str(site): [site] for site in sites} | {"everything": sites}
    plans = {
        name: [workbench.plan(workbench.ablate(some, ablation, draw)) for draw in range(2)]
        for name, some in named.items()
    }
    return dict(score(workbench, plans).systems)
