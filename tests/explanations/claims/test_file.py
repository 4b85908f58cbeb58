"""Claim files: what is read, what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.errors import ClaimError
from assay.explanations.claims.file import claim_of
from assay.explanations.claims.shapes import KnownShape, known_shape, out_of_range
from assay.explanations.kinds import KINDS
from assay.explanations.program.spec import PROGRAMS
from assay.intervene.fill.spec import ABLATIONS
from assay.names import parse_site
from tests.explanations.claims.claim_texts import GOOD, KEEP
from tests.explanations.dictionary.made import folder
from tests.measure import planted

TASK = "{kind: text, split: test}"


def test_a_program_claim_is_read(claim):
    read = claim(GOOD)
    assert (read.model, read.kind, read.level) == ("zoo:novel-4l", "program", "how")
    assert read.scope == ("a1.h3", "a1.h6")
    assert read.ablation == ["mean", "resample_joint"]
    assert read.source.text == GOOD
    assert read.where("explanation", "components", "a1.h6") == "claim.yaml:8: "
    assert read.where("seed") == "claim.yaml:2: "


def test_every_optional_field_is_read(claim):
    extra = """\
floors: ablated
reference: {split: train}
family: novel
seed: 3
draws: 8
documents: 50
controls: 0
frozen_norm: true
refit: false
found_on: repeated tokens
register: yes
out: runs/mine
"""
    read = claim(GOOD + extra)
    assert (read.floors, read.seed, read.draws, read.documents, read.controls) == (["ablated"], 3, 8, 50, 0)
    assert (read.frozen_norm, read.refit, read.register_, read.out) == (True, False, True, "runs/mine")
    assert read.reference is not None
    assert read.reference.split == "train"


def test_dump_reads_back_equal(claim):
    for text in (GOOD, KEEP, GOOD + "register: yes\nseed: 3\n"):
        read = claim(text)
        again = claim(read.to_yaml())
        assert again == read
        assert again.hash == read.hash


def test_hash_knows_the_claim_and_not_its_form(claim):
    read = claim(GOOD)
    assert claim(GOOD.replace("# a comment\n", "") + "out: elsewhere\nregister: yes\n").hash == read.hash
    lines = GOOD.splitlines()
    assert claim("\n".join([*lines[2:], *lines[:2]])).hash == read.hash
    assert claim(GOOD.replace("level: pattern", "level: full")).hash != read.hash
    assert claim(GOOD + "seed: 1\n").hash != read.hash


@pytest.mark.parametrize(
    ("components", "level"),
    [
        ({"m1": {"program": "label", "source": "fr"}}, "what"),
        ({"m1": {"program": "label", "tokens": [3, 4]}, "m2": {"program": "label", "source": "en"}}, "what"),
        ({"m1": {"program": "label", "source": "fr"}, "m2": "ngram"}, "how"),
    ],
)
def test_a_label_says_what_and_not_how_in_the_file_too(components, level):
    explanation = {"kind": "program", "components": components}
    made = claim_of({"model": "zoo:novel-4l", "task": {"kind": "text"}, "explanation": explanation})
    assert made.level == made.build_explanation().level == level


EXAMPLES = {
    "program": {"components": {"a1.h3": "copy"}},
    **{key: {"components": ["m2"]} for key in ("keep", "remove", "constant")},
    "circuit": {"nodes": ["m2"]},
    "hypothesis": {"variables": {"last": "token(-1)", "answer": "last"}, "places": {"last": ["m2"]}},
    "subspace": {"components": {"m2": {"pca": 4}}},
    "dictionary": {"components": {"r2": {"folder": folder()}}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_and_what_it_builds_say_the_same_of_their_kind(kind):
    data = {"model": "zoo:novel-4l", "task": {"kind": "text"}, "explanation": {"kind": kind, **EXAMPLES[kind]}}
    made = claim_of(data)
    built = made.build_explanation()
    assert made.kind == built.kind == kind
    assert made.level == built.level
    assert made.explanation.removal == built.removal


def test_a_claim_is_made_from_plain_data():
    made = claim_of(
        {"model": "gpt2", "task": {"kind": "repeat"}, "explanation": {"kind": "remove", "components": ["m2"]}}
    )
    assert (made.scope, made.level) == (("m2",), "where")
    with pytest.raises(ClaimError, match=r"^the claim:2: unknown field 'taks'; did you mean 'task'\?$"):
        claim_of({"model": "gpt2", "taks": {"kind": "repeat"}})


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("model:", "modle:", "claim.yaml:2: unknown field 'modle'; did you mean 'model'?"),
        ("split: test", "splt: test", "claim.yaml:3: unknown field 'splt' in 'task'; did you mean 'split'?"),
        ("kind: text", "kind: txt", "claim.yaml:3: unknown kind of task 'txt'; did you mean 'text'?"),
        (
            "kind: text, ",
            "",
            "claim.yaml:3: 'task' needs a field 'kind'; valid: 'text', 'repeat', 'prompts', 'classify'",
        ),
        (
            "kind: program",
            "kind: progam",
            "claim.yaml:5: unknown kind of explanation 'progam'; did you mean 'program'?",
        ),
        ("[mean,", "[men,", "claim.yaml:9: unknown ablation 'men'; did you mean 'mean'?"),
        ("[mean, resample_joint]", "zeroo", "claim.yaml:9: unknown ablation 'zeroo'; did you mean 'zero'?"),
        (
            "program: induction",
            "program: induktion",
            "claim.yaml:7: unknown program 'induktion'; did you mean 'induction'?",
        ),
        (
            "a1.h6: induction",
            "a1.h6: 3",
            "claim.yaml:8: 'a1.h6' needs the name of a program, not 3; valid: 'induction', ",
        ),
        ("program: induction", "progam: induction", "claim.yaml:7: unknown field 'progam'; did you mean 'program'?"),
        (
            "level: pattern",
            "lvl: full",
            "claim.yaml:7: the program 'induction' has no argument 'lvl'; did you mean 'level'?",
        ),
        (
            "level: pattern",
            "level: ful",
            "claim.yaml:7: 'level' of the program 'induction' cannot be 'ful'; did you mean 'full'?",
        ),
        (
            "level: pattern",
            "prefix: 3",
            "claim.yaml:7: 'prefix' of the program 'induction' goes with 'match: prefix' only",
        ),
        (
            "a1.h6: induction",
            "m1: {program: ngram, n: 9}",
            "claim.yaml:8: 'n' of the program 'ngram' must be a whole number from 1 to 5, not 9",
        ),
        (
            "a1.h6: induction",
            "a1.h6: {program: induction, match: prefix, prefix: 999999}",
            "claim.yaml:8: 'prefix' of the program 'induction' must be a whole number from 1 to 64, not 999999",
        ),
        (
            "a1.h6: induction",
            "a1.h6: {program: label, tokens: [1, 100000000000000000000]}",
            "claim.yaml:8: 'tokens' of the program 'label' must be a list of token ids, not [1, 100000000000000000000]",
        ),
        (
            "kind: text, split: test",
            "kind: repeat, n: 1000000000",
            "claim.yaml:3: 'n' must be at most 20,000, not 10000",
        ),
        (
            "kind: text, split: test",
            "kind: repeat, length: 200000",
            "claim.yaml:3: 'length' must be at most 100,000, not",
        ),
        ("ablation:", "draws: 1000000000\nablation:", "claim.yaml:9: 'draws' must be at most 10,000, not 1000000000"),
        (
            "ablation:",
            "documents: 10000000\nablation:",
            "claim.yaml:9: 'documents' must be at most 1,000,000, not 1000",
        ),
        ("ablation:", "controls: 10000000\nablation:", "claim.yaml:9: 'controls' must be at most 100,000, not 1000"),
        (
            "ablation:",
            "seed: 100000000000000000000\nablation:",
            "claim.yaml:9: 'seed' must be at most 9,223,372,036,85",
        ),
        ("a1.h6", "m1", "claim.yaml:8: the program 'induction' says where a head attends, and 'm1' is no head"),
        ("a1.h6", "a1.x6", "claim.yaml:8: 'a1.x6' is not a component's name; names look like 'a1.h3', "),
        ("a1.h6", "a01.h3", "claim.yaml:8: the component 'a01.h3' is named a second time"),
        (
            "a1.h6",
            "a1.bias",
            "claim.yaml:8: 'a1.bias' is a constant part that is never ablated, so no claim can be about it",
        ),
        ("a1.h6", "r1", "claim.yaml:8: 'r1' is a place inside the model, not a component; "),
        ("a1.h6", "logits", "claim.yaml:8: 'logits' is always left as it is, so no claim can be about it"),
        ("zoo:novel-4l", "zoo:novel-l4", "claim.yaml:2: unknown model 'zoo:novel-l4'; did you mean 'zoo:novel-"),
        ("zoo:novel-4l", "novel-4l", "claim.yaml:2: unknown model 'novel-4l'; did you mean 'zoo:novel-4l'?"),
        ("zoo:novel-4l", "./nowhere", "claim.yaml:2: the model './nowhere' is neither a folder here, nor a zoo name"),
        ("zoo:novel-4l", "", "claim.yaml:2: the field 'model' has no value"),
        ("zoo:novel-4l", "3", "claim.yaml:2: 'model' must be a text, not 3"),
        ("split: test", "files: no.txt", "claim.yaml:3: the file 'no.txt' does not exist here ("),
        ("split: test", "split: test, texts: [a]", "claim.yaml:3: 'task' has both 'split' and 'texts'; give one"),
        (
            "split: test",
            "split: tests",
            "claim.yaml:3: unknown split 'tests' of the text of zoo:novel-4l; did you mean",
        ),
        (
            "split: test",
            "bos: 3",
            "claim.yaml:3: 'bos' must be auto, true, false or a token such as '<|endoftext|>', not 3",
        ),
        ("split: test", "metric: los", "claim.yaml:3: unknown metric 'los'; did you mean 'loss'?"),
        (TASK, "text", f"claim.yaml:3: 'task' must be a mapping such as {TASK}, not 'text'"),
        ("task: {kind: text, split: test}", "", "claim.yaml:2: the field 'task' is missing"),
    ],
)
def test_a_mistake_is_one_sentence_with_line_value_and_nearest(refusal, old: str, new: str, sentence: str):
    assert old in GOOD
    assert refusal(GOOD.replace(old, new, 1)).startswith(sentence)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("ablation: zero", "claim.yaml:10: the field 'ablation' stands here a second time, first on line 9"),
        ("seed: &a 1", "claim.yaml:10: the anchor '&a' is not allowed; write the value out where it is needed"),
        ("seed: *a", "claim.yaml:10: the alias '*a' is not allowed; write the value out"),
        ("<<: {seed: 1}", "claim.yaml:10: the merge key '<<' is not allowed; write the fields out"),
        (
            "seed: !!python/object/apply:os.system [ls]",
            "claim.yaml:10: the tag '!!python/object/apply:os.system' is not allowed; a claim file is plain data",
        ),
        ("seed: !mine 3", "claim.yaml:10: the tag '!mine' is not allowed; a claim file is plain data, never code"),
        ("seed: x", "claim.yaml:10: 'seed' must be a whole number, not 'x'"),
        ("seed: -1", "claim.yaml:10: 'seed' must be at least 0, not -1"),
        ("seed: 1.5", "claim.yaml:10: 'seed' must be a whole number, not 1.5"),
        ("seed: 1:30", "claim.yaml:10: 'seed' must be a whole number, not '1:30'"),
        ("seed: true", "claim.yaml:10: 'seed' must be a whole number, not True"),
        ("seed: 0777", "claim.yaml:10: the number '0777' cannot be read; write it in plain digits"),
        ("draws: 3", "claim.yaml:10: 'draws' must be at least 4, not 3"),
        ("frozen_norm: 1", "claim.yaml:10: 'frozen_norm' must be true or false, not 1"),
        ("floors: [bigrm]", "claim.yaml:10: unknown floor 'bigrm'; did you mean 'bigram' or "),
        ("reference: {spilt: train}", "claim.yaml:10: unknown field 'spilt' in 'reference'; did you mean 'split'?"),
        ("reference: train", "claim.yaml:10: 'reference' must be a mapping such as {files: [other.txt]}, not 'train'"),
        ("family: nove", "claim.yaml:10: the family 'nove' is neither built in nor a file here; did you mean 'novel'?"),
        ("---\nmodel: x", "claim.yaml:10: a second document starts here; a claim file is one document"),
        ("seed: [1", "claim.yaml:11: this is not YAML: "),
        ("\tseed: 1", "claim.yaml:10: this is not YAML: "),
        ("? [a]\n: 1", "claim.yaml:10: a field's name must be a word, not a list, a mapping or nothing"),
        ("seed: " + "[" * 400, "claim.yaml:10: values are nested more than 12 levels deep; a claim file needs five"),
        ("seed: \0", "claim.yaml:10: there is a NUL character here; a claim file is text"),
        ("seed: \x07", "claim.yaml:10: the character '\\x07' is not allowed in YAML"),
    ],
)
def test_a_further_line_is_refused_with_its_number(refusal, line: str, sentence: str):
    assert refusal(GOOD + line + "\n").startswith(sentence)


@pytest.mark.parametrize(
    ("components", "sentence"),
    [
        ("[]", "claim.yaml:3: 'components' is empty; name at least one"),
        ("[a1.h3, a1.h3]", "claim.yaml:3: the component 'a1.h3' is named a second time"),
        ("a1.h3", "claim.yaml:3: 'components' must be a list such as [a1.h3], not 'a1.h3'"),
        ("{a1.h3: induction}", "claim.yaml:3: 'components' must be a list such as [a1.h3], not a mapping"),
        ("[a1.h3, 4]", "claim.yaml:3: '4' is not a component's name; names look like "),
        ("[a1.h3, [4]]", "claim.yaml:3: each entry of 'components' must be a text, not a list"),
        ("[L1H0]", "claim.yaml:3: 'L1H0' is not a component's name; did you mean 'a1.h0'?"),
        ("[2.5]", "claim.yaml:3: '2.5' is not in zoo:novel-4l: its components are named like 'a1.h3', "),
        ("[blocks.2.mlp]", "claim.yaml:3: 'blocks.2.mlp' is not in zoo:novel-4l: its components are named like "),
        ("[a0, a0.h1]", "claim.yaml:3: 'a0.h1' lies in 'a0', which is named too; leave one out"),
        ("[a0.h1@3, a0]", "claim.yaml:3: 'a0.h1@3' lies in 'a0', which is named too; leave one out"),
        ("[a0.h1@3, a0.h1]", "claim.yaml:3: 'a0.h1@3' lies in 'a0.h1', which is named too; leave one out"),
        ("[m2.n1, m2]", "claim.yaml:3: 'm2.n1' lies in 'm2', which is named too; leave one out"),
        ("[a1], value: mean", "claim.yaml:3: unknown field 'value' in 'explanation'"),
    ],
)
def test_a_list_of_components_is_checked(refusal, components: str, sentence: str):
    assert refusal(KEEP.replace("[a1.h3, m2, m3.n137]", components)).startswith(sentence)


def test_heads_lie_in_the_group_that_shares_their_keys(refusal, claim):
    text = KEEP.replace("zoo:novel-4l", "zoo:stories-260k")
    refused = refusal(text.replace("[a1.h3, m2, m3.n137]", "[a1.kv1, a1.h3]"))
    assert refused == "claim.yaml:3: 'a1.h3' lies in 'a1.kv1', which is named too; leave one out"
    assert claim(text.replace("[a1.h3, m2, m3.n137]", "[a1.kv1, a1.h4, a1.h1@3, a1.h1@4]")).scope[1] == "a1.h4"


def test_an_mlp_of_a_model_of_attention_alone_is_refused(refusal, claim):
    text = KEEP.replace("zoo:novel-4l", "zoo:novel-attn2").replace("[a1.h3, m2, m3.n137]", "[a1.h3, m0]")
    assert refusal(text) == (
        "claim.yaml:3: 'm0' is not in zoo:novel-attn2: its layers have attention alone, and no MLP; "
        "name heads, such as a0.h0"
    )


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("/etc/passwd", "'/etc/passwd' is a file; give the folder that holds config.json and model.safetensors"),
        ("./claim.yaml", "'claim.yaml' is a file; give the folder that holds config.json and model.safetensors"),
        ("/etc", "the folder '/etc' holds no config.json, so it is not a model in the hub's format"),
        ("./lora", "the folder 'lora' holds an adapter of another model (adapter_config.json); open both with peft"),
    ],
)
def test_a_file_or_folder_that_is_no_model_is_refused(refusal, model: str, sentence: str):
    Path("lora").mkdir()
    Path("lora/adapter_config.json").write_text("{}")
    assert refusal(GOOD.replace("zoo:novel-4l", model)).startswith(f"claim.yaml:2: {sentence}")


def test_a_list_of_components_holds_names_as_they_are_written(claim):
    text = "model: some/classifier\ntask: {kind: classify, file: claim.yaml}\n"
    text += "explanation: {kind: remove, components: [0, 2.0, 2.10, 1e3, yes]}\n"
    assert claim(text).scope == ("0", "2.0", "2.10", "1e3", "yes")


def test_a_program_claim_needs_a_mapping(refusal):
    text = KEEP.replace("kind: keep", "kind: program")
    expected = "claim.yaml:3: 'components' must be a mapping such as {a1.h3: induction}, not a list"
    assert refusal(text) == expected


def test_layers_and_heads_of_a_model_on_disk_are_checked_with_the_line(refusal, claim):
    Path("tiny").mkdir()
    Path("tiny/config.json").write_text('{"n_layer": 2, "n_head": 4}')
    assert known_shape("tiny") == KnownShape(2, 4, 4, None, native=False)
    text = KEEP.replace("zoo:novel-4l", "./tiny")
    assert refusal(text) == "claim.yaml:3: 'm2' is not in ./tiny: it has 2 layers, 0 to 1"
    assert refusal(text.replace("m2, m3.n137", "a0.h4")) == (
        "claim.yaml:3: 'a0.h4' is not in ./tiny: its layers have 4 heads, 0 to 3"
    )
    assert claim(text.replace("m2, m3.n137", "a0.h0")).scope == ("a1.h3", "a0.h0")
    assert out_of_range(parse_site("a0.h4"), KnownShape(2, 8, 8, None, native=True)) is None


def test_submodules_of_other_networks_may_be_named(claim):
    text = KEEP.replace("[a1.h3, m2, m3.n137]", "['encoder.layer.0', 'conv1[3]']").replace(
        "zoo:novel-4l", "some/network"
    )
    assert claim(text).scope == ("encoder.layer.0", "conv1[3]")


def test_known_words_are_those_that_the_engine_has():
    import inspect

    from assay.explanations import programs

    workbench = planted.workbench()
    for ablation in set(ABLATIONS) - {"counterfactual"}:  # for which that task has no data
        assert len(workbench.ablate([parse_site("a0.h1")], ablation)) == 1
    for name, arguments in PROGRAMS.items():
        assert set(arguments) == set(inspect.signature(getattr(programs, name)).parameters)


@pytest.mark.parametrize(
    ("programs", "level"),
    [
        ("{a1.h3: {program: label, source: fr}}", "what"),
        ("{a1.h3: {program: label, source: fr}, a1.h6: induction}", "how"),
        ("{m2: {program: ngram, n: 2}}", "how"),
    ],
)
def test_a_claim_file_and_its_explanation_are_at_one_level(claim, programs: str, level: str):
    found = claim(
        KEEP.replace("{kind: keep, components: [a1.h3, m2, m3.n137]}", f"{{kind: program, components: {programs}}}")
    )
    assert found.level == found.build_explanation().level == level


def test_a_claim_file_builds_its_explanation(claim):
    from assay.explanations.components.sets import Constant, Keep
    from assay.explanations.program.library import induction
    from assay.explanations.program.program import Program

    program = claim(GOOD).build_explanation()
    assert isinstance(program, Program)
    assert program.components == {"a1.h3": induction(level="pattern"), "a1.h6": induction()}
    assert claim(KEEP).build_explanation() == Keep(["a1.h3", "m2", "m3.n137"])
    constant = "{kind: constant, components: [m2], value: zero}"
    text = KEEP.replace("{kind: keep, components: [a1.h3, m2, m3.n137]}", constant)
    assert claim(text).build_explanation() == Constant(["m2"], "zero")
