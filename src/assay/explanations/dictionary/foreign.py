"""Dictionaries in the forms in which they are published, read as sparse codes: SAELens, dictionary_learning, sparsify,
and assay's own. Nothing that is opened here can run code."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.errors import ClaimError, nearest
from assay.train.dictionary import stored
from assay.train.dictionary.code import Rescale, SparseCode
from assay.train.dictionary.stored import check, read_about, read_tensors


@dataclass(frozen=True, eq=False)
class Loaded:
    """A dictionary from a folder.

    Attributes:
        code: it; form: whose form it has; site, reads: where it stands and what it reads, where the folder says so.
        about: what else the folder says, as plain data.
    """

    code: SparseCode
    form: str
    site: str | None
    reads: str | None
    about: Mapping[str, Any]


def load_code(folder: str | Path) -> Loaded:
    """The dictionary in a folder, of any known form.

    Raises:
        ClaimError: for a folder that lacks a file, an architecture that is not known, tensors that do not fit, and a
            pickle that holds more than tensors.
    """
    folder = Path(folder)
    for name, read in FORMS.items():
        if (folder / name).is_file():
            found = read(folder)
            check(found.code, f"'{folder}'")
            return found
    if not folder.is_dir():
        raise ClaimError(f"the dictionary '{folder}' has no description; there is no such folder")
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "no file"
    raise ClaimError(
        f"the dictionary '{folder}' has no description ({', '.join(FORMS)}); it has {there}"
    )  # fmt: skip


def _own(folder: Path) -> Loaded:
    code, about = stored.opened(folder)
    return Loaded(code, "assay", about.get("site"), about.get("reads"), about)


# -- SAELens (cfg.json, sae_weights.safetensors) and sparsify (cfg.json, sae.safetensors)


def _cfg(folder: Path) -> Loaded:
    about = read_about(folder, "cfg.json")
    if (folder / "sae.safetensors").is_file() or "expansion_factor" in about:
        return _sparsify(folder, about)
    return _saelens(folder, about)


_SAELENS = ("standard", "topk", "batchtopk", "jumprelu", "gated", "matryoshka_batchtopk", "transcoder",
            "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")  # fmt: skip
_RESCALES: dict[str | None, Rescale] = {
    None: "none", "none": "none", "expected_average_only_in": "none", "layer_norm": "layer",
    "constant_norm_rescale": "norm",
}  # fmt: skip


def _saelens(folder: Path, about: Mapping[str, Any]) -> Loaded:
    tensors = _floats(read_tensors(folder, "sae_weights.safetensors"))
    said = about.get("architecture", "standard")
    if said not in _SAELENS:
        raise ClaimError(f"'{folder}' has the unknown architecture {said!r}" + nearest(str(said), _SAELENS))
    rescale = about.get("normalize_activations", "none")
    if rescale not in _RESCALES:
        raise ClaimError(
            f"'{folder}' rescales its values by {rescale!r}, which is not known here; fold it before saving"
        )
    encoder, decoder = _needed(folder, tensors, "W_enc").T, _needed(folder, tensors, "W_dec")
    bias = _needed(folder, tensors, "b_gate" if said == "gated" else "b_enc")
    out = _needed(folder, tensors, "b_dec")
    transcodes = "transcoder" in said
    before = out if about.get("apply_b_dec_to_input", True) and not transcodes else torch.zeros(encoder.shape[1])
    code = SparseCode(encoder, bias, decoder, out, before.clone(), skip=tensors.get("W_skip"))
    activation = about.get("activation_fn", about.get("activation_fn_str"))
    k = about.get("k", (about.get("activation_fn_kwargs") or {}).get("k"))
    if said == "gated":
        scale, size = _needed(folder, tensors, "r_mag"), _needed(folder, tensors, "b_mag")
        code = replace(code, rule="gated", gate_scale=scale, gate_bias=size)
    elif said == "topk" or activation == "topk":
        code = replace(code, rule="topk", k=k)
        if about.get("rescale_acts_by_decoder_norm"):
            code = unit_rows(code)
    elif "threshold" in tensors:
        code = replace(code, rule="threshold", threshold=tensors["threshold"])
    elif said.startswith("jumprelu") or "batchtopk" in said:
        raise ClaimError(f"'{folder / 'sae_weights.safetensors'}' has no tensor 'threshold', which a {said} has")
    metadata = {**about, **(about.get("metadata") or {})}
    place, source = _hook(metadata.get("hook_name_out")), _hook(metadata.get("hook_name"))
    code = replace(code, rescale=_RESCALES[rescale])
    return Loaded(code, "SAELens", place or source, source, about)


_HOOKS = (
    (r"blocks\.(\d+)\.hook_resid_pre", lambda n: f"r{n}"),
    (r"blocks\.(\d+)\.hook_resid_post", lambda n: f"r{n + 1}"),
    (r"blocks\.(\d+)\.hook_mlp_out", lambda n: f"m{n}"),
    (r"blocks\.(\d+)\.mlp\.hook_post", lambda n: f"m{n}.hidden"),
    (r"blocks\.(\d+)\.(?:ln2\.hook_normalized|mlp\.hook_in|hook_mlp_in)", lambda n: f"m{n}.in"),
    (r"blocks\.(\d+)\.attn\.hook_z", lambda n: f"a{n}"),
    (r"(?:\w+\.)*layers\.(\d+)", lambda n: f"r{n + 1}"),
    (r"(?:\w+\.)*layers\.(\d+)\.mlp", lambda n: f"m{n}"),
    (r"resid_post_layer_(\d+)", lambda n: f"r{n + 1}"),
    (r"mlp_out_layer_(\d+)", lambda n: f"m{n}"),
)


def _hook(name: object) -> str | None:
    """The site that another library's name of a place means; None: not known."""
    for pattern, site in _HOOKS:
        if found := re.fullmatch(pattern, str(name)):
            return site(int(found[1]))
    return None


def _sparsify(folder: Path, about: Mapping[str, Any]) -> Loaded:
    tensors = _floats(read_tensors(folder, "sae.safetensors"))
    if (said := about.get("activation", "topk")) != "topk":
        raise ClaimError(f"'{folder}' has the unknown activation {said!r}" + nearest(str(said), ("topk",)))
    encoder, decoder = _needed(folder, tensors, "encoder.weight"), _needed(folder, tensors, "W_dec")
    bias, out = _needed(folder, tensors, "encoder.bias"), _needed(folder, tensors, "b_dec")
    transcodes = bool(about.get("transcode"))
    before = torch.zeros(encoder.shape[1]) if transcodes else out.clone()
    code = SparseCode(encoder, bias, decoder, out, before, "topk", about.get("k"), skip=tensors.get("W_skip"))
    site = _hook(folder.name)
    reads = f"{site}.in" if transcodes and site is not None and site.startswith("m") else site
    return Loaded(code, "sparsify", site, reads, about)


# -- dictionary_learning (config.json, ae.pt)

_CLASSES = ("AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE",
            "JumpReluAutoEncoder", "GatedAutoEncoder")  # fmt: skip


def _dictionary_learning(folder: Path) -> Loaded:
    about = read_about(folder, "config.json")
    trainer = about.get("trainer")
    said = trainer.get("dict_class") if isinstance(trainer, dict) else None
    if said not in _CLASSES:
        raise ClaimError(
            f"'{folder / 'config.json'}' has the unknown dict_class {said!r}" + nearest(str(said), _CLASSES)
        )
    tensors = _floats(_unpickled(folder / "ae.pt"))
    if "encoder.weight" in tensors:
        encoder, decoder = tensors["encoder.weight"], _needed(folder, tensors, "decoder.weight").T
        bias = tensors.get("encoder.bias", tensors.get("gate_bias"))
    else:
        encoder, decoder = _needed(folder, tensors, "W_enc").T, _needed(folder, tensors, "W_dec")
        bias = tensors.get("b_enc")
    out = next((tensors[name] for name in ("b_dec", "bias", "decoder_bias", "decoder.bias") if name in tensors), None)
    if bias is None or out is None:
        raise ClaimError(f"'{folder / 'ae.pt'}' has no bias of its {'encoder' if bias is None else 'decoder'}")
    before = torch.zeros_like(out) if said in ("AutoEncoderNew", "JumpReluAutoEncoder") else out.clone()
    code = SparseCode(encoder, bias, decoder, out, before)
    if said == "AutoEncoderTopK":
        k = trainer.get("k", tensors.get("k"))  # type: ignore[union-attr]
        return _named(replace(code, rule="topk", k=None if k is None else int(k)), trainer, about)
    if said in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
        level = _needed(folder, tensors, "threshold").clamp(min=0).expand(code.width)
        return _named(replace(code, rule="threshold", threshold=level.clone()), trainer, about)
    if said == "JumpReluAutoEncoder":
        return _named(replace(code, rule="threshold", threshold=_needed(folder, tensors, "threshold")), trainer, about)
    if said == "GatedAutoEncoder":
        scale, size = _needed(folder, tensors, "r_mag"), _needed(folder, tensors, "mag_bias")
        return _named(replace(code, rule="gated", gate_scale=scale, gate_bias=size), trainer, about)
    return _named(unit_rows(code), trainer, about)


def _named(code: SparseCode, trainer: Any, about: Mapping[str, Any]) -> Loaded:
    site = _hook(trainer.get("submodule_name"))
    return Loaded(code, "dictionary_learning", site, site, about)


def _unpickled(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ClaimError(f"the dictionary '{path.parent}' has no {path.name!r}")
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # pickle, zip and torch have errors of their own
        said = (
            "it holds more than tensors, and could run code"
            if "nsupported" in str(error)
            else str(error).splitlines()[0]
        )
        raise ClaimError(f"'{path}' is not opened: {said}") from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ClaimError(f"'{path}' holds no tensors by their names")
    return found


def unit_rows(code: SparseCode) -> SparseCode:
    """The same code with decoder rows of norm 1, and features as much larger; of the rule "topk" the features that are
    largest by what they write."""
    norms = code.decoder.norm(dim=-1)
    norms = torch.where(norms > 0, norms, 1.0)
    threshold = None if code.threshold is None else code.threshold * norms
    return replace(
        code, encoder=code.encoder * norms[:, None], encoder_bias=code.encoder_bias * norms,
        decoder=code.decoder / norms[:, None], threshold=threshold,
    )  # fmt: skip


def _floats(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in tensors.items()}


def _needed(folder: Path, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise ClaimError(f"the dictionary in '{folder}' has no tensor {name!r}; it has {', '.join(sorted(tensors))}")
    return tensors[name].contiguous()


FORMS: dict[str, Callable[[Path], Loaded]] = {  # the file that says what a dictionary is
    stored.ABOUT: _own,
    "cfg.json": _cfg,
    "config.json": _dictionary_learning,
}
