"""The checks of docs/definitions.md#checks: known ways in which a recovered share misleads.

Each is fired, passed or unknown.
`run_checks` is a pure function of `Evidence`; thresholds are in one table (`thresholds`).
"""

from __future__ import annotations

from assay.measure.checks.evidence import Evidence
from assay.measure.checks.thresholds import THRESHOLDS, Thresholds
from assay.measure.headline.recovered import gap_reason
from assay.record.about import Check
from assay.record.interchange import CoarserRow
from assay.score.ids import BIGRAM, SystemId
from assay.score.scores import Scored
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate


def run_checks(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> list[Check]:
    """Every check that applies to component claims and programs, in the order of docs/definitions.md#checks."""
    return [check(evidence, thresholds) for check in CHECKS]


def unknown_checks(reason: str) -> list[Check]:
    """Every check, with the same reason why nothing was looked at."""
    checks = run_checks(Evidence(ablation="", recovered={}))
    return [check.model_copy(update={"state": "unknown", "evidence": reason}) for check in checks]


def _verdict(name: str, fires: bool | None, text: str, threshold: str) -> Check:
    state = "unknown" if fires is None else "fired" if fires else "passed"
    return Check(name=name, state=state, evidence=text, threshold=threshold)


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
    if e.removal or kl is None or loss is None or kl.value is None or loss.value is None:
        reasons = [x.reason for x in (kl, loss) if x is not None and x.value is None and x.reason]
        return _verdict("cancellation", None, "; ".join(reasons) or "R_L and R_D are not both given", threshold)
    difference = loss.value - kl.value
    text = f"R_L {loss.value:.3f}, R_D {kl.value:.3f}: a difference of {difference:+.3f}"
    return _verdict("cancellation", abs(difference) > t.cancellation, text, threshold)


def _vacuous(e: Evidence, t: Thresholds) -> Check:
    near = f"within {t.vacuous_epsilon:g} nats of KL to the explained run on {t.vacuous_share:.0%} of tokens"
    threshold = f"a rival or control is {near}"
    swaps, fired = _coarser(e, t)
    if swaps:
        threshold += f"; or a claim that does not tell a variable's values apart differs in under {t.separating:.0%} "
        threshold += "of swaps, or says as often in these what the network then answers"
    if e.nearest is None:
        said = swaps or "no rival or control was scored beside the explained run"
        return _verdict("vacuous", fired or None, said, threshold)
    said = f"{e.nearest}; {swaps}" if swaps else str(e.nearest)
    return _verdict("vacuous", fired or e.nearest.share >= t.vacuous_share, said, threshold)


def _coarser(e: Evidence, t: Thresholds) -> tuple[str, bool]:
    """Of the claims that do not tell one variable's values apart the one that comes nearest to this one, in words, and
    whether swaps tell the two apart; nothing where there is none."""
    rows = () if e.swapped is None else e.swapped.rows
    found = [one for row in rows for one in row.coarser if one.merged]
    if not found:
        return "", False

    def ahead(one: CoarserRow) -> float:
        """By how much more often the network goes with the claim: the less, the nearer."""
        few = one.differs < t.separating or one.claim is None or one.coarser is None
        return -2.0 + one.differs if few else (one.claim or 0.0) - (one.coarser or 0.0)

    near = min(found, key=ahead)
    text = f"swaps: {near.name} predicts another answer in {near.differs:.0%}"
    if near.claim is not None and near.coarser is not None:
        text += f", of which {near.coarser:.0%} go as it says and {near.claim:.0%} as the claim says"
    return text, ahead(near) <= 0


def _self_match(e: Evidence, t: Thresholds) -> Check:
    threshold = f"more than {t.self_match:.0%} of resamples draw the row itself"
    if e.self_match is None:
        return _verdict("self-match", None, "donors were not looked at", threshold)
    if e.matched_alone:
        worst = max(e.matched_alone, key=lambda n: e.matched_alone[n])
        said = f"{e.matched_alone[worst]:.1%} of rows agree with no other on {worst}"
        return _verdict("self-match", e.matched_alone[worst] > t.self_match, said, threshold)
    if not e.self_match:
        return _verdict("self-match", False, "no ablation that was used draws from other rows", threshold)
    worst = max(e.self_match, key=lambda n: (e.self_match or {})[n])
    share = e.self_match[worst]
    return _verdict("self-match", share > t.self_match, f"{share:.1%} under {worst}", threshold)


def _parts(name: str, e: Evidence, t: Thresholds) -> Check:
    least = f"{t.matters:.0%} of all parts' KL, at least {t.matters_nats:g} nats a token"
    if name == "frivolous":
        threshold = f"a part matters in no context: always under {least}"
    else:
        threshold = f"a part can be left out (under {least}) and matters elsewhere"
    if e.knockouts is None:
        why = "the claim is not that its parts matter" if not e.parts_matter else "no parts were left out"
        return _verdict(name, None, why, threshold)
    k = e.knockouts
    if k.reason:
        return _verdict(name, None, k.reason, threshold)
    found = [use for use in k.uses if use.verdict(t.matters, k.scale, t.matters_nats) == name]
    under = f"under {k.ablation} ablation " if k.ablation else ""
    if found:
        use = max(found, key=lambda u: u.most) if name == "redundant" else found[0]
        listed = ", ".join(u.part for u in found[:6]) + (" ..." if len(found) > 6 else "")
        text = f"{under}{len(found)} of {len(k.uses)} parts: {listed}; {use.describe(k.scale)}"
        return _verdict(name, True, text, threshold)
    use = min(k.uses, key=lambda u: u.left_out)
    text = f"{under}none of {len(k.uses)} parts; the least, {use.describe(k.scale)}"
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


def scope_share(scored: Scored[SystemId], resamples: Resamples, scope: SystemId, noise: float = 0.0) -> Estimate:
    """(L_scope − L_M) / (L_bigram − L_M): how much of the gap from bigram to model hangs on the scope.

    Args:
        noise: the no-op run's difference in loss, nats a token; a gap that does not stand above it is not resolved.
    """
    kept = scored.count > 0
    count, model = scored.count[kept], scored.model.loss[kept]
    bigram = scored[BIGRAM].loss[kept]
    reason = gap_reason(resamples.difference(bigram, model, count), noise, "the bigram's loss", "worse than its bigram")
    if reason:
        return Estimate.undefined(reason, len(count))
    return resamples.ratio(scored[scope].loss[kept] - model, bigram - model, count)


def _tiny_scope(e: Evidence, t: Thresholds) -> Check:
    threshold = f"the scope carries less than {t.tiny_scope:.0%} of the gap from bigram to model, for better or worse"
    if e.floor_takes == "everything":
        return _verdict("tiny scope", False, "the scope of what is kept is the whole model", threshold)
    if e.scored is None or e.resamples is None or e.scope is None or BIGRAM not in e.scored.systems:
        return _verdict("tiny scope", None, "no bigram was scored beside the ablated scope", threshold)
    share = scope_share(e.scored, e.resamples, e.scope, e.noise)
    if share.value is None:
        return _verdict("tiny scope", None, str(share), threshold)
    return _verdict("tiny scope", abs(share.value) < t.tiny_scope, f"it carries {share}", threshold)


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
    if e.removal or loss is None or loss.value is None:
        return _verdict("over-recovery", None, (loss and loss.reason) or "R_L is not given", threshold)
    low = loss.value if loss.low is None else loss.low
    return _verdict("over-recovery", low > t.over_recovery, f"R_L is {loss}", threshold)


def _harmful_scope(e: Evidence, t: Thresholds) -> Check:
    threshold = "the upper end of L − L_M with the scope ablated is below 0: the model does better without it"
    if e.gap is None or e.gap.value is None:
        return _verdict("harmful scope", None, (e.gap and e.gap.reason) or "the gap was not measured", threshold)
    fires = e.gap.high is not None and e.gap.high < 0
    return _verdict("harmful scope", fires, f"without the scope the loss changes by {e.gap} nats", threshold)


def _weak_floor(e: Evidence, t: Thresholds) -> Check:
    threshold = f"the n-gram floors are fitted on fewer than {t.ngram_tokens:g} tokens a vocabulary entry"
    if e.ngram_tokens is None:
        return _verdict("weak floor", None, "no n-gram was fitted", threshold)
    return _verdict("weak floor", e.ngram_tokens < t.ngram_tokens, f"{e.ngram_tokens:,.1f} tokens an entry", threshold)


def _few_clusters(e: Evidence, t: Thresholds) -> Check:
    threshold = f"fewer than {t.clusters:g} effective clusters (independent works, as if they were of equal size)"
    if e.resamples is None:
        return _verdict("few clusters", None, "nothing was scored", threshold)
    effective = e.resamples.effective()
    works, equal = e.resamples.clusters, f", of which {e.equal} equal others" if e.equal else ""
    text = f"{e.resamples.n} documents{equal}, of {works} works, which weigh as {effective:.1f} of equal size"
    return _verdict("few clusters", effective < t.clusters, text, threshold)


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
