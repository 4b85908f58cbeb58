"""Bases of subspaces on a model: fitted on the reference, made of its unembedding, drawn, or as they were given."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from assay.errors import ClaimError
from assay.explanations.subspace.spec import Given, Pca, Random, Spec, Unembed
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.reference import WIDEST
from assay.intervene.kept import Kept
from assay.model.module import ModuleModel
from assay.model.sketch import Sketch
from assay.model.transformer import Model
from assay.names import Site
from assay.stats.keyed import torch_generator
from assay.task.encode import encode

RANK = 1e-5  # the least singular value of unembeddings' differences, as a share of the largest
STILL = 1e-12  # variance along a direction, as a share of the largest, under which a site does not vary there


class Bases(Kept[tuple[Site, Spec], Tensor]):
    """Orthonormal bases [width, k], by their site and how they were found."""

    room = 256 << 20


def basis_of(workbench: PlanContext, site: Site, spec: Spec) -> Float[Tensor, "width k"]:
    """An orthonormal basis of the subspace that a claim gives a site, of the model's type."""
    model, site = workbench.model, site.at(None)

    def made() -> Tensor:
        return _basis(workbench, site, spec).to(model.device, model.dtype).contiguous()

    return workbench.store.of(Bases).once((site, spec), made)


def _basis(workbench: PlanContext, site: Site, spec: Spec) -> Float[Tensor, "width k"]:
    model = workbench.model
    if isinstance(spec, Pca):
        found = _eigen(workbench, site)[1][:, -spec.k :].flip(-1)
        if not isinstance(model, Sketch):
            return found
    if isinstance(model, Sketch):  # it is narrower, and which directions these are is all the same
        width = model.W_O(site.layer or 0).shape[-2] if site.kind == "head" else model.W_E.shape[-1]
        return _random(width, Random(min(spec.k, width - 1)), site)
    match spec:
        case Random():
            width = width_of(model, site)
            assert width is not None  # a runner's module has seen an example
            return _random(width, spec, site)
        case Unembed(tokens=tokens):
            assert isinstance(model, Model)
            return unembedded(model, tokens, str(site))
        case Given(basis=basis):
            return torch.from_numpy(basis)
    raise TypeError(spec)


def _random(width: int, spec: Random, site: Site) -> Float[Tensor, "width k"]:
    keyed = torch_generator(spec.seed, "subspace", str(site))
    return torch.linalg.qr(torch.randn(width, spec.k, generator=keyed, dtype=torch.float64)).Q


def _eigen(workbench: PlanContext, site: Site) -> tuple[Float[Tensor, "width"], Float[Tensor, "width width"]]:
    """Variances of a site on the reference along its principal directions, and these, the least first."""
    root = workbench.statistics.root_covariance(site)[1].double()
    values, vectors = torch.linalg.eigh(root @ root.T)
    return values.clamp(min=0), vectors


def unembedded(model: Model, tokens: tuple[str | int, ...], name: str) -> Float[Tensor, "width k"]:
    """An orthonormal basis of the span of the differences of some tokens' unembeddings, as the stream is read: behind
    the gain of the last norm, and where that centres, without the mean.

    Raises:
        ClaimError: for a text that is no single token, an id that is not there, and unembeddings that are alike.
    """
    norm, rows = model.weights.final_norm, model.W_U.T[torch.tensor(token_ids(model, tokens, name))]
    rows = rows.double() * norm.weight.double()
    differences = rows[1:] - rows[0]
    if norm.centred:
        differences = differences - differences.mean(-1, keepdim=True)
    sizes = torch.linalg.svdvals(differences)
    if not bool(sizes[-1] > RANK * rows.norm(dim=-1).max()):
        said = ", ".join(map(repr, tokens))
        raise ClaimError(f"'unembed' of {name!r}: the unembeddings of {said} in {model.name} are not independent")
    return torch.linalg.qr(differences.T).Q


def token_ids(model: Model, tokens: tuple[str | int, ...], name: str) -> list[int]:
    """Ids of tokens that are given as texts or as ids.

    Raises:
        ClaimError: for a text that is no single token, and an id that is not there.
    """
    out = []
    for token in tokens:
        ids = [token] if isinstance(token, int) else encode(model, [token])[0].tolist()
        if len(ids) != 1:
            hint = (
                ", with its space before it where it has one"
                if isinstance(token, str) and not token[:1].isspace()
                else ""
            )
            raise ClaimError(
                f"'unembed' of {name!r}: {token!r} is {len(ids)} tokens of {model.name}; give texts of one token "
                f"each{hint}, or ids"
            )
        if not 0 <= ids[0] < model.config.vocab:
            last = model.config.vocab - 1
            raise ClaimError(f"'unembed' of {name!r}: {model.name} has no token {ids[0]}; its ids are 0 to {last}")
        out.append(int(ids[0]))
    return out


def width_of(model: Model | ModuleModel, site: Site) -> int | None:
    """Numbers of a site's value at a position; None where no example of a module was seen yet.

    Raises:
        ClaimError: for a part of a module whose value is no plain vector, and for a neuron.
    """
    if isinstance(model, ModuleModel):
        if model.seen is None:
            return None
        shape = model.places[site.module or ""].shape
        if shape is None or len(shape) != 1 or site.index is not None:
            what = "one axis of it" if site.index is not None else f"of shape {list(shape or ())}"
            raise ClaimError(
                f"{str(site)!r} of {model.name} has no flat width (its value for an example is {what}), so it has no "
                "subspaces here; name a part whose value is a vector"
            )
        return shape[0]
    if site.kind == "neuron":
        raise ClaimError(
            f"{str(site)!r} is one number, so it has no subspaces; neurons are claimed by 'keep' or 'constant', or as "
            f"directions of 'm{site.layer}'"
        )
    if site.kind == "hidden":
        return model.config.d_mlp[site.layer or 0]
    return model.config.d_head if site.kind == "head" else model.config.d_model


def share_inside(workbench: PlanContext, site: Site, basis: Float[Tensor, "width k"]) -> float | None:
    """The share of a site's variance on the reference that lies in a subspace; None where it does not vary."""
    if workbench.statistics.mean(site).numel() > WIDEST and site.kind == "module":
        return None
    root = workbench.statistics.root_covariance(site)[1].double()
    total = float(root.square().sum())
    return float((basis.cpu().double().T @ root).square().sum()) / total if total > 0 else None


def varying(workbench: PlanContext, site: Site) -> int:
    """Along how many directions a site varies on the reference."""
    values = _eigen(workbench, site)[0]
    return int((values > STILL * values[-1]).sum())


def narrower(workbench: PlanContext, site: Site, basis: Float[Tensor, "width k"]) -> Float[Tensor, "width fewer"]:
    """A subspace less the direction in it along which the site varies least on the reference."""
    root = workbench.statistics.root_covariance(site)[1].double()
    left = torch.linalg.svd(basis.cpu().double().T @ root).U
    return (basis.cpu().double() @ left[:, :-1]).to(basis.device, basis.dtype).contiguous()
