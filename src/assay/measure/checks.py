"""The checks of DEFINITIONS §9: known ways in which a recovered share misleads, each fired, passed or unknown.

`run_checks` is a pure function of `Evidence`; what is expensive (knock-outs, merges, the off-manifold classifier) is
gathered by the functions in the files of those names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from assay.intervene.ablations import Workbench
from assay.intervene.donors import matched_donors
from assay.measure.knockouts import Knockouts
from assay.measure.off_manifold import OffManifold
from assay.measure.residual import table
from assay.measure.score import Scored
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.task.overlap import Overlap

State = Literal["fired", "passed", "unknown"]
RESAMPLING = ("resample_joint", "resample_independent")


@dataclass(frozen=True)
class Thresholds:
    """Every threshold of every check."""

    ablation_range: float = 0.1  # of R_D across ablations
    cancellation: float = 0.05  # |R_L − R_D|
    vacuous_epsilon: float = 1e-3  # nats of KL to the model
    vacuous_share: float = 0.95  # of tokens
    self_match: float = 0.2  # of donors
    matters: float = 0.01  # of KL(all parts || none of them)
    merge_cost: float = 0.01  # of the floor's KL
    tiny_scope: float = 0.02  # of the loss gap from bigram to model
    off_manifold: float = 0.8  # held-out AUROC
    over_recovery: float = 1.0  # lower end of R_L
    shared_13grams: float = 0.01  # of the distinct scored 13-grams; any shared document fires too
    ngram_tokens: float = 20.0  # reference tokens a vocabulary entry
    clusters: int = 30  # documents


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Check:
    """One check's verdict.

    Attributes:
        evidence: a sentence with the numbers; threshold: when it fires.
    """

    name: str
    state: State
    evidence: str
    threshold: str

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "state": self.state, "evidence": self.evidence, "threshold": self.threshold}


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the checks look at; what was not gathered stays None, and its check is unknown.

    Attributes:
        kind: the claim's kind.
        recovered, recovered_loss: ablation -> R_D (for `Remove`: N), R_L, over the headline floor.
        ablation: the headline's.
        gap: g = L_F − L_M of the headline, in nats per token.
        scored, resamples: for tiny scope and vacuous; scope: the system whose only edit is that the scope is ablated.
        others: rivals and controls whose token tables were kept in `scored`.
        self_match: ablation -> the share of donors that are the row itself (`self_match`).
        ngram_tokens: reference tokens a vocabulary entry that the n-gram floors were fitted on.
        found_on: whether the claim says what it was found on; overlap: that data against the scored.
        tried: (this, of how many) tries on this split, from the register.
        knockouts, merges, off_manifold: see the functions of those names; `merges` is empty when nothing can be merged.
    """

    kind: str
    ablation: str
    recovered: Mapping[str, Estimate]
    recovered_loss: Mapping[str, Estimate] = field(default_factory=dict)
    gap: Estimate | None = None
    scored: Scored | None = None
    resamples: Resamples | None = None
    scope: str | None = None
    others: tuple[str, ...] = ()
    self_match: Mapping[str, float] | None = None
    ngram_tokens: float | None = None
    found_on: str | None = None
    overlap: Overlap | None = None
    tried: tuple[int, int] | None = None
    knockouts: Knockouts | None = None
    merges: Mapping[str, Estimate] | None = None
    off_manifold: Mapping[str, OffManifold] | None = None


def self_match(bench: Workbench, ablations: tuple[str, ...], draws: int) -> dict[str, float]:
    """For each resampling ablation the share of donors that are the scored row itself, over all draws."""
    out = {}
    for ablation in ablations:
        if ablation in RESAMPLING and bench.task.reference is not None:
            out[ablation] = float(np.mean([matched_donors(bench.task, bench.seed, draw) for draw in range(draws)]))
    return out


def run_checks(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> list[Check]:
    """Every check that applies to component claims and programs, in the order of DEFINITIONS §9."""
    return [check(evidence, thresholds) for check in CHECKS]


def _verdict(name: str, fires: bool | None, text: str, threshold: str) -> Check:
    return Check(name, "unknown" if fires is None else "fired" if fires else "passed", text, threshold)


def _ablation_sensitive(e: Evidence, t: Thresholds) -> Check:
    values = {name: estimate.value for name, estimate in e.recovered.items() if estimate.value is not None}
    threshold = f"R_D ranges over more than {t.ablation_range:g} across ablations"
    if len(values) < 2:
        text = f"R_D is known under {len(values)} ablation(s); two are needed"
        return _verdict("ablation-sensitive", None, text, threshold)
    low, high = min(values, key=lambda n: values[n]), max(values, key=lambda n: values[n])
    spread = values[high] - values[low]
    text = f"from {values[low]:.3f} ({low}) to {values[high]:.3f} ({high}): a range of {spread:.3f}"
    return _verdict("ablation-sensitive", spread > t.ablation_range, text, threshold)


def _cancellation(e: Evidence, t: Thresholds) -> Check:
    threshold = f"R_L − R_D outside ±{t.cancellation:g}"
    kl, loss = e.recovered.get(e.ablation), e.recovered_loss.get(e.ablation)
    if e.kind == "remove" or kl is None or loss is None or kl.value is None or loss.value is None:
        reasons = [x.reason for x in (kl, loss) if x is not None and x.value is None and x.reason]
        return _verdict("cancellation", None, "; ".join(reasons) or "R_L and R_D are not both given", threshold)
    difference = loss.value - kl.value
    text = f"R_L {loss.value:.3f}, R_D {kl.value:.3f}: a difference of {difference:+.3f}"
    return _verdict("cancellation", abs(difference) > t.cancellation, text, threshold)


def _vacuous(e: Evidence, t: Thresholds) -> Check:
    near = f"within {t.vacuous_epsilon:g} nats of the model on {t.vacuous_share:.0%} of tokens"
    threshold = f"a rival or control is {near}"
    if e.scored is None or not e.others:
        return _verdict("vacuous", None, "no rival's or control's per-token scores were kept", threshold)
    shares = {name: float((table(e.scored, name).kl <= t.vacuous_epsilon).mean()) for name in e.others}
    best = max(shares, key=lambda n: shares[n])
    text = f"of {len(shares)} rivals and controls the nearest, {best}, is that near on {shares[best]:.1%} of tokens"
    return _verdict("vacuous", shares[best] >= t.vacuous_share, text, threshold)


def _self_match(e: Evidence, t: Thresholds) -> Check:
    threshold = f"more than {t.self_match:.0%} of resamples draw the row itself"
    if e.self_match is None:
        return _verdict("self-match", None, "donors were not looked at", threshold)
    if not e.self_match:
        return _verdict("self-match", False, "no ablation that was used draws from other rows", threshold)
    worst = max(e.self_match, key=lambda n: (e.self_match or {})[n])
    share = e.self_match[worst]
    return _verdict("self-match", share > t.self_match, f"{share:.1%} under {worst}", threshold)


def _parts(name: str, e: Evidence, t: Thresholds) -> Check:
    if name == "frivolous":
        threshold = f"a part matters nowhere: always under {t.matters:.0%} of all parts' KL"
    else:
        threshold = f"a part can be left out ({t.matters:.0%} of all parts' KL) and matters elsewhere"
    if e.knockouts is None:
        why = "constants claim that their parts do not matter" if e.kind == "constant" else "no parts were left out"
        return _verdict(name, None, why, threshold)
    if e.knockouts.reason:
        return _verdict(name, None, e.knockouts.reason, threshold)
    found = [use for use in e.knockouts.uses if use.verdict(t.matters, e.knockouts.scale) == name]
    if found:
        use = max(found, key=lambda u: u.most) if name == "redundant" else found[0]
        listed = ", ".join(u.part for u in found[:6]) + (" ..." if len(found) > 6 else "")
        text = f"{len(found)} of {len(e.knockouts.uses)} parts: {listed}; {use.describe(e.knockouts.scale)}"
        return _verdict(name, True, text, threshold)
    least = min(e.knockouts.uses, key=lambda u: u.left_out)
    text = f"none of {len(e.knockouts.uses)} parts; the least, {least.describe(e.knockouts.scale)}"
    return _verdict(name, False, text, threshold)


def _redundant(e: Evidence, t: Thresholds) -> Check:
    return _parts("redundant", e, t)


def _frivolous(e: Evidence, t: Thresholds) -> Check:
    return _parts("frivolous", e, t)


def _over_specific(e: Evidence, t: Thresholds) -> Check:
    threshold = f"merging a distinction costs at most {t.merge_cost:.0%} of the floor's KL (upper end)"
    if e.merges is None:
        return _verdict("over-specific", None, "no distinction was merged", threshold)
    known = {name: cost for name, cost in e.merges.items() if cost.value is not None}
    of = f"of {len(known)}"
    if not known:
        if not e.merges:
            return _verdict("over-specific", False, "the claim draws no distinction that could be merged", threshold)
        return _verdict("over-specific", None, f"the costs are {next(iter(e.merges.values()))}", threshold)
    upper = {name: cost.value if cost.high is None else cost.high for name, cost in known.items()}
    free = [name for name, cost in upper.items() if cost is not None and cost <= t.merge_cost]
    if free:
        text = f"{len(free)} {of} cost nothing: " + "; ".join(f"{name} costs {known[name]}" for name in free[:4])
        return _verdict("over-specific", True, text, threshold)
    name = min(known, key=lambda n: known[n].value or 0.0)
    text = f"{of} the cheapest, {name}, costs {known[name]} of the floor's KL"
    return _verdict("over-specific", False, text, threshold)


def scope_share(scored: Scored, resamples: Resamples, scope: str) -> Estimate:
    """(L_scope − L_M) / (L_bigram − L_M): how much of the gap from bigram to model hangs on the scope."""
    kept = scored.count > 0
    model = scored["model"].loss[kept]
    return resamples.ratio(scored[scope].loss[kept] - model, scored["bigram"].loss[kept] - model)


def _tiny_scope(e: Evidence, t: Thresholds) -> Check:
    threshold = f"the scope carries less than {t.tiny_scope:.0%} of the gap from bigram to model"
    if e.kind in ("keep", "circuit"):
        return _verdict("tiny scope", False, "the scope of what is kept is the whole model", threshold)
    if e.scored is None or e.resamples is None or e.scope is None or "bigram" not in e.scored.systems:
        return _verdict("tiny scope", None, "no bigram was scored beside the ablated scope", threshold)
    share = scope_share(e.scored, e.resamples, e.scope)
    if share.value is None:
        return _verdict("tiny scope", None, str(share), threshold)
    return _verdict("tiny scope", share.value < t.tiny_scope, f"it carries {share}", threshold)


def _off_manifold(e: Evidence, t: Thresholds) -> Check:
    threshold = f"a classifier tells patched from clean reader inputs with held-out AUROC > {t.off_manifold:g}"
    known = {name: o for name, o in (e.off_manifold or {}).items() if o.auroc is not None}
    if not known:
        reasons = [o.reason for o in (e.off_manifold or {}).values() if o.reason]
        return _verdict("off-manifold", None, reasons[0] if reasons else "no classifier was trained", threshold)
    fires = any((o.auroc or 0.0) > t.off_manifold for o in known.values())
    return _verdict("off-manifold", fires, "; ".join(f"{name}: {o}" for name, o in known.items()), threshold)


def _leak(e: Evidence, t: Thresholds) -> Check:
    threshold = f"the claim was found on scored documents, or on more than {t.shared_13grams:.0%} of their 13-grams"
    if e.found_on is None:
        return _verdict("leak", None, "the claim does not say what it was found on (written by hand?)", threshold)
    if e.overlap is None:
        why = f"what it was found on, {e.found_on!r}, names no file of documents here, and only a file can be compared"
        return _verdict("leak", None, why, threshold)
    documents = len(e.overlap.documents)
    shared = f"{e.overlap.shared:,} of {e.overlap.total:,} 13-grams"
    text = f"found on {e.found_on!r}, which shares {documents} documents and {shared} with what is scored"
    return _verdict("leak", documents > 0 or e.overlap.share > t.shared_13grams, text, threshold)


def _over_recovery(e: Evidence, t: Thresholds) -> Check:
    threshold = f"the lower end of R_L is above {t.over_recovery:g}: the explained run does better than the model"
    loss = e.recovered_loss.get(e.ablation)
    if e.kind == "remove" or loss is None or loss.value is None:
        return _verdict("over-recovery", None, (loss and loss.reason) or "R_L is not given", threshold)
    low = loss.value if loss.low is None else loss.low
    return _verdict("over-recovery", low > t.over_recovery, f"R_L is {loss}", threshold)


def _harmful_scope(e: Evidence, t: Thresholds) -> Check:
    threshold = "the upper end of g = L_F − L_M is below 0: the model does better without the scope"
    if e.gap is None or e.gap.value is None:
        return _verdict("harmful scope", None, (e.gap and e.gap.reason) or "the gap was not measured", threshold)
    fires = e.gap.high is not None and e.gap.high < 0
    return _verdict("harmful scope", fires, f"g is {e.gap} nats", threshold)


def _weak_floor(e: Evidence, t: Thresholds) -> Check:
    threshold = f"the n-gram floors are fitted on fewer than {t.ngram_tokens:g} tokens a vocabulary entry"
    if e.ngram_tokens is None:
        return _verdict("weak floor", None, "no n-gram was fitted", threshold)
    return _verdict("weak floor", e.ngram_tokens < t.ngram_tokens, f"{e.ngram_tokens:,.1f} tokens an entry", threshold)


def _few_clusters(e: Evidence, t: Thresholds) -> Check:
    threshold = f"fewer than {t.clusters} documents"
    if e.scored is None:
        return _verdict("few clusters", None, "nothing was scored", threshold)
    count = int((e.scored.count > 0).sum())
    return _verdict("few clusters", count < t.clusters, f"{count} documents were scored", threshold)


def _one_of_m(e: Evidence, t: Thresholds) -> Check:
    threshold = "more than one claim or set of ablations was tried on this split"
    if e.tried is None:
        return _verdict("1 of m", None, "the run is in no folder with a register", threshold)
    this, tried = e.tried
    return _verdict("1 of m", tried > 1, f"this is try {this} of {tried}", threshold)


CHECKS = (
    _ablation_sensitive,
    _cancellation,
    _vacuous,
    _self_match,
    _redundant,
    _frivolous,
    _over_specific,
    _tiny_scope,
    _off_manifold,
    _leak,
    _over_recovery,
    _harmful_scope,
    _weak_floor,
    _few_clusters,
    _one_of_m,
)
