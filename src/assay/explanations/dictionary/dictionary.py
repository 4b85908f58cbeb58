"""`Dictionary`: the claim that what is said at a site is a sum of a few features of a sparse code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import ClaimError, ComponentError
from assay.explanations.answers import Neighbours, Presence, Unread
from assay.explanations.base import AnyModel, Explanation, Undefined
from assay.explanations.bits import NUMBER, ClaimBits, parts_bits
from assay.explanations.components.sets import single_or_named
from assay.explanations.dictionary import baselines
from assay.explanations.dictionary.block import pieces
from assay.explanations.dictionary.foreign import load_code
from assay.explanations.dictionary.spec import LEVEL, Coded, parse
from assay.explanations.levels import Level
from assay.intervene.components import expand
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Batch, Call, Edit, Plan
from assay.intervene.wide_sites import WideSite, read_wide, wide_site
from assay.model.module import ModuleModel
from assay.model.sketch import Sketch
from assay.model.transformer import Model
from assay.names import Site, check_texts, parse_site
from assay.record.headline import RunScores
from assay.record.pieces import Pieces
from assay.train.dictionary.code import SparseCode


class Dictionary(Explanation):
    """Of each of some sites the value is what a sparse code says of it: a sum of a few features. A transcoder's site is
    an MLP's output, said from what another site reads. A row's first position, and the few values that are many times
    as large as all others (`SparseCode.most`), are not coded and stay what they are.

    Args:
        components: a site (`r9`, `m3`, `m3.hidden`, `a1.h2`, or `a1`: all heads of a layer side by side) -> its
            dictionary: a folder in any form that `load` knows, a `SparseCode`, or a mapping
            {"folder": ..., "reads": "m3.in", "keep": [3, 17], "without": [5], "error": True}. keep: the features that
            are there, all others are 0; without: those that are not; error: what the dictionary leaves stays.

    Raises:
        ClaimError: for what is no dictionary, or not one of the site.

    Example:
        >>> Dictionary({"r9": "runs/r9"}).sentence("a model")
        "r9 of a model is what the features of 'runs/r9' say"
    """

    kind: ClassVar[str] = "dictionary"
    level: ClassVar[Level] = LEVEL
    once: ClassVar[bool] = True

    def __init__(self, components: Mapping[str, Any]):
        if not isinstance(components, Mapping) or not components:
            raise ClaimError(f"Dictionary takes a mapping such as {{'r9': 'dictionaries/r9'}}, not {components!r}")
        check_texts("Dictionary", components)
        self.components: dict[str, Coded] = {name: parse(name, value) for name, value in components.items()}
        self._loaded: dict[str, tuple[SparseCode, str | None]] = {}

    @classmethod
    def load(cls, folder: str, site: str | None = None) -> Dictionary:
        """The claim that a site is what the dictionary in a folder says.

        Args:
            folder: of assay's own form, or of SAELens, dictionary_learning or sparsify; site: where it stands (None:
                what its folder says).

        Raises:
            ClaimError: for a folder that lacks a file, what is no dictionary, and where no site is known.

        Example:
            >>> Dictionary.load("no/such/folder")
            Traceback (most recent call last):
            ...
            assay.errors.ClaimError: the dictionary 'no/such/folder' has no description; there is no such folder
        """
        found = load_code(folder)
        place = site or found.site
        if place is None:
            raise ClaimError(f"the folder {folder!r} does not say where its dictionary stands; give site='r9', say")
        made = cls({place: {"folder": folder, **({} if found.reads in (None, place) else {"reads": found.reads})}})
        made._loaded[place] = found.code, found.reads
        return made

    def __repr__(self) -> str:
        shown = {n: "<code>" if coded.folder is None else coded.block for n, coded in self.components.items()}
        return f"Dictionary({shown})"

    def fields(self, model: AnyModel | None = None) -> dict[str, Any]:
        for name, coded in self.components.items():
            if coded.folder is None:
                raise ClaimError(
                    f"the dictionary of {name!r} was given as a code, which no claim file holds; store it in a folder "
                    "(assay.train.dictionary.stored.store), and give that"
                )
        return {"components": {name: coded.block for name, coded in self.components.items()}}

    def code(self, name: str) -> tuple[SparseCode, str]:
        """The dictionary of a site, and the name of the site that it reads."""
        coded = self.components[name]
        if name not in self._loaded:
            if coded.folder is None:
                self._loaded[name] = coded.code, None
            else:
                found = load_code(coded.folder)
                if found.site is not None and found.site != name:
                    raise ClaimError(
                        f"the dictionary in {coded.folder!r} was trained at {found.site!r}, not at {name!r}; name the "
                        f"site {found.site!r}"
                    )
                self._loaded[name] = found.code, found.reads
        code, reads = self._loaded[name]
        return code, coded.reads or reads or name

    def placed(self, model: AnyModel) -> dict[str, tuple[WideSite, WideSite, SparseCode]]:
        """Every dictionary: the site that it writes, the one that it reads, and its code.

        Raises:
            ComponentError: for a site that the model does not have, or that is named twice.
            ClaimError: for a dictionary of another width, and a feature that it does not have.
        """
        if not isinstance(model, Model):
            raise ClaimError(f"{model.name} is no transformer, and dictionaries stand at a transformer's sites")
        out = {}
        for name, coded in self.components.items():
            site = wide_site(name, model)
            if site.part == "in":
                raise ClaimError(f"{name!r} is what an MLP reads; a dictionary says a value that something writes")
            code, reads = self.code(name)
            read = wide_site(reads, model)
            if isinstance(model, Sketch):
                code = baselines.stand_in(code, read.width(model), site.width(model))
            for what, place, width in (("reads", read, code.d_in), ("writes", site, code.d_out)):
                if place.width(model) != width:
                    raise ClaimError(
                        f"the dictionary of {name!r} {what} values of width {width}, and {str(place)!r} of "
                        f"{model.name} has {place.width(model)}"
                    )
            for feature in (*(coded.keep or ()), *coded.without):
                if feature >= code.width and not isinstance(model, Sketch):
                    raise ClaimError(
                        f"the dictionary of {name!r} has no feature {feature}; it has 0 to {code.width - 1}"
                    )
            out[name] = site, read, code
        return out

    def scope(self, model: AnyModel) -> list[Site]:
        self.placed(model)
        return expand(self.components, model, streams=True)

    def edits(self, workbench: PlanContext, ablation: str, draw: int = 0) -> tuple[Edit, ...]:
        model = workbench.model
        assert isinstance(model, Model)
        placed = self.placed(model)
        expand(self.components, model, streams=True)  # refuses a site named twice
        out: list[Edit] = []
        for name, (site, read, code) in placed.items():
            code = code.to(model.device, torch.promote_types(model.dtype, torch.float32))
            splice = Splice(model, site, read, code, _kept(self.components[name], code), self.components[name].error)
            out += splice.edits()
        return tuple(out)

    def plan(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        return workbench.plan(self.edits(workbench, ablation, draw))

    def sentence(self, model_name: str) -> str:
        said = []
        for name, coded in self.components.items():
            stays = ", beside the error that it leaves," if coded.error else ""
            said.append(f"{name} of {model_name} is what {coded.words}{stays} say")
        return "; ".join(said)

    # -- what is run beside it

    def alone(self, model: AnyModel) -> dict[str, list[Site]] | Undefined:
        return single_or_named(self, list(self.components), model)

    def values(self, workbench: PlanContext) -> tuple[Edit, ...] | Undefined:
        if isinstance(workbench.model, ModuleModel):
            return Undefined("dictionaries stand at a transformer's sites")
        return self.edits(workbench, "mean")

    def presence(self, workbench: PlanContext, ablation: str) -> Presence:
        return Presence(there={edit.site: edit for edit in self.edits(workbench, ablation)})

    def block(
        self,
        workbench: PlanContext,
        ablation: str,
        rows: Int[np.ndarray, "rows"],
        sides: Callable[[], tuple[RunScores, RunScores] | None],
    ) -> Pieces:
        return pieces(workbench, self.placed(workbench.model), rows)

    # -- its length

    def claim_bits(self, model: AnyModel, channels: int = 0) -> ClaimBits | Undefined:
        if not isinstance(model, Model):
            return Undefined(f"{model.name} has no sites of dictionaries")
        where = parts_bits(self.scope(model), model, channels)
        numbers = sum(numbers_of(code) for _, _, code in self.placed(model).values())
        chosen = sum(
            code.width
            for name, (_, _, code) in self.placed(model).items()
            if self.components[name].keep is not None or self.components[name].without
        )
        how = f"{where.how} + {numbers:,} numbers of encoders and decoders, of {NUMBER} bits"
        how += f" + {chosen:,} for which features are there" if chosen else ""
        return ClaimBits(where.bits + NUMBER * numbers + chosen, how)

    def unread(self, model: Model, ablation: str) -> Iterator[Unread] | Undefined:
        return iter(())  # what the features are is read off the site's own value, which all of its weights make

    def constants_bits(self, workbench: PlanContext, ablation: str) -> float:
        return 0.0  # all of its numbers are in the claim

    # -- its controls

    def neighbours(self, workbench: PlanContext, ablation: str, most: int) -> Iterator[Neighbours]:
        model = workbench.model
        assert isinstance(model, Model)
        placed = self.placed(model)
        if any(site != read for site, read, _ in placed.values()):
            yield Neighbours("random dictionaries", "random dictionaries", [], 0, reason="it is a transcoder")
            return
        active = {name: baselines.active(workbench, site, code) for name, (site, _, code) in placed.items()}

        def made(how: Callable[[str], SparseCode]) -> Callable[[PlanContext], Plan]:
            def plan(aside: PlanContext) -> Plan:
                codes = {name: replace(self.components[name], folder=None, code=how(name)) for name in placed}
                return type(self)({n: replace(c, keep=None, without=()) for n, c in codes.items()}).plan(
                    aside, ablation
                )

            return plan

        def at(name: str) -> tuple[PlanContext, WideSite, SparseCode]:
            return workbench, placed[name][0], placed[name][2]

        items = [
            (f"draw {draw}", made(lambda name, draw=draw: baselines.random(*at(name), active[name], draw)))
            for draw in range(most)
        ]
        what = "dictionaries of as many random features, of which as many are active, at the scale that fits best"
        yield Neighbours("random dictionaries", what, items, 10**9)
        what = "its decoder's features dealt to others, with its own encoder"
        items = [
            (f"draw {draw}", made(lambda name, draw=draw: baselines.shuffled(*at(name), draw))) for draw in range(most)
        ]
        yield Neighbours("shuffled decoders", what, items, 10**9)
        what = "as many principal directions as it has active features"
        pca = made(lambda name: baselines.principal(*at(name)[:2], active[name]))
        yield Neighbours("principal directions", what, [("PCA", pca)], 1, near=True)
        what = "as many of the site's own coordinates as it has active features, those furthest from their mean"
        own = made(lambda name: baselines.coordinates(*at(name)[:2], active[name]))
        yield Neighbours("the site's own coordinates", what, [("coordinates", own)], 1, near=True)


def numbers_of(code: SparseCode) -> int:
    """How many numbers a dictionary has."""
    return sum(tensor.numel() for tensor in code.tensors.values())


def _kept(coded: Coded, code: SparseCode) -> Float[Tensor, "width"] | None:
    """What each feature is multiplied with; None: nothing is left out."""
    if coded.keep is None and not coded.without:
        return None
    out = torch.ones_like(code.encoder_bias)
    if coded.keep is not None:
        out.zero_()[[feature for feature in coded.keep if feature < code.width]] = 1
    out[[feature for feature in coded.without if feature < code.width]] = 0
    return out


class Splice:
    """A dictionary put in the place of a site's value."""

    def __init__(
        self, model: Model, site: WideSite, reads: WideSite, code: SparseCode, kept: Tensor | None, error: bool
    ):
        self.model, self.site, self.reads, self.code, self.kept, self.error = model, site, reads, code, kept, error
        self._last: tuple[Tensor, Tensor] | None = None

    def edits(self) -> list[Edit]:
        """One edit; of all heads of a layer one a head."""
        site = self.site.site
        looked = tuple(
            dict.fromkeys(_site(key) for key in (*self.reads.taps, *self.site.taps) if key != ("z", site.layer))
        )
        places = self.site.places(self.model)
        if site.kind == "attention":
            return [Edit(one, Call(partial(self._head, head=one), (*looked, *places))) for one in places]
        if site.kind == "head":
            looked = (*looked, site)
        return [Edit(places[0], Call(self.value, looked))]

    def value(self, batch: Batch) -> Float[Tensor, "batch pos width"]:
        """What the dictionary says; the value itself in a row's first column, and where it is not coded."""
        own, read = self._read(batch, self.site), self._read(batch, self.reads)
        wide = read.to(self.code.encoder.dtype)
        said = self.code(wide, self.kept)
        if self.error:
            whole = said if self.kept is None else self.code(wide)
            said = own.to(said) + (said - whole)
        taken = self.code.takes(wide)
        taken[:, 0] = False
        return torch.where(taken.unsqueeze(-1), said.to(own.dtype), own)

    def _head(self, batch: Batch, head: Site) -> Float[Tensor, "batch pos d_head"]:
        own = self._read(batch, self.site)
        if self._last is None or self._last[0] is not batch.tokens:
            self._last = batch.tokens, self.value(batch)
        return self._last[1].view(*own.shape[:2], self.model.config.heads, -1)[:, :, head.index or 0]

    def _read(self, batch: Batch, site: WideSite) -> Tensor:
        def tapped(key: tuple[str, int]) -> Tensor:
            if key[0] != "z":
                return batch.read(_site(key))
            if site.site.kind == "head":
                one = batch.read(site.site)
                return one.unsqueeze(2).expand(-1, -1, self.model.config.heads, -1)
            every = [batch.read(Site("head", key[1], head)) for head in range(self.model.config.heads)]
            return torch.stack(every, 2)

        return read_wide(self.model, site, tapped)


def _site(key: tuple[str, int]) -> Site:
    """The site whose value a tap gives whole."""
    kind, layer = key
    return parse_site({"stream": f"r{layer}", "mlp": f"m{layer}", "neurons": f"m{layer}.hidden"}.get(kind, f"a{layer}"))


def check_name(name: str) -> None:
    """Raises `ComponentError` for what is no site of a dictionary."""
    if wide_site(name).part == "in":
        raise ComponentError(f"{name!r} is what an MLP reads; a dictionary says a value that something writes")
