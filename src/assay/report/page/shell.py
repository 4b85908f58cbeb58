"""What all pages share: styles, scripts, the policy that lets no other script run, and how text becomes safe.

A page loads nothing from the network. Text of a record is escaped by the templates and inside JSON by `inline_json`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from assay.report import style, words
from assay.report.plain import plain_lines, plain_text


@dataclass(frozen=True)
class Entry:
    """A line of a table of contents: a section's id and its title."""

    id: str
    title: str


def render(template: str, specs: Mapping[str, Any], **context: Any) -> str:
    """A page made of a template of this folder.

    Args:
        template: its file name; it extends base.html.
        specs: name -> chart (None: there is none), which the template draws with `chart(name, label)`.
        context: everything else that the template reads.
    """
    drawn = {}
    for name, chart in specs.items():
        if chart is not None:
            spec = chart.to_dict(validate=False)  # the tests validate
            spec.pop("$schema", None)  # an address that nothing needs
            drawn[name] = inline_json(_shown(spec))
    bundle, script = _bundle() if drawn else "", _asset("page.js")
    shared = {
        "specs": drawn,
        "dark": inline_json(style.DARK),
        "css": Markup(_asset("page.css")),
        "bundle": Markup(bundle),
        "script": Markup(script),
        "policy": _policy(*([bundle] if drawn else []), script),
    }
    return _environment().get_template(template).render({**shared, **context})


def inline_json(value: object) -> Markup:
    """JSON that is safe inside a script element: no character in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _shown(value: Any) -> Any:
    """What a template or a chart puts on the page, of whatever form: hidden characters of its texts are made visible.

    A line break may be the page's own and stays.
    """
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return plain_lines(value)
    if isinstance(value, Mapping):
        return {_shown(key): _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list | tuple) else value


def facts_of(rows: list[tuple[str, object]]) -> list[tuple[str, str]]:
    """Pairs of a name and a text, without the empty ones, cleaned."""
    return [(plain_text(name), plain_text(text)) for name, text in rows if text not in (None, "")]


def _bar(figure: words.Figure, top: float | int) -> str:
    """Where a figure and its interval lie on a line that has 0 and `top` on it, as CSS custom properties; what is below
    0 lies to the left of it."""
    estimate = words.as_estimate(figure)
    value = estimate.value or 0.0
    low, high = (value if end is None else end for end in (estimate.low, estimate.high))
    left = max(min(0.0, low, value), -4.0 * top)  # a disaster leaves room for the scale
    wide = (top - left) or 1.0
    ends = {"z": 0.0, "a": min(0.0, value), "b": max(0.0, value), "v": value, "l": low, "h": high}
    return ";".join(f"--{key}:{100 * min(1.0, max(0.0, (x - left) / wide)):.2f}%" for key, x in ends.items())


def _unbroken(text: str) -> str:
    """A figure stays on one line with its unit and its interval."""
    text = re.sub(r"\[([^\[\], ]+), ([^\[\], ]+)\]", "[\\1,\u00a0\\2]", text)
    return text.replace(" %", "\u00a0%").replace("% [", "%\u00a0[")


def _policy(*scripts: str) -> str:
    # The digest is of the text as the browser sees it, which has no carriage returns.
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    rest = "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {allowed}; {rest}"


@lru_cache(maxsize=1)
def _bundle() -> str:
    import vl_convert

    text = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Inside a script element only these two could be misread as markup; both may be written otherwise in JavaScript.
    return text.replace("\r", "").replace("</script", "<\\/script").replace("<!--", "\\x3c!--")


@lru_cache(maxsize=16)
def _asset(name: str) -> str:
    return resources.files("assay.report.page").joinpath(name).read_text(encoding="utf-8").replace("\r", "")


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.ChainableUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["as_json"] = lambda value: json.dumps(_shown(value), ensure_ascii=False)
    environment.filters["unbroken"] = _unbroken
    environment.filters["safe_json"] = lambda value: inline_json(_shown(value))
    environment.globals |= {
        "terms": words.TERMS | words.FRONTIER_TERMS,
        "states": words.STATES,
        "defined": words.defined,
        "value_text": words.value_text,
        "interval_text": words.interval_text,
        "why": words.why,
        "ends_why": words.ends_why,
        "has_reason": words.has_reason,
        "tidy": words.tidy,
        "check_name": words.check_name,
        "percent": words.percent,
        "exact_share": words.share,
        "power": words.power,
        "p_text": words.p_text,
        "count": words.count,
        "few_names": words.few_names,
        "bits": words.bits,
        "number": words.number,
        "as_estimate": words.as_estimate,
        "bar": _bar,
    }
    return environment
