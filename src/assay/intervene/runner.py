"""The runner: executes plans in micro-batches whose shape depends only on shapes and the memory budget.

Equal donor rows are run once and kept; an edited run starts at its first edited layer from the clean run's stream.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import ClaimError, ComponentError, TaskError, nearest
from assay.intervene.components import pick, tap
from assay.intervene.plan import Call, Data, Edit, From, Mix, Own, Plan, Run, Source, Stream, Value, origins
from assay.model.module import ModuleModel
from assay.model.transformer import NOWHERE, Model
from assay.names import Site
from assay.task.examples import Examples
from assay.task.task import Task

Key = tuple[str, int]
KEPT_DONORS = 512  # donor rows that are run once and kept; more are run beside the rows they fill
BEFORE = {"z": ("q", "k", "v", "pattern"), "mlp": ("neurons",)}  # what is computed on the way to a value alone
SCALES = ("scale1", "scale2", "scale")


@dataclass
class Clean:
    """The unedited run of a micro-batch: logits, and the stream entering every layer (for prefix reuse)."""

    logits: Tensor
    streams: dict[int, Tensor] = field(default_factory=dict)


@dataclass
class Seen:
    """The micro-batch as a called program sees it (see `plan.Batch`)."""

    tokens: Tensor
    rows: Int[np.ndarray, "batch"]
    data: Data
    values: dict[Key, Tensor] = field(default_factory=dict)
    in_stream: set[Site] = field(default_factory=set)

    def read(self, site: Site) -> Tensor:
        if site.at(None) in self.in_stream:
            raise ClaimError(
                f"a program reads {str(site)!r}, whose own program gives its output in the stream; it has no z to read"
            )
        return pick(self.values[tap(site)], site)


class Runner:
    """Runs plans of one model on one task.

    Args:
        memory: bytes that the logits of a micro-batch and their copies may take.
    """

    def __init__(self, model: Model | ModuleModel, task: Task, *, memory: int = 512 << 20):
        if isinstance(model, ModuleModel) and model.seen is None:
            model = model.on(task.tokens[:1].to(model.device))
        self.model, self.task = model, task
        self.forwards = 0.0  # forward passes of one row, counted for the record
        self.batch = self._batch_rows(memory)
        self._last_plan: tuple[Plan, str, tuple[frozenset[Site], np.ndarray]] | None = None
        self._donors: dict[tuple, tuple[np.ndarray, dict[Site, Tensor]]] = {}

    def _batch_rows(self, memory: int) -> int:
        if isinstance(self.model, ModuleModel):
            return 256
        width = (
            self.task.tokens.shape[1] * self.model.config.vocab * 4 * 6
        )  # logits, log-probabilities and their copies
        return int(max(1, min(64, memory // width)))

    def batches(self, rows: Int[np.ndarray, "rows"]) -> Iterator[Int[np.ndarray, "batch"]]:
        """Rows in micro-batches of the fixed size (the last one may be smaller)."""
        for start in range(0, len(rows), self.batch):
            yield rows[start : start + self.batch]

    def inputs(self, data: Data, rows: Int[np.ndarray, "batch"]) -> Tensor:
        """Token ids (or a module's inputs) of these rows, on the model's device."""
        source = self._examples(data).tokens
        if data == "counterfactual":
            if self.task.counterfactual is None:
                raise TaskError(f"the task {self.task.name!r} has no counterfactuals, which this ablation needs")
            source = self.task.counterfactual
        return source[torch.from_numpy(rows)].to(self.model.device)

    def _examples(self, data: Data) -> Examples:
        if data != "reference":
            return self.task
        if self.task.reference is None:
            raise TaskError(f"the task {self.task.name!r} has no reference examples, which this ablation needs")
        return self.task.reference

    def clean(self, data: Data, rows: Int[np.ndarray, "batch"]) -> Clean:
        """The unedited run, with the stream entering every layer."""
        self.forwards += len(rows)
        if isinstance(self.model, ModuleModel):
            return Clean(self.model.forward(self.inputs(data, rows)))
        streams: dict[int, Tensor] = {}

        def keep(layer: int) -> Callable[[Tensor], None]:
            return lambda value: streams.__setitem__(layer, value)

        layers = range(self.model.config.layers)
        logits = self.model.forward(self.inputs(data, rows), {("stream", layer): keep(layer) for layer in layers})
        return Clean(logits, streams)

    def logits(self, plan: Plan, rows: Int[np.ndarray, "batch"], clean: Clean | None = None) -> Tensor:
        """The scored run of a plan on these rows: [batch, pos, vocab]. `clean` is the clean run of the same rows."""
        return self._forward(plan, plan.final, rows, {}, clean)

    def values(self, plan: Plan, run: Run, sites: Iterable[Site], rows: Int[np.ndarray, "rows"]) -> dict[Site, Tensor]:
        """Values of sites in a run of the plan, [rows, pos, width] each."""
        sites = list(sites)
        found: dict[Site, list[Tensor]] = {site: [] for site in sites}
        for batch in self.batches(rows):
            kept: dict[Key, Tensor] = {tap(site): torch.empty(0) for site in sites}
            self._forward(plan, run, batch, kept, None, unembed=False)
            for site in sites:
                found[site].append(pick(kept[tap(site)], site))
        return {site: torch.cat(parts) for site, parts in found.items()}

    def _forward(
        self, plan: Plan, run: Run, rows: np.ndarray, keep: dict[Key, Tensor], clean: Clean | None, unembed: bool = True
    ) -> Tensor:
        """One forward pass; `keep` names the taps to keep and receives their values (after the edits)."""
        if run.circuits is not None:
            return self._circuit(plan, run, rows, keep)
        seen = Seen(self.inputs(run.data, rows), rows, run.data)
        taps, first = self._taps(plan, run, seen, keep)
        if isinstance(self.model, ModuleModel):
            self.forwards += len(rows)
            return self.model.forward(seen.tokens, taps)
        unread = _unread(run, taps, self.model.config.heads)
        if run.frozen_norm:
            taps = {**taps, **self._frozen(run.data, rows, unembed)}
        layers = self.model.config.layers
        positions = None if unembed else NOWHERE  # values need no logits
        if clean is not None and clean.streams and run.data == "scored" and not keep and first > 0:
            first = min(first, layers - 1)
            self.forwards += len(rows) * (1 - first / layers)
            return self.model.forward(seen.tokens, taps, stream=clean.streams[first], start=first, unread=unread)
        self.forwards += len(rows) * (1 if unembed else self.model.depth(taps) / layers)
        return self.model.forward(seen.tokens, taps, positions=positions, unread=unread)

    def _circuit(self, plan: Plan, run: Run, rows: np.ndarray, keep: dict[Key, Tensor]) -> Tensor:
        from assay.intervene.circuit_runs import run_circuit  # it runs fills through this class

        if not keep:
            return run_circuit(self, plan, run, rows)
        assert isinstance(self.model, Model)
        final = ("stream", self.model.config.layers)
        if set(keep) != {final}:
            raise ComponentError("every reader of a circuit has an input of its own; only the final stream can be read")
        keep[final] = run_circuit(self, plan, run, rows, stream=True)
        return keep[final]

    def _frozen(self, data: Data, rows: np.ndarray, unembed: bool) -> dict[Key, Callable[[Tensor], Tensor | None]]:
        assert isinstance(self.model, Model)
        layers = self.model.config.layers
        keys = [(kind, layer) for kind in SCALES[:2] for layer in range(layers)]
        keys += [("scale", layers)] if unembed else []  # without logits the last norm sees no position
        scales: dict[Key, Tensor] = {}

        def keeper(key: Key) -> Callable[[Tensor], None]:
            return lambda value: scales.__setitem__(key, value)

        self.forwards += len(rows)
        self.model.forward(self.inputs(data, rows), {key: keeper(key) for key in keys})
        return {key: (lambda _, value=value: value) for key, value in scales.items()}

    def _taps(
        self, plan: Plan, run: Run, seen: Seen, keep: dict[Key, Tensor]
    ) -> tuple[dict[Key, Callable[[Tensor], Tensor | None]], int]:
        """Tap functions of a run, and the first layer that they touch."""
        grouped: dict[Key, list[Edit]] = {}
        reads: set[Key] = set()
        for edit in run.edits:
            grouped.setdefault(tap(edit.site), []).append(edit)
            reads |= {tap(site) for site in _reads(edit.source)}
        additions: dict[int, list[Tensor]] = {}
        taps: dict[Key, Callable[[Tensor], Tensor | None]] = {}

        def make(key: Key, edits: list[Edit]) -> Callable[[Tensor], Tensor | None]:
            def tapped(value: Tensor) -> Tensor | None:
                if key in reads:
                    seen.values[key] = value
                out = self._edited(plan, edits, value, seen, additions) if edits else None
                if key in reads and out is not None:
                    seen.values[key] = out  # later parts read what an earlier program put there
                if key in keep:
                    keep[key] = value if out is None else out
                return out

            return tapped

        for key in {*grouped, *reads, *keep}:
            taps[key] = make(key, grouped.get(key, []))
        # a head's output given in the stream is added to its layer's sum, after the layer's own edits
        for layer in {
            key[1] for key, edits in grouped.items() if key[0] == "z" and any(_calls(e.source) for e in edits)
        }:
            key = ("attention", layer)
            own = taps.get(key)

            def add(value: Tensor, layer: int = layer, own=own, key: Key = key) -> Tensor | None:
                out = own(value) if own else None
                if additions.get(layer):
                    out = (value if out is None else out) + torch.stack(additions[layer]).sum(0)
                if key in reads and out is not None:
                    seen.values[key] = out
                if key in keep and out is not None:
                    keep[key] = out
                return out

            taps[key] = add
        first = min((key[1] for key in (*grouped, *reads) if key[0] != "input"), default=0)
        return taps, 0 if any(key[0] == "input" for key in (*grouped, *reads)) else first

    def _edited(
        self, plan: Plan, edits: list[Edit], value: Tensor, seen: Seen, additions: dict[int, list[Tensor]]
    ) -> Tensor:
        out = value.clone()
        for edit in edits:
            site = edit.site
            new = self._resolve(plan, edit.source, site, pick(value, site), seen)
            columns = self._columns(site, seen)
            if isinstance(new, Stream):
                seen.in_stream.add(site.at(None))
                addition = new.tensor if columns is None else _only(new.tensor, columns)
                additions.setdefault(site.layer or 0, []).append(addition)
                new = torch.zeros((), dtype=value.dtype, device=value.device)
            target = pick(out, site)  # a view of `out`
            if columns is None:
                target.copy_(new.expand_as(target))
            else:
                rows = torch.arange(len(target), device=target.device)
                target[rows, columns] = new.expand_as(target)[rows, columns].to(target.dtype)
        return out

    def _resolve(self, plan: Plan, source: Source, site: Site, own: Tensor, seen: Seen) -> Tensor | Stream:
        match source:
            case Own():
                return own
            case Value(tensor):
                return tensor.to(own.dtype)
            case From(name, rows, other):
                ids = seen.rows if rows is None else rows[seen.rows]
                return self._donated(plan, plan.run(name), other or site, rows, ids)
            case Call(program, _):
                return program(seen)
            case Mix(basis, inside, outside):
                into = self._resolve(plan, inside, site, own, seen)
                rest = self._resolve(plan, outside, site, own, seen)
                if isinstance(into, Stream) or isinstance(rest, Stream):
                    raise TypeError("a subspace of a head is mixed in z, not in the stream")
                return rest + (into - rest) @ basis @ basis.T

    def _donated(self, plan: Plan, run: Run, site: Site, rows: np.ndarray | None, ids: np.ndarray) -> Tensor:
        """Values of a site for these rows of another run; small donor sets are run once for all their sites."""
        site = site.at(None)  # a donor gives all its columns; the edit says which of them are taken
        if run.edits:
            return self.values(plan, run, [site], ids)[site]
        sites, pool = self._wanted(plan, run)
        own = rows is None  # the same rows of the other run: once a batch, for all sites
        if not own and len(pool) > KEPT_DONORS:
            return self.values(plan, run, [site], ids)[site]
        unique = ids if own else pool
        key = (run.data, own, unique.tobytes(), sites)
        if key not in self._donors:
            while len(self._donors) >= 8:
                self._donors.pop(next((k for k in self._donors if k[1]), next(iter(self._donors))))
            with torch.no_grad():
                self._donors[key] = unique, self.values(plan, run, sites, unique)
        order, values = self._donors[key]
        return values[site] if own else values[site][torch.from_numpy(np.searchsorted(order, ids))]

    def _wanted(self, plan: Plan, run: Run) -> tuple[frozenset[Site], Int[np.ndarray, "rows"]]:
        """All sites that the plan takes from an unedited run, and all of that run's rows that they are taken from."""
        if self._last_plan is None or self._last_plan[0] is not plan or self._last_plan[1] != run.name:
            sites = _sites_from(plan, run)
            pools = [s.rows for several in sites.values() for s in several if s.rows is not None]
            distinct = {id(rows): rows for rows in pools}.values()  # one array serves all sites of a joint draw
            pool = np.unique(np.concatenate([*distinct])) if pools else np.zeros(0, dtype=np.int64)
            self._last_plan = plan, run.name, (frozenset(sites), pool)
        return self._last_plan[2]

    def _columns(self, site: Site, seen: Seen) -> Tensor | None:
        """The column of each row that a site's position names, or None for every column."""
        if site.position is None:
            return None
        if isinstance(site.position, int):
            last = self._examples(seen.data).last[seen.rows]
            shortest = int(last.min()) + 1
            if not -shortest <= site.position < shortest:
                raise TaskError(f"{str(site)!r}: the shortest example has columns 0 to {shortest - 1}")
            columns = np.where(site.position < 0, last + 1 + site.position, site.position)
            return torch.as_tensor(columns, device=seen.tokens.device)
        named = self._examples(seen.data).columns
        if site.position not in named:
            raise TaskError(f"{str(site)!r}: the task has no column {site.position!r}" + nearest(site.position, named))
        return torch.as_tensor(named[site.position][seen.rows], device=seen.tokens.device)


def _reads(source: Source) -> tuple[Site, ...]:
    return tuple(site for part in origins(source) if isinstance(part, Call) for site in part.reads)


def _calls(source: Source) -> bool:
    return any(isinstance(part, Call) for part in origins(source))


def _unread(run: Run, tapped: Container[Key], heads: int) -> set[Key]:
    """Taps whose whole value is replaced by constants, so that it need not be computed: with everything ablated, most
    of a forward pass and of its gradient."""
    given: dict[Key, list[Edit]] = {}
    for edit in run.edits:
        given.setdefault(tap(edit.site), []).append(edit)
    out: set[Key] = set()
    for key, edits in given.items():
        constant = all(isinstance(edit.source, Value) and edit.site.position is None for edit in edits)
        whole = key[0] == "mlp" or (key[0] == "z" and len({edit.site.index for edit in edits}) == heads)
        looked_at = any((kind, key[1]) in tapped for kind in BEFORE.get(key[0], ()))
        if constant and whole and not looked_at:
            out.add(key)
    return out


def _sites_from(plan: Plan, run: Run) -> dict[Site, list[From]]:
    """Every site that some edit of the plan takes from this run, with all that take it (columns may have their own)."""
    out: dict[Site, list[From]] = {}
    for other in plan.runs:
        for edit in other.edits:
            for source in origins(edit.source):
                if isinstance(source, From) and source.run == run.name:
                    out.setdefault((source.site or edit.site).at(None), []).append(source)
    return out


def _only(value: Float[Tensor, "batch pos width"], columns: Tensor) -> Tensor:
    out = torch.zeros_like(value)
    rows = torch.arange(len(value), device=value.device)
    out[rows, columns] = value[rows, columns]
    return out
