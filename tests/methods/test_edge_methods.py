"""Methods by name on a planted network: true edges first, seeds are used, patching is what filling each part gives."""

from __future__ import annotations

import inspect
from functools import cache

import pytest

from assay.errors import ClaimError
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.methods.edge_methods import searches
from assay.methods.edge_scores import EdgeScores
from assay.methods.patching import component_effects, node_scores
from assay.methods.registry import EDGE_METHODS, ELSEWHERE, METHODS, Options, check_methods
from assay.model.edges import Edges
from assay.model.weights import Shape
from assay.names import parse_site
from assay.planted.worlds import world
from assay.score.score import score

ABLATION = "resample_joint"


@cache
def workbench() -> PlanContext:
    case = world("and_gate")
    return PlanContext(Runner(case.model, case.task(n=12, seed=2)), 0)


def run(*methods: str, **options) -> tuple[EdgeScores, ...]:
    size = int(workbench().model.edges.mask(world("and_gate").truth(ABLATION).edges).sum())
    return searches(workbench(), ABLATION, methods, Options(size, **options), lambda stage, done, total: None)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_there_and_takes_what_the_registry_says(name: str):
    method = METHODS[name]
    known = set(inspect.signature(method.load()).parameters)
    assert {*method.takes, *method.fixed} <= known
    assert ("rows" in known) == (method.needs in ("passes", "trials"))


@pytest.mark.parametrize("method", ["integrated_attribution_kl", "exact", "acdc"])
def test_true_edges_come_first(method):
    true = world("and_gate").truth(ABLATION).edges
    (scores,) = run(method)
    assert scores.method.startswith(method)
    assert set(workbench().model.edges.names(scores.top(len(true)))) == set(true)


def test_acdc_puts_first_what_more_of_its_runs_keep():
    (scores,) = run("acdc", tau=(0.01, 1e-4))
    kept = scores.settings["kept"]
    assert scores.settings["tau"] == [1e-4, 0.01]
    assert kept[0] >= kept[1] > 0
    assert int((scores.scores >= 2).sum()) <= kept[1]
    assert int((scores.scores >= 1).sum()) >= kept[0]


def test_another_methods_scores_seed_a_search():
    found = run("attribution", "acdc", "masks", seed_with="attribution", tau=(0.01,), steps=12)
    assert [one.method for one in found] == [
        "attribution",
        "acdc, seeded by attribution",
        "masks, seeded by attribution",
    ]
    assert all(one.settings["seeded_by"]["method"] == "attribution" for one in found[1:])
    assert all(one.passes > found[0].passes for one in found[1:])
    (plain,) = run("masks", steps=12)
    assert plain.settings["seeded_by"] is None
    true = workbench().model.edges.mask(world("and_gate").truth(ABLATION).edges)
    rank = found[2].ranks()[true].mean() - plain.ranks()[true].mean()
    assert rank > 0  # in 12 steps what was begun with still shows


def test_a_components_score_is_the_kl_when_it_alone_is_filled():
    effects = component_effects(workbench(), ABLATION)
    systems = {
        name: workbench().plan(workbench().ablate([parse_site(name)], ABLATION))
        for name in workbench().model.components
    }
    scored = score(workbench(), systems)
    total = scored.count.sum()
    for name, value in effects.items():
        assert value == pytest.approx(float(scored[name].kl.sum() / total), abs=2e-5)


def test_an_edge_is_as_good_as_the_worse_of_its_ends():
    edges = Edges(Shape(2, 8, 2, 1, 4, (8, 8), 9, 8, parallel=False, norm="layer"))  # both heads share keys and values
    effect = dict(zip(edges.writers, [9.0, 1.0, 4.0, 3.0, 2.0, 5.0, 6.0], strict=True))
    scores = dict(zip(edges, node_scores(edges, effect), strict=True))
    assert scores["input->logits"] == 9
    assert scores["a0.h0->logits"] == 1
    assert scores["a0.h1->a1.h0<q>"] == 2
    assert scores["a0.h1->a1.kv0<k>"] == 4  # read for a1.h1 too, which is worth 5
    assert scores["m0->m1"] == 3


@pytest.mark.parametrize(
    ("methods", "seed_with", "message"),
    [
        ([], None, "no method is given; valid: 'attribution'"),
        (["eap-ig"], None, "unknown method 'eap-ig'; it is called 'integrated_attribution' here"),
        (["EAPIG"], None, "unknown method 'EAPIG'; it is called 'integrated_attribution' here"),
        (["EAP_IG_activations"], None, "it is called 'integrated_attribution_activations' here"),
        (["eap-gi"], None, "unknown method 'eap-gi'; did you mean 'eap-ig'"),
        (["atribution"], None, "unknown method 'atribution'; did you mean 'attribution'"),
        (["exact", "exact"], None, "the method 'exact' is given twice"),
        (["exact"], "attribution", "no method is given that the scores of 'attribution' could seed"),
        (["acdc"], "masks", "'masks' cannot seed another search"),
        (["acdc"], "exakt", "unknown method for 'seed-with' 'exakt'; did you mean 'exact'"),
    ],
)
def test_what_cannot_be_searched_is_named(methods, seed_with, message):
    with pytest.raises(ClaimError, match=message):
        check_methods(methods, seed_with)


def test_what_others_call_a_method_leads_to_one():
    assert set(ELSEWHERE) <= set(EDGE_METHODS)
    assert not {name for others in ELSEWHERE.values() for name in others} & set(EDGE_METHODS)


def test_a_size_that_the_model_does_not_have():
    with pytest.raises(ClaimError, match="a circuit of 19 edges was asked for; planted:and_gate has 1 to 18"):
        searches(workbench(), ABLATION, ["random"], Options(19), lambda *_: None)
