"""The kinds of explanations: the one table. Other people's kinds register under the entry point group `assay.kinds`,
each as its claim-file block (a subclass of `claim_kind.KindFields`), and then work everywhere."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from assay.errors import ClaimError
from assay.explanations.claim_kind import KindFields

KINDS = {  # name in claim files -> the class of its block
    "program": "assay.explanations.claim_program:ProgramFields",
    "keep": "assay.explanations.claim_components:KeepFields",
    "remove": "assay.explanations.claim_components:RemoveFields",
    "constant": "assay.explanations.claim_components:ConstantFields",
    "circuit": "assay.explanations.claim_circuit:CircuitFields",
}
LATER = ("hypothesis", "dictionary", "subspace")
PLUGINS = "assay.kinds"


def kinds() -> tuple[str, ...]:
    """Names of all kinds, ours first."""
    others = sorted({point.name for point in entry_points(group=PLUGINS)} - set(KINDS))
    return (*KINDS, *others)


def block(kind: str) -> type[KindFields]:
    """The class of a kind's block.

    Raises:
        ClaimError: for a plug-in that cannot be loaded, or is no block.
    """
    if kind in KINDS:
        module, name = KINDS[kind].split(":")
        return getattr(import_module(module), name)
    (point, *_) = entry_points(group=PLUGINS, name=kind)
    try:
        found = point.load()
    except Exception as problem:  # another package's code
        text = f"the plug-in {point.value!r} of the kind {kind!r} cannot be loaded: {problem}"
        raise ClaimError(" ".join(text.split())) from problem
    if not isinstance(found, type) or not issubclass(found, KindFields):
        raise ClaimError(f"the plug-in {point.value!r} of the kind {kind!r} is no subclass of KindFields")
    return found
