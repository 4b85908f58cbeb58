"""A record in the terminal: takes records, gives rich renderables and Markdown. No text of a user is read as markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from assay.report import words
from assay.report.plain import plain_text

_DIM, _GOLD, _RED = "dim", "bold yellow", "bold red"


def measurement(record: Mapping[str, Any], report: str | None = None, follow: str | None = None) -> Group:
    """What `assay measure` prints: the claim, a row an ablation, controls, worth, checks, the verdict, what is next.

    Args:
        record: the measurement.
        report: the path of the page, if one was written; follow: the command to go on with.
    """
    level = plain_text(record.get("level") or "?")
    parts: list[RenderableType] = [
        Text.assemble(("claim      ", _DIM), (words.claim_line(record), "bold"), (f" (level: {level})", _DIM)),
        _rows(record),
        *_undefined(record),
    ]
    lines = [
        _controls(record),
        _random_weights(record),
        _worth(record),
        _cut_off(record),
        Text.assemble(("checks ", _DIM), (words.checks_line(record), _RED if _fired(record) else "")),
        _tried(record),
        Text.assemble(("In one sentence: ", _DIM), (words.sentence(record), "bold")),
    ]
    parts += [line for line in lines if line is not None]
    ends = []
    if report:
        ends.append(f"report {plain_text(report)}")
    follow = follow or record.get("next")
    if follow:
        ends.append(f"next: {plain_text(follow)}")
    if ends:
        parts.append(Text(" · ".join(ends)))
    return Group(*parts)


def as_markdown(record: Mapping[str, Any]) -> str:
    """The table of floors × ablations in Markdown, with the claim above it and the sample below it."""
    head = ["ablation", "floor", "recovered", "recovered (loss)", "nines", "KL: floor → explained"]
    head.append("loss: floor → explained → model")
    lines = [f"**{_cell(words.claim_line(record))}** (level: {_cell(record.get('level') or '?')})", ""]
    lines += ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for row in record.get("table") or []:
        name = f"**{_cell(row_name(row))}**" if row.get("headline") else _cell(row_name(row))
        shown = [words.said(row.get("recovered")), words.said(row.get("recovered_loss")), words.said(row.get("nines"))]
        figures = [*shown, kl_path(row), loss_path(row, record)]
        cells = [name, _cell(row.get("floor", "")), *(_cell(figure, links=False) for figure in figures)]
        lines.append("| " + " | ".join(cells) + " |")
    task = record.get("task") or {}
    command = _command(record).replace("`", "")
    lines += ["", f"{sample(task)}; intervals: 95 %, over documents." + (f" `{command}`" if command else "")]
    return "\n".join(lines) + "\n"


def row_name(row: Mapping[str, Any]) -> str:
    """The ablation of a row with its option."""
    option = f" ({row['option']})" if row.get("option") else ""
    return plain_text(f"{row.get('ablation', '?')}{option}")


def kl_path(row: Mapping[str, Any]) -> str:
    """KL: floor → explained, each with its interval."""
    return f"{words.said(row.get('kl_floor'), 3)} → {words.said(row.get('kl_explained'), 3)}"


def loss_path(row: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Loss: floor → explained → model, each with its interval."""
    model = (record.get("losses") or {}).get("model")
    return " → ".join(words.said(x, 3) for x in (row.get("loss_floor"), row.get("loss_explained"), model))


def nines_text(row: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """The nines of a row; for the headline the certified text with the floor's name."""
    certified = ((record.get("headline") or {}).get("nines") or {}).get("text")
    if row.get("headline") and certified:
        return plain_text(certified)
    return words.said(row.get("nines"))


def group_line(group: Mapping[str, Any]) -> str:
    """One group of controls: how many, what they are, how the best and the middle one score, and p."""
    values = sorted(v for v in group.get("values") or [] if v is not None)
    lead = group_name(group)
    if not values:
        return f"{lead}: not scored, because {group_why(group)}"
    middle = values[len(values) // 2] if len(values) % 2 else sum(values[len(values) // 2 - 1 :][:2]) / 2
    kl, places = ("KL ", 3) if group.get("measure") == "kl" else ("", 2)  # a remove claim's parts cost KL
    if len(values) == 1:
        text = f"{lead}: {kl}{words.number(middle, places)}"
    else:
        best = words.number(values[-1], places)
        text = f"{lead}: median {kl}{words.number(middle, places)}, {'largest' if kl else 'best'} {best}"
    if words.defined(group.get("difference")):
        text += f", the claim less this {words.said(group['difference'], places)}"
    return text + (f", p = {words.p_text(group['p'])}" if words.defined(group.get("p")) else "")


def group_name(group: Mapping[str, Any]) -> str:
    """How many controls, and what they are."""
    what = words.few_names(plain_text(group.get("what") or group.get("name") or "controls"))
    n = group.get("n", len(group.get("values") or []))
    said = {str(n), words.count(n)}
    return what if n < 2 or said & set(what.split()) else f"{words.count(n)} × {what}"


def group_why(group: Mapping[str, Any]) -> str:
    """Why a group has no figures."""
    n = group.get("n", len(group.get("values") or []))
    own = "ablating the parts of each changes nothing (under 10⁻⁶ nats a token)" if n else "there is none"
    return plain_text(group.get("reason") or own)


def worth_line(record: Mapping[str, Any]) -> str:
    """What the claim is worth in training compute, and its length."""
    compute = record.get("compute") or {}
    if compute.get("text"):
        worth = words.tidy(compute["text"])
    elif words.defined(compute.get("recovered")):
        worth = f"compute recovered {words.said(compute['recovered'])}"
    else:
        reason = plain_text(compute.get("reason") or words.why(compute.get("recovered")))
        worth = f"compute undefined, because {reason}"
    return f"{worth}{_ladder(compute)} · {bits_line(record)}"


def _ladder(compute: Mapping[str, Any]) -> str:
    """What 90 and 99 % recovered of the headline floor's loss would be worth."""
    rows = compute.get("ladder") or []
    told = [r for r in rows if r["floor"] == rows[0]["floor"] and r["recovered"] in (0.9, 0.99)]
    told = [r for r in told if words.defined(r["share"])]
    if not told:
        return ""
    whys = list(dict.fromkeys(words.ends_why(r["share"]) for r in told))
    if len(whys) == 1:  # one reason for both: said once
        shown = [words.said({**words.as_estimate(r["share"]), "reason": None}) for r in told]
        tail = f" {whys[0]}" if whys[0] else ""
    else:
        shown, tail = [words.said(r["share"]) for r in told], ""
    shares = ", ".join(f"{100 * r['recovered']:g} % {share}" for r, share in zip(told, shown, strict=True))
    return f"; of the model's compute, a loss recovered over {_floor_words(told[0]['floor'])} by {shares}{tail}"


def _floor_words(name: str) -> str:
    """`floor:mean` as "the floor (mean)"; others as they are called."""
    return f"this floor ({name.removeprefix('floor:')})" if name.startswith("floor:") else f"the {name}"


def bits_line(record: Mapping[str, Any]) -> str:
    """The two lengths."""
    bits = record.get("bits") or {}
    claim, alone = ((bits.get(name) or {}).get("bits") for name in ("claim", "standalone"))
    if claim is None and alone is None:
        return f"bits undefined, because {plain_text(bits.get('reason') or 'they were not counted')}"
    return f"{words.bits(claim)} as a claim, {words.bits(alone)} stand-alone"


def _rows(record: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style=_DIM, padding=(0, 1, 0, 0))
    head = record.get("headline") or {}
    if head.get("necessity") is not None:
        for column in ("ablation", "necessity", "KL", "loss: removed → model"):
            table.add_column(column, overflow="fold")
        for row in record.get("table") or [{"ablation": head.get("ablation", "?"), "headline": True}]:
            first = bool(row.get("headline"))
            necessity = row.get("necessity", head["necessity"] if first else None)
            kl = row.get("kl_explained", head.get("kl") if first else None)
            losses = (row.get("loss_explained"), (record.get("losses") or {}).get("model"))
            loss = " → ".join(words.said(x, 3) for x in losses)
            if row.get("nats") is not None:  # the paired difference says more than two losses
                loss = f"{words.said(losses[1], 3)}, {words.said(row['nats'], 3)} more"
            cells = (row_name(row), words.said(necessity), words.said(kl, 3), loss)
            table.add_row(*(Text(cell) for cell in cells), style=_GOLD if first else "")
        return table
    several = len({row.get("floor") for row in record.get("table") or []}) > 1
    table.add_column("ablation", overflow="fold")
    for column in ("recovered", "nines", "KL: floor → explained", "loss: floor → explained → model"):
        table.add_column(column, overflow="fold", min_width=17 if column == "recovered" else None)
    model = (record.get("losses") or {}).get("model")
    for row in record.get("table") or []:
        name = row_name(row) + (f", {plain_text(row.get('floor'))}" if several else "")
        # In 80 columns only the headline figure has room for its interval; the page and the JSON have them all.
        kl = " → ".join(_short(row.get(key), 3) for key in ("kl_floor", "kl_explained"))
        loss = " → ".join(_short(x, 3) for x in (row.get("loss_floor"), row.get("loss_explained"), model))
        found = words.said(row.get("recovered")) if words.defined(row.get("recovered")) else "undefined"
        cells = (name, found, _nines_cell(row, record), kl, loss)
        table.add_row(*(Text(cell) for cell in cells), style=_GOLD if row.get("headline") else "")
    return table


def _undefined(record: Mapping[str, Any]) -> list[RenderableType]:
    """Why figures of the table are undefined: a line each, since the reasons do not fit its columns."""
    lines = []
    for row in record.get("table") or []:
        if not words.defined(row.get("recovered")) and (record.get("headline") or {}).get("necessity") is None:
            name = f"{row_name(row)}, {plain_text(row.get('floor'))}"
            lines.append(Text(f"{name}: undefined, because {words.why(row.get('recovered'))}", style=_DIM))
    return lines


def _nines_cell(row: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """The certified number alone: the row's name is the floor's name."""
    headline = (record.get("headline") or {}).get("nines") or {}
    text = headline.get("text") if row.get("headline") else row.get("nines_text")
    return plain_text(text).split(" over ")[0].removesuffix(" nines") if text else words.value_text(row.get("nines"))


def _short(value: object, least: int) -> str:
    value = words.as_estimate(value)["value"]  # alone: digits that only its interval would bear are noise
    return "undefined" if value is None else words.value_text(value, least)


def _controls(record: Mapping[str, Any]) -> Text | None:
    groups = (record.get("controls") or {}).get("groups") or []
    if not groups:
        return None
    own = words.claim_on_controls(record)
    lines = ([own] if own else []) + [group_line(group) for group in groups]
    return Text.assemble(("controls ", _DIM), "; ".join(lines))


def _random_weights(record: Mapping[str, Any]) -> Text | None:
    block = record.get("controls") or {}
    found = block.get("random_weights")
    if not found:
        reason = block.get("random_weights_reason")
        text = f"not measured, because {plain_text(reason)}" if reason else ""
        return Text.assemble(("random weights ", _DIM), text) if text else None
    what = words.few_names(plain_text(found.get("what") or "the search re-run on shuffled weights"))
    text = f"{what}: "
    control, difference = words.said(found.get("control")), words.said(found.get("difference"))
    return Text.assemble(("random weights ", _DIM), f"{text}{control}; difference {difference}")


def _worth(record: Mapping[str, Any]) -> Text:
    return Text.assemble(("worth ", _DIM), worth_line(record))


def _cut_off(record: Mapping[str, Any]) -> Text | None:
    """Fits that still got better when they were ended."""
    lines = [f"{name}: {text}" for name, text in words.fitted(record, settled=False)]
    return Text.assemble(("fits ", _DIM), "; ".join(lines)) if lines else None


def _tried(record: Mapping[str, Any]) -> Text | None:
    """Which of how many claims on this split, with the p over all of them: said from the second on."""
    if ((record.get("register") or {}).get("tried") or 0) < 2:
        return None
    return Text.assemble(("tries ", _DIM), f"this is {words.tries_line(record)}")


def _fired(record: Mapping[str, Any]) -> bool:
    return any(check.get("state") == "fired" for check in record.get("checks") or [])


def _command(record: Mapping[str, Any]) -> str:
    return plain_text((record.get("arguments") or {}).get("command") or "")


def sample(task: Mapping[str, Any]) -> str:
    """How much was scored."""
    return f"{words.count(task.get('documents'))} documents, {words.count(task.get('tokens'))} scored tokens"


def _cell(text: object, links: bool = True) -> str:
    # Intervals keep their brackets: without a parenthesis after it a bracket is no link.
    plain = plain_text(text).replace("\\", "\\\\")
    for char in "|*_`<>" + ("[]" if links else ""):
        plain = plain.replace(char, f"\\{char}")
    return plain
