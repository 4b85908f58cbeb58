"""Every ablation and program, through the runner, equals plain hooks on the library's own model with the same donors."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from assay.errors import ClaimError, TaskError
from assay.explanations import Constant, Keep, Program, Remove, fits, programs
from assay.intervene.ablations import ABLATIONS, RANDOM, Workbench
from assay.intervene.components import expand
from assay.intervene.donors import donors
from assay.intervene.learned import optimal_constants
from assay.intervene.plan import Edit, From, Own, Plan, Run, Value
from assay.intervene.runner import Runner, Seen
from assay.measure.score import score
from assay.names import parse_site
from assay.task.task import Task
from tests.model.tiny import tiny, tiny_network
from tests.naive import hooks
from tests.naive.attention_rules import target

KINDS: dict[str, dict[str, Any]] = {
    "gpt2": {"family": "gpt2"},
    "llama": {"family": "llama"},
    "qwen3": {"family": "qwen3", "d_head": 12},
    "neox": {"family": "gpt_neox", "use_parallel_residual": False},
    "parallel": {"family": "gpt_neox", "use_parallel_residual": True},
}
SETS = {  # heads, MLPs, neurons; in one layer and in two; everywhere and at one column
    "head": ("a0.h1",),
    "mlp": ("m0",),
    "neurons": ("m0.n3", "m1.n7"),
    "mixed": ("a0.h0", "a0.h3", "m0", "a1.h2", "m1.n5"),
    "column": ("a0.h1@3", "m1@2", "m0.n4@3"),
}
ROUNDED = 1e-6  # constants of the reference are kept in float32, and the library's rotary angles are, whatever the model
DTYPES = [torch.float32, torch.float64]


def tolerance_of(kind: str, dtype: torch.dtype, *, rounded: bool = False) -> float:
    """Share of the logits' RMS; in float64 only positions that are learned and values without constants are exact."""
    if dtype == torch.float32:
        return 1e-5
    return ROUNDED if rounded or kind != "gpt2" else 1e-10


def make(kind: str, dtype: torch.dtype) -> tuple[Any, Any]:
    return tiny(**KINDS[kind], dtype=dtype, tokenizer=True), tiny_network(**KINDS[kind], dtype=dtype)


@cache
def sentences(count: int, seed: int, length: int = 9) -> tuple[str, ...]:
    """Few different words, so that some come again; every third text is shorter. "w1" is special, and so is no "w1x"."""
    words = np.random.default_rng(seed)
    sizes = [length + 6 - (i % 3 == 2) * 4 for i in range(count)]
    return tuple(" ".join(f"w{w}" for w in words.integers(21, 33, size)) for size in sizes)


def text_task(model: Any) -> Task:
    return Task.text(model, texts=list(sentences(5, 0, 14)), reference=list(sentences(12, 1, 14)))


def prompt_task(model: Any) -> Task:
    def row(i: int) -> dict[str, str]:
        clean, other = sentences(12, 2)[i], sentences(12, 3)[i]
        answers = {"correct": f" w{34 + i}", "incorrect": f" w{33 - i}"}
        return {"clean": clean, "corrupted": other, "group": f"g{i}", **answers}

    return Task.prompts(model, [row(i) for i in range(12)])


@cache
def bench_of(kind: str, dtype: torch.dtype, counterfactual: bool = False) -> Workbench:
    model, _ = make(kind, dtype)
    return Workbench(Runner(model, prompt_task(model) if counterfactual else text_task(model)), seed=5)


def logits(bench: Workbench, plan: Plan, *, reuse: bool = True) -> Tensor:
    """The plan's logits on all rows, batch by batch, with the clean run's prefix reused or not."""
    rows = np.arange(len(bench.task.tokens))
    with torch.no_grad():
        parts = [bench.runner.logits(plan, b, bench.runner.clean("scored", b) if reuse else None)
                 for b in bench.runner.batches(rows)]  # fmt: skip
    return torch.cat(parts)


def assert_close(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    rms = float(wanted.double().square().mean().sqrt())
    assert float((got - wanted).abs().max()) / rms < tolerance


@cache
def naive_mean(kind: str, dtype: torch.dtype, name: str, by_position: bool) -> Tensor:
    """[pos, width]: the mean over real tokens of the reference, the first position apart, column by column."""
    reference = bench_of(kind, dtype).task.reference
    value = hooks.values(make(kind, dtype)[1], reference.tokens, [name])[name].double()
    rest = [v for row, real in zip(value, reference.real, strict=True) for v in row[1:][real[1:]]]
    out = torch.stack(rest).mean(0).expand(value.shape[1:]).clone()
    for position in range(value.shape[1] if by_position else 1):
        seen = value[:, position][reference.real[:, position]]
        if len(seen):  # else the reference never reaches so far
            out[position] = seen.mean(0)
    return out.float()


def naive_fill(
    kind: str, dtype: torch.dtype, names: tuple[str, ...], ablation: str, draw: int = 0
) -> dict[str, Tensor]:
    """What every part takes: the definition of each ablation, from library runs of the rows that it names."""
    bench, (_, network) = bench_of(kind, dtype, ablation == "counterfactual"), make(kind, dtype)
    task = bench.task
    assert task.reference is not None
    if ablation == "optimal":
        sites = tuple(parse_site(name) for name in names)
        return dict(zip(names, optimal_constants(bench, sites), strict=True))
    out: dict[str, Tensor] = {}
    for name in names:
        bare = name.split("@")[0]
        match ablation:
            case "zero":
                out[name] = torch.zeros(1)
            case "mean" | "mean_position":
                out[name] = naive_mean(kind, dtype, bare, ablation == "mean_position")
            case "resample_joint" | "resample_independent":
                rows = donors(task, bench.seed, draw, "" if ablation == "resample_joint" else bare)
                out[name] = hooks.values(network, task.reference.tokens[torch.from_numpy(rows)], [bare])[bare]
            case "counterfactual":
                assert task.counterfactual is not None
                out[name] = hooks.values(network, task.counterfactual, [bare])[bare]
            case "noise":
                rows = np.arange(len(task.tokens))
                out[name] = bench._noise(parse_site(name), draw)(Seen(task.tokens, rows, "scored"))
    return out


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_every_ablation_equals_plain_hooks(kind, ablation, dtype):
    bench = bench_of(kind, dtype, ablation == "counterfactual")
    _, network = make(kind, dtype)
    fixed = ablation in ("mean", "mean_position")
    if ablation == "optimal" and (dtype == torch.float64 or kind not in ("gpt2", "qwen3")):
        pytest.skip("gradient steps take time, and how constants are put is the same for all")
    for names in SETS.values() if ablation != "optimal" else [SETS["mixed"]]:
        for draw in (0, 1) if ablation in RANDOM else (0,):
            plan = Remove(names).plan(bench, ablation, draw)
            given = naive_fill(kind, dtype, names, ablation, draw)
            wanted = hooks.run(network, bench.task.tokens, given)
            assert_close(logits(bench, plan), wanted, tolerance_of(kind, dtype, rounded=fixed))
            assert_close(logits(bench, plan, reuse=False), wanted, tolerance_of(kind, dtype, rounded=fixed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ablation", [a for a in ABLATIONS if a != "optimal"])
def test_keep_is_the_ablated_complement_and_the_empty_floor_ablates_everything(kind, ablation):
    bench = bench_of(kind, torch.float64, ablation == "counterfactual")
    model, network = make(kind, torch.float64)
    kept = ("a0.h2", "a1.h0", "m1")
    everything = tuple(hooks.all_parts(network, model.config.layers, model.config.heads))
    assert set(everything) == set(model.components) - {"input"}
    given = naive_fill(kind, torch.float64, everything, ablation)
    inside = {name: value for name, value in given.items() if name not in kept}
    tolerance = tolerance_of(kind, torch.float64, rounded=True)
    assert_close(
        logits(bench, Keep(kept).plan(bench, ablation)), hooks.run(network, bench.task.tokens, inside), tolerance
    )
    empty = hooks.run(network, bench.task.tokens, given)
    assert_close(logits(bench, Keep(kept).floor(bench, ablation)), empty, tolerance)
    assert_close(logits(bench, Keep([]).plan(bench, ablation)), empty, tolerance)
    whole = Keep(everything).plan(bench, ablation)
    assert torch.equal(logits(bench, whole), logits(bench, Plan()))


def test_keeping_neurons_ablates_the_others_of_their_layer_and_keeping_columns_the_other_columns():
    bench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    parts = [p for p in hooks.all_parts(network, 2, 4) if p != "m0"]
    others = tuple(f"m0.n{i}" for i in range(48) if i not in (3, 5))
    given = naive_fill("gpt2", torch.float64, (*parts, *others), "resample_joint", 0)
    got = logits(bench, Keep(["m0.n3", "m0.n5"]).plan(bench, "resample_joint"))
    assert_close(got, hooks.run(network, bench.task.tokens, given), 1e-10)
    given = naive_fill("gpt2", torch.float64, tuple(hooks.all_parts(network, 2, 4)), "resample_joint", 0)

    def all_but_two(old: Tensor) -> Tensor:
        out = given["a1.h1"].clone()
        out[:, 2], out[:, 4] = old[:, 2], old[:, 4]
        return out

    got = logits(bench, Keep(["a1.h1@2", "a1.h1@4"]).plan(bench, "resample_joint"))
    assert_close(got, hooks.run(network, bench.task.tokens, {**given, "a1.h1": all_but_two}), 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_norm_divides_by_the_scales_of_the_clean_run(kind):
    model, network = make(kind, torch.float64)
    bench = Workbench(Runner(model, text_task(model)), 5, frozen_norm=True)
    for ablation in ("zero", "resample_joint"):
        for names in (SETS["mixed"], ("m1",)):
            given = naive_fill(kind, torch.float64, names, ablation, 0)
            wanted = hooks.run(network, bench.task.tokens, given, frozen=True)
            assert_close(
                logits(bench, Remove(names).plan(bench, ablation)), wanted, tolerance_of(kind, torch.float64)
            )
            assert float((wanted - hooks.run(network, bench.task.tokens, given)).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", [("a0.h1",), ("a0.h1", "m1")], ids=["first", "last"])
def test_refit_is_the_ridge_regression_of_the_clean_stream_on_the_ablated_one(kind, names):
    model, network = make(kind, torch.float64)
    bench = Workbench(Runner(model, text_task(model)), 5, refit=True)
    task = bench.task
    layer = 1 + int(names[-1].startswith("m1"))
    given = {name: torch.zeros(1) for name in names}
    x = hooks.stream(network, task.reference.tokens, layer, given)[task.reference.real]
    y = hooks.stream(network, task.reference.tokens, layer)[task.reference.real]
    centred = x - x.mean(0)
    gram = centred.T @ centred
    ridge = 1e-4 * float(gram.diagonal().mean())
    # the same optimum as an ordinary least-squares problem with rows added
    rows = torch.cat([centred, ridge**0.5 * torch.eye(len(gram), dtype=torch.float64)])
    slope = torch.linalg.lstsq(rows, torch.cat([y - y.mean(0), torch.zeros_like(gram)])).solution

    def affine(old: Tensor) -> Tensor:
        new = (old - x.mean(0)) @ slope + y.mean(0)
        new[:, 0] = old[:, 0]
        return new

    wanted = hooks.run(network, task.tokens, given, streams={layer: affine})
    assert_close(logits(bench, Remove(names).plan(bench, "zero")), wanted, 1e-7)


@pytest.mark.parametrize("ablation", [a for a in ABLATIONS if a != "optimal"])
def test_refit_works_for_every_ablation_and_brings_the_run_nearer(ablation):
    model, _ = make("llama", torch.float32)
    task = prompt_task(model) if ablation == "counterfactual" else text_task(model)
    plain, helped = (Workbench(Runner(model, task), 5, refit=refit) for refit in (False, True))
    clean = logits(plain, Plan())
    errors = [float((logits(b, Remove(["m0"]).plan(b, ablation)) - clean).square().mean()) for b in (plain, helped)]
    assert np.isfinite(errors).all()
    if ablation in ("zero", "mean"):
        assert errors[1] < errors[0]


def test_noise_has_the_references_mean_and_covariance_the_first_position_apart():
    bench = bench_of("llama", torch.float64)
    _, network = make("llama", torch.float64)
    reference = bench.task.reference
    value = hooks.values(network, reference.tokens, ["a0.h1"])["a0.h1"]
    rest = value[:, 1:][reference.real[:, 1:]]
    rows = np.arange(len(bench.task.tokens))
    seen = Seen(bench.task.tokens, rows, "scored")
    drawn = torch.stack([bench._noise(parse_site("a0.h1"), draw)(seen) for draw in range(400)]).double()
    sample = drawn[:, :, 1:].flatten(0, 2)
    scale = float(rest.std())
    assert float((sample.mean(0) - rest.mean(0)).abs().max()) < 0.05 * scale
    assert float((torch.cov(sample.T) - torch.cov(rest.T)).abs().max()) < 0.08 * scale**2
    first = value[:, 0].mean(0)  # BOS is the same everywhere: nothing varies there
    assert float((drawn[:, :, 0] - first).abs().max()) < 1e-5


def test_optimal_constants_are_better_than_the_mean_on_the_reference():
    bench = bench_of("gpt2", torch.float32)
    model, network = make("gpt2", torch.float32)
    names = ("a0.h0", "a1.h2", "m1")
    reference = bench.task.reference
    clean = model.forward(reference.tokens).log_softmax(-1)

    def divergence(ablation: str) -> float:
        edited = hooks.run(network, reference.tokens, naive_fill("gpt2", torch.float32, names, ablation, 0)).log_softmax(-1)
        kl = (clean.exp() * (clean - edited)).sum(-1)[:, :-1]
        return float(kl[reference.scored[:, 1:]].mean())

    assert divergence("optimal") < divergence("mean")


RULES = {
    "recent": programs.induction(),
    "all": programs.induction(match="all", without_match="zero"),
    "prefix": programs.induction(match="prefix", prefix=3, without_match="first"),
    "previous": programs.previous_token(),
    "copy": programs.copy(),
    "first": programs.first_token(),
    "duplicate": programs.duplicate_token(),
}


def naive_program(bench: Workbench, network: Any, name: str, program: Any, alpha: Tensor | None):
    """(z to be given, what is added to the attention's output), query by query."""
    task, site = bench.task, parse_site(name)
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
    bench = bench_of(kind, dtype)
    _, network = make(kind, dtype)
    for name, simple in RULES.items():
        program = programs.AttentionProgram(simple.name, level, simple.match, simple.prefix, simple.without_match)
        for part in ("a0.h1", "a1.h2"):
            claim = Program({part: program})
            site = parse_site(part)
            alpha = None
            if level == "full":
                alpha = claim.strengths(bench, claim.assigned(bench.model))[site]
            explained = naive_program(bench, network, part, program, alpha)
            z, written = explained(hooks.stream(network, bench.task.tokens, site.layer))
            wanted = hooks.run(network, bench.task.tokens, {part: z}, added={site.layer: written})
            tolerance = ROUNDED  # means without a match, α and weights of patterns are float32
            assert_close(logits(bench, claim.plan(bench)), wanted, tolerance), name
            assert_close(logits(bench, claim.plan(bench), reuse=False), wanted, tolerance), name


def test_several_programs_see_each_others_outputs_and_every_floor_is_the_ablated_scope():
    bench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    claim = Program({"a0.h1": RULES["previous"], "a1.h0": RULES["recent"]})
    first, _ = naive_program(bench, network, "a0.h1", RULES["previous"], None)(
        hooks.stream(network, bench.task.tokens, 0)
    )
    after = hooks.stream(network, bench.task.tokens, 1, {"a0.h1": first})
    second, _ = naive_program(bench, network, "a1.h0", RULES["recent"], None)(after)
    wanted = hooks.run(network, bench.task.tokens, {"a0.h1": first, "a1.h0": second})
    assert_close(logits(bench, claim.plan(bench)), wanted, ROUNDED)
    for ablation in ("zero", "resample_independent"):
        given = naive_fill("gpt2", torch.float64, ("a0.h1", "a1.h0"), ablation, 1)
        got = logits(bench, claim.floor(bench, ablation, 1))
        assert_close(got, hooks.run(network, bench.task.tokens, given), 1e-10)


def test_a_callable_reads_what_an_earlier_program_put_there():
    bench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    seen: list[Tensor] = []

    def reader(tokens: Tensor, earlier: Tensor) -> Tensor:
        seen.append(earlier.clone())
        return torch.tanh(earlier.mean(-1, keepdim=True)).expand(*tokens.shape, 32)

    claim = Program({"m0": programs.ngram(1), "m1": programs.custom(reader, returns="output", reads=["m0"])})
    table = fits.ngram_table(bench, parse_site("m0"), programs.ngram(1))
    put = table(bench.task.tokens).double()
    wanted = hooks.run(
        network, bench.task.tokens, {"m0": put, "m1": torch.tanh(put.mean(-1, keepdim=True)).expand(*put.shape)}
    )
    got = logits(bench, claim.plan(bench))
    assert_close(torch.cat(seen), put, 1e-10)
    assert_close(got, wanted, 1e-10)


def test_a_callables_pattern_and_output_for_a_head_equal_hooks():
    bench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    tokens = bench.task.tokens
    layer, head = 1, 3

    def uniform(ids: Tensor) -> Tensor:
        return torch.ones(len(ids), ids.shape[1], ids.shape[1]).tril() / torch.arange(1, ids.shape[1] + 1).unsqueeze(1)

    def written(ids: Tensor) -> Tensor:
        return torch.sin(ids.double()).unsqueeze(-1).expand(*ids.shape, 32)

    x = hooks.stream(network, tokens, layer)
    z = uniform(tokens).double() @ hooks.attention_values(network, layer, x)[:, :, head]
    claim = Program({"a1.h3": programs.custom(uniform, returns="pattern")})
    assert_close(logits(bench, claim.plan(bench)), hooks.run(network, tokens, {"a1.h3": z}), 1e-10)
    claim = Program({"a1.h3": programs.custom(written, returns="output")})
    wanted = hooks.run(network, tokens, {"a1.h3": torch.zeros(1)}, added={1: written(tokens)})
    assert_close(logits(bench, claim.plan(bench)), wanted, 1e-10)


def test_ngrams_back_off_and_labels_split_the_mean():
    bench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    reference, tokens = bench.task.reference, bench.task.tokens
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
    got = fits.ngram_table(bench, parse_site("m0"), programs.ngram(2))(tokens)
    assert_close(got.double(), wanted, ROUNDED)
    chosen = (23, 25, 27)
    label = Program({"m0": programs.label(tokens=chosen)})
    holds = torch.isin(reference.tokens, torch.tensor(chosen))
    parts = [value[:, 1:][(holds[:, 1:] == state) & reference.real[:, 1:]].mean(0) for state in (False, True)]
    put = torch.where(torch.isin(tokens, torch.tensor(chosen)).unsqueeze(-1), parts[1], parts[0])
    put[:, 0] = value[:, 0].mean(0)
    assert_close(logits(bench, label.plan(bench)), hooks.run(network, tokens, {"m0": put}), 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_parts_own_value_changes_nothing(kind):
    bench = bench_of(kind, torch.float32)
    clean = logits(bench, Plan())
    for names in SETS.values():
        plan = bench.plan(tuple(Edit(site, Own()) for site in expand(names, bench.model)))
        assert_close(logits(bench, plan), clean, 1e-5)
        assert_close(logits(bench, plan, reuse=False), clean, 1e-5)
    own = bench.plan(tuple(Edit(parse_site(n), From("clean")) for n in SETS["mixed"]))
    assert_close(logits(bench, own), clean, 1e-5)


def test_the_same_site_may_take_several_donors():
    bench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    rows = [np.zeros(len(bench.task.tokens), dtype=np.int64), np.full(len(bench.task.tokens), 7)]
    edits = tuple(Edit(parse_site(f"m0@{2 + i}"), From("donor", r)) for i, r in enumerate(rows))
    got = logits(bench, Plan((Run("donor", "reference"), Run("explained", edits=edits))))

    def both(old: Tensor) -> Tensor:
        out = old.clone()
        for i, r in enumerate(rows):
            donor = bench.task.reference.tokens[torch.from_numpy(r)]
            out[:, 2 + i] = hooks.values(network, donor, ["m0"])["m0"][:, 2 + i]
        return out

    assert_close(got, hooks.run(network, bench.task.tokens, {"m0": both}), 1e-10)


@pytest.mark.parametrize("ablation", ["mean", "resample_joint", "resample_independent", "noise"])
def test_results_do_not_depend_on_the_micro_batch_and_one_seed_gives_the_same_bytes(ablation):
    model, _ = make("llama", torch.float32)
    task = text_task(model)

    def kl(size: int | None, seed: int = 5) -> np.ndarray:
        runner = Runner(model, task)
        runner.batch = size or runner.batch
        bench = Workbench(runner, seed)
        return score(bench, {"e": [Remove(SETS["mixed"]).plan(bench, ablation, draw) for draw in range(2)]})["e"].draw_kl

    whole = kl(None)
    assert kl(None).tobytes() == whole.tobytes()
    for size in (1, 2, 3):
        np.testing.assert_allclose(kl(size), whole, rtol=1e-4, atol=1e-5)
    if ablation in RANDOM:
        assert not np.allclose(kl(None, 6), whole, rtol=1e-3)
        assert not np.allclose(whole[:, 0], whole[:, 1], rtol=1e-3)


def test_joint_donors_are_one_row_for_all_sites_and_independent_ones_are_not():
    bench = bench_of("llama", torch.float32)
    joint = bench.ablate(expand(SETS["mixed"], bench.model), "resample_joint", 2)
    apart = bench.ablate(expand(SETS["mixed"], bench.model), "resample_independent", 2)
    rows = [edit.source.rows.tobytes() for edit in joint if isinstance(edit.source, From)]
    assert len(rows) == len(SETS["mixed"])
    assert len(set(rows)) == 1
    assert len({edit.source.rows.tobytes() for edit in apart if isinstance(edit.source, From)}) > 1


def test_a_constant_claim_puts_its_constant_whatever_the_ablation():
    bench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    for value in ("mean", "mean_position", "zero"):
        given = naive_fill("gpt2", torch.float64, ("a0.h1", "m1"), value, 0)
        wanted = hooks.run(network, bench.task.tokens, given)
        for ablation in ("zero", "resample_joint"):
            got = logits(bench, Constant(["a0.h1", "m1"], value).plan(bench, ablation, 3))
            assert_close(got, wanted, ROUNDED)


def test_a_mean_that_counts_the_first_position_would_fail():
    """BOS has another mean: the naive mean with it differs from the reference's by far more than any tolerance."""
    bench = bench_of("llama", torch.float64)
    _, network = make("llama", torch.float64)
    reference = bench.task.reference
    value = hooks.values(network, reference.tokens, ["m0"])["m0"]
    right, wrong = value[:, 1:][reference.real[:, 1:]].mean(0), value[reference.real].mean(0)
    kept = bench.statistics.mean(parse_site("m0")).double()
    assert_close(kept[1:], right.expand_as(kept[1:]), 1e-6)
    assert_close(kept[0], value[:, 0].mean(0), 1e-6)
    assert float((wrong - right).abs().max()) > 1e-2 * float(right.abs().max())


def test_what_an_ablation_lacks_is_said():
    bench = bench_of("llama", torch.float32)
    with pytest.raises(TaskError, match="has no counterfactuals"):
        bench.ablate(expand(["m0"], bench.model), "counterfactual")
    with pytest.raises(TaskError, match="unknown ablation 'meen'; nearest: 'mean'"):
        bench.ablate(expand(["m0"], bench.model), "meen")
    with pytest.raises(ClaimError, match="at least one component"):
        Remove([])
    assert isinstance(bench.source("zero", parse_site("m0"), 0), Value)
