"""Names of parts and sites (`a1.h3`, `m2.n137`, `r2`, `a1.h3.pattern`, `conv1[3]`, `a1.h3@-1`), parsed to a `Site`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from assay.errors import ComponentError

Level = Literal["where", "what", "how"]  # what a claim says: where something is done, what, or how
SiteKind = Literal[
    "input",
    "logits",
    "attention",
    "head",
    "bias",
    "kv",
    "mlp",
    "neuron",
    "hidden",
    "stream",
    "pattern",
    "q",
    "k",
    "v",
    "z",
    "module",
]

PARTS = ("pattern", "q", "k", "v", "z")  # of a head
_NAME = re.compile(
    r"""^(?:(?P<fixed>input|logits)
        | a(?P<attention>\d{1,9})
          (?:\.(?:h(?P<head>\d{1,9})(?:\.(?P<part>pattern|q|k|v|z))?|kv(?P<kv>\d{1,9})|(?P<bias>bias)))?
        | m(?P<mlp>\d{1,9})(?:\.(?:n(?P<neuron>\d{1,9})|(?P<hidden>hidden)))?
        | r(?P<stream>\d{1,9})
        )$""",
    re.VERBOSE,
)
_MODULE = re.compile(r"^(?P<module>\w[\w.]*(?:#\d{1,9})?)(?:\[(?P<index>\d{1,9})\])?$")

_GAP = r"[\s._,:/-]*"
_OTHERS = tuple(  # how papers and other libraries write names, and what they are here
    (re.compile(rf"\W*(?:{pattern})\W*", re.IGNORECASE), name)
    for pattern, name in (
        (rf"(?:a|l|attn|head|layer)?{_GAP}(\d{{1,4}})(?:{_GAP}h(?:ead)?|[\s._,:/-]+){_GAP}(\d{{1,4}})", "a{}.h{}"),
        (rf"(?:m|l|mlp|layer){_GAP}(\d{{1,4}}){_GAP}n(?:euron)?{_GAP}(\d{{1,9}})", "m{}.n{}"),
        (rf"(?:m|mlp){_GAP}(\d{{1,4}})|(?:l|layer){_GAP}(\d{{1,4}}){_GAP}mlp", "m{}"),
        (rf"(?:a|attn){_GAP}(\d{{1,4}})|(?:l|layer){_GAP}(\d{{1,4}}){_GAP}attn", "a{}"),
        (r"(?:\w+\.)*(?:h|layers?|blocks?)\.(\d{1,4})\.(?:\w*attn|\w*attention)(?:\.\w+)*", "a{}"),
        (r"(?:\w+\.)*(?:h|layers?|blocks?)\.(\d{1,4})\.(?:mlp|feed_forward)(?:\.\w+)*", "m{}"),
    )
)


@dataclass(frozen=True)
class Site:
    """A named place with a value.

    Attributes:
        kind: what it is; layer and index (head, key/value group or neuron, or a module's channel) where they apply.
        position: a column number (negative from the end), a named column of the prompts, or None for every position.
    """

    kind: SiteKind
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
            case "hidden":
                name = f"m{layer}.hidden"
            case "stream":
                name = f"r{layer}"
            case "module":
                name = f"{self.module}" + ("" if index is None else f"[{index}]")
            case part:
                name = f"a{layer}.h{index}.{part}"
        return name if self.position is None else f"{name}@{self.position}"

    def at(self, position: int | str | None) -> Site:
        return replace(self, position=position)


def meant(name: object) -> str | None:
    """What a part is called here that is written as papers and other libraries do, or as a pair; None: not known.

    Example:
        >>> meant("L1H0"), meant((9, 6)), meant("blocks.2.mlp"), meant("MLP 3"), meant("the")
        ('a1.h0', 'a9.h6', 'm2', 'm3', None)
    """
    for pattern, form in _OTHERS:
        if found := pattern.fullmatch(str(name)[:200]):
            return form.format(*(int(number) for number in found.groups() if number is not None))
    return None


def check_texts(what: str, names: Iterable[object], like: str = "'a1.h3' or 'm2'") -> None:
    """Raises `ComponentError` for a name that is no text, such as a pair of a layer and a head."""
    for name in names:
        if not isinstance(name, str):
            there = meant(name) if isinstance(name, tuple) else None
            tail = f"; did you mean {there!r}?" if there else ""
            raise ComponentError(f"{what} takes names such as {like}, not {name!r}{tail}")


def larger(site: Site, share: int | None = None) -> list[Site]:
    """The parts that a part lies in: the head of its pattern, the layer of a head, the MLP of a neuron; and each of
    these, and itself, at every position.

    Args:
        share: how many heads share keys and values, where that is known.
    """
    around = [site]
    if site.kind in PARTS:
        around.append(Site("head", site.layer, site.index, position=site.position))
    if site.kind in ("head", "kv", *PARTS):
        around.append(Site("attention", site.layer, position=site.position))
    if site.kind == "neuron":
        around.append(Site("hidden", site.layer, position=site.position))
    if site.kind in ("neuron", "hidden"):
        around.append(Site("mlp", site.layer, position=site.position))
    if site.kind == "head" and share is not None and site.index is not None:
        around.append(Site("kv", site.layer, site.index // share, position=site.position))
    return [*around[1:], *(one.at(None) for one in around if one.position is not None)]


def overlap(one: Site, other: Site, share: int | None = None) -> bool:
    """Whether two sites are one place, or one is a part of the other, in some column.

    Args:
        share: how many heads share keys and values, where that is known.
    """
    a, b = one.at(None), other.at(None)
    inside = a == b or a in larger(b, share) or b in larger(a, share)
    return inside and (one.position == other.position or None in (one.position, other.position))


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
        there = meant(text)
        like = f"did you mean {there!r}?" if there else "names look like 'a1.h3', 'm2', 'm2.n137', 'a1' or 'r2'"
        raise ComponentError(f"{text!r} is not a component's name; {like}")
    part = found.groupdict()
    if part["fixed"]:
        return Site(part["fixed"], position=position)  # type: ignore[arg-type]
    if part["stream"] is not None:
        return Site("stream", int(part["stream"]), position=position)
    if part["mlp"] is not None:
        layer, neuron = int(part["mlp"]), part["neuron"]
        if part["hidden"]:
            return Site("hidden", layer, position=position)
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
