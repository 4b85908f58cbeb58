"""Names of parts and sites (`a1.h3`, `m2.n137`, `r2`, `a1.h3.pattern`, `conv1[3]`, `a1.h3@-1`), parsed to a `Site`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from assay.errors import ComponentError

Kind = Literal[
    "input",
    "logits",
    "attention",
    "head",
    "bias",
    "kv",
    "mlp",
    "neuron",
    "stream",
    "pattern",
    "q",
    "k",
    "v",
    "z",
    "module",
]

_NAME = re.compile(
    r"""^(?:(?P<fixed>input|logits)
        | a(?P<attention>\d{1,9})
          (?:\.(?:h(?P<head>\d{1,9})(?:\.(?P<part>pattern|q|k|v|z))?|kv(?P<kv>\d{1,9})|(?P<bias>bias)))?
        | m(?P<mlp>\d{1,9})(?:\.n(?P<neuron>\d{1,9}))?
        | r(?P<stream>\d{1,9})
        )$""",
    re.VERBOSE,
)
_MODULE = re.compile(r"^(?P<module>\w[\w.]*(?:#\d{1,9})?)(?:\[(?P<index>\d{1,9})\])?$")


@dataclass(frozen=True)
class Site:
    """A named place with a value.

    Attributes:
        kind: what it is; layer and index (head, key/value group or neuron, or a module's channel) where they apply.
        position: a column number (negative from the end), a named column of the prompts, or None for every position.
    """

    kind: Kind
    layer: int | None = None
    index: int | None = None
    module: str | None = None
    position: int | str | None = None

    def __str__(self) -> str:
        layer, index = self.layer, self.index
        match self.kind:
            case "input" | "logits":
                name: str = self.kind
            case "attention":
                name = f"a{layer}"
            case "head":
                name = f"a{layer}.h{index}"
            case "bias":
                name = f"a{layer}.bias"
            case "kv":
                name = f"a{layer}.kv{index}"
            case "mlp":
                name = f"m{layer}"
            case "neuron":
                name = f"m{layer}.n{index}"
            case "stream":
                name = f"r{layer}"
            case "module":
                name = f"{self.module}" + ("" if index is None else f"[{index}]")
            case part:
                name = f"a{layer}.h{index}.{part}"
        return name if self.position is None else f"{name}@{self.position}"

    def at(self, position: int | str | None) -> Site:
        return replace(self, position=position)


@lru_cache(maxsize=65_536)
def parse_site(text: str, modules: bool = False) -> Site:
    """Reads a name; with `modules`, anything that is not a transformer name is taken for a submodule.

    Raises:
        ComponentError: when the text is not a name.
    """
    name, _, where = text.partition("@")
    position: int | str | None = None
    if "@" in text:
        if not where:
            raise ComponentError(f"the name {text!r} has nothing after '@'; write a column number or a column's name")
        position = int(where) if re.fullmatch(r"-?\d{1,9}", where) else where
    found = _NAME.match(name)
    if found is None:
        module = _MODULE.match(name)
        if modules and module:
            index = module["index"]
            return Site("module", None, None if index is None else int(index), module["module"], position)
        raise ComponentError(
            f"{text!r} is not a component's name; names look like 'a1.h3', 'm2', 'm2.n137', 'a1' or 'r2'"
        )
    part = found.groupdict()
    if part["fixed"]:
        return Site(part["fixed"], position=position)  # type: ignore[arg-type]
    if part["stream"] is not None:
        return Site("stream", int(part["stream"]), position=position)
    if part["mlp"] is not None:
        layer, neuron = int(part["mlp"]), part["neuron"]
        return Site(
            "mlp" if neuron is None else "neuron", layer, None if neuron is None else int(neuron), None, position
        )
    layer = int(part["attention"])
    if part["bias"]:
        return Site("bias", layer, position=position)
    if part["kv"] is not None:
        return Site("kv", layer, int(part["kv"]), position=position)
    if part["head"] is not None:
        return Site(part["part"] or "head", layer, int(part["head"]), position=position)  # type: ignore[arg-type]
    return Site("attention", layer, position=position)
