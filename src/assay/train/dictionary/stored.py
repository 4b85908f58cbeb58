"""Dictionaries on disk in assay's own form: `dictionary.json` says what one is, its tensors lie beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from assay.errors import ClaimError, RunError
from assay.store.files import reason, write_file
from assay.train.dictionary.code import SparseCode

ABOUT, TENSORS = "dictionary.json", "dictionary.safetensors"
FORM = "assay-dictionary/1"
RULES = ("relu", "topk", "threshold", "gated")
RESCALES = ("none", "layer", "norm")
NEEDED = ("encoder", "encoder_bias", "decoder", "decoder_bias", "before")


def store(code: SparseCode, folder: str | Path, about: Mapping[str, Any]) -> None:
    """Writes a code and what is known of it.

    Args:
        about: site, what it reads, model, settings, tokens, ...: plain data.

    Raises:
        RunError: where it cannot be written.
    """
    folder = Path(folder)
    said = {"form": FORM, "rule": code.rule, "k": code.k, "rescale": code.rescale, "most": code.most, **about}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / TENSORS, save({name: tensor.contiguous() for name, tensor in code.tensors.items()}))
        write_file(folder / ABOUT, (json.dumps(said, indent=1) + "\n").encode())
    except OSError as error:
        raise RunError(f"the dictionary cannot be written to '{folder}': {reason(error)}") from error


def opened(folder: str | Path) -> tuple[SparseCode, dict[str, Any]]:
    """The code of a folder, and what is known of it.

    Raises:
        ClaimError: for a folder that lacks a file, and for what is no dictionary.
    """
    folder = Path(folder)
    about, tensors = read_about(folder, ABOUT), read_tensors(folder, TENSORS)
    if about.get("form") != FORM:
        raise ClaimError(f"'{folder / ABOUT}' is of the form {about.get('form')!r}, and this version reads {FORM!r}")
    if about.get("rule") not in RULES or about.get("rescale", "none") not in RESCALES:
        raise ClaimError(f"'{folder / ABOUT}' has an unknown rule {about.get('rule')!r} or rescale")
    if missing := [name for name in NEEDED if name not in tensors]:
        raise ClaimError(f"'{folder / TENSORS}' has no tensor {missing[0]!r}")
    known = {name: tensors[name].float() for name in SparseCode.__dataclass_fields__ if name in tensors}
    most = about.get("most")
    if most is not None and not (isinstance(most, int | float) and most > 0):
        raise ClaimError(f"'{folder / ABOUT}' says that the largest norm that is coded is {most!r}")
    code = SparseCode(**known, rule=about["rule"], k=about.get("k"), rescale=about.get("rescale", "none"), most=most)
    check(code, str(folder))
    return code, about


def read_about(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of a dictionary's folder.

    Raises:
        ClaimError: where it is not there, or holds something else.
    """
    path = folder / name
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        there = sorted(p.name for p in folder.iterdir())[:8] if folder.is_dir() else None
        tail = "there is no such folder" if there is None else f"it has {', '.join(there) or 'no file'}"
        raise ClaimError(f"the dictionary '{folder}' has no {name!r}; {tail}") from None
    except (OSError, ValueError) as error:
        raise ClaimError(f"'{path}' cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ClaimError(f"'{path}' holds no description of a dictionary")
    return found


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors file of a dictionary's folder.

    Raises:
        ClaimError: where it is not there, or cannot be read.
    """
    path = folder / name
    if not path.is_file():
        raise ClaimError(f"the dictionary '{folder}' has no {name!r}")
    try:
        return load_file(path)
    except Exception as error:  # safetensors has errors of its own
        raise ClaimError(f"'{path}' cannot be read as safetensors: {error}") from None


def check(code: SparseCode, where: str) -> None:
    """Raises `ClaimError` for tensors that are no code: shapes that do not fit, numbers that are not finite."""
    width, d_in = code.encoder.shape if code.encoder.ndim == 2 else (0, 0)
    d_out = code.decoder.shape[-1] if code.decoder.ndim == 2 else 0
    wanted = {
        "encoder": (width, d_in), "encoder_bias": (width,), "decoder": (width, d_out), "decoder_bias": (d_out,),
        "before": (d_in,), "threshold": (width,), "gate_scale": (width,), "gate_bias": (width,), "skip": (d_out, d_in),
    }  # fmt: skip
    for name, tensor in code.tensors.items():
        if tuple(tensor.shape) != wanted[name] or not tensor.numel():
            raise ClaimError(
                f"{name!r} of {where} has the shape {list(tensor.shape)}, where {list(wanted[name])} is needed"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ClaimError(f"{name!r} of {where} holds numbers that are not finite")
    if code.rule == "topk" and not (isinstance(code.k, int) and 1 <= code.k <= width):
        raise ClaimError(f"{where} keeps the k largest features of {width}, and its k is {code.k!r}")
    needs = {"threshold": ("threshold",), "gated": ("gate_scale", "gate_bias")}.get(code.rule, ())
    if missing := [name for name in needs if name not in code.tensors]:
        raise ClaimError(f"{where} has no {missing[0]!r}, which a code with the rule {code.rule!r} has")
