"""The kinds of explanations: the one table. Other people's kinds register under the entry point group `assay.kinds`,
each as its claim-file block (a subclass of `claims.block.KindFields`), and then work everywhere."""

from __future__ import annotations

from importlib import import_module
from inspect import isabstract

from assay import plugins
from assay.errors import PluginError
from assay.explanations.claims.block import KindFields

KINDS = {  # name in claim files -> the class of its block
    "program": "assay.explanations.program.claim_block:ProgramFields",
    "keep": "assay.explanations.components.claim_block:KeepFields",
    "remove": "assay.explanations.components.claim_block:RemoveFields",
    "constant": "assay.explanations.components.claim_block:ConstantFields",
    "circuit": "assay.explanations.circuit.claim_block:CircuitFields",
    "hypothesis": "assay.explanations.hypothesis.claim_block:HypothesisFields",
    "subspace": "assay.explanations.subspace.claim_block:SubspaceFields",
    "dictionary": "assay.explanations.dictionary.claim_block:DictionaryFields",
}


def kinds() -> tuple[str, ...]:
    """Names of all kinds, ours first."""
    return (*KINDS, *plugins.names(plugins.KINDS, KINDS))


def kind_problem(kind: str) -> str | None:
    """One clause on a name that more than one kind has, or None."""
    return plugins.problem(plugins.KINDS, kind, KINDS)


def block(kind: str) -> type[KindFields]:
    """The class of a kind's block.

    Raises:
        PluginError: for a plug-in that cannot be loaded, or is no block.
    """
    if kind in KINDS:
        module, name = KINDS[kind].split(":")
        return getattr(import_module(module), name)
    found = plugins.load(plugins.KINDS, kind)
    if not isinstance(found, type) or not issubclass(found, KindFields):
        raise PluginError(f"the plug-in {found!r} of the kind {kind!r} is no subclass of KindFields")
    if isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise PluginError(f"the plug-in {found!r} of the kind {kind!r} does not say its {missing}")
    return found
