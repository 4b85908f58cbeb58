"""The run folder of a search for places: places.json, and a claim file with what was found, ready to be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.errors import UserError
from assay.explanations.claims.file import ClaimFile, as_yaml, load_claim
from assay.explanations.hypothesis.hypothesis import Hypothesis
from assay.find.split import SearchSplit
from assay.record.places import PlacesRecord
from assay.store.canonical import canonical_json
from assay.store.register import check as check_register
from assay.store.register import register_path
from assay.store.runs import PLACES, check_target, write_folder
from assay.task.found_on import found_on

CLAIM, SELECTION = "claim.yaml", "selection.json"
ABLATION = "resample_independent"  # of the claim that is written: as swaps were scored


def claim_of(claim: ClaimFile, source: str) -> Hypothesis:
    """The hypothesis of a claim file.

    Raises:
        UserError: where it is of another kind.
    """
    made = claim.build_explanation()
    if not isinstance(made, Hypothesis):
        raise UserError(f"{source!r} is a claim of the kind {made.kind!r}; places are searched for of a hypothesis")
    return made


def check_folder(folder: str, overwrite: bool) -> None:
    """Whether a search may be written there; ask this before anything expensive starts.

    Raises:
        RunError: as `assay.store.runs.check_target`, and for a register that the claim cannot be logged in.
    """
    check_target(folder, overwrite, PLACES)
    check_register(register_path(folder))


def save(
    record: PlacesRecord, made: Hypothesis, split: SearchSplit, *, model: str, folder: str, overwrite: bool = False
) -> str | None:
    """Writes everything, or nothing, and logs the claim as a try on the evaluation; why it could not, or None.

    Raises:
        RunError: when the folder exists (without `overwrite`) or cannot be written.
    """
    from assay.measure.record import register

    claim: dict[str, Any] = {
        "model": model,
        **split.claim,
        "explanation": {"kind": made.kind, **made.fields()},
        "ablation": [ABLATION],
        "found_on": str(Path(folder) / SELECTION),
    }
    head = (
        f"# Places of {record.variable!r} in {model}, the best of {len(record.candidates)} by what a swap does.\n"
        f"# The task is the evaluation's; the search saw {SELECTION} only. Paths are relative to where assay runs.\n\n"
    )
    files = {
        PLACES.record: canonical_json(record),
        CLAIM: head + as_yaml(claim),
        SELECTION: found_on(split.selection, split.selection.name).to_text(),
        **split.files,
    }
    where = write_folder(folder, {name: text.encode() for name, text in files.items()}, overwrite, PLACES)
    try:
        register(load_claim(where / CLAIM), folder, [ABLATION])
    except UserError as problem:
        return f"the search is saved in {folder!r}, but not logged as a try: {problem}"
    return None
