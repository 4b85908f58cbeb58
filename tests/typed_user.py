"""A user's script, which `make lint` type-checks: what an editor knows of every public name. It is never run."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnknownMemberType=false

from typing import assert_type

import assay
from assay.explanations.claims.file import ClaimFile
from assay.explanations.program.library import AttentionProgram
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.record.compute import Compute
from assay.record.headline import TableRow


def script() -> None:
    model = assay.load("zoo:novel-1l")
    assert_type(model, Model | ModuleModel)
    task = assay.Task.repeat(model, n=8, length=8)
    assert_type(task, assay.Task)
    program = assay.programs.induction(level="full")
    assert_type(program, AttentionProgram)
    claims: list[assay.Explanation] = [
        assay.Keep(["a0.h1"]),
        assay.Remove(["a0.h1"]),
        assay.Constant(["a0.h1"], "zero"),
        assay.Program({"a0.h1": program}),
        assay.Circuit(nodes=["a0.h1"]),
    ]
    assert_type(claims[0].to_yaml("zoo:novel-1l", {"kind": "repeat"}, seed=3), str)

    result = assay.measure(claims[0], model, task, ablation=["mean"], only="headline", out="runs/x", progress=False)
    assert_type(result, assay.Measurement)
    assert_type(result.recovered, assay.Estimate)
    assert_type(result.table, tuple[TableRow, ...])
    assert_type(result.compute, Compute)
    assert_type(result.recovered > 0.9, bool)
    assert_type(assay.load_run("runs/x"), assay.Measurement)
    assert_type(assay.load_claim("claim.yaml"), ClaimFile)
    assert_type(assay.Workbench(model, task, seed=1).measure(claims[0], ablation="mean"), assay.Measurement)
    assert_type(assay.Settings.resolve(seed=1).ablation, tuple[str, ...])
    assert_type(assay.__version__, str)
    assert_type(assay.UserError("a sentence"), assay.UserError)

    assay.measure(task, model)  # pyright: ignore[reportArgumentType]
    assay.measure(claims[0], model, task, abltion="mean")  # pyright: ignore[reportCallIssue]
    assay.measure(claims[0], model, task, seed="3")  # pyright: ignore[reportArgumentType]
    assay.Workbench(model, task).measure(claims[0], controls=1.5)  # pyright: ignore[reportArgumentType]
