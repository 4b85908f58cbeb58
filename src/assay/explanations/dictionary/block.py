"""What only a dictionary says: how much of the variance it explains with how many features, how often and on what these
are active, and its features, each with where it is largest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from assay.explanations.dictionary.measures import ONE_TOKEN, CodeMeasures, densities, measured
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.wide_sites import WideSite
from assay.model.transformer import Model
from assay.record.pieces import Pieces, Series, TablePiece
from assay.stats.estimate import Estimate
from assay.train.dictionary.code import SparseCode

SHOWN = 24  # features with their examples
EXAMPLES = 3
BEFORE = 8  # tokens shown before the one where a feature is largest
TERMS = {
    "explained variance": "1 − the squared error over the squared distance from the mean: 0 for the mean itself.",
    "active features": "How many features of a dictionary are not 0, for one value, on average (L0).",
    "dead": "Features that are never active on what is scored.",
    "one token": f"Features of whose values at least {ONE_TOKEN:.0%} lie on one and the same token.",
}


def pieces(
    workbench: PlanContext,
    placed: Mapping[str, tuple[WideSite, WideSite, SparseCode]],
    rows: Int[np.ndarray, "rows"],
) -> Pieces:
    """The block of a claim's dictionaries, on some scored rows."""
    task = workbench.task
    document = np.asarray(task.document)
    used = np.unique(document[rows])
    resamples = task.resamples(range(len(task.documents)), workbench.seed)  # those without a value count for nothing
    inside = {name: (site, read, code.to(workbench.model.device)) for name, (site, read, code) in placed.items()}
    found = measured(workbench.runner, list(inside.values()), rows, resamples, len(task.documents))
    table = [
        (
            name, code.width, one.explained, one.active, one.dead,
            "none is active" if one.one_token is None else one.one_token, one.coded,
        )
        for (name, (_, _, code)), one in zip(placed.items(), found, strict=True)
    ]  # fmt: skip
    columns = ("site", "features", "explained variance", "active features", "dead", "one token", "values coded")
    text = f"On {found[0].values:,} values of {len(used)} documents, without rows' first positions."
    lines = {
        name: tuple(
            (end, Estimate.undefined("no feature") if not count else _exact(count)) for end, count in densities(one)
        )
        for name, one in zip(placed, found, strict=True)
    }
    series = Series(title="How often features are active", x="log10 of the share of values", y="features", lines=lines)
    parts = [TablePiece(title="The dictionary", text=text, columns=columns, rows=tuple(table)), series]
    for (name, (site, _, code)), one in zip(placed.items(), found, strict=True):
        parts.append(_features(workbench, name, one, raised(workbench, site, code)))
    return Pieces(block="dictionary", title="Dictionaries", pieces=tuple(parts), terms=TERMS)


def _exact(count: int) -> Estimate:
    return Estimate(float(count), None, None, 1, "it is counted, not estimated")


def raised(workbench: PlanContext, site: WideSite, code: SparseCode) -> Callable[[int], str]:
    """feature -> the tokens whose logits its decoder row raises most by itself, behind the last norm's gain; empty for
    sites that do not write to the stream."""
    model = workbench.model
    if not isinstance(model, Model) or site.part == "hidden" or site.site.kind not in ("stream", "mlp"):
        return lambda feature: ""
    norm = model.weights.final_norm

    def said(feature: int) -> str:
        row = code.decoder[feature].to(model.device, model.dtype)
        row = (row - row.mean() if norm.centred else row) * norm.weight
        return " ".join(repr(text) for text in _texts(workbench, (row @ model.W_U).topk(EXAMPLES).indices.tolist()))

    return said


def _features(workbench: PlanContext, name: str, found: CodeMeasures, raises: Callable[[int], str]) -> TablePiece:
    """The features that are most on average, each with where it is largest."""
    value, row, column = found.top
    rows = []
    for feature in np.argsort(-found.mass, kind="stable")[:SHOWN]:
        if found.mass[feature] <= 0:
            continue
        places = [
            _place(workbench, int(row[feature, i]), int(column[feature, i]))
            for i in range(min(EXAMPLES, value.shape[1]))
            if value[feature, i] > 0
        ]
        said = raises(int(feature))
        token = _texts(workbench, [int(found.token[feature])])[0]
        largest = float(value[feature, 0])
        rows.append(
            (
                f"f{feature}",
                float(found.density[feature]),
                largest,
                f"{token!r} {found.share[feature]:.0%}",
                said,
                " · ".join(places),
            )
        )
    columns = ("feature", "active at", "largest", "its token", "raises", "where it is largest")
    text = "The features whose values are largest on average. The token in brackets is where the feature is largest; "
    text += "'raises': the tokens whose logits it raises most by itself."
    return TablePiece(title=f"Features of {name}", text=text, columns=columns, rows=tuple(rows))


def _place(workbench: PlanContext, row: int, column: int) -> str:
    ids = workbench.task.tokens[row].tolist()
    texts = _texts(workbench, ids[max(0, column - BEFORE) : column + 1])
    return f"{''.join(texts[:-1])}[{texts[-1]}]".replace("\n", "↵")


def _texts(workbench: PlanContext, ids: Sequence[int]) -> list[str]:
    """Tokens as texts; without a tokenizer their ids."""
    tokenizer = workbench.task.tokenizer
    return [f" {one}" if tokenizer is None else tokenizer.decode([one]) for one in ids]
