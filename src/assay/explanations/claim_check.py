"""What can be said about a claim file without loading anything: names, programs, files, and layers and heads where the
model's configuration lies on this disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.errors import ClaimError, nearest
from assay.explanations import registry
from assay.names import Site
from assay.zoo.recipes import RECIPES

if TYPE_CHECKING:
    from assay.explanations.claim import ClaimFile

MODELS = (*RECIPES, "stories-260k")
FAMILIES = ("novel",)
_ZOO = Path(__file__).parents[1] / "zoo" / "models"
_HUB = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


def check_claim(claim: ClaimFile) -> None:
    """Raises `ClaimError`, one sentence with file and line, at the first thing that cannot be right."""
    where = claim.where("model")
    problem = model_problem(claim.model)
    if problem:
        raise ClaimError(where + problem)
    sites = _components(claim)
    _task(claim)
    family = claim.family
    if family is not None and family not in FAMILIES and not Path(family).is_file():
        tail = nearest(family, FAMILIES)
        raise ClaimError(f"{claim.where('family')}the family {family!r} is neither built in nor a file here{tail}")
    shape = known_shape(claim.model)
    if shape:
        for name, (index, site) in sites.items():
            problem = out_of_range(site, *shape)
            if problem:
                raise ClaimError(
                    f"{claim.where('explanation', 'components', index)}{name!r} is not in {claim.model}: {problem}"
                )


def model_problem(model: str) -> str | None:
    """One clause on a model's name that cannot be one, or None."""
    if model.startswith("zoo:"):
        name = model.removeprefix("zoo:")
        return None if name in MODELS else f"unknown model {model!r}" + nearest(model, [f"zoo:{n}" for n in MODELS])
    if model in MODELS:
        return f"unknown model {model!r}; did you mean 'zoo:{model}'?"
    if Path(model).expanduser().exists() or (_HUB.match(model) and not model.startswith(".")):
        return None  # a name on the hub is known to exist only when it is loaded
    return f"the model {model!r} is neither a folder here, nor a zoo name such as 'zoo:novel-4l', nor a name on the hub"


def known_shape(model: str) -> tuple[int, int] | None:
    """(layers, heads) of a model whose configuration lies on this disk."""
    folder = _ZOO / model.removeprefix("zoo:") if model.startswith("zoo:") else Path(model).expanduser()
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        layers = config.get("num_hidden_layers", config.get("n_layer"))
        heads = config.get("num_attention_heads", config.get("n_head"))
    except (OSError, ValueError, AttributeError):
        return None
    return (layers, heads) if isinstance(layers, int) and isinstance(heads, int) else None


def out_of_range(site: Site, layers: int, heads: int) -> str | None:
    """One clause on a layer or head that a model of this shape does not have, or None."""
    if site.layer is not None and site.layer >= layers:
        return f"it has {layers} layers, 0 to {layers - 1}"
    if site.kind == "head" and site.index is not None and site.index >= heads:
        return f"its layers have {heads} heads, 0 to {heads - 1}"
    return None


def _components(claim: ClaimFile) -> dict[str, tuple[str | int, Site]]:
    """name -> (its key or index in the file, the site)."""
    fields, modules = claim.explanation, claim.task.kind == "classify"
    places = fields.components if isinstance(fields.components, dict) else range(len(fields.components))
    found: dict[str, tuple[str | int, Site]] = {}
    for place, name in zip(places, claim.scope, strict=True):
        path = ("explanation", "components", place)
        try:
            site = registry.component(name, modules)
        except ClaimError as problem:
            raise ClaimError(f"{claim.where(*path)}{problem}") from None
        if str(site) in found:
            raise ClaimError(f"{claim.where(*path)}the component {name!r} is named a second time")
        found[str(site)] = (place, site)
        if isinstance(fields.components, dict):
            _program(claim, path, fields.components[name], site)
    return found


def _program(claim: ClaimFile, path: tuple[str | int, ...], spec: Any, site: Site) -> None:
    where, name = claim.where(*path), path[-1]
    if isinstance(spec, dict) and "program" not in spec:
        misspelt = [key for key in spec if "'program'" in nearest(key, ("program", "level", "match", "n"), 1)]
        if misspelt:
            raise ClaimError(f"{claim.where(*path, misspelt[0])}unknown field {misspelt[0]!r}; did you mean 'program'?")
        raise ClaimError(f"{where}{name!r} needs a field 'program'" + nearest("", registry.PROGRAMS))
    program = spec["program"] if isinstance(spec, dict) else spec
    if not isinstance(program, str):
        raise ClaimError(
            f"{where}{name!r} needs the name of a program, not {program!r}" + nearest("", registry.PROGRAMS)
        )
    arguments = {k: v for k, v in spec.items() if k != "program"} if isinstance(spec, dict) else {}
    problem = registry.program_problem(program, arguments)
    if problem:
        raise ClaimError(claim.where(*path, problem[0] or "program") + problem[1])
    attends = "level" in registry.PROGRAMS.get(program, {})
    if attends and site.kind not in ("head", "attention", "kv"):
        raise ClaimError(f"{where}the program {program!r} says where a head attends, and {name!r} is no head")


def _task(claim: ClaimFile) -> None:
    for field, value in (("task", claim.task), ("reference", claim.reference)):
        if value is None:
            continue
        given = [n for n in ("split", "texts", "files") if getattr(value, n, None) is not None]
        if len(given) > 1:
            raise ClaimError(
                f"{claim.where(field, given[1])}{field!r} has both {given[0]!r} and {given[1]!r}; give one"
            )
        for entry in ("file", "files"):
            paths = getattr(value, entry, None) or []
            for i, path in enumerate([paths] if isinstance(paths, str) else paths):
                if not Path(path).is_file():
                    raise ClaimError(
                        f"{claim.where(field, entry, i)}the file {path!r} does not exist here ({Path.cwd()})"
                    )
    split = getattr(claim.task, "split", None)
    if split is not None and not claim.model.startswith("zoo:"):
        where = claim.where("task", "split")
        raise ClaimError(f"{where}'split' is for zoo models, whose text ships with assay; give 'files' or 'texts'")
