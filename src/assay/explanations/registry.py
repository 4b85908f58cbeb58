"""The words that claim files and flags may use, as plain data: nothing heavy is imported to check one."""

from __future__ import annotations

from collections.abc import Iterable

from assay import plugins
from assay.errors import ClaimError, ComponentError, nearest
from assay.names import Site, parse_site
from assay.task import bounds

ABLATIONS = (
    "zero",
    "mean",
    "mean_position",
    "resample_joint",
    "resample_independent",
    "counterfactual",
    "noise",
    "optimal",
)
DEFAULT_ABLATIONS = ("mean", "resample_joint")
FLOORS = ("ablated", "empty", "bigram", "ngram", "unigram")
FLOOR_MODEL = "model:"  # before the name of another model that is a floor; in files and calls also {"model": NAME}
METRICS = ("loss", "logit_diff", "kl", "accuracy", "probability")
DTYPES = ("float32", "float64", "bfloat16", "float16")
CONSTANTS = ("mean", "mean_position", "zero", "optimal")

_COUNT = range(1, 1_000_000)
_ATTENTION = {"level": ("pattern", "pattern_token", "full"), "without_match": ("mean", "first", "zero")}

# program -> argument -> its values: names, whole numbers, a text (str) or a list of token ids (list)
PROGRAMS: dict[str, dict[str, tuple[str, ...] | range | type]] = {
    "induction": {
        **_ATTENTION,
        "match": ("recent", "all", "prefix"),
        "prefix": range(bounds.PREFIX[0], bounds.PREFIX[1] + 1),
    },
    "previous_token": {**_ATTENTION},
    "copy": {**_ATTENTION},
    "first_token": {**_ATTENTION},
    "duplicate_token": {**_ATTENTION},
    "ngram": {"n": range(1, 6), "smallest": _COUNT},
    "label": {"source": str, "tokens": list},
}

_COMPONENTS = frozenset({"attention", "head", "kv", "mlp", "neuron", "module"})


def metrics() -> tuple[str, ...]:
    """Names of all metrics, ours first."""
    return (*METRICS, *plugins.names(plugins.METRICS, METRICS))


def floor_problem(floor: object) -> str | None:
    """What is wrong with a floor (a name, or `{"model": NAME}`), in one clause; None for nothing."""
    if isinstance(floor, dict):
        if list(floor) == ["model"] and isinstance(floor["model"], str) and floor["model"]:
            return None
        return f"a floor is a name or {{model: NAME}}, not {floor!r}"
    if not isinstance(floor, str):
        return f"a floor is a name or {{model: NAME}}, not {floor!r}"
    if floor in FLOORS or floor.removeprefix(FLOOR_MODEL) not in ("", floor):
        return None
    return f"unknown floor {floor!r}" + nearest(floor, (*FLOORS, "{model: NAME}"))


def floor_models(floors: Iterable[object] | None) -> tuple[str, ...]:
    """The names of the models among some floors."""
    plain = (floor["model"] if isinstance(floor, dict) else floor for floor in floors or ())
    named = (isinstance(floor, dict) or str(floor).startswith(FLOOR_MODEL) for floor in floors or ())
    return tuple(str(name).removeprefix(FLOOR_MODEL) for name, model in zip(plain, named, strict=True) if model)


def program_problem(name: str, arguments: dict[str, object]) -> tuple[str | None, str] | None:
    """What is wrong with a named program: (the argument or None for the name, one clause), or None."""
    if name not in PROGRAMS:
        others = plugins.names(plugins.PROGRAMS, PROGRAMS)
        if name in others:
            return None  # its own arguments are checked by itself
        return None, f"unknown program {name!r}" + nearest(name, (*PROGRAMS, *others))
    valid = PROGRAMS[name]
    for argument, value in arguments.items():
        if argument not in valid:
            return argument, f"the program {name!r} has no argument {argument!r}" + nearest(argument, valid)
        clause = _value_problem(value, valid[argument])
        if clause:
            return argument, f"{argument!r} of the program {name!r} {clause}"
    if "prefix" in arguments and arguments.get("match") != "prefix":
        return "prefix", f"'prefix' of the program {name!r} goes with 'match: prefix' only"
    if name == "label" and len(arguments) != 1:
        return None, "the program 'label' takes either 'source' or 'tokens'"
    return None


def _value_problem(value: object, values: tuple[str, ...] | range | type) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(values, tuple):
        return None if value in values else f"cannot be {value!r}" + nearest(value, values)
    if isinstance(values, range):
        if whole and value in values:
            return None
        most = f"from {values[0]} to {values[-1]}" if len(values) < 100 else f"of at least {values[0]}"
        return f"must be a whole number {most}, not {value!r}"
    if values is str:
        return None if isinstance(value, str) and value else f"must be a text, not {value!r}"
    if isinstance(value, list) and 0 < len(value) <= bounds.TOKENS[1] and all(map(is_token, value)):
        return None
    return f"must be a list of token ids, not {value!r}"


def is_token(value: object) -> bool:
    """Whether it can be a token's id, for some vocabulary."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and bounds.TOKEN[0] <= value <= bounds.TOKEN[1]  # type: ignore[operator]


def component(text: str, modules: bool = False) -> Site:
    """Reads the name of something that can be explained.

    Args:
        modules: whether single words may be submodules of a network of another kind; dotted names always may.

    Raises:
        ClaimError: when it is no name, or names a place that is not a component.
    """
    looks_native = text[:1] in "amr" and text[1:2].isdigit()
    try:
        site = parse_site(text, (modules or "." in text or "[" in text) and not looks_native)
    except ComponentError as problem:
        raise ClaimError(str(problem)) from problem
    if site.kind == "bias":
        raise ClaimError(f"{text!r} is a constant part that is never ablated, so no claim can be about it")
    if site.kind in ("input", "logits"):
        raise ClaimError(f"{text!r} is always left as it is, so no claim can be about it")
    if site.kind not in _COMPONENTS:
        like = "'a1.h3', 'm2' or 'm2.n137'"
        raise ClaimError(f"{text!r} is a place inside the model, not a component; components are named like {like}")
    return site
