"""Parts of a circuit that are given a value in place of their own: a program that stands for a head, a constant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import ComponentError
from assay.intervene.edits.engine import EditRunner, Seen
from assay.intervene.plan import Call, Edit, Plan, origins
from assay.model.transformer import Model
from assay.names import Site


class CircuitEdits:
    """What heads and MLPs are given inside a circuit; a head's program may read its own values, which the circuit has.

    Args:
        plan: has the runs that edits take values from.

    Raises:
        ComponentError: for other parts, and for a program that reads what the circuit has no single value of.
    """

    def __init__(self, runner: EditRunner, model: Model, plan: Plan, edits: Sequence[Edit]):
        self.runner, self.model, self.plan, self.edits = runner, model, plan, tuple(edits)
        self.share = model.config.heads // model.config.kv_heads
        for edit in self.edits:
            site = edit.site
            if site.kind not in ("head", "mlp"):
                raise ComponentError(f"inside a circuit heads and MLPs are given values, and {str(site)!r} is neither")
            for read in (read for one in origins(edit.source) if isinstance(one, Call) for read in one.reads):
                if site.kind != "head" or read != self._values(site):
                    raise ComponentError(
                        f"the program of {str(site)!r} reads {str(read)!r}, of which every reader of a circuit has "
                        "a value of its own; inside one a head's program reads the head's own values alone"
                    )

    def heads(
        self,
        z: Float[Tensor, "heads variants rows pos d_head"],
        v: Float[Tensor, "some variants rows pos d_head"],
        layer: int,
        heads: Int[np.ndarray, "heads"],
        seen: Seen,
    ) -> Tensor:
        """The heads' z with what some of them are given; v: of the heads, or of all groups."""
        for place, head in enumerate(heads):
            mine = self._of(Site("head", layer, int(head)))
            values = v[place if len(v) == len(heads) else int(head) // self.share]
            for variant in range(z.shape[1]) if mine else ():
                # as the runner's tap has them: [rows, pos, groups, d_head], of which this one's is read
                whole = values[variant].unsqueeze(2).expand(-1, -1, self.model.config.kv_heads, -1)
                seen = Seen(seen.tokens, seen.rows, seen.data, {("v", layer): whole})
                z[place, variant] = self.runner.given(self.plan, mine, z[place, variant], seen)
        return z

    def mlp(self, value: Float[Tensor, "variants rows pos d_model"], layer: int, seen: Seen) -> Tensor:
        """What an MLP writes, or is given."""
        mine = self._of(Site("mlp", layer))
        for variant in range(len(value)) if mine else ():
            value[variant] = self.runner.given(self.plan, mine, value[variant], seen)
        return value

    def _of(self, site: Site) -> list[Edit]:
        return [edit for edit in self.edits if edit.site.at(None) == site]

    def _values(self, head: Site) -> Site:
        """The values that a head reads."""
        return Site("kv", head.layer, (head.index or 0) // self.share)
