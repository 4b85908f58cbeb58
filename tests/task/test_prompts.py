import json

import numpy as np
import pytest
import torch

from assay.errors import TaskError
from assay.task import row_files
from assay.task.metrics import METRICS
from assay.task.task import Task
from tests.task.handles import Handle, novel, stories

PLACES = ["house", "garden", "church", "street", "river", "forest", "city", "table", "window", "door"]


def row(i: int, **changes: object) -> dict[str, object]:
    place = PLACES[i % len(PLACES)]
    found: dict[str, object] = {
        "clean": f"John and Mary went to the {place}, and John gave the book to",
        "corrupted": f"John and Mary went to the {place}, and Mary gave the book to",
        "correct": " Mary",
        "incorrect": " John",
    }
    found.update(changes)
    return {k: v for k, v in found.items() if v is not None}


ROWS = [row(i) for i in range(10)]


def test_prompts_are_scored_after_their_last_token():
    model = novel()
    task = Task.prompts(model, ROWS)
    assert len(task.tokens) == 7
    assert task.count == 7
    assert task.metric is METRICS["logit_diff"]
    answer = model.tokenizer(" Mary", add_special_tokens=False)["input_ids"][0]
    for i in range(7):
        prompt = task.tokens[i][task.real[i]].tolist()
        assert model.tokenizer.decode(prompt[1:]).endswith("gave the book to")
        assert prompt[0] == 0
        column = int(task.scored[i].nonzero())
        assert column == task.last[i] + 1
        assert int(task.tokens[i, column]) == answer
    rows = np.arange(7)
    items = task.items(rows)
    wrong = model.tokenizer(" John", add_special_tokens=False)["input_ids"][0]
    assert task.targets(rows, items).tolist() == [[answer, wrong]] * 7
    columns = torch.arange(task.tokens.shape[1]).reshape(1, -1, 1).expand(7, -1, 1)
    assert task.gather(columns, items).squeeze(-1).tolist() == task.last.tolist()


def test_counterfactual_is_aligned_with_the_prompt():
    task = Task.prompts(novel(), ROWS)
    assert task.counterfactual is not None
    assert task.counterfactual.shape == task.tokens.shape
    differing = (task.counterfactual != task.tokens).sum(1)
    assert differing.tolist() == [1] * 7
    assert task.reference is not None
    assert task.reference.counterfactual is not None
    without = Task.prompts(novel(), [row(i, corrupted=None) for i in range(10)])
    assert without.counterfactual is None


def test_shorter_prompts_are_padded_on_the_right():
    long = row(3)
    long["clean"], long["corrupted"] = f"Yesterday {long['clean']}", f"Yesterday {long['corrupted']}"
    task = Task.prompts(novel(), [row(0), row(1), long], reference=ROWS[5:])
    assert task.last[2] > task.last[0]
    assert task.tokens.shape[1] == task.last[2] + 2
    assert not task.real[0, task.last[0] + 1 :].any()
    assert task.reference is not None
    assert task.reference.tokens.shape[1] == task.tokens.shape[1]


def test_named_positions_are_numbers_or_words():
    rows = [row(i, S2="John#2", place=PLACES[i], end=-1, start="0", last="John#-1", io="Mary") for i in range(10)]
    task = Task.prompts(novel(), rows)
    model = novel()

    def words(column: str) -> list[str]:
        return [model.tokenizer.decode([int(task.tokens[i, c])]).strip() for i, c in enumerate(task.columns[column])]

    assert words("S2") == ["John"] * 7
    assert (task.columns["S2"] > task.columns["io"]).all()
    assert task.columns["last"].tolist() == task.columns["S2"].tolist()
    assert words("io") == ["Mary"] * 7
    assert task.columns["end"].tolist() == task.last.tolist()
    assert task.columns["start"].tolist() == [0] * 7
    assert task.notes["columns"] == ["S2", "end", "io", "last", "place", "start"]
    assert task.subset([2]).columns["S2"].shape == (1,)


def test_groups_are_documents_and_are_split_together():
    rows = [row(i, group=f"template {i // 2}") for i in range(10)]
    task = Task.prompts(novel(), rows)
    assert task.reference is not None
    assert len(task.documents) == 3
    assert len(task.documents) + len(task.reference.documents) == 5
    assert np.bincount(task.document).tolist() == [2] * len(task.documents)
    assert not {d.name for d in task.documents} & {d.name for d in task.reference.documents}


@pytest.mark.parametrize("metric", ["loss", "accuracy", "probability", "kl"])
def test_other_metrics_need_no_incorrect_answer(metric):
    task = Task.prompts(novel(), [row(i, incorrect=None) for i in range(10)], metric=metric)
    assert task.metric.name == metric
    assert task.targets(np.arange(7), task.items(np.arange(7))).shape == (7,)


def test_csv_and_jsonl_give_the_same_task(tmp_path):
    lines = tmp_path / "prompts.jsonl"
    lines.write_text("\n\n".join(json.dumps(r) for r in ROWS) + "\n", encoding="utf-8")
    table = tmp_path / "prompts.csv"
    cells = [",".join(ROWS[0])] + [",".join(f'"{value}"' for value in r.values()) for r in ROWS]
    table.write_text("\ufeff" + "\r\n".join(cells), encoding="utf-8")
    direct, one, two = Task.prompts(novel(), ROWS), Task.prompts(novel(), str(lines)), Task.prompts(novel(), table)
    assert direct.fingerprint == one.fingerprint == two.fingerprint
    assert two.description.notes["file"] == str(table)


def refused(source: object, **options: object) -> str:
    with pytest.raises(TaskError) as refusal:
        Task.prompts(novel(), source, **options)  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"correct": " Mary Anne"}, "row 1: 'correct' ' Mary Anne' is 3 tokens"),
        ({"correct": " John"}, "row 1: 'correct' and 'incorrect' are the same token, ' John'"),
        ({"corrupted": "John gave the book to"}, "row 1: 'corrupted' has 7 tokens and 'clean' 16"),
        ({"clean": ""}, "row 1: column 'clean' is empty"),
        ({"clean": 3}, "row 1: 'clean' must be a text, not 3"),
        ({"incorrect": None}, "row 1: there is no 'incorrect', which row 0 has"),
    ],
)
def test_a_row_that_cannot_be_scored_is_refused_by_its_number(changes, message):
    assert message in refused([row(0), row(1, **changes), row(2)])


def test_all_rows_that_cannot_be_scored_are_said_at_once(tmp_path):
    short = {"corrupted": "John gave the book to"}
    rows = [row(0), row(1, **short), row(2), row(3, correct=" Mary Anne"), row(4, **short)]
    assert refused(rows) == (
        "3 of 5 prompts cannot be scored: row 1: 'corrupted' has 7 tokens and 'clean' 16; row 3: 'correct' "
        "' Mary Anne' is 3 tokens (' Mary', ' An', 'ne'), and an answer must be one; "
        "row 4: 'corrupted' has 7 tokens and 'clean' 16"
    )
    many = refused([row(i, **short) for i in range(14)])
    assert many.startswith("14 of 14 prompts cannot be scored: row 0: ")
    assert many.endswith("row 9: 'corrupted' has 7 tokens and 'clean' 16; and 4 more")
    (tmp_path / "bad.csv").write_text("clean,correct\nx\nThe, cat\ny\n")
    assert refused(tmp_path / "bad.csv").startswith("2 of 3 prompts cannot be scored: ")
    assert f"{tmp_path / 'bad.csv'}:4: column 'correct' has no value" in refused(tmp_path / "bad.csv")


def test_an_answer_without_its_space_is_refused_with_a_hint():
    bare = row(1, correct="something")
    assert "with a space before it, is one" in refused([row(0), bare])
    assert (
        refused([row(0), bare, bare]).count("and an answer must be one: ' something', with a space before it, is") == 2
    )


@pytest.mark.parametrize(
    ("clean", "answer", "remark"),
    [
        (
            "John gave it to",
            "the",
            "'correct' 'the' makes 'tothe' of the prompt's end; ' the', with a space before it, is",
        ),
        (
            "John gave it to ",
            "the",
            "'clean' ends in a space, which the tokenizer reads as the beginning of the next word",
        ),
        ("John gave it to ", " the", "'clean' ends in a space, which the tokenizer reads as the beginning of the next"),
        ("John gave it to", " the", None),
        ("She was walk", "ing", None),
        ("It was 17", "4", None),
        ("The cat (", "a", None),
        ("A:", "a", None),
    ],
)
def test_an_answer_that_may_not_be_meant_is_said(caplog, clean: str, answer: str, remark: str | None):
    rows = [{"clean": f"{place}, {clean}", "correct": answer} for place in PLACES[:3]]
    task = Task.prompts(novel(), rows, metric="loss")
    notes = [record.getMessage() for record in caplog.records if record.name == "assay"]
    assert notes[0] == (
        "note: 1 of the prompts of '3 prompts' are the reference, which fills ablations and fits floors and is never "
        "scored (three tenths, by content hash); 'reference' names others"
    )
    if remark is None:
        assert "answers" not in task.notes
        assert len(notes) == 1
    else:
        start = "3 of 3 prompts have an answer that may not be what is meant; row 0: "
        assert task.notes["answers"].startswith(start + remark)
        assert notes[1] == f"note: 3 prompts: {task.notes['answers']}"


def test_positions_that_cannot_be_found_are_refused():
    assert "column 'S2' occurs 2 times in the prompt; write 'John#2' for the second" in refused([row(0, S2="John")])
    assert "'Peter' of column 'S2' does not occur in the prompt" in refused([row(0, S2="Peter")])
    assert "'John' occurs 2 times" in refused([row(0, S2="John#3")])
    assert "column 'S2' is 99, but the prompt has columns 0 to 16" in refused([row(0, S2=99)])
    assert "'Joh' of column 'S2' does not occur" in refused([row(0, S2="Joh")])
    misspelt = refused([row(0, incorect=" John", incorrect=None)])
    assert misspelt == "row 0: unknown column 'incorect'; did you mean 'incorrect'?"


def test_missing_columns_files_and_bad_lines_are_refused_with_file_and_line(tmp_path):
    assert refused([{"clean": "a b", "corect": " c"}]).startswith(
        "row 0: there is no column 'correct'; did you mean 'corect'?"
    )
    (tmp_path / "ioi.csv").write_text("clean,correct\n")
    assert "has no rows" in refused(tmp_path / "ioi.csv")
    assert refused(tmp_path / "oii.csv").endswith(f"; did you mean '{tmp_path / 'ioi.csv'}'?")
    assert "must be a file that ends in .csv, .tsv, .jsonl" in refused(tmp_path / "ioi.txt")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"clean": "x", "correct": " y"}\n\n{"clean": \n')
    assert f"{bad}:3: not a JSON object" in refused(bad)
    bad.write_text("[1, 2]\n")
    assert f"{bad}:1: a row must be an object with named columns, not list" in refused(bad)
    table = tmp_path / "bad.csv"
    table.write_text('clean,correct\n"two\nlines", a\nx, y, z\n')
    assert f"{table}:4: the row has more cells than the header has columns" in refused(table)
    table.write_text("clean,correct\nx\n")
    assert f"{table}:2: column 'correct' has no value" in refused(table)
    table.write_text("clean,clean\nx,y\n")
    assert f"{table}:1: the header names column 'clean' twice" in refused(table)
    table.write_bytes(b"clean,correct\n\xff\xfe,b\n")
    assert "cannot be read as UTF-8 text" in refused(table)
    table.write_text('clean,correct\n"x" y,z\n')
    assert f"{table}:2: not a row of the file" in refused(table)


def test_a_prompt_that_is_too_long_and_ids_that_do_not_exist_are_refused():
    assert "more than the 255 that zoo:novel-attn2-rep reads" in refused(
        [row(0), row(1, clean="word " * 300, corrupted="word " * 300)]
    )
    with pytest.raises(TaskError, match="for row 0, but zoo:novel-attn2-rep has a vocabulary of 300"):
        Task.prompts(novel(vocab=300), ROWS)


def test_references_that_overlap_or_lack_columns_are_refused():
    overlaps = "the reference overlaps what is scored: a prompt of "
    assert refused(ROWS[:3], reference=ROWS[2:]) == overlaps + "'row 0' equals one of 'row 2'"
    other = {**ROWS[2], "correct": ROWS[2]["incorrect"], "incorrect": ROWS[2]["correct"]}
    assert refused(ROWS[:3], reference=[ROWS[4], other]) == overlaps + "'row 1' equals one of 'row 2'"
    here, there = ({**one, "group": group} for one, group in ((ROWS[2], "a"), (ROWS[2], "b")))
    grouped = [{**ROWS[1], "group": "a"}, here]
    assert refused(grouped, reference=[{**ROWS[3], "group": "b"}, there]) == overlaps + "'b' equals one of 'a'"
    assert refused([*grouped, there]).startswith(overlaps)  # whichever group the split holds apart
    assert "the reference has no column 'corrupted'" in refused(ROWS[:3], reference=[row(5, corrupted=None)])
    assert "when at least two differ; give 'reference'" in refused(ROWS[:1])


def test_logit_difference_needs_incorrect_answers():
    assert "the metric 'logit_diff' needs a correct and an incorrect answer" in refused(
        [row(i, incorrect=None) for i in range(5)]
    )


def test_without_bos_prompts_begin_with_their_first_token():
    task = Task.prompts(Handle("gpt", novel().tokenizer, None), ROWS)
    assert (task.tokens[:, 0] != 0).all()


def test_a_sentencepiece_tokenizer_finds_words_and_answers():
    model = stories()
    prompt = "Once upon a time, Lily and Tom played. Lily gave the ball to"
    rows = [
        {"clean": prompt.replace("ball", w), "correct": " Tim", "S2": "Lily#2", "what": w}
        for w in ("ball", "cat", "toy", "car")
    ]
    found = model.tokenizer(prompt + " Tim", add_special_tokens=False)["input_ids"]
    assert found[:-1] == model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    task = Task.prompts(model, rows, metric="loss")
    assert task.answers is not None
    assert task.answers[:, 0].tolist() == [found[-1]] * len(task.tokens)
    for i, column in enumerate(task.columns["S2"]):
        assert model.tokenizer.decode(task.tokens[i, 1 : column + 1]).endswith("Tom played. Lily")


def test_files_that_are_too_large_in_any_direction_are_refused(tmp_path, monkeypatch):
    def said(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return refused(tmp_path / name)

    assert "a.csv:1: there are 65 columns, and a row has at most 64" in said(
        "a.csv", ",".join(f"c{i}" for i in range(65))
    )
    wide = json.dumps({f"c{i}": "x" for i in range(65)})
    assert "a.jsonl:1: a row has 65 columns, and prompts have at most 64" in said("a.jsonl", wide)
    long = json.dumps({"clean": "word " * 30_000, "correct": " a"})
    assert "a.jsonl:1: column 'clean' is too long: 'word word" in said("a.jsonl", long)
    assert "field larger than field limit" in said("a.csv", "clean,correct\n" + "word " * 30_000 + ",a\n")
    monkeypatch.setattr(row_files, "MOST_ROWS", 3)
    assert "a.csv:5: a file of prompts has at most 3 rows" in said("a.csv", "clean,correct\n" + "a,b\n" * 4)
    monkeypatch.setattr(row_files, "MOST_CELLS", 5)
    assert "a.csv:3: a file of prompts has at most 5 cells" in said(
        "a.csv", "clean,correct,incorrect\n" + "a,b,c\n" * 2
    )
    monkeypatch.setattr(row_files, "LARGEST", 10)
    assert "has 14 bytes, and at most 10 are read" in said("a.csv", "clean,correct\n")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            r'{"clean": "a \ud800 b", "correct": " a"}',
            "a.jsonl:1: '\\ud800' is half a character, which no tokenizer reads",
        ),
        (
            r'{"clean": "a b", "correct": " \udfff"}',
            "a.jsonl:1: '\\udfff' is half a character, which no tokenizer reads",
        ),
        (
            r'{"clean": "a b", "correct": " a", "incorrect": " b", "group": "\ud800"}',
            "a.jsonl:1: column 'group' holds '\\ud800', which is half a character",
        ),
        ('{"clean": "a b", "correct": " a", "S": "b#²"}', "'b#²' of column 'S' does not occur in the prompt"),
        (
            '{"clean": "a b", "correct": " a", "S": "b#' + "9" * 5_000 + '"}',
            "of column 'S' does not occur in the prompt",
        ),
        (
            '{"clean": "a b", "correct": " a", "S": ' + "9" * 5_000 + "}",
            "a.jsonl:1: not a JSON object: Exceeds the limit",
        ),
        ('{"clean": "a b", "correct": " a", "S": ' + "9" * 400 + "}", "column 'S' is too long: '99999"),
        ("[" * 100_000, "a.jsonl:1: not a JSON object: it is nested too deeply"),
    ],
)
def test_what_json_can_write_and_no_prompt_can_be_is_one_sentence(tmp_path, line, sentence):
    (tmp_path / "a.jsonl").write_text(line)
    assert sentence in refused(tmp_path / "a.jsonl")
