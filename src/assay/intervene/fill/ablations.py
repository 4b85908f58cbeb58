"""Ablations: what a site that is not explained takes. A name, a part and a draw give a source.

Constants of the reference (`zero`, `mean`, `mean_position`, `optimal`, `shared_adversarial`), other examples
(`resample_joint`, `resample_independent`, `counterfactual`) or Gaussian `noise` (docs/definitions.md#ablations).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from assay.errors import PluginError, TaskError
from assay.intervene.edits.engine import EditRunner
from assay.intervene.fill.adversarial import adversarial_constants
from assay.intervene.fill.donors import donors, hashed
from assay.intervene.fill.fit_context import FitContext, Used
from assay.intervene.fill.learned import optimal_constants, refitted
from assay.intervene.fill.spec import from_means, plugged
from assay.intervene.output import OwnTarget
from assay.intervene.plan import Batch, Call, Edit, EditRun, From, Plan, Source, Value, origins, outside
from assay.intervene.store import Store
from assay.model.transformer import Model
from assay.names import Site
from assay.promises import held

NEEDS_STREAM = "needs a transformer of a supported family, which has a residual stream"


class PlanContext(FitContext):
    """A model on a task with everything that plans are made from: runner, reference statistics, fitted constants.

    Args:
        seed: keys donors, noise and fits.
        frozen_norm: norm scales of every edited run come from the clean run (an option, never the headline).
        refit: an affine map after the ablated parts, fitted on the reference.
        store: what is known of the model on the reference; None: nothing yet.

    Attributes:
        target: what systems are held against in place of the model's own distribution; None: that.

    Raises:
        TaskError: for an option that the model has no stream for.
    """

    target: OwnTarget | None = None

    def __init__(
        self,
        runner: EditRunner,
        seed: int = 0,
        *,
        frozen_norm: bool = False,
        refit: bool = False,
        store: Store | None = None,
    ):
        super().__init__(runner, seed, frozen_norm=False, store=store)
        self._take(frozen_norm, refit)

    def _take(self, frozen_norm: bool, refit: bool) -> None:
        for option, wanted in (("frozen_norm", frozen_norm), ("refit", refit)):
            if wanted and not isinstance(self.model, Model):
                raise TaskError(f"the option {option!r} {NEEDS_STREAM}; {self.model.name} is none, so leave it out")
        self.frozen_norm, self.refit = frozen_norm, refit

    def for_claim(self, *, frozen_norm: bool = False, refit: bool = False) -> PlanContext:
        """The same workbench with these options for one more claim: what that uses is noted anew."""
        out = copy.copy(self)
        out._take(frozen_norm, refit)
        out.used = Used(self.runner.forwards)
        return out

    def on(self, runner: EditRunner) -> PlanContext:
        """A workbench without a refit on other scored rows, or on a copy of the model, with all that was fitted here;
        what is fitted there stays there."""
        return PlanContext(runner, self.seed, frozen_norm=self.frozen_norm, store=self.store.for_runner(runner))

    def without_refit(self) -> PlanContext:
        """The same workbench but for the option `refit`."""
        out = copy.copy(self)
        out.refit = False
        return out

    def source(self, ablation: str, site: Site, draw: int) -> Source:
        """What a part takes under an ablation.

        Raises:
            TaskError: for an unknown ablation, or one that the task has no data for.
            PluginError: for one from outside of assay that gives what is no source.
        """
        match ablation:
            case "zero":
                return Value(torch.zeros((), device=self.model.device))
            case "mean":
                return Value(self.statistics.mean(site).to(self.model.device))
            case "mean_position":
                return Value(self.statistics.mean_position(site).to(self.model.device))
            case "resample_joint":
                return From("donor", donors(self.task, self.seed, draw))
            case "resample_independent":
                return From("donor", donors(self.task, self.seed, draw, str(site.at(None))))
            case "counterfactual":
                return self._counterfactual(ablation)
            case "noise":
                return Call(self.noise(site, draw))
            case _:
                return self._plugged(ablation, site, draw)

    def _plugged(self, ablation: str, site: Site, draw: int) -> Source:
        """What a part takes under an ablation that another package adds."""
        found, who = plugged(ablation), f"'source' of the ablation {ablation!r} for {str(site)!r}"
        source: Source = held(found.source(self, site, draw), Value | From | Call, who)
        if isinstance(source, Call) and source.reads:
            read = ", ".join(map(str, source.reads))
            raise PluginError(f"{who} reads {read}; what fills a part must not look at the run that it is put into")
        if isinstance(source, From) and source.run == "counterfactual":
            return self._counterfactual(ablation)
        if isinstance(source, From) and (source.run, source.site) != ("donor", None):
            raise PluginError(f"{who} takes values from {source}; there are From('donor', rows) and 'counterfactual'")
        return source

    def _counterfactual(self, ablation: str) -> From:
        if self.task.counterfactual is None:
            raise TaskError(f"the task {self.task.name!r} has no counterfactuals; ablation {ablation!r} needs them")
        return From("counterfactual")

    def ablate(
        self, sites: Iterable[Site], ablation: str, draw: int = 0, *, but: Mapping[Site, Tensor] | None = None
    ) -> tuple[Edit, ...]:
        """Edits that take these parts away. Fitted constants are those of all of them together, fitted once.

        Args:
            but: of some parts an orthonormal basis [width, k] of a subspace in which they keep their own value: what
                they take fills its orthogonal complement.
        """
        sites, but = tuple(sites), but or {}
        if ablation == "optimal":
            sources: list[Source] = [Value(constant) for constant in optimal_constants(self, sites, but)]
        elif ablation == "shared_adversarial":
            bases = tuple((str(site), basis.cpu().numpy().tobytes()) for site, basis in but.items())
            sources = list(map(Value, adversarial_constants(self, sites, but, key=bases)))
        else:
            self.foresee(sites, ablation)
            sources = [self.source(ablation, site, draw) for site in sites]
        return tuple(Edit(site, outside(but.get(site), one)) for site, one in zip(sites, sources, strict=True))

    def foresee(self, sites: Sequence[Site], ablation: str) -> None:
        """Gathers what an ablation of these parts will need of the reference, in one pass for all parts."""
        if from_means(ablation):
            self.statistics.need(sites)
        if ablation == "noise":
            self.statistics.need_covariances(sites)

    def plan(self, edits: tuple[Edit, ...], name: str = "explained") -> Plan:
        """A plan whose scored run has these edits, with the donor runs that they take values from."""
        if self.refit and edits:
            edits = refitted(self, edits)
        helpers = {"donor": "reference", "counterfactual": "counterfactual", "clean": "scored"}
        used = {source.run for edit in edits for source in origins(edit.source) if isinstance(source, From)}
        runs = [EditRun(name, data) for name, data in helpers.items() if name in used]  # type: ignore[arg-type]
        return Plan((*runs, EditRun(name, edits=edits, frozen_norm=self.frozen_norm)))

    def noise(self, site: Site, draw: int) -> Callable[[Batch], Tensor]:
        """Gaussian values with the part's mean and covariance on the reference, keyed by draw and document."""
        mean = self.statistics.mean(site)
        first, rest = self.statistics.root_covariance(site)
        site_key = str(site.at(None))

        def noise(batch: Batch) -> Tensor:
            data = self.runner.examples(batch.data)
            rows = []
            for row in batch.rows:
                document = data.documents[data.document[row]].name
                generator = torch.Generator().manual_seed(
                    hashed(self.seed, "noise", draw, site_key, document, int(data.offset[row])) >> 1
                )
                rows.append(torch.randn(mean.shape, generator=generator))
            white = torch.stack(rows)
            if site.kind == "module":  # no position stands apart
                return (mean + (white.flatten(1) @ rest.T).reshape(white.shape)).to(self.model.device)
            out = white @ rest.T
            out[:, 0] = white[:, 0] @ first.T
            return (mean + out).to(self.model.device)

        return noise
