"""What `assay.measure` gives: it says itself on one line and on a card, is written to a folder and opened again."""

from __future__ import annotations

import base64
import importlib.util
import logging
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import assay
from assay.errors import ClaimError, RunError, UserError
from assay.explanations import Circuit, Constant, Keep, Program, Remove, programs
from assay.explanations.claims.file import claim_of
from assay.explanations.claims.source import parse
from assay.measure.measurement import Measurement
from assay.measure.request import check_order
from assay.model.edge_sets import EdgeSet
from assay.report import notebook, words
from assay.report.charts import charts
from tests.model.tiny import tiny
from tests.oracles import two_components
from tests.report import records

CASES = ("program", "several", "remove", "circuit")
CLAIM = """\
model: zoo:stories-260k
task: {kind: repeat, n: 4, length: 6}
explanation: {kind: constant, components: [a2.h1]}
ablation: zero
controls: 0
"""


def stored(name: str) -> Measurement:
    return Measurement(records.measured(name), records.examples())


def repeat() -> assay.Task:
    return assay.Task.repeat(tiny("llama"), n=4, length=6)


LINES = {
    "model": (
        lambda: tiny("llama"),
        "<Model LlamaForCausalLM: llama, 2 layers, 4 heads, d_model 32, vocabulary 50, float32 on cpu>",
    ),
    "module": (two_components.model, "<ModuleModel Two: Two with 2 named submodules, float64 on cpu>"),
    "task": (
        repeat,
        "<Task repeat, 4 x 6: 4 documents, 4 rows, 20 scored tokens, metric loss, reference: 4 documents>",
    ),
    "reference": (lambda: repeat().reference, "<Examples: 4 documents, 4 rows, 20 scored tokens>"),
    "workbench": (lambda: assay.Workbench(tiny("llama"), repeat()), "<Workbench: LlamaForCausalLM on repeat, 4 x 6>"),
    "keep": (lambda: Keep(["a0.h1", "m1"]), "Keep(['a0.h1', 'm1'])"),
    "remove": (
        lambda: Remove([f"m{i}" for i in range(400)]),
        "Remove(['m0', 'm1', 'm2', 'm3', 'm4', 'm5', ...])",
    ),
    "constant": (lambda: Constant(["m0"]), "Constant(['m0'], 'mean')"),
    "circuit": (
        lambda: Circuit(nodes=["a0.h1"], edges=["m0->logits"]),
        "Circuit(edges=['m0->logits'], nodes=['a0.h1'])",
    ),
    "circuit of numbers": (
        lambda: Circuit.of(EdgeSet.whole(np.arange(3000) > 2900)),
        "<Circuit: 99 of 3,000 edges>",
    ),
    "program": (
        lambda: Program({"a0.h1": programs.induction("full"), "m0": programs.label(tokens=range(900))}),
        "Program({'a0.h1': induction(level='full'), 'm0': label(tokens=(0, 1, 2, 3, 4, 5, ...))})",
    ),
    "many programs": (lambda: Program({f"m{i}": programs.ngram() for i in range(9)}), "'m3': ngram(), ... 5 more})"),
    "own program": (
        lambda: Program({"m0": programs.custom(repeat, returns="output")}),
        "Program({'m0': custom(repeat, returns='output')})",
    ),
    "claim file": (
        lambda: claim_of(parse(CLAIM, "claim.yaml").data),
        "<ClaimFile the claim: constant ['a2.h1'] of zoo:stories-260k>",
    ),
    "removal": (lambda: stored("remove"), "; it is ablated and the rest is left: KL 0.288 [0.149, 0.426]>"),
    "result": (
        lambda: stored("program"),
        "<Measurement: a0.h0 of zoo:novel-attn2-rep does previous_token (level pattern): recovered 0.9990 ",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_everything_says_itself_on_one_short_line(name: str):
    make, said = LINES[name]
    line = repr(make())
    assert said in line
    assert "\n" not in line
    assert len(line) < 200


@pytest.mark.parametrize("name", CASES)
def test_blocks_of_a_record_name_their_fields_on_a_line(name: str):
    record = records.measured(name)
    assert repr(record) == str(record) == f"<MeasurementRecord: {record.sentence!r}>"
    for block in (record.controls, record.residual, record.compute, record.bits, record.headline, record.table[0]):
        assert "\n" not in repr(block)
        assert len(repr(block)) < 2_000
        assert all(f"{field}=" in repr(block) for field in type(block).model_fields)
    assert f"recovered={record.table[0].recovered}" in repr(record.table[0])


class Texts(HTMLParser):
    """The texts of a page, its images, and whether every element is closed."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("div", "p", "figure", "figcaption", "img"), tag
        if tag == "img":
            self.images.append(dict(attrs))
        else:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("name", CASES)
def test_a_result_shows_itself_as_a_card_with_two_charts(name: str):
    result = stored(name)
    page = Texts(result._repr_html_())
    assert result.record.claim.sentence in page.texts
    figure = words.value_text(result.kl if name == "remove" else result.recovered, 3 if name == "remove" else 2)
    assert figure in page.texts
    assert [text for text in page.texts if text.startswith("checks: ")]
    assert len(page.images) == 2
    for image in page.images:
        kind, data = (image["src"] or "").split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
        assert image["alt"]
    assert len(result._repr_html_()) < 150_000


def test_a_card_escapes_what_strangers_wrote_and_says_why_a_figure_is_undefined():
    data = records.data()
    data["claim"]["sentence"] = "<script>alert(1)</script>\x1b[2J & 'so'"
    row = next(row for row in data["table"] if row["headline"])
    row["recovered"] = records.estimate(None, reason="<b>no</b> gap")
    page = Texts(Measurement(records.measured(data), records.examples())._repr_html_())
    assert "<script>alert(1)</script>␛[2J & 'so'" in page.texts
    assert "undefined" in page.texts
    assert [text for text in page.texts if text.startswith("because <b>no</b> gap over ablated, under mean")]


def test_a_tasks_own_metric_is_shown_by_its_name_in_its_own_unit():
    data = records.data()
    data["task"]["metric"] = "logit_diff"
    data["losses"]["model"] = records.estimate(-3.25)
    page = Texts(Measurement(records.measured(data), records.examples())._repr_html_())
    assert "logit difference" in page.texts
    assert [text for text in page.texts if text.endswith(" → 3.250")]
    assert "loss" not in page.texts


def chunks(drawing: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG, whose check sums are right."""
    found, place = [], 8
    while place < len(drawing):
        end = place + 8 + int.from_bytes(drawing[place : place + 4])
        kind, data = drawing[place + 4 : place + 8], drawing[place + 8 : end]
        assert int.from_bytes(drawing[end : end + 4]) == zlib.crc32(kind + data)
        found.append((kind, data))
        place = end + 4
    assert place == len(drawing)
    return found


def test_packing_a_picture_changes_no_pixel():
    drawing = charts.drawn(stored("program").plot(), "png")
    before, after = chunks(drawing), chunks(notebook._packed(drawing))
    assert [one for one in after if one[0] != b"IDAT"] == [one for one in before if one[0] != b"IDAT"]
    pixels = [zlib.decompress(b"".join(data for kind, data in found if kind == b"IDAT")) for found in (before, after)]
    assert pixels[0] == pixels[1]


@pytest.mark.parametrize("name", CASES)
def test_a_picture_without_a_name_is_one_that_can_be_drawn(name: str):
    drawn = stored(name).plot().to_dict()
    assert drawn == charts.picture(stored(name).record, "recovered").to_dict()


def test_a_removal_has_necessity_and_kl_and_others_say_why_not():
    removal, program = stored("remove"), stored("program")
    assert removal.kl == removal.record.headline.kl
    assert removal.necessity == removal.record.headline.necessity
    assert float(program.kl) < 0.001
    assert program.necessity.reason == "a program claim has a recovered share, and no necessity"


def test_the_table_of_tokens_is_given_to_pandas_or_what_to_install(monkeypatch: pytest.MonkeyPatch):
    result = stored("program")
    assert result.to_arrow() is result.examples
    if importlib.util.find_spec("pandas"):
        frame = result.to_pandas()
        assert list(frame.columns) == result.examples.column_names
        assert len(frame) == result.examples.num_rows
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"^to_pandas needs pandas: pip install pandas; to_arrow gives the same table$"):
        result.to_pandas()


@pytest.mark.parametrize("name", CASES)
def test_a_saved_run_opens_again(name: str, tmp_path: Path):
    result = Measurement(records.measured(name), records.examples(), CLAIM if name == "program" else None)
    again = assay.load_run(result.save(tmp_path / "run"))
    assert (again.record, again.claim) == (result.record, result.claim)
    assert again.examples.equals(result.examples)
    assert again.table == result.table
    assert again._repr_html_() == result._repr_html_()
    again.save(tmp_path / "again")
    files = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert assay.load_run(tmp_path / "run" / "report.html").record == result.record


def test_what_is_no_measurement_is_said_in_one_sentence(tmp_path: Path):
    result = stored("remove")
    result.save(tmp_path / "runs" / "one")
    with pytest.raises(RunError, match=r"there is no run '.*on'; did you mean '.*one'\?"):
        assay.load_run(tmp_path / "runs" / "on")
    search = tmp_path / "search"
    search.mkdir()
    (search / "frontier.json").write_text("{}")
    with pytest.raises(RunError, match=r"is a search for circuits; `assay report` prints it, and the claim\.yaml in"):
        assay.load_run(search)
    (tmp_path / "runs" / "one" / "examples.parquet").unlink()
    with pytest.raises(RunError, match=r"has no examples\.parquet"):
        assay.load_run(tmp_path / "runs" / "one")


def test_measure_writes_the_run_as_the_command_does(run: Any, caplog: pytest.LogCaptureFixture):
    Path("claim.yaml").write_text(CLAIM)
    assert run("measure", "claim.yaml", "--out", "runs/command")[0] == 0
    with caplog.at_level(logging.INFO, logger="assay"):
        result = assay.measure("claim.yaml", out=Path("runs/python"))
    messages = [record.getMessage() for record in caplog.records]
    assert "stage: headline" in messages
    assert any(text.startswith("opened <Model zoo:stories-260k: llama, 5 layers") for text in messages)
    assert messages[-1].startswith("the run is written to ")
    kept = {"runs/command": {}, "runs/python": {}}
    for folder, files in kept.items():
        files |= {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    assert set(kept["runs/python"]) == {"measurement.json", "examples.parquet", "report.html", "claim.yaml"}
    for name in ("examples.parquet", "claim.yaml"):
        assert kept["runs/python"][name] == kept["runs/command"][name]
    opened = assay.load_run("runs/python")
    assert opened.record == result.record
    assert opened.examples.equals(result.examples)
    assert opened.examples.schema == result.examples.schema
    assert opened.claim == CLAIM
    assert opened.record.tries is not None
    assert opened.record.tries.tried == 1  # the same try as the command's
    with pytest.raises(RunError, match="the output folder 'runs/python' exists"):
        assay.measure("claim.yaml", out="runs/python")
    assert assay.measure("claim.yaml", out="runs/python", overwrite=True).examples.equals(result.examples)


def test_a_claim_without_a_file_and_a_workbench_write_runs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.measure.workbench.measured", lambda *_: stored("remove"))
    claim, model, task = Remove(["m0"]), tiny("llama"), repeat()
    assay.measure(claim, model, task, out=tmp_path / "one")
    assay.Workbench(model, task).measure(claim, out=str(tmp_path / "two"))
    assert assay.load_run(tmp_path / "one").claim is None
    assert (tmp_path / "two" / "report.html").exists()
    assert not (tmp_path / "register.jsonl").exists()  # only claim files have a hash, and are tries
    monkeypatch.setattr("assay.measure.request.open_model", lambda *_: pytest.fail("something was opened"))
    with pytest.raises(RunError, match="exists"):
        assay.measure(claim, model, task, out=tmp_path / "one")


def test_a_setting_beside_settings_is_refused_and_not_dropped():
    claim, model, task = Remove(["m0"]), tiny("llama"), repeat()
    settings = assay.Settings.resolve(ablation="mean")
    said = r"^'seed' is given beside 'settings'; give it to Settings\.resolve with the others$"
    with pytest.raises(UserError, match=said):
        assay.measure(claim, model, task, settings=settings, seed=1)
    with pytest.raises(UserError, match=said):
        assay.Workbench(model, task).measure(claim, settings=settings, seed=1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (lambda c, m, t: (m, c, t), "the claim that it was given is the model <Model LlamaForCausalLM"),
        (lambda c, m, t: (m.source, c, t), "the claim that it was given is the model LlamaForCausalLM"),
        (lambda c, m, t: (t, m, c), "the claim that it was given is the task <Task repeat, 4 x 6"),
        (lambda c, m, t: (c, t, m), "the model that it was given is the task <Task repeat, 4 x 6"),
        (lambda c, m, t: ("zoo:novel-1l", c, t), r"the model that it was given is the claim Remove\(\['m0'\]\)"),
        (lambda c, m, t: (c, "zoo:novel-1l", m), "the task that it was given is the model <Model"),
    ],
)
def test_arguments_in_the_wrong_order_are_one_short_sentence(arguments: Any, sentence: str):
    with pytest.raises(
        ClaimError, match=f"^assay.measure takes a claim, a model and a task, in this order, and {sentence}"
    ) as caught:
        check_order(*arguments(Remove(["m0"]), tiny("llama"), repeat()))
    assert len(str(caught.value)) < 300
    check_order(Remove(["m0"]), nn.Linear(1, 1), None)
