"""Writes docs/claim-files.md, from the classes that check claim files: python -m tools.claim_files"""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

from assay.explanations.claims.file import _TASKS, ClaimFile, Expect, ReferenceFields
from assay.explanations.components.spec import CONSTANTS
from assay.explanations.floors import FLOORS
from assay.explanations.hypothesis.example import WORDS as WORDS_OF
from assay.explanations.hypothesis.expressions import PLAIN
from assay.explanations.kinds import KINDS, block
from assay.explanations.program.spec import PROGRAMS
from assay.explanations.subspace.parse import WAYS as SUBSPACE_WAYS
from assay.intervene.fill.spec import ABLATIONS
from assay.measure.settings import Settings
from assay.task import bounds
from assay.task.prompt_rows import KNOWN, NEEDED
from assay.task.spec import METRICS
from assay.task.task import Task
from assay.zoo.spec import SPLITS

PAGE = Path(__file__).parents[1] / "docs" / "claim-files.md"
WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
VALID = {
    "ablation": ABLATIONS,
    "floors": (*FLOORS, "{model: NAME}"),
    "value": CONSTANTS,
}
MANY = ("ablation", "floors", "files")  # a list, or one of them as it is
OWN = {  # what no docstring of a setting or a task says
    "model": "as in `assay.load`: a `zoo:` or `planted:` name, a folder, or a name on the hub",
    "task": "which data: [a block of its kind](#task)",
    "explanation": "what is said about which parts: [a block of its kind](#explanation)",
    "reference": "other examples, which fill ablations and fit floors: [a block](#reference)",
    "found_on": "a file of the data that the claim was found on; the leak check looks in it",
    "expect": "what tests hold the claim to; measuring does not look at it: [a block](#expect)",
    "out": "the run folder; by default `runs/` and the claim file's name",
}
TASK = {
    "file": "the file of its rows",
    "column": "that of the texts, in files of rows; by default `text`",
    "metric": "[a metric](#task); by default `loss`, of prompts `logit_diff`",
    "n": "how many rows",
    "length": "how many random tokens come twice",
    "seed": "draws the rows",
    "texts": "one document each",
}
CLAIMED = {
    "components": "names of parts",
    "value": "the constant",
    "edges": "names such as `a0.h1->a1.h3<k>`",
    "nodes": "names of parts: all edges between them, `input` and `logits`",
    "file": "a circuit file: of `assay find`, EAP-IG or MIB",
    "keep": "of a file that scores edges: so many of the best",
}
HYPOTHESIS = {
    "variables": "variable → what it is, [an expression](#expressions)",
    "places": "variable → names of parts, or of streams (`r3`, what enters layer 3), that carry it, or a subspace of one, `{r3: {file: basis.npy}}`",
    "answer": "the variable that the network's output is; by default the last one",
    "treeify": "a variable that two others read has a datum of its own for each of them; by default `true`",
    "pool": "from how many different data a variable draws, at most (two of each value at least); by default all",
}
EXPRESSIONS = """
#### Expressions

A variable is a function of the input, or of other variables, never of both. Texts in quotes, numbers, `True`, `False`, `None`;
`+ - * // %`, comparisons, `in`, `and`, `or`, `not`, `a if b else c`, tuples, {plain}; names of variables; and these words, which look at the
example (columns are numbers, negative from the end, or names that prompts give; the start-of-text token is column 0):

| word | what it is |
| --- | --- |
{words}

```yaml
model: planted:sums_0
task: {{kind: planted}}
explanation:
  kind: hypothesis
  variables:
    u: number(1)
    v: number(3)
    total: u + v
    answer: total
  places:
    u: [a0.h1]
    v: [a0.h2]
    total: [m1]
```

A subspace of a place is named with the file that holds its basis, as under [subspace](#subspace): `u: [{{r1@1: {{file: basis.npy}}}}]`. Several
of one place may carry a variable each, where they have no dimension in common.
"""
SUBSPACE = {
    "components": "part or stream (`r2` enters layer 2, the last one leaves the model) → its subspace: `{WAY: ..., ...}`",
    "variable": "what the subspace is said to carry, in words",
}
WAYS = {
    "pca": "k: the directions along which the part varies most on the reference, first positions left out",
    "unembed": "of MLPs and streams, tokens (texts of one token each, or ids): the span of the differences of their "
    "unembeddings, as the last norm's gain has them; one dimension fewer than there are tokens",
    "random": "k directions drawn by `seed` (0)",
    "file": "a basis [width, k], or one direction [width]: a .npy file, or a .safetensors file, of which `tensor` names one "
    "where there are several. It is orthonormalised (QR), which leaves its span as it is",
}
DICTIONARY = {
    "components": "stream, MLP, hidden values of an MLP (`m2.hidden`), head, or all heads of a layer (`a1`) → its "
    "dictionary: `{folder: ...}`, in assay's own form or that of SAELens, dictionary_learning or sparsify. `reads: m2.in` "
    "makes it a transcoder; `keep: [3, 17]` and `without: [5]` say which features are there, `error: true` that what the "
    "dictionary leaves stays",
}
PROGRAM = {"components": "part → a program's name, or `{program: NAME, ...}` with its arguments"}
TAKEN = {"program": PROGRAM, "hypothesis": HYPOTHESIS, "subspace": SUBSPACE, "dictionary": DICTIONARY}
EXPECTED = {
    "recovered": "the least share recovered (R_D), for every kind but removals",
    "costs": "the least KL of a removal, nats a scored token",
    "by": "what must reach it: the lower end of the 95 % interval, or the value",
}
HEAD = """# What a claim file may contain

<!-- Written by `python -m tools.claim_files` from the classes that check claim files; change those. -->

A claim file is YAML: plain data, never code. `assay init MODEL` writes one to start from, `assay validate CLAIM.yaml` checks
one and loads nothing. What is wrong is one sentence with the file, the line and the nearest valid name.

```yaml
model: zoo:novel-attn2-rep
task: {kind: text, split: test}
explanation:
  kind: program
  components:
    a0.h0: {program: previous_token, level: pattern}
ablation: [mean, resample_joint]
```

Only `model`, `task` and `explanation` are needed. Flags of the command and keywords in Python override the file. Files and
folders that it names are relative to where the command runs.
"""
PROMPTS = """
Rows of a CSV, TSV or JSONL file (packed or not: .gz, .bz2, .xz), all with the same columns, of which {needed} are needed:

| column | |
| --- | --- |
| `clean` | the prompt; what is scored is the next token after its last one |
| `correct` | the answer: one token, with its leading space where the tokenizer has one (said, where it is left out) |
| `incorrect` | another answer, which the metric `logit_diff` needs; it is the default |
| `corrupted` | the counterfactual prompt, of as many tokens, which the ablation `counterfactual` takes |
| `group` | what a prompt belongs to; intervals are over groups. By default each prompt is one |
| any other | names a position, for parts such as `a1.h3@S2`: a column number (BOS is 0, −1 the last token), a word of the prompt (its last token), or `John#2` for its second occurrence |

```
clean,corrupted,correct,incorrect
They looked at the old door and the old,They looked at the old garden and the old, door, garden
```
"""
CLASSIFY = """
The model's output is one score a class, [batch, classes]. The file is an `.npz` with arrays `inputs` [n, ...], `labels` [n] and
perhaps `groups` [n]; or rows of a CSV, TSV or JSONL file:

| column | |
| --- | --- |
| `label` | the number of the class, from 0 |
| `input` | numbers, nested to any depth: `[[0.1, 0.2], [0.3, 0.4]]`. Where there is none, each further column is one number |
| `group` | what an example belongs to; intervals are over groups. By default each example is one |
"""


NAMES = """
## explanation

The name of a part: `a1` all heads of a layer, `a1.h3` a head, `a1.kv0` a group of shared keys and values, `m2` an MLP,
`m2.n137` a neuron, each with `@5` or `@-1` at one position; in other networks the dotted name of a submodule (`assay ls
MODEL` lists them).
"""
EXAMPLE = """
```yaml
model: zoo:novel-4l
task: {kind: text, split: test}
explanation:
  kind: subspace
  components:
    m1: {pca: 16}
    a1.h3: {pca: 4}
  variable: the language
```
"""
REFERENCE = """
## reference

Other examples, which fill ablations and fit floors: as a task names its own. `repeat` and `planted` make their own. Without
it three tenths of own data become the reference, which is said.

"""


def page() -> str:
    """The page's text."""
    text = described(inspect.getdoc(Task.text) or "", "Args")
    parts = [HEAD, "\n## Every field\n\n", table(ClaimFile, described(Settings.__doc__ or "", "Attributes") | OWN)]
    parts += ["\n## task\n", f"\nMetrics, in every kind of task: {names(METRICS)}. They are losses: lower is better.\n"]
    for kind, fields in _TASKS.items():
        parts += [f"\n### {kind}\n\n{sentence(fields)}\n", {"prompts": prompts(), "classify": CLASSIFY}.get(kind, "")]
        parts += ["\n", table(fields, text | TASK)]
        if kind == "text":
            splits = "; ".join(f"{names(values)} of `zoo:{name}` models" for name, values in SPLITS.items())
            parts.append(f"\nSplits: {splits}.\n")
    parts.append(NAMES)
    for kind in KINDS:
        fields = block(kind)
        parts += [f"\n### {kind}\n\n{sentence(fields)}\n\n", table(fields, TAKEN.get(kind, CLAIMED))]
        if kind == "hypothesis":
            parts.append(EXPRESSIONS.format(plain=names(PLAIN), words=word_table()))
        if kind == "subspace":
            assert set(WAYS) == set(SUBSPACE_WAYS)
            parts += [
                "\n| way | what it takes |\n| --- | --- |\n",
                *(f"| `{way}` | {said} |\n" for way, said in WAYS.items()),
            ]
            parts.append(EXAMPLE)
        if kind == "program":
            parts += ["\n| program | its arguments |\n| --- | --- |\n", *map(program, PROGRAMS.items())]
    parts += [REFERENCE, table(ReferenceFields, text | TASK)]
    parts += [f"\n## expect\n\n{sentence(Expect)}\n[Holding a claim in CI](how-to/ci.md)\n\n", table(Expect, EXPECTED)]
    return re.sub(r"\n{3,}", "\n\n", "".join(parts))


def prompts() -> str:
    assert set(KNOWN) == set(re.findall(r"^\| `(\w+)` \|", PROMPTS, re.MULTILINE))
    return PROMPTS.format(needed=" and ".join(f"`{name}`" for name in NEEDED))


def program(row: tuple[str, dict[str, Any]]) -> str:
    name, arguments = row
    said = "; ".join(f"`{argument}`: {_values(values)}" for argument, values in arguments.items())
    return f"| `{name}` | {said} |\n"


def _values(values: Any) -> str:
    if isinstance(values, range):
        return f"{values[0]} to {values[-1]:,}"
    return names(values) if isinstance(values, tuple) else {str: "a text", list: "a list of token ids"}[values]


def table(fields: Any, about: dict[str, str]) -> str:
    """A row a field: what it takes, its default, what it means."""
    schema = fields.model_json_schema()
    defaults = {f.name: f.default for f in dataclasses.fields(Settings)} if fields is ClaimFile else {}
    rows = ["| field | takes | default | |\n", "| --- | --- | --- | --- |\n"]
    for name, one in schema["properties"].items():
        if name == "kind":
            continue
        takes = takes_of(one, schema, name in MANY)
        if name in VALID:
            takes = f"{takes}: {names(VALID[name])}" if name in MANY else names(VALID[name])
        needed = name in schema.get("required", ())
        default = defaults.get(name) if defaults else one.get("default")
        said = "needed" if needed else "" if default is None else _default(default)
        rows.append(f"| `{name}` | {takes} | {said} | {about[name]} |\n")
    return "".join(rows)


def takes_of(one: dict[str, Any], schema: dict[str, Any], several: bool = False) -> str:
    """A property of a JSON Schema in words; `several`: one value may stand for a list of one."""
    if "anyOf" in one:
        kinds = [takes_of(each, schema, several) for each in one["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in one:
        return "a block"
    if "enum" in one:
        return names(one["enum"])
    if one.get("type") == "array":
        return "one or a list" if several else "a list"
    if one.get("type") == "object":
        return "a mapping"
    least, most = one.get("minimum"), one.get("maximum")
    span = "" if least is None else f" from {least:,}" if most is None else f" {least:,} to {most:,}"
    return WORDS[one["type"]] + ("" if most == bounds.SEED[1] else span)


def _default(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return f"`{str(plain).lower() if isinstance(plain, bool) else plain}`".replace("'", "")


def word_table() -> str:
    """A row a word of expressions."""
    return "\n".join(
        f"| `{name}({', '.join(word.arguments)})` | {sentence(word.run)} |" for name, word in WORDS_OF.items()
    )


def names(values: Any) -> str:
    return ", ".join(f"`{value}`" for value in values)


def sentence(of: Any) -> str:
    """A class's docstring, on lines of the page's width."""
    return inspect.getdoc(of) or ""


def described(docstring: str, section: str) -> dict[str, str]:
    """name -> what a docstring says of it, also where one line says `out: ...; overwrite: ...` of two."""
    text = inspect.cleandoc(docstring).partition(f"{section}:\n")[2].split("\n\n")[0]
    entries = re.split(r"\n {4}(?=\S)", "\n" + text)
    found: dict[str, str] = {}
    for entry in map(" ".join, map(str.split, entries)):
        several = re.split(r"; (?=\w+: )", entry)
        for one in several:
            label, _, said = one.partition(": ")
            for name in label.split(", "):
                if re.fullmatch(r"\w+", name) and said:
                    found[name] = _in_files(said.rstrip("."))
    return found


def _in_files(said: str) -> str:
    """What a docstring says of a Python argument, said of a field."""
    said = re.sub(r"[;,.] (None|by default None) where .*", "", said).replace("None for", "by default")
    said = said.replace("docs/definitions.md#ablations", "[the definitions](definitions.md#ablations)")
    return re.sub(r'\{"model": NAME\}, kept as "[^"]*"', "`{model: NAME}`", said)


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
