"""The run folder of dictionaries: dictionaries.json, each dictionary in a folder of its own, and a claim file with the
first of them, ready to be measured. What is not finished lies beside it, in FOLDER.work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assay.errors import RunError
from assay.explanations.claims.file import as_yaml
from assay.find.dictionary.plan import DictionaryPlan
from assay.find.dictionary.search import ABLATIONS
from assay.record.dictionaries import DictionariesRecord
from assay.store.canonical import canonical_json
from assay.store.files import reason, write_file
from assay.store.runs import DICTIONARIES, check_target, write_folder

CLAIM, CHOSEN, PLAN = "claim.yaml", "dictionary", "plan.json"


def check_folder(folder: str, overwrite: bool) -> None:
    """Whether a run may be written there; ask this before anything expensive starts.

    Raises:
        RunError: as `assay.store.runs.check_target`.
    """
    check_target(folder, overwrite, DICTIONARIES)


def work_of(folder: str, plan: DictionaryPlan, overwrite: bool, model: str) -> Path:
    """The folder for what is not finished; that of an earlier call for the same goes on.

    Raises:
        RunError: for a run folder that may not be written, and a work folder of another search.
    """
    target = check_target(folder, overwrite, DICTIONARIES)
    work = target.parent / f"{target.name}.work"
    said = json.dumps({"model": model, **asdict(plan)}, indent=1)
    try:
        if work.exists():
            there = (work / PLAN).read_text() if (work / PLAN).is_file() else ""
            if there != said:
                raise RunError(
                    f"'{work}' holds what another search left unfinished; run that again, or remove it, or choose "
                    "another folder"
                )
        else:
            work.mkdir(parents=True)
            write_file(work / PLAN, said.encode())
    except OSError as error:
        raise RunError(f"'{work}' cannot be used: {reason(error)}") from error
    return work


def save(
    record: DictionariesRecord, work: Path, *, model: str, claim: Mapping[str, Any], files: Mapping[str, str],
    folder: str, overwrite: bool = False, keep: bool = False,
) -> None:  # fmt: skip
    """Writes everything, or nothing, and removes what was kept for going on.

    Args:
        claim: fields of the claim file that give what the dictionaries were measured on; files: that these name.
        keep: harvested activations stay, in the folder `activations` beside the dictionaries of each network.

    Raises:
        RunError: when it cannot be written.
    """
    first = record.rows[record.chosen].name
    explanation: dict[str, Any] = {"folder": str(Path(folder) / CHOSEN)}
    explanation |= {} if record.reads == record.site else {"reads": record.reads}
    fields = {
        "model": model,
        **claim,
        "explanation": {"kind": "dictionary", "components": {record.site: explanation}},
        "ablation": list(ABLATIONS),
    }
    head = (
        f"# The dictionary {first} of {record.site} of {model}, trained on {record.tokens:,} tokens "
        f"({record.text}).\n# Paths are relative to where assay runs.\n\n"
    )
    if not keep:
        for activations in work.glob("*/activations"):
            shutil.rmtree(activations, ignore_errors=True)
    try:
        shutil.copytree(work / "trained" / first, work / CHOSEN, dirs_exist_ok=True)
        (work / "controls").mkdir(exist_ok=True)
        for place in [path for path in work.iterdir() if path.name not in ("trained", "controls", CHOSEN, PLAN)]:
            place.rename(work / "controls" / place.name)
    except OSError as error:
        raise RunError(f"the dictionaries cannot be put in place in '{work}': {reason(error)}") from error
    texts = {DICTIONARIES.record: canonical_json(record), CLAIM: head + as_yaml(fields), **files}
    folders = {"dictionary": work / CHOSEN, "others": work / "trained", "controls": work / "controls"}
    content = {name: text.encode() for name, text in texts.items()}
    write_folder(folder, content, overwrite, DICTIONARIES, folders)
    shutil.rmtree(work, ignore_errors=True)
