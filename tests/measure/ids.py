"""The keys of a claim's run and floor under mean ablation."""

from assay.score.ids import SystemId

EXPLAINED, FLOOR = SystemId("explained", "mean"), SystemId("floor", "mean")
