from __future__ import annotations

import copy
import json
import lzma
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from assay.errors import RunError
from assay.record.base import Block
from assay.record.measurement import MeasurementRecord
from assay.record.read import SCHEMAS, parsed, schema_text
from assay.record.search import SearchRecord
from assay.record.upgrade import schema_2

FILE = Path(__file__).parents[1] / "data" / "records-schema1.json.xz"
WRONG = (None, True, -7, 10**30, 1e308, float("nan"), "x\n", [], {}, [[3]])  # 10 of them: no divisor of 3


@cache
def stored() -> dict[str, Any]:
    """Records of schema 1 that real runs of every kind wrote."""
    return json.loads(lzma.decompress(FILE.read_bytes()))


def kind_of(record: dict[str, Any]) -> type[MeasurementRecord] | type[SearchRecord]:
    return SearchRecord if "kind" in record else MeasurementRecord


def thinned(value: Any) -> Any:
    """Lists, slices and floors of one item, so that each sort of place is there and few are twice."""
    if isinstance(value, dict):
        value = dict([*value.items()][:1]) if {"bigram", "source", "0.01", "0.9"} & value.keys() else value
        return {key: thinned(inner) for key, inner in value.items()}
    if not isinstance(value, list) or any(isinstance(one, bool) for one in value):
        return value  # a drawing says of each layer whether it has an MLP
    return [thinned(inner) for inner in value[:1]]


def small(name: str, schema: int) -> dict[str, Any]:
    """A thinned record of schema 1, or of what it was or is under a later one."""
    record = thinned(stored()[name])
    if schema == 2:
        return copy.deepcopy(schema_2(record))
    return record if schema == 1 else json.loads(json.dumps(parsed(kind_of(record), record).to_json()))


def leaves(value: Any) -> list[str]:
    """All values of a record that are no containers, but for what is not there."""
    if isinstance(value, dict | list | tuple):
        inner = value.values() if isinstance(value, dict) else value
        return [leaf for one in inner for leaf in leaves(one)]
    return [] if value is None else [repr(value)]


def estimates(value: Any) -> Iterator[str]:
    """All estimates in a record."""
    if isinstance(value, dict) and "method" in value:
        yield json.dumps(value, sort_keys=True)
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from estimates(one)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a record, inside of estimates those of the headline's alone: they are alike."""
    if path:
        yield path
    if isinstance(value, dict) and ("method" not in value or "sizes" in value or "recovered" in path[:1]):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def mutants(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The record with one place of another type, absurd, gone or renamed; it is put back after each."""
    wrong = cycle(WRONG)
    for path in list(places(record)):
        *around, last = path
        holder = record
        for key in around:
            holder = holder[key]
        kept = copy.copy(holder)
        for value in (*islice(wrong, 3), {"value": kept[last]}):
            holder[last] = value
            yield record
        holder[last] = kept[last]
        if isinstance(holder, dict):
            del holder[last]
            yield record
            holder[f"{last}s"] = kept[last]
            yield record
            holder.clear()
            holder.update(kept)


def said_before(old: dict[str, Any]) -> list[str | None]:
    """What stood in a text of its own and is told apart now, taken out of the record."""
    rows = [*old["table"], *old["parts"]["components"], old["parts"]["compound"] or {}]
    texts = [old["headline"]["nines"].pop("text"), *(row.pop("nines_text", None) for row in rows)]
    said = [text if text and " nines over " in text else None for text in texts]
    said[1:] = [text and text.partition(" nines over ")[0] for text in said[1:]]  # a row has the number alone
    systems, rungs = (old["compute"].get(key, ()) for key in ("systems", "ladder"))
    return [*said, *(one.pop("name") for one in systems), *(one.pop("floor") for one in rungs)]


def said_now(new: dict[str, Any]) -> list[str | None]:
    nines = new["headline"]["nines"]
    shown, remark, floor = nines.pop("shown"), nines.pop("remark"), nines["floor"]
    over = floor + (f": {remark}" if remark else "")
    said = [None if shown is None else f"{shown} nines over {over}"]
    for row in [*new["table"], *new["parts"]["components"], new["parts"]["compound"] or {}]:
        shown = row.pop("nines_shown", None)
        said.append(shown)
    for one in new["compute"]["systems"]:
        role, name = one.pop("role"), one.pop("name")
        said.append(name if role == "rival" else f"{role}:{name}")
    for rung in new["compute"]["ladder"]:
        own, name = rung.pop("own"), rung.pop("floor")
        said.append(f"floor:{name}" if own else name)
    return said


@pytest.mark.parametrize("name", stored())
def test_what_a_run_wrote_under_schema_1_is_all_there_and_is_read_again_as_it_is_written(name):
    old = stored()[name]
    record = parsed(kind_of(old), old)
    new = record.to_json()
    before, after = {**copy.deepcopy(old), "schema": 3}, copy.deepcopy(new)
    if isinstance(record, MeasurementRecord):
        assert said_before(before) == said_now(after)
        circuit, own = before.pop("circuit", None), after.pop("own")
        assert (circuit is None) == (own is None)
        if circuit is not None:  # what was a block of circuits is a graph and tables, which have words
            assert set(estimates(circuit)) == set(estimates(own))
            assert json.loads(json.dumps(own["pieces"][0]["drawing"])) == circuit["drawing"]
    assert sorted(leaves(before)) == sorted(leaves(after))
    assert parsed(kind_of(old), json.loads(json.dumps(new))) == record


@pytest.mark.parametrize(
    ("name", "schema"),
    [("remove, module", 1), ("circuit, transformer", 2), ("circuit, transformer", 3), ("search by trials", 3)],
)
def test_every_mutated_record_is_read_or_ends_in_one_sentence(name, schema):
    record = small(name, schema)
    kind, read, said = kind_of(record), 0, list[str]()
    for mutant in mutants(record):
        try:
            assert isinstance(parsed(kind, mutant, "the record of 'run'"), Block)
            read += 1
        except RunError as problem:
            said.append(str(problem))
    assert len(said) > 700
    assert [one for one in said if "\n" in one or len(one) > 500 or not one.startswith("the record of 'run' ")] == []
    assert read < len(said) / 2
    assert parsed(kind, record)  # as it was


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: r["headline"].pop("recovered"), "headline lacks 'recovered'"),
        (
            lambda r: r["table"][0].update(recoverd=r["table"][0].pop("recovered")),
            "table[0] has the unknown field 'recoverd'; did you mean 'recovered'?",
        ),
        (lambda r: r["claim"].update(level="why"), "claim.level is 'why', and should be 'where', 'what' or 'how'"),
        (
            lambda r: r["own"]["pieces"][0].update(total=-1),
            "own.pieces[0].total is -1, and should be greater than",
        ),
        (lambda r: r["nines"].update(n="9"), "nines.n is '9', and should be a valid integer"),
        (
            lambda r: r["nines"].update(value=None, reason=None),
            "'jackknife_t'}, an estimate without value needs a reason",
        ),
        (lambda r: r["losses"]["model"].update(value=1e301), "an estimate's value is 1e+301: what is undefined is"),
        (
            lambda r: r["task"]["notes"].update(x=json.loads("[" * 300 + "]" * 300)),
            "it is no JSON: recursion limit exceeded",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place_its_value_and_what_it_should_be(change, sentence):
    record = small("circuit, transformer", 3)
    change(record)
    with pytest.raises(RunError) as problem:
        parsed(MeasurementRecord, record, "the record of 'run'", "measure again")
    assert str(problem.value).startswith("the record of 'run' is not as assay writes it: ")
    assert sentence in str(problem.value)
    assert str(problem.value).endswith("; measure again with --overwrite")


@pytest.mark.parametrize("data", [None, [], {}, {"schema": True}, {"schema": 4}, {"schema": "2"}, {"schema": 0}])
def test_a_schema_that_is_not_known_is_said_with_those_that_are(data):
    with pytest.raises(RunError, match="this version of assay reads schemas 1 to 3"):
        parsed(MeasurementRecord, data)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_in_the_package_is_that_of_the_models(name):
    import assay.record

    shipped = Path(assay.record.__path__[0], name).read_text(encoding="utf-8")
    assert shipped == schema_text(name), "run python -m tools.record_schemas"
