"""Areas over a frontier: under recovered by the share of edges and by the logarithm of their number; MIB's CPR and CMD.

All are sums of the points with fixed weights (the trapezoidal rule), so that their intervals are those of one ratio.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int

from assay.measure.headline.recovered import recovered_loss
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate

DEFINITIONS = {
    "linear": "area under R_D over the share of edges, from 0 (nothing kept, R_D = 0) to 1 (all kept, R_D = 1)",
    "log": "area under R_D over log(edges) / log(all edges), from 1 edge to all; below the smallest circuit R_D = 0",
    "cpr": "MIB's circuit performance ratio: area under R_L over the share of edges, from 0 (R_L = 0) to 1 (R_L = 1); "
    "more is better, but a circuit that does better than the model (R_L > 1) adds to it",
    "cmd": "MIB's circuit-model distance: area under |1 - R_L| over the same sizes; less is better",
}


@dataclass(frozen=True, eq=False)
class Curve:
    """What a frontier's areas are made from: sums by document.

    Attributes:
        sizes: edges of each circuit, rising; equal ones are the same circuit. total: edges of the model.
        kl, loss: of each circuit; kl_empty, loss_empty: with every edge cut; loss_model: the model's.
    """

    sizes: Int[np.ndarray, "circuits"]
    total: int
    kl: Float64[np.ndarray, "circuits documents"]
    kl_empty: Float64[np.ndarray, "documents"]
    loss: Float64[np.ndarray, "circuits documents"]
    loss_empty: Float64[np.ndarray, "documents"]
    loss_model: Float64[np.ndarray, "documents"]
    counts: Float64[np.ndarray, "documents"]
    resamples: Resamples


def trapezoid_weights(x: Float64[np.ndarray, "points"]) -> Float64[np.ndarray, "points"]:
    """By how much each height counts in the area under straight lines through the points.

    Example:
        >>> trapezoid_weights(np.array([0.0, 1.0, 4.0])).tolist()
        [0.5, 2.0, 1.5]
    """
    steps = np.diff(x)
    out = np.zeros(len(x))
    out[:-1] += steps / 2
    out[1:] += steps / 2
    return out


def _area(curve: Curve, x: Float64[np.ndarray, "points"]) -> Estimate:
    """Under R_D over x, which begins at a run that recovers nothing and ends at the model."""
    weights = trapezoid_weights(x)
    # Σ w (1 − KL / KL_F), with KL = KL_F at the first point and 0 at the last
    lost = weights[0] * curve.kl_empty + weights[1:-1] @ curve.kl
    unit = float(x[-1] - x[0])
    found = curve.resamples.ratio(
        lost, curve.kl_empty, curve.counts, nonnegative=True, undefined="the floor does not differ from the model"
    )
    return found.map(lambda r: 1 - r / unit, decreasing=True)


def area_linear(curve: Curve) -> Estimate:
    """Mean R_D over all shares of edges; see `DEFINITIONS`."""
    return _area(curve, np.concatenate([[0.0], curve.sizes / curve.total, [1.0]]))


def area_log(curve: Curve) -> Estimate:
    """Mean R_D over the logarithm of the number of edges; see `DEFINITIONS`."""
    if curve.total < 2:
        return Estimate.undefined("one edge has no range of sizes", curve.resamples.n)
    return _area(curve, np.log(np.concatenate([[1.0], np.maximum(curve.sizes, 1), [float(curve.total)]])))


def cpr(curve: Curve) -> Estimate:
    """MIB's circuit performance ratio over these sizes; see `DEFINITIONS`."""
    reason = _unresolved(curve)
    if reason:
        return reason
    weights = _share_weights(curve)
    won = weights[1:-1] @ (curve.loss_empty - curve.loss) + weights[-1] * (curve.loss_empty - curve.loss_model)
    return curve.resamples.ratio(won, curve.loss_empty - curve.loss_model, curve.counts)


def cmd(curve: Curve) -> Estimate:
    """MIB's circuit-model distance over these sizes; see `DEFINITIONS`."""
    reason = _unresolved(curve)
    if reason:
        return reason
    weights = _share_weights(curve)

    def distance(model: np.ndarray, empty: np.ndarray, *circuits: np.ndarray) -> np.ndarray:
        return weights[0] + weights[1:-1] @ np.abs((np.stack(circuits) - model) / (empty - model))

    columns = (curve.loss_model, curve.loss_empty, *curve.loss)
    return not_below_zero(curve.resamples.function(distance, *columns, counts=curve.counts))


def _share_weights(curve: Curve) -> Float64[np.ndarray, "points"]:
    """Of the shares of edges from none, through the circuits, to all."""
    return trapezoid_weights(np.concatenate([[0.0], curve.sizes / curve.total, [1.0]]))


def not_below_zero(found: Estimate) -> Estimate:
    """A distance: the jackknife's t, which does not know that it has a sign, is cut at 0."""
    return found if found.low is None or found.low >= 0 else replace(found, low=0.0)


def _unresolved(curve: Curve) -> Estimate | None:
    share = recovered_loss(curve.resamples, curve.loss_model, curve.loss_model, curve.loss_empty, curve.counts)
    return share if share.value is None else None
