"""Whether a folder could hold a model, by its files alone: nothing heavy is imported to say so."""

from __future__ import annotations

import os
from pathlib import Path

from assay.errors import ModelError

HOLDS = "the folder that holds config.json and model.safetensors"


def looks_local(place: str) -> bool:
    """A path by its form, so that a mistyped folder is not asked of the hub: a hub id is NAME or OWNER/NAME."""
    return place.startswith((".", "/", "~")) or place.count("/") > 1 or place == ""


def check_folder(place: str) -> None:
    """Raises `ModelError` for what is no folder in the hub's format, or holds what would be waited for."""
    path = Path(place)
    if not os.path.exists(place):
        raise ModelError(f"the folder {place!r} does not exist")
    if not path.is_dir():
        raise ModelError(f"{place!r} is a file; give {HOLDS}")
    try:
        entries = list(path.iterdir())
    except OSError as error:
        raise ModelError(f"the folder {place!r} cannot be read ({error.strerror})") from None
    for entry in entries:
        if entry.exists() and not entry.is_file() and not entry.is_dir():
            raise ModelError(f"the folder {place!r} holds {entry.name!r}, which is no file: a pipe or a device")
    if not (path / "config.json").is_file() and (path / "adapter_config.json").is_file():
        raise ModelError(
            f"the folder {place!r} holds an adapter of another model (adapter_config.json); open both with peft, merge "
            "them (merge_and_unload), and give the result"
        )
    if not (path / "config.json").is_file():
        raise ModelError(f"the folder {place!r} holds no config.json, so it is not a model in the hub's format")
