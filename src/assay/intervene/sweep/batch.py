"""A sweep's rows that are run together: what is kept of their unpatched run, and patches in waves of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from assay.errors import TaskError
from assay.intervene.components import tap
from assay.intervene.edits.engine import Seen
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import From, Source
from assay.intervene.sweep.fills import fills
from assay.intervene.sweep.patches import Patches, entry
from assay.intervene.sweep.readout import Readout
from assay.model.edge_sets import Position
from assay.model.suffix import PatchGroup, suffix, trace
from assay.model.transformer import Model
from assay.names import Site

EVERYWHERE = -1  # in place of a column: all of them at once


def together(workbench: PlanContext, memory: int) -> int:
    """How many rows are kept at a time: as many as the runner's, if their streams, keys and values fit in memory."""
    assert isinstance(workbench.model, Model)
    shape = workbench.model.config
    inner = shape.d_head * (shape.heads * 3 + shape.kv_heads * 2) + 3 * shape.d_model
    row = workbench.task.tokens.shape[1] * shape.layers * inner * torch.finfo(workbench.model.dtype).bits // 8
    return max(1, min(workbench.runner.batch, memory // row))


class SweepBatch:
    """Rows whose unpatched run is kept, with the fills of all sites.

    Args:
        sites: in the order of `patches.sites_of`; given: where each one's fill comes from.

    Attributes:
        sums: [4, rows] scored items, the model's loss, and the loss and the KL of the run that is patched.
    """

    def __init__(
        self,
        workbench: PlanContext,
        sites: Sequence[Site],
        given: Sequence[Source],
        rows: Int[np.ndarray, "rows"],
        *,
        reverse: bool,
        memory: int,
    ):
        assert isinstance(workbench.model, Model)
        self.workbench, self.model, self.rows, self.sites = workbench, workbench.model, rows, tuple(sites)
        runner, task, layers, device = (
            workbench.runner,
            workbench.task,
            workbench.model.config.layers,
            workbench.model.device,
        )
        items = task.items(rows)
        self.item_row, self.item_column = items.row, items.position - 1
        self.stop = np.zeros(len(rows), dtype=np.int64)  # one past the last column that is read
        np.maximum.at(self.stop, self.item_row, self.item_column + 1)
        self.width = int(self.stop.max(initial=1))
        self.item = np.full((len(rows), self.width), -1)
        self.item[self.item_row, self.item_column] = np.arange(len(self.item_row))
        tokens = runner.inputs("scored", rows)[:, : self.width]
        donor = self._donor(given)
        self.changed = np.zeros(len(rows), dtype=np.int64)  # before this column, fill and own value are the same
        if donor is not None:
            same = (tokens == donor).cpu().numpy().cumprod(1)
            self.changed = same.sum(1)
        elif reverse:
            raise TaskError("a sweep is reversed only where every fill comes from one run: 'counterfactual', "
                            "'resample_joint'")  # fmt: skip
        runner.forwards += len(rows)
        if reverse:
            assert donor is not None
            self.kept = trace(self.model, donor)
            self.fills = runner.unedited("scored", rows, {*map(tap, self.sites), ("stream", layers)})
            clean = self.fills["stream", layers]
        else:
            self.kept = trace(self.model, tokens)
            self.fills = fills(workbench, self.sites, given, rows)
            clean = self.kept.streams[layers]
        where = torch.from_numpy(self.item_row).to(device), torch.from_numpy(self.item_column).to(device)
        self.readout = Readout(self.model, task.metric, clean[where], task.targets(rows, items), memory)
        self.base = np.zeros((2, len(self.item_row)))
        if reverse:
            here = torch.arange(len(self.item_row), device=device)
            scores = self.readout(self.kept.streams[layers][where].unsqueeze(1), here)
            self.base = np.stack([score[:, 0].double().cpu().numpy() for score in scores])
        loss = self.readout.loss.double().cpu().numpy()
        columns = (np.ones_like(loss), loss, loss + self.base[0], self.base[1])
        self.sums = np.stack([np.bincount(self.item_row, column, len(rows)) for column in columns])
        self.tokens = max(1, memory // self._bytes())  # of patches that are run together

    def _donor(self, given: Sequence[Source]) -> Int[Tensor, "rows width"] | None:
        """The tokens of the one run that all fills come from; None where there is no such run."""
        first = given[0]
        if not all(isinstance(s, From) and isinstance(first, From) and s.run == first.run
                   and np.array_equal(_ids(s, self.rows), _ids(first, self.rows)) for s in given):  # fmt: skip
            return None
        assert isinstance(first, From)
        data = "counterfactual" if first.run == "counterfactual" else "reference"
        return self.workbench.runner.inputs(data, _ids(first, self.rows))[:, : self.width]

    def _bytes(self) -> int:
        """What a token of a patch takes while it passes through a layer."""
        shape = self.model.config
        widths = (
            8 * shape.d_model,
            3 * shape.d_head * (shape.heads + 2 * shape.kv_heads),
            3 * max(width or 0 for width in shape.d_mlp),
            4 * shape.heads * self.width,
        )
        return sum(widths) * torch.finfo(self.model.dtype).bits // 8

    def columns(self, positions: Sequence[Position], *, named: bool) -> Int[np.ndarray, "positions rows"]:
        """The column of each row that each position means.

        Args:
            named: columns were asked for, so one that a row does not have is an error.
        """
        seen = Seen(self.workbench.runner.inputs("scored", self.rows), self.rows, "scored")
        out = np.empty((len(positions), len(self.rows)), dtype=np.int64)
        for index, position in enumerate(positions):
            if position is None:
                out[index] = EVERYWHERE
            elif not named:
                out[index] = position
            else:
                columns = self.workbench.runner.columns(Site("input", position=position), seen)
                assert columns is not None
                out[index] = columns.cpu().numpy()
        return out

    def run(
        self, columns: Int[np.ndarray, "positions rows"]
    ) -> tuple[Float64[np.ndarray, "sites positions rows"], Float64[np.ndarray, "sites positions rows"]]:
        """(loss less the unpatched run's, KL) of every site at every position, summed over each row's items."""
        layers, rows = self.model.config.layers, np.arange(len(self.rows))
        found = np.zeros((2, self.width + 1, len(rows), len(self.sites)))  # the last column: everywhere
        below = sum(entry(site) < layers for site in self.sites)
        live = {}
        for column in np.unique(columns):
            first = self.changed if column == EVERYWHERE else column
            some = (columns == column).any(0) & (self.stop > first) & (self.changed <= np.maximum(first, column))
            if some.any():
                live[int(column)] = np.flatnonzero(some)
        if below:
            for groups, sites in self._waves(live, below):
                self._wave(groups, sites, found)
        if below < len(self.sites):
            self._last(live, below, found)
        spot = np.where(columns == EVERYWHERE, self.width, np.minimum(columns, self.width))
        beyond = columns >= self.width
        loss, kl = (np.where(beyond[..., None], 0.0, values[spot, rows]).transpose(2, 0, 1) for values in found)
        return loss, kl + self.sums[3]

    def _waves(
        self, live: dict[int, Int[np.ndarray, "some"]], sites: int
    ) -> Iterator[tuple[list[tuple[int, np.ndarray]], slice]]:
        """(column, rows) of groups that are run together, with the sites that are patched: about `tokens` at a time."""
        wave: list[tuple[int, np.ndarray]] = []
        used = 0
        for column, some in live.items():
            some = some[np.argsort(self.stop[some], kind="stable")]  # rows of about one length lie together
            width = self.width - (int(self.changed[some].min()) if column == EVERYWHERE else column)
            if sites * width > self.tokens:
                size = max(1, self.tokens // width)
                for row in some:
                    for start in range(0, sites, size):
                        yield [(column, np.array([row]))], slice(start, min(start + size, sites))
                continue
            size = self.tokens // (sites * width)
            for start in range(0, len(some), size):
                part = some[start : start + size]
                cost = len(part) * sites * width
                if used + cost > self.tokens:
                    yield wave, slice(0, sites)
                    wave, used = [], 0
                wave.append((column, part))
                used += cost
        if wave:
            yield wave, slice(0, sites)

    def _group(self, column: int, rows: np.ndarray) -> tuple[PatchGroup, Bool[np.ndarray, "rows reads"]]:
        """The group of patches at a column of these rows, and which of its reads are not repeats."""
        start = int(self.changed[rows].min()) if column == EVERYWHERE else column
        stop = int(self.stop[rows].max())
        read = self.item[rows, start:stop] >= 0
        counts = read.sum(1)
        valid = np.arange(counts.max()) < counts[:, None]
        reads = np.repeat(self.stop[rows, None] - 1, counts.max(), 1)
        reads[valid] = np.nonzero(read)[1] + start
        device, in_place = self.model.device, (reads == start + np.arange(reads.shape[1]))[valid].all()
        group = PatchGroup(
            torch.from_numpy(rows).to(device),
            start,
            stop,
            dense=column == EVERYWHERE,
            reads=torch.from_numpy(reads).to(device),
            whole=bool(in_place) and reads.shape[1] == stop - start,
            every=np.array_equal(rows, np.arange(len(self.rows))),
        )
        return group, valid

    def _wave(self, pairs: list[tuple[int, np.ndarray]], sites: slice, found: np.ndarray) -> None:
        layers, width, chosen = self.model.config.layers, self.workbench.task.tokens.shape[1], self.sites[sites]
        groups, valid = zip(*(self._group(column, rows) for column, rows in pairs), strict=True)
        last = suffix(self.model, self.kept, groups, Patches(self.model, self.kept, self.fills, chosen))
        depth = sum(layers - entry(site) for site in chosen) / layers
        streams, items, spots = [], [], []
        for (column, rows), group, real, stream in zip(pairs, groups, valid, last, strict=True):
            self.workbench.runner.count(depth * len(rows) * group.width / width)
            row, read = np.nonzero(real)
            streams.append(stream[torch.from_numpy(row).to(stream.device), torch.from_numpy(read).to(stream.device)])
            items.append(self.item[rows[row], group.reads.cpu().numpy()[row, read]])
            spots.append(np.full(len(row), self.width if column == EVERYWHERE else column))
        self._score(torch.cat(streams), np.concatenate(items), np.concatenate(spots), sites, found)

    def _last(self, live: dict[int, np.ndarray], below: int, found: np.ndarray) -> None:
        """Sites that write to the last stream: what they change is read at their own column or nowhere."""
        asked = np.zeros((self.width + 1, len(self.rows)), dtype=bool)
        for column, some in live.items():
            asked[column if column != EVERYWHERE else self.width, some] = True
        items = np.flatnonzero(
            (asked[self.item_column, self.item_row] | asked[-1, self.item_row])
            & (self.item_column >= self.changed[self.item_row])
        )
        patches = Patches(self.model, self.kept, self.fills, self.sites[below:])
        size = max(1, self.tokens // (len(self.sites) - below))
        for start in range(0, len(items), size):
            some = items[start : start + size]
            where = (torch.from_numpy(x[some]).to(self.model.device) for x in (self.item_row, self.item_column))
            stream = patches(self.model.config.layers, *where)
            assert stream is not None
            chosen = slice(below, len(self.sites))
            spots = np.stack([self.item_column[some], np.full(len(some), self.width)])
            self._score(stream, some, spots, chosen, found)

    def _score(self, stream: Tensor, items: np.ndarray, spots: np.ndarray, sites: slice, found: np.ndarray) -> None:
        """Adds the scores of last streams [some, patches, d_model] at these items to what is found at `spots`."""
        scores = self.readout(stream, torch.from_numpy(items).to(stream.device))
        for score, base, sums in zip(scores, self.base, found, strict=True):
            change = score.double().cpu().numpy() - base[items, None]
            np.add.at(sums[:, :, sites], (spots, self.item_row[items]), change)


def _ids(source: From, rows: np.ndarray) -> np.ndarray:
    return rows if source.rows is None else source.rows[rows]
