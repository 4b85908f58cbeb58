"""Whether a world is one: it draws rows of what its network does, and what it calls right is enough for that."""

from __future__ import annotations

from math import log

import numpy as np

from assay.errors import TaskError
from assay.explanations.circuit.circuit import Circuit
from assay.intervene.fill.spec import ABLATIONS
from assay.measure.workbench import Workbench
from assay.model.transformer import Model
from assay.planted import worlds
from assay.planted.world import Truth, World, held_world
from assay.promises import held
from assay.score.score import score
from assay.stats.estimate import Undefined
from assay.testing.promises import Promises, require

ROWS = 8
ENOUGH = 0.9  # of what the floor loses, that the right edges must recover


def check_world(world: str | World) -> None:
    """Checks a world with a known mechanism.

    Args:
        world: its name, of an installed plug-in or one of assay's own; or itself.

    Raises:
        AssertionError: with every promise that is broken.

    Example:
        >>> check_world("planted:reversal")
    """
    promises = Promises(f"the world {world if isinstance(world, str) else getattr(world, 'name', world)!r}")
    several: list[World] = []
    with promises.keep("it has a name, a model, a task and a truth"):
        found = worlds.world(world) if isinstance(world, str) else held(world, World, "what was given")
        several.append(held_world(found, found.name))
    promises.check()
    (own,) = several
    with promises.keep("its rows are drawn by their seed, and none is in the reference"):
        _rows(own)
    with promises.keep("a metric that there is not is refused"):
        try:
            own.task(ROWS, metric="no_such_metric")
        except TaskError:
            pass
        else:
            raise AssertionError("'no_such_metric' was taken")
    promises.check()
    with promises.keep("its network does what it is made for"):
        loss = score(Workbench(own.model, own.task(ROWS)), {})
        mean = float(loss.model.loss.sum() / loss.count.sum())
        assert isinstance(own.model, Model)
        chance = log(own.model.config.vocab)
        require(mean < chance, f"it loses {mean:.3g} nats a token, and to guess costs {chance:.3g}")
    known = 0
    for ablation in ABLATIONS:
        with promises.keep(f"its truth under {ablation} is one"):
            truth = own.truth(ablation)
            if isinstance(truth, Undefined):
                require(truth.reason.strip(), "it is undefined without a reason")
            else:
                known += 1
                _truth(own, truth, ablation)
    with promises.keep("its truth is known under some ablation"):
        require(known, f"it is under none of {', '.join(ABLATIONS)}")
    promises.check()


def _rows(own: World) -> None:
    task, again, other = own.task(ROWS), own.task(ROWS), own.task(ROWS, seed=1)
    require(len(task.tokens) == ROWS, f"{len(task.tokens)} rows where {ROWS} were asked for")
    require(task.tokens.equal(again.tokens), "the same seed gives other rows")
    require(not task.tokens.equal(other.tokens), "another seed gives the same rows")
    require(task.reference is not None and len(task.reference.tokens), "it has no reference")
    assert task.reference is not None
    shared = {tuple(row) for row in task.tokens.tolist()} & {tuple(row) for row in task.reference.tokens.tolist()}
    require(not shared, f"{len(shared)} of them are in the reference")


def _truth(own: World, truth: Truth, ablation: str) -> None:
    """What is right has names of edges, and with all others cut the model does what it did."""
    assert isinstance(own.model, Model)
    named = (*truth.edges, *truth.neutral)
    require(len(set(named)) == len(named), "an edge is named twice")
    own.model.edges.mask(named)  # refuses what is no edge
    require(truth.edges, "no edge is right")
    workbench, claim = Workbench(own.model, own.task(ROWS)), Circuit(edges=truth.edges)
    scored = score(workbench, {"kept": claim.plan(workbench, ablation), "floor": claim.floor(workbench, ablation)})
    kept, floor = (float(np.sum(scored[name].kl)) for name in ("kept", "floor"))
    share = 1 - kept / floor if floor > 0 else 0.0
    require(share >= ENOUGH, f"with all other edges cut, {share:.3g} of what {ablation} of all loses is kept")
