"""A high-level model as a predictor of the network: on inputs that tell it from rivals, beside what knows nothing of
the mechanism.

What is predicted is what the network answers, not what is right (docs/definitions.md#hypotheses).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from assay.explanations.hypothesis.graph import HighLevelModel
from assay.explanations.hypothesis.interchange import Answers, Swaps, share
from assay.explanations.hypothesis.scrub import Graph
from assay.explanations.hypothesis.values import TaskValues, values_of
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Plan
from assay.intervene.runner import Runner
from assay.stats.estimate import Estimate
from assay.task.task import Task

LABEL, NEAREST, COMMON = "the right answer", "the nearest other example", "the most common answer"


def separates(one: HighLevelModel, other: HighLevelModel, task: Task) -> Bool[np.ndarray, "rows"]:
    """On which rows two high-level models answer differently.

    Raises:
        TaskError: for a row on which a variable has no value.
    """
    mine, its = TaskValues.of(one, task), TaskValues.of(other, task)
    return np.array([a[one.answer] != b[other.answer] for a, b in zip(mine.rows, its.rows, strict=True)])


def separating(
    one: HighLevelModel, rivals: Sequence[HighLevelModel], tasks: Iterable[Task], wanted: int
) -> Iterator[Task]:
    """The documents of a stream of tasks in which some row tells a high-level model from a rival that was not told from
    it on as many rows as are wanted; until each rival was. A task in which none does is passed over.

    Args:
        tasks: such as a generator that draws new inputs for as long as it is asked.
    """
    found = np.zeros(len(rivals), dtype=int)
    for task in tasks:
        apart = np.stack([separates(one, other, task) for other in rivals])
        documents = np.unique(np.asarray(task.document)[apart[found < wanted].any(0)])
        if len(documents):
            found += apart[:, np.isin(np.asarray(task.document), documents)].sum(1)
            yield task.subset(documents)
        if (found >= wanted).all():
            return


def differing_swaps(one: Graph, other: Graph, swaps: Swaps, draw: int = 0) -> Bool[np.ndarray, "rows"]:
    """On which swaps of one hypothesis another predicts a different answer: every variable of it whose places all are
    among those of a variable that is swapped takes that one's source."""
    places = {name: {str(place.site) for place in one.places[name]} for name in swaps.names}
    its = {
        theirs: name
        for theirs, some in other.places.items()
        for name, mine in places.items()
        if theirs != other.answer and {str(place.site) for place in some} <= mine
    }
    after = (
        other.values.answer(row, {theirs: int(swaps.sources[name][draw, row]) for theirs, name in its.items()})
        for row in range(len(other.values.rows))
    )
    return np.array([its != mine for its, mine in zip(after, swaps.answers[draw], strict=True)])


@dataclass(frozen=True)
class Predicted:
    """How often a predictor says what the network answers."""

    predictor: str
    agreement: Estimate


def predictions(workbench: PlanContext, models: Mapping[str, HighLevelModel]) -> list[Predicted]:
    """Agreement with the network on the task's rows: of high-level models, of the right answer, of what the network
    answers at the nearest row of the reference, and of its most common answer there.

    Nearest: the row with the most tokens in common, column by column from the last one back.

    Raises:
        TaskError: as `Answers`, and for a row on which a variable has no value.
    """
    task = workbench.task
    answers = {name: [row[model.answer] for row in values_of(workbench, model).rows] for name, model in models.items()}
    every = Answers(task, [answer for some in answers.values() for answer in some])
    given = every.given(workbench, {"model": Plan()})["model"]
    said = {name: np.array([every.ids[answer] for answer in some]) for name, some in answers.items()}
    right = task.targets(np.arange(len(task)), task.items(np.arange(len(task)))).reshape(len(task), -1)[:, 0]
    said[LABEL] = right.numpy()
    if task.reference is not None:
        there = PlanContext(Runner(workbench.model, task.of_reference()), workbench.seed)
        its = every.given(there, {"model": Plan()})["model"]
        said[NEAREST] = its[nearest_rows(task, there.task)]
        said[COMMON] = np.full(len(task), Counter(its.tolist()).most_common(1)[0][0])
    document = np.asarray(task.document)
    count = np.bincount(document, minlength=len(task.documents)).astype(float)
    resamples = task.resamples(np.flatnonzero(count), workbench.seed)
    return [
        Predicted(name, share(resamples, np.bincount(document, one == given, len(count))[count > 0], count[count > 0]))
        for name, one in said.items()
    ]


def nearest_rows(task: Task, other: Task) -> Int[np.ndarray, "rows"]:
    """For each row of a task the row of another with the most tokens in common, counted from the last one back; of
    equals the first."""
    mine, its = _from_the_end(task, -1), _from_the_end(other, -2)
    width = min(mine.shape[1], its.shape[1])
    return np.array([int((its[:, :width] == row[:width]).sum(1).argmax()) for row in mine])


def _from_the_end(task: Task, none: int) -> Int[np.ndarray, "rows width"]:
    """Tokens from the last one back; `none` where there are no more."""
    tokens, last = task.tokens.numpy(), np.asarray(task.last)
    out = np.full(tokens.shape, none, dtype=np.int64)
    for row, end in enumerate(last.tolist()):
        out[row, : end + 1] = tokens[row, : end + 1][::-1]
    return out
