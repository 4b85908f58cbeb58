"""Programs at every level, through the runner, equal a naive implementation query by query with plain hooks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from assay.errors import ClaimError
from assay.explanations import Program, programs
from assay.explanations.program import fits
from assay.intervene.fill.ablations import PlanContext
from assay.names import parse_site
from tests.intervene.naive_cases import (
    KINDS,
    ROUNDED,
    assert_close,
    bench_of,
    logits,
    make,
    naive_fill,
)
from tests.naive import hooks
from tests.naive.attention_rules import target

RULES = {
    "recent": programs.induction(),
    "all": programs.induction(match="all", without_match="zero"),
    "prefix": programs.induction(match="prefix", prefix=3, without_match="first"),
    "previous": programs.previous_token(),
    "copy": programs.copy(),
    "first": programs.first_token(),
    "duplicate": programs.duplicate_token(),
}


def naive_program(workbench: PlanContext, network: Any, name: str, program: Any, alpha: Tensor | None):
    """(z to be given, what is added to the attention's output), query by query."""
    task, site = workbench.task, parse_site(name)
    width = network.config.vocab_size
    embedding = network.get_input_embeddings().weight.detach()
    unembedding = network.get_output_embeddings().weight.detach()
    directions = unembedding - unembedding.mean(0)
    assert directions.shape[0] == width

    def rule(row: list[int], i: int) -> dict[int, float]:
        return target(program.name, row, i, program.match, program.prefix)

    reference = task.reference
    z = hooks.values(network, reference.tokens, [name])[name]
    silent: dict[bool, list[Tensor]] = {True: [], False: []}
    for r, row in enumerate(reference.tokens.tolist()):
        for i in range(len(row)):
            if bool(reference.real[r, i]) and not rule(row, i):
                silent[i == 0].append(z[r, i].double())
    means = {k: torch.stack(v).mean(0).float().to(z) if v else torch.zeros_like(z[0, 0]) for k, v in silent.items()}

    def explained(x: Tensor) -> tuple[Tensor, Tensor]:
        """Given the stream that enters the layer."""
        values = hooks.attention_values(network, site.layer, x)[:, :, site.index]
        if program.level == "pattern_token":
            values = hooks.attention_values(network, site.layer, embedding[task.tokens])[:, :, site.index]
        out = torch.zeros_like(values)
        written = torch.zeros(*task.tokens.shape, embedding.shape[1], dtype=x.dtype)
        for r, row in enumerate(task.tokens.tolist()):
            for i in range(len(row)):
                weights = rule(row, i)
                for j, weight in weights.items():
                    if program.level == "full":
                        written[r, i] += weight * alpha.to(x) * directions[row[j]]
                    else:
                        out[r, i] += weight * values[r, j]
                if not weights:
                    other = {"mean": means[i == 0], "first": values[r, 0], "zero": torch.zeros_like(values[r, 0])}
                    out[r, i] = other[program.without_match]
        return out, written

    return explained


@pytest.mark.parametrize("level", programs.LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_programs_at_every_level_equal_a_naive_implementation(kind, level):
    dtype = torch.float64
    workbench = bench_of(kind, dtype)
    _, network = make(kind, dtype)
    for name, simple in RULES.items():
        if level == "full" and name not in ("recent", "prefix", "previous"):
            continue  # α is fitted in gradient steps, and the rules are the other levels'
        program = programs.AttentionProgram(simple.name, level, simple.match, simple.prefix, simple.without_match)
        for part in ("a0.h1", "a1.h2") if name == "recent" else ("a1.h2",):
            claim = Program({part: program})
            site = parse_site(part)
            alpha = None
            if level == "full":
                alpha = claim.strengths(workbench, claim.assigned(workbench.model))[site]
            explained = naive_program(workbench, network, part, program, alpha)
            z, written = explained(hooks.stream(network, workbench.task.tokens, site.layer))
            wanted = hooks.run(network, workbench.task.tokens, {part: z}, added={site.layer: written})
            tolerance = ROUNDED  # means without a match, α and weights of patterns are float32
            assert_close(logits(workbench, claim.plan(workbench)), wanted, tolerance)


def test_several_programs_see_each_others_outputs_and_every_floor_is_the_ablated_scope():
    workbench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    claim = Program({"a0.h1": RULES["previous"], "a1.h0": RULES["recent"]})
    first, _ = naive_program(workbench, network, "a0.h1", RULES["previous"], None)(
        hooks.stream(network, workbench.task.tokens, 0)
    )
    after = hooks.stream(network, workbench.task.tokens, 1, {"a0.h1": first})
    second, _ = naive_program(workbench, network, "a1.h0", RULES["recent"], None)(after)
    wanted = hooks.run(network, workbench.task.tokens, {"a0.h1": first, "a1.h0": second})
    assert_close(logits(workbench, claim.plan(workbench)), wanted, ROUNDED)
    for ablation in ("zero", "resample_independent"):
        given = naive_fill("gpt2", torch.float64, ("a0.h1", "a1.h0"), ablation, 1)
        got = logits(workbench, claim.floor(workbench, ablation, 1))
        assert_close(got, hooks.run(network, workbench.task.tokens, given), 1e-10)


def test_a_callable_reads_what_an_earlier_program_put_there():
    workbench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    seen: list[Tensor] = []

    def reader(tokens: Tensor, earlier: Tensor) -> Tensor:
        seen.append(earlier.clone())
        return torch.tanh(earlier.mean(-1, keepdim=True)).expand(*tokens.shape, 32)

    claim = Program({"m0": programs.ngram(1), "m1": programs.custom(reader, returns="output", reads=["m0"])})
    table = fits.ngram_table(workbench, parse_site("m0"), programs.ngram(1))
    put = table.look_up(workbench.task.tokens).double()
    wanted = hooks.run(
        network, workbench.task.tokens, {"m0": put, "m1": torch.tanh(put.mean(-1, keepdim=True)).expand(*put.shape)}
    )
    got = logits(workbench, claim.plan(workbench))
    assert_close(torch.cat(seen), put, 1e-10)
    assert_close(got, wanted, 1e-10)


def test_a_head_whose_output_is_given_in_the_stream_has_no_z_to_read():
    workbench = bench_of("gpt2", torch.float64)

    def written(ids: Tensor, *read: Tensor) -> Tensor:
        return torch.zeros(*ids.shape, 32)

    reader = programs.custom(written, returns="output", reads=["a0.h1"])
    claim = Program({"a0.h1": programs.custom(written, returns="output"), "m1": reader})
    with pytest.raises(ClaimError, match=r"reads 'a0\.h1', whose own program gives its output in the stream"):
        logits(workbench, claim.plan(workbench))


def test_a_callables_pattern_and_output_for_a_head_equal_hooks():
    workbench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    tokens = workbench.task.tokens
    layer, head = 1, 3

    def uniform(ids: Tensor) -> Tensor:
        return torch.ones(len(ids), ids.shape[1], ids.shape[1]).tril() / torch.arange(1, ids.shape[1] + 1).unsqueeze(1)

    def written(ids: Tensor) -> Tensor:
        return torch.sin(ids.double()).unsqueeze(-1).expand(*ids.shape, 32)

    x = hooks.stream(network, tokens, layer)
    z = uniform(tokens).double() @ hooks.attention_values(network, layer, x)[:, :, head]
    claim = Program({"a1.h3": programs.custom(uniform, returns="pattern")})
    assert_close(logits(workbench, claim.plan(workbench)), hooks.run(network, tokens, {"a1.h3": z}), 1e-10)
    claim = Program({"a1.h3": programs.custom(written, returns="output")})
    wanted = hooks.run(network, tokens, {"a1.h3": torch.zeros(1)}, added={1: written(tokens)})
    assert_close(logits(workbench, claim.plan(workbench)), wanted, 1e-10)


def test_ngrams_back_off_and_labels_split_the_mean():
    workbench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    reference, tokens = workbench.task.reference, workbench.task.tokens
    value = hooks.values(network, reference.tokens, ["m0"])["m0"]
    pairs: dict[tuple[int, ...], list[Tensor]] = {}
    for r, row in enumerate(reference.tokens.tolist()):
        for i in range(len(row)):
            if not bool(reference.real[r, i]):
                continue
            for order in (1, 2):
                if i >= order - 1:
                    pairs.setdefault(tuple(row[i - order + 1 : i + 1]), []).append(value[r, i])
    base = value[reference.real].mean(0)
    wanted = torch.zeros(*tokens.shape, value.shape[-1], dtype=torch.float64)
    for r, row in enumerate(tokens.tolist()):
        for i in range(len(row)):
            known = [key for key in (tuple(row[i - 1 : i + 1]) if i else (), (row[i],)) if len(pairs.get(key, [])) >= 2]
            wanted[r, i] = torch.stack(pairs[known[0]]).mean(0) if known else base
    got = fits.ngram_table(workbench, parse_site("m0"), programs.ngram(2)).look_up(tokens)
    assert_close(got.double(), wanted, ROUNDED)
    chosen = (23, 25, 27)
    label = Program({"m0": programs.label(tokens=chosen)})
    holds = torch.isin(reference.tokens, torch.tensor(chosen))
    parts = [value[:, 1:][(holds[:, 1:] == state) & reference.real[:, 1:]].mean(0) for state in (False, True)]
    put = torch.where(torch.isin(tokens, torch.tensor(chosen)).unsqueeze(-1), parts[1], parts[0])
    put[:, 0] = value[:, 0].mean(0)
    assert_close(logits(workbench, label.plan(workbench)), hooks.run(network, tokens, {"m0": put}), 1e-6)
