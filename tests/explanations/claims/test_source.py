"""Claim files as bytes of strangers: what is no claim, is no file, is endless, or holds code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.errors import ClaimError
from assay.explanations.claims.file import load_claim
from tests.explanations.claims.claim_texts import GOOD, KEEP


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "claim.yaml: the file is empty; `assay init MODEL` writes a claim file to start from"),
        (b"# nothing\n", "claim.yaml: the file is empty"),
        (b"- a\n", "claim.yaml:1: a claim file is a mapping of fields such as 'model:', not a list"),
        (b"hello\n", "claim.yaml:1: a claim file is a mapping of fields such as 'model:', not the value 'hello'"),
        (b"model: a\ntask: \xff\n", "claim.yaml:2: the byte 0xff is not UTF-8 text; save the file as UTF-8"),
        (GOOD.encode("utf-16"), "claim.yaml:1: the byte 0xff is not UTF-8 text; save the file as UTF-8"),
    ],
)
def test_what_is_no_claim_file_is_refused(refusal, content: bytes, sentence: str):
    assert refusal(content).startswith(sentence)


def test_a_byte_order_mark_and_windows_lines_are_read(claim):
    assert claim(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()) == claim(GOOD)


def test_an_alias_bomb_is_refused_at_its_first_anchor(refusal):
    bomb = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True))
    assert refusal(bomb) == "claim.yaml:1: the anchor '&a' is not allowed; write the value out where it is needed"


def test_a_huge_file_is_refused_unread(tmp_path: Path):
    path = tmp_path / "huge.yaml"
    with open(path, "wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(ClaimError, match=r"huge\.yaml' has 100,000,000 bytes, and at most 1,000,000 are read"):
        load_claim(path)


def test_missing_files_folders_and_devices_are_refused(tmp_path: Path):
    (tmp_path / "claim.yaml").write_text(GOOD)
    with pytest.raises(ClaimError, match=r"clam\.yaml' does not exist; did you mean '.*claim\.yaml'\?$"):
        load_claim(tmp_path / "clam.yaml")
    with pytest.raises(ClaimError, match=r"is a folder, not a claim file"):
        load_claim(tmp_path)
    with pytest.raises(ClaimError, match=r"does not exist"):
        load_claim(tmp_path / "claim.yaml" / "deeper.yaml")
    if Path("/dev/zero").exists():
        with pytest.raises(ClaimError, match=r"'/dev/zero' is not a regular file"):
            load_claim("/dev/zero")


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("{kind: text, files: [pipe]}", ""),
        ("{kind: text, files: [/dev/zero]}", ""),
        ("{kind: prompts, file: pipe.csv}", ""),
        ("{kind: classify, file: pipe}", ""),
        ("{kind: text, files: [a.txt]}", "reference: {files: [pipe]}"),
    ],
)
def test_a_pipe_and_a_device_in_a_claim_are_refused_at_their_line(refusal, tmp_path, task, more):
    for name in ("pipe", "pipe.csv"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "a.txt").write_text("a")
    said = refusal(KEEP.replace("{kind: repeat, n: 8}", task) + more)
    assert "is not a regular file, so it is not read" in said
    assert said.startswith("claim.yaml:" + ("4" if more else "2"))


def test_a_circuit_a_model_and_a_configuration_that_are_pipes_are_not_waited_for(refusal, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    circuit = KEEP.replace("{kind: keep, components: [a1.h3, m2, m3.n137]}", "{kind: circuit, file: pipe}")
    assert "'pipe' is not a regular file" in refusal(circuit)
    assert "the family 'pipe' is neither built in nor a file here" in refusal(KEEP + "family: pipe")
    (tmp_path / "tiny").mkdir()
    os.mkfifo(tmp_path / "tiny" / "config.json")
    assert "'config.json', which is no file: a pipe or a device" in refusal(KEEP.replace("zoo:novel-4l", "./tiny"))


def test_a_home_folder_is_resolved_in_names_of_files(claim, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a.txt").write_text("a")
    assert claim(KEEP.replace("{kind: repeat, n: 8}", "{kind: text, files: [~/a.txt]}")).task.kind == "text"


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch ran']",
        "!!python/object/new:os.system ['touch ran']",
        "!!python/name:os.system",
        "!!python/module:ran",
        "!<tag:yaml.org,2002:python/object/apply:subprocess.check_output> [['touch', 'ran']]",
        "{program: 'os.system', tokens: ['touch ran']}",
        '{program: \'__import__("os").system("touch ran")\'}',
    ],
)
def test_no_code_runs_from_a_claim(refusal, tmp_path, monkeypatch, value):
    (tmp_path / "ran.py").write_text("open('ran', 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert refusal(GOOD.replace("a1.h6: induction", f"a1.h6: {value}")).startswith("claim.yaml:8: ")
    assert not (tmp_path / "ran").exists()
