"""What can be said about a claim file without loading anything: names, programs, files, and layers and heads where the
model's configuration lies on this disk."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from assay import inputs
from assay.errors import ClaimError, UserError, nearest
from assay.explanations import registry
from assay.explanations.claim_circuit import check_circuit
from assay.explanations.claim_data import check_data
from assay.names import Site
from assay.planted.names import NAMES, PREFIX, SHAPES
from assay.zoo import index
from assay.zoo.recipes import RECIPES

if TYPE_CHECKING:
    from assay.explanations.claim import ClaimFile

MODELS = (*RECIPES, "stories-260k", "smollm2-135m")
FAMILIES = ("novel",)
SPLITS = {"novel": ("test", "unseen", "train"), "stories": ("test", "train")}  # of the built-in text
_NATIVE = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gpt_neox")  # model types whose components have names
LARGEST = 1 << 20  # bytes of a model's configuration
_HUB = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


def check_claim(claim: ClaimFile) -> None:
    """Raises `ClaimError`, one sentence with file and line, at the first thing that cannot be right."""
    where = claim.where("model")
    problem = model_problem(claim.model)
    if problem:
        raise ClaimError(where + problem)
    for name in registry.floor_models(claim.floors):
        problem = floor_model_problem(claim.model, name) or (
            "a remove claim has no floor, so no model can be one" if claim.kind == "remove" else None
        )
        if problem:
            raise ClaimError(claim.where("floors") + problem)
    circuit = claim.explanation.kind == "circuit"
    sites = {} if circuit else _components(claim)
    _task(claim)
    check_data(claim)
    family = claim.family
    if family is not None and family not in FAMILIES and not inputs.is_file(family):
        tail = nearest(family, FAMILIES)
        raise ClaimError(f"{claim.where('family')}the family {family!r} is neither built in nor a file here{tail}")
    shape = known_shape(claim.model)
    if circuit:
        size = None if shape is None else {"layers": shape.layers, "heads": shape.heads}
        check_circuit(claim, None if shape is None else lambda site: out_of_range(site, shape), size)
    if shape:
        for name, (index, site) in sites.items():
            problem = out_of_range(site, shape)
            if problem:
                raise ClaimError(
                    f"{claim.where('explanation', 'components', index)}{name!r} is not in {claim.model}: {problem}"
                )


def model_problem(model: str) -> str | None:
    """One clause on a model's name that cannot be one, or None."""
    if model.startswith("zoo:"):
        name = model.removeprefix("zoo:")
        return None if name in MODELS else f"unknown model {model!r}" + nearest(model, [f"zoo:{n}" for n in MODELS])
    if model.startswith(PREFIX):
        name = model.removeprefix(PREFIX)
        return None if name in NAMES else f"unknown model {model!r}" + nearest(model, [PREFIX + n for n in NAMES])
    if model in MODELS:
        return f"unknown model {model!r}; did you mean 'zoo:{model}'?"
    if os.path.exists(inputs.place(model)) or (_HUB.match(model) and not model.startswith(".")):
        return None  # a name on the hub is known to exist only when it is loaded
    return f"the model {model!r} is neither a folder here, nor a zoo name such as 'zoo:novel-4l', nor a name on the hub"


def floor_model_problem(model: str, floor: str) -> str | None:
    """One clause on a model that cannot be a floor for another, as far as their names tell, or None."""
    problem = model_problem(floor)
    if problem:
        return f"as a floor: {problem}"
    if model == floor:
        return f"the model {floor!r} cannot be a floor for itself"
    families = [name.removeprefix("zoo:").partition("-")[0] for name in (model, floor) if name.startswith("zoo:")]
    if len(set(families)) > 1:
        return f"the floor {floor!r} has another tokenizer than {model!r}, so their predictions cannot be compared"
    return None


class KnownShape(NamedTuple):
    """What a model's configuration says of its size; None where it is silent."""

    layers: int
    heads: int
    groups: int | None
    neurons: int | None
    native: bool  # of a family with component names, so that no name is a submodule's


def known_shape(model: str) -> KnownShape | None:
    """The shape of a planted program, or of a model whose configuration lies on this disk."""
    if model.startswith(PREFIX):
        layers, heads = SHAPES[model.removeprefix(PREFIX)]
        return KnownShape(layers, heads, heads, None, native=True)
    folder = index.place(model) if model.startswith(index.PREFIX) else inputs.place(model)
    try:
        config: Any = inputs.read_json(folder / "config.json", "the configuration", most=LARGEST)
        layers = config.get("num_hidden_layers", config.get("n_layer"))
        heads = config.get("num_attention_heads", config.get("n_head"))
        groups = config.get("num_key_value_heads", heads)
        neurons = config.get("intermediate_size", config.get("n_inner"))
    except (UserError, AttributeError):  # whoever loads it will say what is wrong
        return None
    if not isinstance(layers, int) or not isinstance(heads, int):
        return None
    whole = (value if isinstance(value, int) and value > 1 else None for value in (groups, neurons))
    return KnownShape(layers, heads, *whole, native=config.get("model_type") in _NATIVE)


def out_of_range(site: Site, shape: KnownShape) -> str | None:
    """One clause on a layer, head, group or neuron that a model of this shape does not have, or None."""
    if site.kind == "module" and shape.native:
        return "its components are named like 'a1.h3', 'm2' or 'm2.n137'" + _nearest_site(str(site), shape)
    if site.layer is not None and site.layer >= shape.layers:
        return f"it has {shape.layers} layers, 0 to {shape.layers - 1}"
    if site.kind == "kv" and shape.groups == shape.heads:
        return f"its heads share no keys and values; name heads, such as a{site.layer}.h{site.index}"
    for kind, what, count in (
        ("head", "heads", shape.heads),
        ("kv", "key/value groups", shape.groups),
        ("neuron", "neurons", shape.neurons),
    ):
        if site.kind == kind and site.index is not None and count is not None and site.index >= count:
            return f"its layers have {count} {what}, 0 to {count - 1}"
    return None


def _nearest_site(name: str, shape: KnownShape) -> str:
    """A tail with the nearest heads and MLPs, if any is near."""
    heads = [f"a{layer}.h{head}" for layer in range(shape.layers) for head in range(shape.heads)]
    tail = nearest(name, [*heads, *(f"m{layer}" for layer in range(shape.layers))])
    return tail if "did you mean" in tail else ""


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
    if claim.task.kind == "planted" and not claim.model.startswith(PREFIX):
        where = claim.where("task", "kind")
        raise ClaimError(
            f"{where}a task of kind 'planted' is of a model such as 'planted:induction', not {claim.model!r}"
        )
    for field, value in (("task", claim.task), ("reference", claim.reference)):
        if value is None:
            continue
        given = [n for n in ("split", "texts", "files") if getattr(value, n, None) is not None]
        if len(given) > 1:
            raise ClaimError(
                f"{claim.where(field, given[1])}{field!r} has both {given[0]!r} and {given[1]!r}; give one"
            )
        for i, text in enumerate(getattr(value, "texts", None) or []):
            if not text.strip():
                raise ClaimError(f"{claim.where(field, 'texts', i)}the text {text!r} is empty")
        for entry in ("file", "files"):
            paths = getattr(value, entry, None) or []
            for i, path in enumerate([paths] if isinstance(paths, str) else paths):
                _file(claim.where(field, entry, i), path)
        _split(claim, field, getattr(value, "split", None))
    _reference(claim)


def _same(one: str, other: str) -> bool:
    return os.path.realpath(inputs.place(one)) == os.path.realpath(inputs.place(other))


def _file(where: str, path: str) -> None:
    if not inputs.read_head(path, f"{where}the file", ClaimError).strip():
        raise ClaimError(f"{where}the file {path!r} is empty")


def _split(claim: ClaimFile, field: str, split: str | None) -> None:
    if split is None:
        return
    where = claim.where(field, "split")
    valid = SPLITS["stories" if claim.model.startswith("zoo:stories") else "novel"]
    if split not in valid:
        raise ClaimError(f"{where}unknown split {split!r} of the text of {claim.model}" + nearest(split, valid))


def _reference(claim: ClaimFile) -> None:
    """Refuses a reference that is what is scored, by its name; the data itself is compared when it is opened."""
    task, reference = claim.task, claim.reference
    if reference is None:
        return
    if reference.split is not None and reference.split == getattr(task, "split", None) != "train":
        where = claim.where("reference", "split")
        raise ClaimError(
            f"{where}the reference overlaps what is scored: both are the split {reference.split!r}; "
            "the default reference is 'train'"
        )
    scored = getattr(task, "files", None) or [getattr(task, "file", None)]
    for i, path in enumerate(reference.files or []):
        if any(other is not None and _same(other, path) for other in scored):
            raise ClaimError(
                f"{claim.where('reference', 'files', i)}the reference overlaps what is scored: {path!r} is in both; "
                "leave 'reference' out, and three tenths of the documents are held apart for it"
            )
