"""Claim files: what `assay validate` and `assay measure` do with one before a model is loaded."""

from __future__ import annotations

import json
from pathlib import Path

from assay.explanations.claims import file as claims
from assay.measure.settings import Settings
from tools.stress import mutate
from tools.stress.reader import FileReader, Seed

STORY = "Once upon a time, there was a little girl named Lily. She liked to play with her red ball in the park. "
EDGES = "{kind: circuit, edges: ['a0.h1->a3.h6<q>', 'm0->logits', 'a3.h6->logits', 'input->a0.h1<v>@-1']}"
PROGRAMS = """\
kind: program
  components:
    a0.h1: {program: previous_token, level: pattern_token, without_match: first}
    a1.h2: {program: induction, match: prefix, prefix: 2}
    m2: {program: ngram, n: 3, smallest: 2}
    a4.h7: {program: label, tokens: [17, 18, 400]}
    a3: copy"""
ZOO = "zoo:stories-260k"
SETTINGS = """\
ablation: [mean, optimal]
seed: 3
draws: 8
documents: 20
controls: 5
frozen_norm: true
floors: [ablated, bigram]"""
CLAIMS = (
    (ZOO, "{kind: text, split: test, metric: loss, bos: auto, context: 128}", PROGRAMS, SETTINGS),
    (
        ZOO,
        "{kind: text, files: [one.txt, two.txt]}",
        "{kind: keep, components: [a0.h1, m2, m3.n17, a1.kv0]}",
        "reference: {files: [three.txt]}\nfamily: family.json\nregister: true\nout: runs/one",
    ),
    (
        ZOO,
        f"{{kind: text, texts: ['{STORY}', 'Tom saw a big dog at the farm one day. ']}}",
        "{kind: constant, components: [a0, m1], value: mean_position}",
        "reference: {split: train}\nrefit: true",
    ),
    (ZOO, "{kind: repeat, n: 16, length: 24, seed: 5}", EDGES, "found_on: selection.json"),
    (
        ZOO,
        "{kind: prompts, file: prompts.csv, metric: logit_diff}",
        "{kind: circuit, file: circuit.json}",
        "ablation: counterfactual",
    ),
    ("planted:induction", "{kind: planted, n: 12}", "{kind: remove, components: [a0.h0]}", "found_on: words"),
    ("folder", "{kind: classify, file: arrays.npz}", "{kind: keep, components: [conv1, 'fc[3]']}", "draws: 4"),
)


def claim(model: str, task: str, explanation: str, more: str) -> bytes:
    return f"# a claim\nmodel: {model}\ntask: {task}\nexplanation:\n  {explanation}\n{more}\n".encode()


def beside(folder: Path) -> None:
    """The files that the claims name."""
    for name in ("one", "two", "three"):
        (folder / f"{name}.txt").write_text(STORY + f"It was number {name}.")
    (folder / "folder").mkdir(exist_ok=True)
    (folder / "folder" / "config.json").write_text("{}")
    (folder / "family.json").write_text("{}")
    (folder / "selection.json").write_text("{}")
    (folder / "prompts.csv").write_text("clean,corrupted,correct,incorrect\nLily ran, Lily sat, up, down\n")
    (folder / "arrays.npz").write_bytes(b"PK")
    edges = {"input->logits": {"in_graph": True, "score": 0.5}}
    nodes = {name: {"in_graph": True} for name in ("input", "logits")}
    (folder / "circuit.json").write_text(json.dumps({"cfg": {}, "nodes": nodes, "edges": edges}))


def seeds(folder: Path) -> list[Seed]:
    beside(folder)
    return [Seed("claim.yaml", claim(*fields)) for fields in CLAIMS]


def read(path: Path) -> None:
    file = claims.load_claim(path)
    Settings.resolve(file)
    file.build_explanation()
    assert len(file.hash) == 64
    assert claims.claim_of(claims._plain(file)) == file


CLAIMS_READER = FileReader(seeds, read, mutate.as_yaml)
