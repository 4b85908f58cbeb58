"""Activations harvested once: values of some sites on many tokens, on disk, for everything that is trained on them.

A pass stops at the deepest site. Rows are written in order, so that a harvest that was stopped goes on where it was.
The first position of a row is left out: a row's first token is a class of its own everywhere.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.errors import RunError
from assay.intervene.wide_sites import WideSite, read_wide
from assay.model.transformer import NOWHERE, Model
from assay.store.files import reason, write_file
from assay.task.examples import content_hash

STATE, TOKENS = "harvest.json", "tokens.npy"
TYPES = {torch.float32: np.dtype("<f4"), torch.bfloat16: np.dtype("<u2"), torch.float16: np.dtype("<f2")}
SPARE = 64 << 20  # bytes that a disk keeps free
AT_ONCE = 4_096  # tokens of a micro-batch


@dataclass(frozen=True)
class HarvestState:
    """What a harvest is of, and how far it has come.

    Attributes:
        model: fingerprint; tokens: fingerprint of its rows; sites: names -> width; dtype: of the values on disk.
        count: tokens that it has in the end; rows: of them are done, and seconds these took.
    """

    model: str
    tokens: str
    sites: dict[str, int]
    dtype: str
    count: int
    rows: int = 0
    seconds: float = 0.0


class Activations:
    """Harvested values, read from their folder.

    Attributes:
        tokens: [rows, pos] ids; row, column: [count] where each value stands in them.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.state = _state(self.folder)
        if self.state is None:
            raise RunError(f"there is no harvest in '{folder}'")
        with np.load(self.folder / TOKENS) as arrays:
            self.tokens: Int[np.ndarray, "rows pos"] = arrays["tokens"]
            self.row, self.column = (array.astype(np.int64) for array in np.nonzero(arrays["harvested"]))
        if self.state.rows < len(self.tokens):
            raise RunError(
                f"the harvest in '{folder}' has {self.state.rows:,} of {len(self.tokens):,} rows; run it again, and it "
                "goes on from there"
            )
        self._maps: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.row)

    @property
    def sites(self) -> dict[str, int]:
        assert self.state is not None
        return self.state.sites

    def take(self, site: str, index: Int[np.ndarray, "some"]) -> Float[Tensor, "some width"]:
        """Values of a site at some of the harvested places, in float32."""
        if site not in self.sites:
            raise RunError(f"the harvest in '{self.folder}' has no {site!r}, only {', '.join(self.sites)}")
        if site not in self._maps:
            dtype = _torch_type(self.state.dtype)  # type: ignore[union-attr]
            shape = len(self), self.sites[site]
            self._maps[site] = np.memmap(self.folder / _file(site), TYPES[dtype], "r", shape=shape)
        found = torch.from_numpy(np.ascontiguousarray(self._maps[site][index]).astype(self._maps[site].dtype))
        dtype = _torch_type(self.state.dtype)  # type: ignore[union-attr]
        return (found.view(torch.bfloat16) if dtype is torch.bfloat16 else found).float()


def harvest(
    model: Model,
    tokens: Int[Tensor, "rows pos"],
    real: Bool[Tensor, "rows pos"],
    sites: Sequence[WideSite],
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Activations:
    """Runs the model on these rows as far as the deepest site, and writes the sites' values to a folder.

    Args:
        real: which columns are no padding. The first column of a row is not harvested.
        dtype: of the values on disk; the model computes in its own.
        advance: called with the tokens that are done and their number.

    Raises:
        RunError: for a folder that holds a harvest of something else, and where the disk has not the room, with how
            much is needed; what was written stays, and the same call goes on from there.
    """
    import time

    folder = Path(folder)
    taken = real.clone()
    taken[:, 0] = False
    wanted = HarvestState(
        model.fingerprint,
        content_hash(tokens.numpy(), taken.numpy()),
        {str(site): site.width(model) for site in sites},
        str(dtype).removeprefix("torch."),
        int(taken.sum()),
    )
    state = _begin(folder, wanted, tokens, taken)
    before = np.concatenate([[0], np.cumsum(taken.sum(1).numpy())])
    step = max(1, AT_ONCE // tokens.shape[1])
    start, spent = time.monotonic(), state.seconds
    files = {site: (folder / _file(str(site))).open("r+b") for site in sites}
    try:
        for first in range(state.rows, len(tokens), step):
            rows = slice(first, min(first + step, len(tokens)))
            values = _run(model, tokens[rows], sites)
            for site, value in values.items():
                picked = value[taken[rows].to(value.device)].to("cpu", dtype)
                flat = picked.view(torch.uint16) if dtype is torch.bfloat16 else picked
                files[site].seek(int(before[first]) * value.shape[-1] * TYPES[dtype].itemsize)
                files[site].write(flat.contiguous().numpy().tobytes())
                files[site].flush()
            state = HarvestState(**{**asdict(state), "rows": rows.stop, "seconds": spent + time.monotonic() - start})
            write_file(folder / STATE, json.dumps(asdict(state), indent=1).encode())
            advance(int(before[rows.stop]), state.count)
    except OSError as error:
        done, total = int(before[state.rows]), state.count
        raise RunError(
            f"the harvest in '{folder}' stopped after {done:,} of {total:,} tokens ({reason(error)}); what is there "
            "stays, and the same command goes on from there"
        ) from error
    finally:
        for file in files.values():
            file.close()
    return Activations(folder)


@torch.no_grad()
def _run(model: Model, tokens: Tensor, sites: Sequence[WideSite]) -> dict[WideSite, Tensor]:
    found: dict[tuple[str, int], Tensor] = {}
    keys = {key for site in sites for key in site.taps}
    taps = {key: lambda value, key=key: found.update({key: value}) for key in keys}
    model.normed(tokens.to(model.device), taps, positions=NOWHERE)
    return {site: read_wide(model, site, found.__getitem__) for site in sites}


def _begin(folder: Path, wanted: HarvestState, tokens: Tensor, taken: Tensor) -> HarvestState:
    """The state that a harvest goes on from: a new one, for which the room on disk is taken."""
    there = _state(folder)
    if there is not None:
        known = {k: v for k, v in asdict(there).items() if k not in ("rows", "seconds")}
        if known != {k: v for k, v in asdict(wanted).items() if k not in ("rows", "seconds")}:
            raise RunError(
                f"'{folder}' holds a harvest of another model, text, site or type; give another folder, or remove it"
            )
        return there
    size = TYPES[_torch_type(wanted.dtype)].itemsize * wanted.count
    need = sum(width * size for width in wanted.sites.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < need + SPARE:
            raise RunError(
                f"the harvest needs {need / 1e9:.2f} GB in '{folder}', and {free / 1e9:.2f} GB are free there; take "
                "fewer tokens or another folder"
            )
        for site, width in wanted.sites.items():
            with (folder / _file(site)).open("wb") as file:
                file.truncate(width * size)
        with (folder / TOKENS).open("wb") as file:
            np.savez_compressed(file, tokens=tokens.numpy().astype(np.int32), harvested=taken.numpy())
        write_file(folder / STATE, json.dumps(asdict(wanted), indent=1).encode())
    except OSError as error:
        raise RunError(f"the harvest cannot be written to '{folder}': {reason(error)}") from error
    return wanted


def _state(folder: Path) -> HarvestState | None:
    try:
        found: dict[str, Any] = json.loads((folder / STATE).read_text())
        return HarvestState(**found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"'{folder / STATE}' is not the state of a harvest: {error}") from error


def _file(site: str) -> str:
    return f"{site}.bin"


def _torch_type(name: str) -> torch.dtype:
    return getattr(torch, name)


def batches(count: int, size: int, seed: int) -> Callable[[int], Int[np.ndarray, "size"]]:
    """step -> which of `count` harvested places the step's batch takes: every epoch each of them once, in an order of
    its own. Neighbours are read together and mixed over 256 places of the file."""
    from assay.stats.keyed import generator

    block, together = 256, 256
    starts = np.arange(0, count, block)
    per_epoch = count // size
    kept: dict[int, np.ndarray] = {}

    def epoch(number: int) -> np.ndarray:
        if number not in kept:
            random = generator(seed, "batches", number)
            order, parts = random.permutation(starts), list[np.ndarray]()
            for first in range(0, len(order), together):
                some = [np.arange(s, min(s + block, count)) for s in order[first : first + together]]
                parts.append(random.permutation(np.concatenate(some)))
            kept.clear()
            kept[number] = np.concatenate(parts)
        return kept[number]

    def batch(step: int) -> Int[np.ndarray, "size"]:
        if not per_epoch:
            return generator(seed, "batches", "few", step).integers(0, count, size)
        number, place = divmod(step, per_epoch)
        return epoch(number)[place * size : (place + 1) * size]

    return batch


def in_order(count: int, size: int) -> Iterator[Int[np.ndarray, "some"]]:
    """All places in their order, in parts."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
