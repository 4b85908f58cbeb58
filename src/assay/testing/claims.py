"""Claims that a test holds: a headline is measured, and it must come to what was asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Unpack

from assay.errors import ClaimError, UserError
from assay.explanations.base import Explanation
from assay.explanations.claims.file import ClaimFile, load_claim
from assay.measure.measure import measure
from assay.measure.measurement import Measurement
from assay.measure.settings import Flags, Settings
from assay.stats.estimate import Estimate
from assay.task.task import Task

By = Literal["low", "value"]
_COMPARED = {"low": "lower end", "value": "value"}


def assert_recovered(
    claim: Explanation | ClaimFile | str | Path,
    model: Any = None,
    task: Task | None = None,
    *,
    at_least: float,
    by: By = "low",
    **flags: Unpack[Flags],
) -> Measurement:
    """Measures the headline of a claim alone, and fails where it recovers less of the model than was asked.

    Nothing is written unless `out` is given, and no try is registered.

    Args:
        claim, model, task: as in `assay.measure`; a claim file needs no model and no task.
        at_least: the share recovered (R_D) over the headline's floor, at most 1.
        by: "low": the 95 % interval's lower end must reach it, so that the test holds for other documents like these;
            "value": the value must, which half of such samples fall short of where it is just reached.
        flags: as in `assay.measure`: ablation="mean", documents=20, ...

    Returns:
        The measurement.

    Raises:
        AssertionError: one sentence with the figure, its interval, what was asked, and where the claim is from; also
            where the figure is undefined, or its interval is open, with the reason.
        UserError: for a claim, model or task that cannot be measured, for a removal (`assert_costs`), and for more
            than the whole.

    Example:
        >>> import assay
        >>> model = assay.load("zoo:novel-1l")
        >>> task = assay.Task.repeat(model, n=16, length=16)
        >>> assert_recovered(assay.Keep(["a0", "m0"]), model, task, at_least=0.9, ablation="mean").recovered >= 0.9
        True
    """
    __tracebackhide__ = True  # pytest shows the caller's line, not these
    if not at_least <= 1:
        meant = f"; did you mean {at_least / 100:g}?" if 1 < at_least <= 100 else ""
        raise ClaimError(f"'at_least' is a share, at most 1, and not {at_least:g}{meant}")
    result = _headline(claim, model, task, flags)
    if result.record.removal:
        raise ClaimError(f"{_origin(claim)}a removal has no recovered share; assert_costs asks what it costs, in nats")
    return _held(claim, result, "recovered", result.recovered, "", at_least, by)


def assert_costs(
    claim: Explanation | ClaimFile | str | Path,
    model: Any = None,
    task: Task | None = None,
    *,
    at_least: float,
    by: By = "low",
    **flags: Unpack[Flags],
) -> Measurement:
    """Measures the headline of a removal alone, and fails where it costs less than was asked.

    Args:
        claim, model, task, by, flags: as in `assert_recovered`.
        at_least: KL(model || model without the parts), nats a scored token, under the ablation where it is least.

    Raises:
        AssertionError, UserError: as `assert_recovered`.

    Example:
        >>> import assay
        >>> model = assay.load("zoo:novel-1l")
        >>> task = assay.Task.repeat(model, n=16, length=16)
        >>> assert_costs(assay.Remove(["m0"]), model, task, at_least=0.1, ablation="mean").kl >= 0.1
        True
    """
    __tracebackhide__ = True
    result = _headline(claim, model, task, flags)
    if not result.record.removal:
        kind = result.record.claim.kind
        raise ClaimError(f"{_origin(claim)}a {kind} claim is not asked what it costs; use assert_recovered")
    return _held(claim, result, "costs", result.kl, " nats", at_least, by)


def assert_expected(claim: ClaimFile) -> Measurement:
    """What a claim file says under `expect`; without it the claim must be valid, and its headline measurable.

    Raises:
        AssertionError, UserError: as `assert_recovered`.
    """
    expect = claim.expect
    if expect is None:
        return _headline(claim, None, None, {})
    if expect.recovered is not None:
        return assert_recovered(claim, at_least=expect.recovered, by=expect.by)
    assert expect.costs is not None  # `check_claim`: one of them is there
    return assert_costs(claim, at_least=expect.costs, by=expect.by)


def _headline(claim: Any, model: Any, task: Task | None, flags: Flags) -> Measurement:
    __tracebackhide__ = True
    try:
        file = load_claim(claim) if isinstance(claim, str | Path) else claim
        settings = Settings.resolve(file if isinstance(file, ClaimFile) else None, **{**flags, "only": "headline"})
        if flags.get("out") is None:
            settings = replace(settings, out=None, register=False)
        return measure(file, model, task, settings=settings, progress=False)
    except UserError as problem:
        raise problem.with_traceback(None) from None  # its sentence says all; the way to it is ours


def _held(
    claim: Any, result: Measurement, what: str, figure: Estimate, unit: str, at_least: float, by: str
) -> Measurement:
    __tracebackhide__ = True
    found = figure.value if by == "value" else figure.low
    if found is not None and found >= at_least:
        return result
    head = result.record.headline
    over = head.ablation if result.record.removal else f"{head.floor}, {head.ablation}"
    asked = f"at least {at_least:g}{unit} was asked of its {_COMPARED[by]}"
    why = f", which is open, because {figure.reason}" if figure.reason and figure.reason not in str(figure) else ""
    raise AssertionError(f"{_origin(claim)}{what} {figure}{unit} ({over}), and {asked}{why}")


def _origin(claim: Any) -> str:
    """Where the claim is from: its file, with the line of what is expected, or the claim itself."""
    if isinstance(claim, ClaimFile):
        return claim.where("expect") if claim.expect is not None else f"{claim.source.name}: "
    return f"{claim}: " if isinstance(claim, str | Path) else f"{claim!r}: "
