"""The run folder of a search: frontier.json, the circuit, a claim file that is ready to be measured, and the page.

The circuit that is written has been scored on the evaluation: it counts as a try there, whether it is measured or not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from assay.errors import UserError
from assay.explanations.circuit.writing import write_circuit
from assay.explanations.claims.file import as_yaml, load_claim
from assay.find.circuit.search import SearchResult
from assay.find.split import SearchSplit
from assay.store.canonical import canonical_json
from assay.store.register import check as check_register
from assay.store.register import register_path
from assay.store.runs import PAGE, SEARCH, check_target, parquet_bytes, write_folder

CIRCUIT, CLAIM, SELECTION, DRAWING = "circuit.json", "claim.yaml", "selection.json", "circuit.svg"
SCORES = "scores.parquet"  # of every edge by every method


def check_folder(folder: str, overwrite: bool) -> Path:
    """Whether a search may be written there; ask this before anything expensive starts.

    Raises:
        RunError: as `assay.store.runs.check_target`, and for a register that the circuit cannot be logged in.
    """
    target = check_target(folder, overwrite, SEARCH)
    check_register(register_path(folder))
    return target


def claim_text(found: SearchResult, split: SearchSplit, model: str, folder: str, draws: int, seed: int) -> str:
    """The claim file: the circuit that was found, on the data that it was not found on."""
    from assay.report.search_words import chosen

    record, place = found.record, Path(folder)
    claim: dict[str, Any] = {
        "model": model,
        **split.claim,
        "explanation": {"kind": "circuit", "file": str(place / CIRCUIT)},
        "ablation": [record.ablation],
        "found_on": str(place / SELECTION),
        "seed": seed,
        "draws": max(4, draws),
    }
    circuit = record.circuit
    why = f"# {line}\n" if (line := chosen(record)) else ""
    head = (
        f"# A circuit of {circuit.edges} of {record.total} edges of {model}, found by {circuit.method}.\n{why}"
        f"# The task is the evaluation's; the search saw {SELECTION} only. Paths are relative to where assay runs.\n\n"
    )
    return head + as_yaml(claim)


def save(
    found: SearchResult, split: SearchSplit, *, model: str, folder: str, draws: int, seed: int, overwrite: bool = False
) -> tuple[Path, str | None]:
    """Writes everything, or nothing, and logs the circuit as a try on the evaluation's split.

    Args:
        model: as the claim file names it.

    Returns:
        The folder, and why the try is not in the register (None: it is).

    Raises:
        RunError: when the folder exists (without `overwrite`) or cannot be written.
    """
    from assay.measure.record import register
    from assay.report.page.find import render, save_circuit

    record = found.record
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / CIRCUIT
        strengths = found.scores.strengths(found.mask)
        write_circuit(path, found.model, found.mask, scores=strengths, method=found.scores.method)
        circuit = path.read_text(encoding="utf-8")
    columns = {one.method: one.scores for one in found.every}
    table = pa.table({"edge": [found.model.edges[i] for i in range(len(found.mask))], **columns})
    files: dict[str, str] = {
        SEARCH.record: canonical_json(record),
        CIRCUIT: circuit,
        CLAIM: claim_text(found, split, model, folder, draws, seed),
        SELECTION: found.found_on.to_text(),
        PAGE: render(record),
        **split.files,
    }
    drawing = save_circuit(record)
    if drawing is not None:
        files[DRAWING] = drawing
    where = write_folder(folder, _bytes(files) | {SCORES: parquet_bytes(table)}, overwrite, SEARCH)
    point = record.chosen_point
    p = None if point is None or point.control is None else point.control.p
    try:
        register(load_claim(where / CLAIM), folder, [record.ablation], p)
    except UserError as problem:
        return where, f"the search is saved in {folder!r}, but not logged as a try: {problem}"
    return where, None


def _bytes(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode("utf-8", "replace") for name, text in files.items()}
