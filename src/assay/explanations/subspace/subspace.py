"""`Subspace`: the claim that of some sites only a subspace matters; the rest of each is ablated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int
from torch import Tensor

from assay.errors import ClaimError
from assay.explanations.answers import Neighbours, Presence, Unread
from assay.explanations.base import AnyModel, Assignment, Explanation, Label, Undefined, listed
from assay.explanations.bits import NUMBER, ClaimBits, filled_bits, parts_bits
from assay.explanations.components.sets import single_or_named
from assay.explanations.levels import Level
from assay.explanations.subspace import fits
from assay.explanations.subspace.parse import parse
from assay.explanations.subspace.spec import LEVEL, Given, Pca, Random, Spec, Unembed
from assay.intervene.components import expand
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Batch, Call, Edit, Mix, Own, Plan
from assay.model.module import ModuleModel
from assay.model.sketch import Sketch
from assay.model.transformer import Model
from assay.names import Site, check_texts
from assay.record.headline import RunScores
from assay.record.pieces import Pieces, TablePiece
from assay.stats.keyed import generator

MOST_MERGED = 16  # parts of each of which one direction is dropped


class Subspace(Explanation):
    """Of each of some sites only a k-dimensional subspace matters. The site keeps its own value in it; its orthogonal
    complement takes the ablation's (under `noise` a Gaussian of the complement's own covariance on the reference).

    Args:
        components: a head (its z), MLP, stream (`r2`) or, of other networks, a submodule whose value is a vector -> its
            subspace: an array or tensor [width, k], or {"file": "basis.npy"} (or .safetensors, with "tensor": its name
            where there are several); {"pca": k}, the k directions along which it varies most on the reference;
            {"unembed": [" he", " she"]}, of MLPs and streams: the span of the differences of tokens' unembeddings; or
            {"random": k, "seed": 0}. A layer's name gives it to each of its heads.
        variable: what the subspace is said to carry, in words.

    Raises:
        ClaimError: for what is no basis of a proper subspace (other shapes, not finite, dependent columns). One that
            is not orthonormal is orthonormalised by QR, and the claim's sentence says so.

    Example:
        >>> Subspace({"m1": {"pca": 4}}).sentence("a model")
        'of m1 of a model only the 4 directions of most variance matter; the rest of it is ablated'
    """

    kind: ClassVar[str] = "subspace"
    level: ClassVar[Level] = LEVEL

    def __init__(self, components: Mapping[str, Any], variable: str | None = None):
        if not isinstance(components, Mapping) or not components:
            raise ClaimError(f"Subspace takes a mapping such as {{'m1': {{'pca': 4}}}}, not {components!r}")
        check_texts("Subspace", components)
        if variable is not None and (not isinstance(variable, str) or not variable.strip()):
            raise ClaimError(f"'variable' says in words what the subspace carries, not {variable!r}")
        self.components: dict[str, Spec] = {name: parse(name, value) for name, value in components.items()}
        self.variable = variable

    def __repr__(self) -> str:
        shown = {
            name: f"<basis {list(spec.basis.shape)}>" if isinstance(spec, Given) and spec.file is None else spec.block
            for name, spec in self.components.items()
        }
        return f"Subspace({shown}{f', {self.variable!r}' if self.variable else ''})"

    def fields(self, model: AnyModel | None = None) -> dict[str, Any]:
        for name, spec in self.components.items():
            if isinstance(spec, Given) and spec.file is None:
                raise ClaimError(
                    f"the basis of {name!r} is an array, which no claim file holds; save it as a file, such as "
                    f"numpy.save('basis.npy', basis), and give {{'file': 'basis.npy'}}"
                )
        blocks = {name: spec.block for name, spec in self.components.items()}
        return {"components": blocks} | ({} if self.variable is None else {"variable": self.variable})

    def assigned(self, model: AnyModel) -> dict[Site, Spec]:
        """Every site with its subspace.

        Raises:
            ComponentError: for a site that the model does not have, or that is named twice.
            ClaimError: for a subspace that the site cannot have, with the site's width.
        """
        out: dict[Site, Spec] = {}
        for name, spec in self.components.items():
            for site in expand([name], model, streams=True):
                _check(model, site, spec)
                out[site] = spec
        expand(self.components, model, streams=True)  # refuses a part named twice
        return out

    def scope(self, model: AnyModel) -> list[Site]:
        return list(self.assigned(model))

    def bases(self, workbench: PlanContext) -> dict[Site, Tensor]:
        """An orthonormal basis [width, k] of each site's subspace."""
        assigned = self.assigned(workbench.model)
        if fitted := [site for site, spec in assigned.items() if isinstance(spec, Pca)]:
            workbench.statistics.need_covariances(fitted)
        return {site: fits.basis_of(workbench, site, spec) for site, spec in assigned.items()}

    def edits(self, workbench: PlanContext, ablation: str, draw: int = 0) -> tuple[Edit, ...]:
        bases = self.bases(workbench)
        return workbench.ablate(bases, ablation, draw, but=bases)

    def plan(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        return workbench.plan(self.edits(workbench, ablation, draw))

    def sentence(self, model_name: str) -> str:
        groups: dict[Spec, list[str]] = {}
        for name, spec in self.components.items():
            groups.setdefault(spec, []).append(name)
        said = [
            f"of {listed(names)} of {model_name} only {spec.words} matter{'s' * (spec.k == 1)}"
            for spec, names in groups.items()
        ]
        carries = "" if self.variable is None else f", said to carry {self.variable}"
        return f"{'; '.join(said)}{carries}; the rest of {'it' if len(self.components) == 1 else 'each'} is ablated"

    # -- what is run beside it

    def alone(self, model: AnyModel) -> dict[str, list[Site]] | Undefined:
        return single_or_named(self, list(self.components), model)

    def values(self, workbench: PlanContext) -> tuple[Edit, ...] | Undefined:
        if isinstance(workbench.model, ModuleModel):
            return Undefined("the residual signal of a subspace is measured in transformers only")
        edits = []
        for site, basis in self.bases(workbench).items():
            given = partial(_inside, site=site, basis=basis, rest=workbench.statistics.mean(site))
            edits.append(Edit(site, Call(given, (site,))))
        return tuple(edits)

    def presence(self, workbench: PlanContext, ablation: str) -> Presence:
        return Presence(there={edit.site: edit for edit in self.edits(workbench, ablation)})

    def coarser(self, workbench: PlanContext, ablation: str) -> dict[str, Plan]:
        edits, out = self.edits(workbench, ablation), dict[str, Plan]()
        for index, edit in enumerate(edits if len(edits) <= MOST_MERGED else ()):
            mix = edit.source
            assert isinstance(mix, Mix)
            assert isinstance(mix.basis, Tensor)
            k = mix.basis.shape[1]
            if k > 1:
                what = f"{k} → {k - 1} dimensions"
                merged = Edit(edit.site, Mix(fits.narrower(workbench, edit.site, mix.basis), Own(), mix.outside))
            elif len(edits) > 1:
                what, merged = "its direction → ablated", Edit(edit.site, mix.outside)
            else:
                continue
            out[f"{edit.site}: {what}"] = workbench.plan((*edits[:index], merged, *edits[index + 1 :]))
        return out

    def block(
        self,
        workbench: PlanContext,
        ablation: str,
        rows: Int[np.ndarray, "rows"],
        sides: Callable[[], tuple[RunScores, RunScores] | None],
    ) -> Pieces:
        table, notes, assigned = [], [], self.assigned(workbench.model)
        for site, basis in self.bases(workbench).items():
            spec = assigned[site]
            width, k = basis.shape
            table.append((str(site), width, k, spec.words, fits.share_inside(workbench, site, basis)))
            if isinstance(spec, Given) and spec.changed:
                notes.append(f"the basis of {site} was orthonormalised (QR), which leaves its span as it is")
            if isinstance(spec, Pca) and (there := fits.varying(workbench, site)) < k:
                notes.append(f"{site} varies along {there} directions on the reference; the other {k - there} are any")
        columns = ("part", "width", "dimensions kept", "which", "share of its variance in them")
        text = "Of the reference, without its rows' first positions."
        piece = TablePiece(title="What each part keeps", text=text, columns=columns, rows=tuple(table))
        return Pieces(block=self.kind, title="Subspaces", pieces=(piece,), notes=tuple(notes))

    # -- its length

    def claim_bits(self, model: AnyModel, channels: int = 0) -> ClaimBits | Undefined:
        dimensions = [(fits.width_of(model, site), spec.k) for site, spec in self.assigned(model).items()]
        known = [(width, k) for width, k in dimensions if width is not None]
        if len(known) < len(dimensions):
            return Undefined(f"{model.name} has not seen an example, so how wide its parts are is not known")
        where = parts_bits(self.scope(model), model, channels)
        sizes = float(sum(np.log2(width - 1) for width, _ in known))
        numbers = sum(k * (width - k) for width, k in known)
        how = f"{where.how} + {sizes:.1f} for k + {numbers:,} numbers, k(d−k) a subspace, of {NUMBER} bits"
        return ClaimBits(where.bits + sizes + NUMBER * numbers, how)

    def unread(self, model: Model, ablation: str) -> Iterator[Unread]:
        return iter(())  # what a site is in its subspace is made by all of its weights

    def constants_bits(self, workbench: PlanContext, ablation: str) -> float:
        bases = self.bases(workbench)
        outside = sum(basis.shape[0] - basis.shape[1] for basis in bases.values())
        return filled_bits(workbench, ablation, [*bases], outside)

    # -- its controls

    def assignment(self, model: AnyModel) -> Assignment | None:
        """None where a basis was given, which is one of its own site, and in networks whose parts differ in width."""
        assigned = self.assigned(model)
        fitted = not any(isinstance(spec, Given) for spec in assigned.values())
        return {**assigned} if fitted and isinstance(model, Model) else None

    def like(self, assignment: Mapping[Site, Label]) -> Subspace:
        return Subspace({str(site): spec for site, spec in assignment.items()}, self.variable)

    def again(self) -> str:
        return "as many dimensions, found alike, of"

    def foresee(self, workbench: PlanContext, sites: Sequence[Site]) -> None:
        if any(isinstance(spec, Pca) for spec in self.components.values()):
            workbench.statistics.need_covariances(sites)

    def neighbours(self, workbench: PlanContext, ablation: str, most: int) -> Iterator[Neighbours]:
        assigned = self.assigned(workbench.model)

        def planned(specs: Mapping[Site, Spec]) -> Callable[[PlanContext], Plan]:
            return lambda aside: self.like(specs).plan(aside, ablation)

        items = []
        for draw in range(most):
            seed = int(generator(workbench.seed, "controls", "subspaces", draw).integers(2**62))
            items.append((f"draw {draw}", planned({site: Random(spec.k, seed) for site, spec in assigned.items()})))
        what = "random subspaces of as many dimensions of the same parts"
        yield Neighbours("random subspaces", what, items, 10**9)
        principal = {site: Pca(spec.k) for site, spec in assigned.items()}
        if principal != assigned:
            what = "the subspaces of as many dimensions along which the same parts vary most"
            yield Neighbours("principal directions", what, [("PCA", planned(principal))], 1, near=True)


def _inside(batch: Batch, site: Site, basis: Tensor, rest: Tensor) -> Tensor:
    """A site's own value in a subspace, and another one in its complement."""
    own = batch.read(site)
    rest = rest.to(own)
    return rest + (own - rest) @ basis @ basis.T


def _check(model: AnyModel, site: Site, spec: Spec) -> None:
    """Refuses a subspace that a site cannot have."""
    width = fits.width_of(model, site)
    if isinstance(spec, Unembed):
        if not isinstance(model, Model):
            raise ClaimError(
                f"'unembed' of {str(site)!r} reads a transformer's unembedding, which {model.name} has not"
            )
        if site.kind in ("head", "hidden"):
            what = "a head's z" if site.kind == "head" else "an MLP's hidden value"
            raise ClaimError(
                f"'unembed' of {str(site)!r} gives directions of the stream, and {what} has {width} numbers of its "
                "own; name an MLP or a stream"
            )
        if not isinstance(model, Sketch):
            fits.token_ids(model, spec.tokens, str(site))
    if width is None:
        return
    if isinstance(spec, Given) and spec.basis.shape[0] != width:
        where = f" in {spec.file!r}" if spec.file else ""
        raise ClaimError(
            f"the basis of {str(site)!r}{where} has {spec.basis.shape[0]} rows, and that part of {model.name} has a "
            f"width of {width}; a basis is [width, k]"
        )
    if spec.k >= width:
        raise ClaimError(
            f"{str(site)!r} of {model.name} has a width of {width}, and a subspace of {spec.k} dimensions leaves "
            f"nothing of it to ablate; give at most {width - 1}"
        )
