"""Plug-ins that are wrong: each is one sentence with the plug-in, what it gave and what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import assay
from assay.errors import PluginError
from assay.explanations.answers import Neighbours
from assay.explanations.bits import ClaimBits
from assay.methods.edge_methods import edge_scores
from assay.planted import worlds
from assay.record.pieces import Pieces
from tests.test_plugins import CLAIM, small

pytestmark = pytest.mark.usefixtures("plugins")


def test_a_plug_in_that_cannot_be_loaded_is_named(run, install):
    install("broken", "kinds", "broken", value="nowhere:Fields")
    Path("claim.yaml").write_text(CLAIM.replace("scaled", "broken"))
    code, _, err = run("validate", "claim.yaml")
    assert code == 2
    assert "the plug-in 'nowhere:Fields' ('broken' of assay.kinds) cannot be loaded: ModuleNotFoundError" in err


LEVEL = "level = property(lambda self: "


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        (
            f"{LEVEL}'where')\n    build = lambda self: 5",
            "the block of the kind 'wrong' builds 5, which is no assay.Explanation",
        ),
        (f"{LEVEL}'how')\n    build = lambda self: scaled.Scaled(['m0'], 1)", "builds a claim of the kind 'scaled'"),
        (
            f"{LEVEL}'why')\n    build = lambda self: 5",
            "'level' of the block of the kind 'wrong' gives 'why' (str); wanted: 'where' or 'what' or 'how'",
        ),
        ("build = lambda self: 5", "of the kind 'wrong' does not say its level"),
        (
            f"{LEVEL}'where')\n    names = property(lambda self: ['m0'])\n    build = lambda self: 5",
            "'names' of the block of the kind 'wrong' gives ['m0'] (list); wanted: tuple[str, ...]",
        ),
    ],
)
def test_a_block_that_does_not_build_what_it_says_is_refused(run, install, members, sentence):
    code = "import scaled\nfrom assay.explanations.claims.block import NamesParts\n\n"
    install("wrong", "kinds", "wrong", f"{code}class made(NamesParts):\n    factor: float\n    {members}\n")
    Path("claim.yaml").write_text(CLAIM.replace("kind: scaled", "kind: wrong"))
    code, _, err = run("measure", "claim.yaml", "--out", "run")
    assert (code, sentence in err) == (2, True), err


def _group(make: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, bench, ablation, most: iter([Neighbours("a group", "others", [("one", make)], 1)])


@pytest.mark.parametrize(
    ("member", "given", "sentence"),
    [
        ("kind", 3, f"'kind' of the kind 3 ({__name__}:Wrong) gives 3 (int); wanted: ClassVar[str]"),
        (
            "level",
            "why",
            f"'level' of the kind 'scaled' ({__name__}:Wrong) gives 'why' (str); wanted: 'where' or",
        ),
        ("level", property(lambda self: "why"), "gives 'why' (str); wanted: 'where' or 'what' or 'how'"),
        ("once", 1, f"'once' of the kind 'scaled' ({__name__}:Wrong) gives 1 (int)"),
        ("headline_floor", "nothing", "gives 'nothing' (str); wanted: ClassVar['ablated' or 'empty' or"),
        (
            "removal",
            True,
            "says what is lost without its parts (its 'removal' is true), so its 'headline_floor' is one of 'bigram', "
            "'ngram', 'unigram', not 'ablated'",
        ),
        ("sentence", lambda self, name: 7, f"'sentence' of the kind 'scaled' ({__name__}:Wrong) gives 7 (int)"),
        ("scope", lambda self, model: ["m0"], "gives ['m0'], in which 'm0' (str) is wrong; wanted: list[Site]"),
        (
            "claim_bits",
            lambda self, model, channels: 1 / 0,
            f"'claim_bits' of the kind 'scaled' ({__name__}:Wrong) fails on this claim: ZeroDivisionError",
        ),
        ("claim_bits", lambda self, model, channels: 12.5, "gives 12.5 (float); wanted: ClaimBits or Undefined"),
        ("claim_bits", lambda self, model, channels: ClaimBits(float("nan"), "no"), "in which nan (float) is wrong"),
        ("search", lambda self, model: "attribution", "gives 'attribution' (str); wanted: Searched or Undefined"),
        ("assignment", lambda self, model: {"m0": None}, "gives {'m0': None}, in which 'm0' (str) is wrong"),
        ("assignment", lambda self, model: {self.scope(model)[0]: None}, "and not a claim 'like' it about others"),
        ("plan", lambda self, bench, ablation, draw=0: [], f"'plan' of the kind 'scaled' ({__name__}:Wrong)"),
        ("floor", lambda self, bench, ablation, draw=0: None, "gives None; wanted: Plan"),
        ("interchange", lambda self, bench, advance: 0.5, "gives 0.5 (float); wanted: Interchange or None"),
        (
            "interchange",
            lambda self, bench, advance: 1 / 0,
            f"'interchange' of the kind 'scaled' ({__name__}:Wrong) fails on this claim: ZeroDivisionError",
        ),
        (
            "neighbours",
            lambda self, bench, ablation, most: iter([("one", 2)]),
            "gives ('one', 2) (tuple); wanted: Neigh",
        ),
        ("neighbours", _group(lambda bench: None), "of the group 'a group' (one) gives None; wanted: Plan"),
        ("neighbours", lambda self, bench, ablation, most: None, "gives None; wanted: Iterator[Neighbours]"),
        (
            "coarser",
            lambda self, bench, ablation: {"all": 3},
            "gives {'all': 3}, in which 3 (int) is wrong; wanted: dict[str, Plan]",
        ),
        (
            "block",
            lambda self, bench, ablation, rows, sides: {"a": 1},
            "gives {'a': 1} (dict); wanted: Pieces or None",
        ),
        (
            "block",
            lambda self, bench, ablation, rows, sides: Pieces(block="circuit", pieces=()),
            "'block' of the kind 'scaled' gives pieces under the name 'circuit'",
        ),
    ],
)
def test_what_a_kind_answers_wrongly_is_said_before_anything_is_run(member, given, sentence):
    import scaled

    wrong = type("Wrong", (scaled.Scaled,), {member: given, "__module__": __name__})
    workbench = assay.Workbench(*small())
    with pytest.raises(PluginError) as said:
        workbench.measure(wrong(["m0"], 0.5), ablation="zero")
    assert sentence in str(said.value)
    assert workbench.runner.forwards == 0


def test_what_was_not_asked_for_is_not_asked_of_a_kind():
    import scaled

    wrong = type("Wrong", (scaled.Scaled,), {"block": lambda self, *_: 3, "claim_bits": lambda self, *_: 3})
    found = assay.Workbench(*small()).measure(wrong(["m0"], 0.5), ablation="zero", only=("headline",))
    assert found.recovered.value is not None


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            "def made(level=1): return 5",
            "the plug-in 'odd' of assay.programs gives 5 (int); wanted: AttentionProgram or",
        ),
        ("def made(): return 1 / 0", "the plug-in 'odd' of assay.programs fails: ZeroDivisionError: division by zero"),
        ("made = 5", "the plug-in 'odd' of assay.programs is 5, which cannot be called as assay does"),
        ("def made(needed): return 5", "which cannot be called as assay does: missing a required argument: 'needed'"),
    ],
)
def test_a_program_that_is_none_is_said_before_the_model_is_opened(run, install, monkeypatch, given, sentence):
    install("odd", "programs", "odd", given)
    monkeypatch.setattr("assay.measure.request.open_model", lambda *_: pytest.fail("the model was opened"))
    Path("claim.yaml").write_text(CLAIM.replace("kind: scaled", "kind: program").replace(
        "components: [a0.h1, m1], factor: 0.9", "components: {a0.h1: odd}"
    ))  # fmt: skip
    code, _, err = run("measure", "claim.yaml", "--out", "run")
    assert (code, sentence in err) == (2, True), err


@pytest.mark.parametrize(
    ("returns", "function", "sentence"),
    [
        (
            "pattern",
            lambda tokens: tokens,
            "gives a tensor of shape [1, 9] for tokens of shape [1, 9]; wanted: a tensor",
        ),
        ("output", lambda tokens: tokens.unsqueeze(-1), "of shape [1, 9, 64], that is [batch, pos, 64] of outputs"),
        ("output", lambda tokens: None, "the program '<lambda>' gives None for tokens of shape [1, 9]; wanted:"),
    ],
)
def test_a_program_of_another_shape_is_said_before_anything_is_run(returns, function, sentence):
    workbench = assay.Workbench(*small())
    claim = assay.Program({"a0.h1": assay.programs.custom(function, returns=returns)})
    with pytest.raises(PluginError) as said:
        workbench.measure(claim, ablation="zero")
    assert sentence in str(said.value)
    assert workbench.runner.forwards == 0


METRIC = "import torch\nfrom assay.task.metrics import Metric\n\nmade = "


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("5", "the plug-in 'odd' of assay.metrics gives 5 (int); wanted: Metric"),
        (
            "Metric('odd', 'bits', None)\nobject.__setattr__(made, 'unit', 3)",
            ", in which 3 (int) is wrong; wanted: Metric",
        ),
        ("Metric('even', 'bits', None)", "is a metric that calls itself 'even'; records must know it by one name"),
        ("Metric('odd', 'bits', lambda p, a: 3.0)", "'loss' of the plug-in 'odd' of assay.metrics gives 3.0 (float)"),
        ("Metric('odd', 'bits', lambda p, a: p)", "gives shape [3, 5] for 3 items; wanted: [3], a loss for each"),
        ("Metric('odd', 'bits', lambda p, a: -p.amax(-1), of_answers=True)", "looks at more than its answers"),
    ],
)
def test_a_metric_that_is_none_is_refused(install, given, sentence):
    install("odd", "metrics", "odd", METRIC + given)
    with pytest.raises(PluginError) as said:
        assay.Task.repeat(small()[0], n=4, length=4, metric="odd")
    assert sentence in str(said.value)


GIVES = """\
def made(circuits, rows, seed):
    changed(found := EdgeScores(np.zeros(len(circuits.edges)), 'odd', {}, 0.0), NAMED)
    found.__post_init__()
    return found
changed = lambda found, pair: object.__setattr__(found, *pair)
NAMED = ("""  # the checks of types that tests run under are not there for users


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("def made(*_): return {}['x']", "the plug-in 'odd' of assay.methods fails: KeyError: 'x'"),
        ("def made(circuits): pass", "cannot be called as assay does: too many positional arguments"),
        (
            "def made(circuits, rows, seed): return [1.0]",
            "the plug-in 'odd' of assay.methods gives [1.0] (list); wanted:",
        ),
        (
            "def made(*_): return EdgeScores(np.zeros(2), 'odd', {}, 0.0)",
            "gives 2 scores; wanted: one for each of",
        ),
        (f"{GIVES}'scores', [0.0])", "'odd' gave the scores [0.0]; wanted: an array of a float an edge"),
        (
            f"{GIVES}'passes', None)",
            "in which None is wrong; wanted: EdgeScores",
        ),
    ],
)
def test_a_search_that_gives_no_scores_is_refused(install, given, sentence):
    install("odd", "methods", "odd", f"import numpy as np\nfrom assay.methods.edge_scores import EdgeScores\n\n{given}")
    with pytest.raises(assay.UserError) as said:
        edge_scores("odd", assay.Workbench(*small()), "zero")
    assert sentence in str(said.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("def made(): raise OSError('no\\nfile')", "the plug-in 'odd' of assay.worlds fails: OSError: no file"),
        ("def made(): return 5", "the plug-in 'odd' of assay.worlds gives 5 (int); wanted: World"),
        ("class made(Echo): name = 'even'", "the world 'odd' calls itself 'even'; records must know it by one name"),
        (
            "class made(Echo): name, model = 'odd', 5",
            "'model' of the world 'odd' gives 5 (int); wanted: Model or ModuleM",
        ),
        ("class made(Echo):\n    name = 'odd'\n    def task(self, n=64): pass", "'task' of the world 'odd' gives None"),
        (
            "class made(Echo):\n    name = 'odd'\n    def truth(self, ablation): return 3",
            "gives 3 (int); wanted: Truth or",
        ),
    ],
)
def test_a_world_that_is_none_is_refused(install, given, sentence):
    install("odd", "worlds", "odd", f"from echo import Echo\n\n{given}")
    worlds._world.cache_clear()

    def ask() -> None:
        found = worlds.world("odd")
        found.task(n=3)
        found.truth("zero")

    with pytest.raises(PluginError) as said:
        ask()
    assert sentence in str(said.value)


NAMES = [
    ("kinds", "keep", "kind: keep, components: [a0.h1]"),
    ("kinds", "hypothesis", "kind: hypothesis, components: [a0.h1]"),
    ("programs", "induction", "kind: program, components: {a0.h1: induction}"),
    ("metrics", "loss", "kind: keep, components: [a0.h1]"),
    ("ablations", "mean", "kind: keep, components: [a0.h1]"),
]


@pytest.mark.parametrize(("group", "name", "explanation"), NAMES)
def test_a_plug_in_that_is_named_like_our_own_is_refused_where_the_name_is_used(run, install, group, name, explanation):
    install("rude", group, name)
    claim = CLAIM.replace("kind: scaled, components: [a0.h1, m1], factor: 0.9", explanation)
    Path("claim.yaml").write_text(claim.replace("length: 16", "length: 16, metric: loss") + "ablation: mean\n")
    code, out, err = run("validate", "claim.yaml")
    assert (code, out) == (2, "")
    line = {"metrics": 2, "ablations": 5}.get(group, 3)
    assert f"claim.yaml:{line}: {name!r} is assay's own name, and the plug-in 'rude:made' of the package 'rude'" in err
    assert f"has it too in 'assay.{group}'; rename or uninstall that" in err


def test_a_world_and_a_search_that_are_named_like_our_own_are_refused_too(run, install):
    install("rude", "worlds", "sort")
    Path("claim.yaml").write_text(CLAIM.replace("zoo:stories-260k", "planted:sort"))
    code, _, err = run("validate", "claim.yaml")
    assert code == 2
    assert "claim.yaml:1: 'sort' is assay's own name, and the plug-in 'rude:made' of the package 'rude'" in err
    install("ruder", "methods", "attribution")
    code, _, err = run("find", "circuit", "zoo:stories-260k", "--method", "attribution")
    assert code == 2
    assert "'attribution' is assay's own name, and the plug-in 'ruder:made' of the package 'ruder' has it too" in err


def test_two_plug_ins_of_one_name_are_refused(run, install):
    install("rude", "kinds", "scaled")
    Path("claim.yaml").write_text(CLAIM)
    code, _, err = run("validate", "claim.yaml")
    assert code == 2
    assert "the plug-in 'rude:made' of the package 'rude' and the plug-in 'scaled:ScaledFields' of the package" in err
    assert "have the same name 'scaled' in 'assay.kinds'; uninstall one" in err


def test_a_package_that_is_found_twice_is_one(run, install):
    install("copy", "kinds", "scaled", value="scaled:ScaledFields")
    Path("claim.yaml").write_text(CLAIM)
    assert run("validate", "claim.yaml")[0] == 0
