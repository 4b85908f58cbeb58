"""`.npz` files of a classification task: broken as files, and whole ones whose members claim what is not so."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from random import Random

import numpy as np

from assay.explanations.claims.file import load_claim
from assay.task.task import Task
from tools.stress import mutate
from tools.stress.reader import FileReader, Seed

CLAIM = "model: folder\ntask: {kind: classify, file: %s}\nexplanation: {kind: keep, components: [conv1]}\n"


class Network:
    """What a task asks of a model here: a name, and that it was opened."""

    name, bos = "a network", None


def archive(packed: bool, **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **arrays)
    return file.getvalue()


def seeds(folder: Path) -> list[Seed]:
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(20, 3, 4)).astype(np.float32), rng.integers(0, 5, 20)
    groups = np.array([f"g{i // 2}" for i in range(20)])
    (folder / "folder").mkdir(exist_ok=True)
    (folder / "folder" / "config.json").write_text("{}")  # a claim file asks whether its model may be one
    return [
        Seed("plain.npz", archive(False, inputs=inputs, labels=labels)),
        Seed("packed.npz", archive(True, inputs=inputs, labels=labels.astype(np.uint8), groups=groups)),
        Seed("big.npz", archive(True, inputs=inputs.astype(">f8"), labels=labels.astype(">i4"), groups=labels)),
    ]


def changed(rng: Random, content: bytes) -> bytes:
    if rng.random() < 0.5:
        return mutate.raw(rng, content)
    file, found = io.BytesIO(), zipfile.ZipFile(io.BytesIO(content))
    kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    victim = rng.choice(found.namelist())
    with zipfile.ZipFile(file, "w", kind) as out:
        for name in found.namelist():
            data = found.read(name)
            if name == victim:
                head = data[:128] if rng.random() < 0.7 else data
                data = _header(rng, head) + data[len(head) :]
            out.writestr(name if rng.random() < 0.97 else rng.choice(("x", "../x", "labels.npy", "groups.npy")), data)
    return file.getvalue() if rng.random() < 0.8 else mutate.raw(rng, file.getvalue())


def _header(rng: Random, head: bytes) -> bytes:
    """Another type, another shape, or other bytes; as long as before where that is possible."""
    types = (b"'|O'", b"'<f2'", b"'<f8'", b"'<c8'", b"'|b1'", b"'<u8'", b"'<U9'", b"'|V9'", b"'<M8[s]'", b"'|S0'",
             b"'<f16'", b"[('a', '<i4')]", b"'|V999999999'")  # fmt: skip
    shapes = (b"(0,)", b"(-1,)", b"(99999999999,)", b"()", b"(1,)", b"(20,)", b"(0, 999999999999999999999)", b"(2, 10)")
    if rng.random() < 0.4:
        return mutate.raw(rng, head)
    for quote, others in ((b"'descr': ", types), (b"'shape': ", shapes)):
        if rng.random() < 0.6 and quote in head:
            start = head.index(quote) + len(quote)
            end = head.index(b"," if quote == b"'descr': " else b")", start) + (quote != b"'descr': ")
            new = rng.choice(others)
            head = head[:start] + new + head[end:]
    return head


def read(path: Path) -> None:
    claim = path.with_suffix(".yaml")
    claim.write_text(CLAIM % path.name)
    task = load_claim(claim).build_task(Network())
    assert isinstance(task, Task)


ARRAYS = FileReader(seeds, read, changed)
