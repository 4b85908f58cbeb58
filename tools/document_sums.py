"""Per-document sums of three claims on the built-in text, for tools/coverage.py.

    python -m tools.document_sums [test|unseen ...]

Long modules are cut into the pieces that samples take. Two draws of every random ablation. Of the unseen split, which
has one novel a language, the Python modules alone.
"""

from __future__ import annotations

import sys
from dataclasses import fields, replace

import numpy as np

import assay
from assay.explanations.base import Explanation
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.measure.controls import rivals
from assay.measure.headline.systems import systems
from assay.score.score import score
from assay.task.encode import bos_of
from assay.task.examples import Examples
from assay.task.task import Task
from assay.task.text import cut
from assay.task.zoo_text import documents_of, pieces, works_of
from tools.coverage import sums_file

DRAWS = 2
ABLATIONS = ("mean", "resample_joint")
INDUCTION = assay.programs.induction()
CASES: dict[str, tuple[str, Explanation, tuple[str, ...]]] = {
    "induction": (
        "zoo:novel-attn2-rep",
        assay.Program({"a1.h2": INDUCTION, "a1.h7": INDUCTION}),
        ("explained/kl", "floor:mean/kl", "floor:resample_joint/kl"),
    ),
    "keep": (
        "zoo:novel-2l",
        assay.Keep(["a0", "a1", "m1"]),
        ("model/loss", "explained:mean/loss", "explained:mean/kl", "explained:resample_joint/kl", "floor:mean/loss",
         "floor:mean/kl"),
    ),
    "remove": (
        "zoo:novel-2l",
        assay.Remove(["a1.h0", "a0.h1"]),
        ("model/loss", "explained:mean/loss", "explained:mean/kl", "bigram/loss"),
    ),
}  # fmt: skip


def whole(model: assay.Model, split: str) -> Task:
    """A split of the built-in text, its long modules in pieces."""
    task = assay.Task.text(model, split=split)
    found = [piece for document in documents_of(model, works_of(model, split)) for piece in pieces(document)]
    examples = cut(found, task.tokens.shape[1], bos_of(model, "auto"), model)
    return replace(task, **{field.name: getattr(examples, field.name) for field in fields(Examples)})


def sums(name: str, split: str = "test", documents: int | None = None) -> tuple[Task, dict[str, np.ndarray]]:
    """The columns of one case, by document (of the first so many)."""
    source, claim, columns = CASES[name]
    model = assay.load(source)
    task = whole(model, split)
    chosen = [i for i, d in enumerate(task.documents) if split == "test" or d.source == "python"][:documents]
    task = task.subset(np.array(chosen))
    workbench = PlanContext(Runner(model, task), 0)
    wanted = {column.partition("/")[0] for column in columns}
    every = dict(systems(workbench, claim, ABLATIONS, DRAWS).plans)
    if "bigram" in wanted:
        every |= {one.id: one.system for one in rivals.ngrams(workbench)}
    scored = score(workbench, {one: plan for one, plan in every.items() if str(one) in wanted})
    found = {"model": scored.model, **{str(one): its for one, its in scored.systems.items()}}
    return task, {f"{name}/{c}": getattr(found[c.split("/")[0]], c.split("/")[1]) for c in columns}


def main() -> None:
    for split in sys.argv[1:] or ("test", "unseen"):
        columns: dict[str, np.ndarray] = {}
        for name in CASES:
            task, found = sums(name, split)
            columns |= {key: column.astype(np.float32) for key, column in found.items()}
            names, sources = zip(*((d.name, d.source) for d in task.documents), strict=True)
            tokens = np.bincount(task.document, weights=task.scored.sum(1).numpy(), minlength=len(names))
            columns |= {"documents": np.array(names), "source": np.array(sources), "tokens": tokens.astype(np.int32)}
            print(f"{split}, {name}: {len(names)} documents", file=sys.stderr, flush=True)
        np.savez_compressed(sums_file(split), **columns)


if __name__ == "__main__":
    main()
