"""Options of a run and of a workbench: values are read under them too, and a model without a stream refuses them.

What no edit looks at is not computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from assay.errors import TaskError
from assay.intervene.components import complement
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.residue import CleanRun
from assay.intervene.plan import Call, Edit, Own
from assay.intervene.runner import Runner
from assay.model.load import load
from assay.model.transformer import Model
from assay.names import parse_site
from assay.task.task import Task
from tests.measure.planted import planted, text_task


@pytest.mark.parametrize("layer", [0, 1])
def test_values_of_a_run_with_frozen_norms_are_those_that_its_logits_come_from(layer: int):
    workbench = PlanContext(Runner(planted(), text_task()), frozen_norm=True)
    rows = np.arange(4)
    site = parse_site(f"r{layer + 1}")
    nothing = workbench.plan(())
    torch.testing.assert_close(
        workbench.runner.values(nothing, nothing.final, [site], rows)[site],
        workbench.runner.values(plain := PlanContext(workbench.runner).plan(()), plain.final, [site], rows)[site],
    )
    frozen = workbench.plan(workbench.ablate([parse_site(f"m{layer}"), parse_site(f"a{layer}.h1")], "mean"))
    free = PlanContext(workbench.runner).plan(frozen.final.edits)
    there, other = (workbench.runner.values(plan, plan.final, [site], rows)[site] for plan in (frozen, free))
    assert torch.isfinite(there).all()
    assert not torch.equal(there, other) or layer == 0  # what is ablated in layer 0 is read by no norm before r1


@pytest.mark.parametrize("option", ["frozen_norm", "refit"])
def test_a_model_without_a_stream_refuses_the_options(option: str):
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    task = Task.classify(module, torch.randn(20, 4), torch.arange(20) % 3)
    with pytest.raises(TaskError, match=f"the option '{option}' needs a transformer of a supported family"):
        PlanContext(Runner(load(module), task), **{option: True})


@pytest.mark.parametrize("filled", ["mean", "resample_joint", "clean"])
def test_what_is_replaced_whole_unseen_is_not_computed_and_changes_nothing(filled: str):
    runner, rows = Runner(planted(), text_task()), np.arange(4)
    workbench = PlanContext(runner)
    everything = complement([], planted())
    some = [site for site in everything if str(site) not in ("a0.h3", "m1")]
    unread: list[int] = []
    normed = Model.normed

    def watched(self: Model, *args: Any, **options: Any) -> torch.Tensor:
        unread.append(len(options.get("unread", ())))
        return normed(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "normed", watched)
        for sites, count in ((everything, 4), (some, 2)):
            clean = CleanRun(workbench, sites)  # of other rows, so that the edits change something
            edits = tuple(
                Edit(s, Call(lambda batch, s=s, clean=clean: clean.of("reference", batch.rows).read(s))) for s in sites
            )
            plan = workbench.plan(edits if filled == "clean" else workbench.ablate(sites, filled))
            unread.clear()
            got = runner.logits(plan, rows)
            assert unread[0] == count  # then come runs that it takes values from
            own = tuple(Edit(site, Own()) for site in sites)  # a second edit that looks at the value
            slow = workbench.plan((*own, *plan.final.edits))
            unread.clear()
            torch.testing.assert_close(got, runner.logits(slow, rows), rtol=0, atol=0)
            assert not any(unread)
