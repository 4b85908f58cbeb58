"""Parts that are given a value inside a circuit: as plain hooks on the library's model have it, node after node."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from assay.errors import ComponentError
from assay.explanations import Program, programs
from assay.intervene.circuits.plans import circuit_plan
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Batch, Call, CircuitRun, Edit, EditRun, From, Plan, Value
from assay.intervene.runner import Runner
from assay.model.edge_sets import EdgeSet
from assay.names import Site, parse_site
from assay.score.score import score
from tests.intervene.naive_cases import DEEPER, KINDS, assert_close, bench_of, make, naive_fill, text_task, tolerance_of
from tests.naive import edges as naive

ROWS, DOUBLE = np.array([0, 2, 3]), torch.float64
HEAD, LATER, MLP = (parse_site(name) for name in ("a0.h1", "a1.h2", "m0"))


def previous(values: Tensor) -> Tensor:
    """What a head that attends to the position before gives."""
    return torch.cat([values[:, :1], values[:, :-1]], 1)


def stand_ins(workbench: PlanContext) -> tuple[Edit, ...]:
    """A rule for a head's attention, a constant for another head, a function of the tokens for an MLP."""
    shape = workbench.model.config
    group = Site("kv", HEAD.layer, (HEAD.index or 0) // (shape.heads // shape.kv_heads))
    constant = torch.linspace(-1, 1, shape.d_head, dtype=DOUBLE)
    return (
        Edit(HEAD, Call(lambda batch: previous(batch.read(group)), (group,))),
        Edit(LATER, Value(constant)),
        Edit(MLP, Call(by_token(shape.d_model))),
    )


def by_token(width: int):
    def call(batch: Batch) -> Tensor:
        return (batch.tokens.unsqueeze(-1) + torch.arange(width)).double().sin()

    return call


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("ablation", ["mean", "resample_joint"])
@pytest.mark.parametrize("kind", [*KINDS, "deep"])
def test_circuits_with_stand_ins_equal_plain_hooks(kind: str, ablation: str, frozen: bool):
    model, network = make(kind, DOUBLE)
    workbench = PlanContext(Runner(model, text_task(model)), bench_of(kind, DOUBLE).seed, frozen_norm=frozen)
    edits, tokens = stand_ins(workbench), workbench.task.tokens[torch.from_numpy(ROWS)]
    written = (tokens.unsqueeze(-1) + torch.arange(model.config.d_model)).double().sin()
    assert isinstance(edits[1].source, Value)
    given = {
        str(HEAD): previous,
        str(LATER): lambda v: edits[1].source.tensor.expand(*v.shape[:2], -1),  # type: ignore[union-attr]
        str(MLP): lambda _: written,
    }
    fills = naive_fill(kind, DOUBLE, tuple(model.components), ablation)
    fills = {name: value[torch.from_numpy(ROWS)] if value.ndim == 3 else value for name, value in fills.items()}
    chance = np.random.default_rng(len(kind))
    masks = [chance.random(len(model.edges)) < density for density in (0.1, 0.5, 0.9)]
    plans = [circuit_plan(workbench, EdgeSet.whole(mask), ablation, 0, edits) for mask in masks]
    scored = score(workbench, dict(enumerate(plans)), rows=ROWS)
    items = workbench.task.items(ROWS)
    for place, (mask, plan) in enumerate(zip(masks, plans, strict=True)):
        live = dict(zip(model.edges, torch.as_tensor(mask), strict=True))
        wanted = naive.run(network, tokens, live, fills, frozen=frozen, given=given)
        with torch.no_grad():
            got = workbench.runner.logits(plan, ROWS)
        gathered = (workbench.task.gather(x, items) for x in (got, wanted))
        assert_close(*gathered, tolerance_of(kind, DOUBLE, rounded=True))
        known = workbench.task.gather(wanted, items).log_softmax(-1)
        nll = -known.gather(1, workbench.task.targets(ROWS, items)[:, None]).sum()
        assert scored[place].loss.sum() == pytest.approx(float(nll), rel=1e-5)


@pytest.mark.parametrize("kind", [*KINDS, *DEEPER])
def test_the_circuit_of_every_edge_is_the_model_with_the_edits(kind: str):
    """Also of values from another run, at one column, and for a program of the registry."""
    workbench = bench_of(kind, DOUBLE)
    whole = EdgeSet.whole(np.ones(len(workbench.model.edges), dtype=bool))
    (donated,) = workbench.ablate([LATER], "resample_independent", 1)
    assert isinstance(donated.source, From)
    program = Program({"a0.h2": programs.previous_token()}).edits(workbench, "mean")
    edits = (*program, donated, Edit(HEAD.at(2), Value(torch.ones(workbench.model.config.d_head, dtype=DOUBLE))))
    with torch.no_grad():
        got = workbench.runner.logits(circuit_plan(workbench, whole, "resample_joint", 0, edits), ROWS)
        wanted = workbench.runner.logits(workbench.plan(edits), ROWS)
    assert_close(got, wanted, tolerance_of(kind, DOUBLE, rounded=True))


def test_what_a_circuit_has_no_single_value_of_is_refused_in_one_sentence():
    workbench = bench_of("llama", DOUBLE)
    nothing = EdgeSet.whole(np.zeros(len(workbench.model.edges), dtype=bool))

    def run(*edits: Edit) -> None:
        workbench.runner.logits(circuit_plan(workbench, nothing, "mean", 0, edits), ROWS)

    with pytest.raises(ComponentError, match=r"the program of 'a1.h2' reads 'a0.h1', of which every reader"):
        run(Edit(LATER, Call(lambda batch: batch.read(HEAD), (HEAD,))))
    with pytest.raises(ComponentError, match=r"inside a circuit heads and MLPs are .* 'm0.n3' is neither"):
        run(Edit(parse_site("m0.n3"), Value(torch.zeros(1))))
    with pytest.raises(
        ComponentError, match=r"the program of 'a0.h1' gives its output in the stream, and inside a circuit"
    ):
        run(*Program({"a0.h1": programs.copy("full")}).edits(workbench, "mean"))


def test_a_circuit_can_be_taken_values_from_only_where_it_has_one():
    """Its run is no unedited one, whose values would be given in its place."""
    workbench = bench_of("llama", DOUBLE)
    some = EdgeSet.whole(np.arange(len(workbench.model.edges)) % 2 == 0)
    fill, inner = circuit_plan(workbench, some, "mean").runs[:-1], CircuitRun("inner", some, "fill")
    plan = Plan((*fill, inner, EditRun("outer", edits=(Edit(LATER, From("inner")),))))
    with pytest.raises(ComponentError, match="only the final stream can be read"):
        workbench.runner.logits(plan, ROWS)
    with pytest.raises(ComponentError, match="the circuit 'outer' is filled from the circuit 'inner'"):
        workbench.runner.logits(Plan((*fill, inner, CircuitRun("outer", some, "inner"))), ROWS)
