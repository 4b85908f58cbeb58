"""Whether a kind of explanation keeps what `Explanation` and its claim-file block promise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from assay.errors import UserError
from assay.explanations.answers import Neighbours
from assay.explanations.base import Explanation
from assay.explanations.bits import ClaimBits
from assay.explanations.claims.checks import model_problem
from assay.explanations.claims.file import ClaimFile, claim_of
from assay.intervene.components import expand
from assay.intervene.plan import Plan
from assay.measure.rehearsal import questions
from assay.measure.settings import Settings
from assay.measure.workbench import Workbench
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.planted.load import load
from assay.record.read import read_measurement
from assay.score.score import score
from assay.score.scores import Scored, Scores
from assay.stats.estimate import Undefined
from assay.task.task import Task
from assay.testing.defaults import MODEL, small_task
from assay.testing.promises import Promises, require

FEW = 3  # neighbours of a group
NOISE = 1e-5  # nats a document, between runs that are the same
MEASURED = ("headline", "parts", "residual", "checks", "own")  # the other blocks rest on answers that are looked at


def check_kind(
    claim: Explanation | Mapping[str, Any],
    model: str | Model | ModuleModel = MODEL,
    task: Task | None = None,
    *,
    ablation: str = "mean",
    seed: int = 0,
) -> None:
    """Checks a kind of explanation by one claim of it: from the claim file to the record and the page.

    Args:
        claim: what stands under `explanation` in a claim file, whose kind must be installed; or an explanation, of
            which all but the claim file is checked.
        model: as in `assay.load`; it has the parts that the claim names.
        task: what it is measured on; by default `small_task`.
        ablation, seed: as in `assay.measure`.

    Raises:
        AssertionError: with every promise that is broken.

    Example:
        >>> check_kind({"kind": "remove", "components": ["a0.h1"]})
    """
    loaded = load(model) if isinstance(model, str) else model
    task = task or small_task(loaded)
    kind = claim.get("kind") if isinstance(claim, Mapping) else getattr(claim, "kind", type(claim).__name__)
    promises = Promises(f"the kind {kind!r}")
    explanation = claim if isinstance(claim, Explanation) else _of_block(promises, claim, loaded)
    before = _model_scores(Workbench(loaded, task, seed=seed))
    settings = Settings.resolve(ablation=ablation, seed=seed, controls=FEW)
    answers = _answers(promises, Workbench(loaded, task, seed=seed), explanation, settings)
    promises.check()  # what follows builds on this
    _words(promises, explanation, loaded, answers)
    _runs(promises, explanation, [Workbench(loaded, task, seed=seed) for _ in range(2)], ablation)
    with promises.keep("it leaves the model as it was"):
        require(_same(before, _model_scores(Workbench(loaded, task, seed=seed))), "the model gives other scores")
    promises.check()
    with promises.keep("it is measured, and its record is read again and drawn"):
        _record(Workbench(loaded, task, seed=seed), explanation, ablation)
    promises.check()


def _of_block(promises: Promises, block: Mapping[str, Any], model: Model | ModuleModel) -> Explanation:
    """The explanation of a claim file's block, which is written and read again."""
    name = "any/model" if model_problem(model.name) else model.name

    def file(**more: Any) -> ClaimFile:
        return claim_of({"model": name, "task": {"kind": "repeat"}, "explanation": {**block, **more}})

    found: list[tuple[ClaimFile, Explanation]] = []
    with promises.keep("its block is read, and builds the explanation that it says"):
        claim = file()
        found.append((claim, claim.build_explanation()))
        claim.check(model)
    promises.check()
    ((claim, explanation),) = found
    with promises.keep("written as a claim file and read again it is the same claim"):
        again = claim_of(yaml.safe_load(claim.to_yaml()))
        require(again == claim and again.hash == claim.hash, f"{again.to_yaml()!r} is not {claim.to_yaml()!r}")
        said, first = (one.sentence(name) for one in (again.build_explanation(), explanation))
        require(said == first, f"it says {said!r}, and before {first!r}")
    with promises.keep("a field of its block that it does not know is refused"):
        try:
            file(no_such_field=1)
        except UserError:
            pass
        else:
            raise AssertionError("'no_such_field: 1' is read as if it were not there")
    return explanation


def _answers(promises: Promises, workbench: Workbench, explanation: Explanation, settings: Settings) -> dict[str, Any]:
    """What it answers to all that a measurement asks."""
    answers: dict[str, Any] = {}
    last = ("interchange", lambda: explanation.interchange(workbench, lambda done, total: None))
    for name, ask in (*questions(workbench, explanation, settings), last):
        with promises.keep(f"{name!r} answers"):
            answers[name] = ask()
    return answers


def _words(
    promises: Promises, explanation: Explanation, model: Model | ModuleModel, answers: Mapping[str, Any]
) -> None:
    """What it says of itself without a run."""
    scope, sentence = answers["scope"], answers["sentence"]
    with promises.keep("'sentence' is a line of text"):
        require(sentence.strip() and "\n" not in sentence, f"it is {sentence!r}")
    with promises.keep("'scope' names parts of the model, each once"):
        expand([str(site) for site in scope], model, streams=True)
    with promises.keep("'alone' is about parts of its scope"):
        alone = answers["alone"]
        others = [] if isinstance(alone, Undefined) else [site for sites in alone.values() for site in sites]
        require(set(others) <= set(scope), f"{[str(site) for site in others if site not in scope]} are none")
    with promises.keep("'claim_bits' is a length, and says how it was counted"):
        bits = answers["claim_bits"]
        if isinstance(bits, ClaimBits):
            require(bits.bits >= 0 and bits.how.strip(), f"it is {bits}")
    with promises.keep("'interchange' leads with one of its rows, or says why there is none"):
        swapped = answers["interchange"]
        if swapped is not None and swapped.accuracy.defined:
            rows = [row for row in swapped.rows if row.variables == swapped.variables]
            require(rows, f"none of its rows is of {swapped.variables}")
            leads = rows[0].by_rest.get(swapped.perturbed)
            require(leads, f"the row of {swapped.variables} has nothing for {swapped.perturbed!r}")
            said, its = swapped.accuracy, leads.accuracy
            require(said == its, f"it says {said.value}, its row {its.value}")
    with promises.keep("'block' is the same when it was written and read again"):
        block = answers["block"]
        if block is not None:
            again = type(block).model_validate_json(block.model_dump_json(by_alias=True))
            require(again == block, f"it is {again} and was {block}")
    with promises.keep("'like' its own parts a claim is the same"):
        assignment, like = answers["assignment"], answers["like"]
        if assignment:
            require(set(assignment) == set(scope), "'assignment' is not about the parts of its scope")
            require((like.kind, like.level) == (explanation.kind, explanation.level), f"it is a {like.kind} claim")
            require(like.assignment(model) == assignment, "it is about other parts, or gives them something else")


def _runs(promises: Promises, explanation: Explanation, workbenches: list[Workbench], ablation: str) -> None:
    """What it is when it is run, twice from the beginning."""
    groups, found = _scored(explanation, workbenches[0], ablation)
    scored, again = found.systems, _scored(explanation, workbenches[1], ablation)[1].systems
    own = scored["explained"]
    with promises.keep("the same seed gives the same runs"):
        require(scored.keys() == again.keys(), f"{list(scored.keys() ^ again.keys())} are not in both")
        other = [name for name, its in scored.items() if not _same(its, again[name])]
        require(not other, f"{other} are other runs when they are planned again")
    if explanation.once:
        with promises.keep("its run is the same under every ablation, as 'once' says"):
            require(_same(own, scored["another ablation"]), f"{ablation} and {_another(ablation)} give other runs")
    if "unedited" in scored:
        with promises.keep("'unedited' is the model itself"):
            off = float(np.abs(scored["unedited"].kl - found.model.kl).max())
            require(off < NOISE, f"it is {off:.2g} nats a document from it")
    with promises.keep("'neighbours' are explanations of something else"):
        names = [group.name for group in groups]
        require(len(set(names)) == len(names), f"groups of one name: {names}")
        for group in groups:
            _group(group, own, scored)


def _scored(explanation: Explanation, workbench: Workbench, ablation: str) -> tuple[list[Neighbours], Scored[Any]]:
    """Groups of neighbours, and scores of all runs, against the claim's own target."""
    workbench.target = explanation.target(workbench)
    systems: dict[Any, Plan] = {"explained": explanation.plan(workbench, ablation)}
    if explanation.once:
        systems["another ablation"] = explanation.plan(workbench, _another(ablation))
    if not explanation.removal:
        systems["floor"] = explanation.floor(workbench, ablation)
    unedited = explanation.unedited(workbench, ablation)
    if not isinstance(unedited, Undefined):
        systems["unedited"] = unedited
    groups = list(explanation.neighbours(workbench, ablation, FEW))
    for group in groups:
        systems |= {(group.name, place): plan for place, (_, plan) in enumerate(group.plans(workbench))}
    return groups, score(workbench, systems)


def _group(group: Neighbours, own: Scores, scored: Mapping[Any, Scores]) -> None:
    count = len(group.items)
    require(count <= FEW, f"{group.name!r} has {count}, and at most {FEW} were asked for")
    require(group.possible >= count, f"of {group.name!r} there are {count}, and {group.possible} are possible")
    alike = count and all(_same(own, scored[group.name, place]) for place in range(count))
    require(group.near or not alike, f"each of {group.name!r} runs as the claim itself")


def _record(workbench: Workbench, explanation: Explanation, ablation: str) -> None:
    found = workbench.measure(explanation, ablation=ablation, only=MEASURED)
    with TemporaryDirectory() as folder:
        run = found.save(Path(folder) / "run")
        require(read_measurement(run) == found.record, "what is read is not what was written")


def _model_scores(workbench: Workbench) -> Scores:
    return score(workbench, {}).model


def _another(ablation: str) -> str:
    return "mean" if ablation == "zero" else "zero"


def _same(one: Scores, other: Scores) -> bool:
    return all(np.allclose(a, b, rtol=0, atol=NOISE) for a, b in ((one.kl, other.kl), (one.loss, other.loss)))
