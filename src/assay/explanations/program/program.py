"""`Program`: the claim that parts of the model compute what a program says. The program runs in the parts' place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from assay.errors import ClaimError
from assay.explanations.answers import Neighbours, Presence, Searched, Unread
from assay.explanations.base import AnyModel, Assignment, Explanation, Label, Level, Undefined, listed
from assay.explanations.bits import NUMBER, ClaimBits, parts_bits, subset_bits, width_of
from assay.explanations.components.sets import SIMPLE, single_or_named
from assay.explanations.program import fits
from assay.explanations.program.length import grammar_bits
from assay.explanations.program.library import (
    SCORED,
    AnyProgram,
    AttentionProgram,
    CustomProgram,
    LabelProgram,
    NGramProgram,
    words,
)
from assay.explanations.program.neighbours import coarser, neighbours
from assay.explanations.program.spec import level_of
from assay.explanations.program.writing import block, call
from assay.intervene.components import expand
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.fit_context import Fit
from assay.intervene.fill.spec import FITTED
from assay.intervene.plan import Batch, Call, Edit, Plan, Source, Stream
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site, check_texts, parse_site

SHOWN = 4  # parts in a repr
MOST_MERGED = 16  # parts whose own program is given up one by one


class Program(Explanation):
    """Programs in place of heads, MLPs or neurons; the rest of the model is untouched.

    Args:
        components: name -> program (`assay.programs`); a layer's name gives the program to each of its heads.

    Raises:
        ClaimError: for an empty mapping, a value that is no program, or a program that cannot stand for the part.

    Example:
        >>> from assay.explanations import programs
        >>> Program({"a1.h3": programs.induction()}).level
        'how'
    """

    kind: ClassVar[str] = "program"
    once = True
    simple_searches: ClassVar[tuple[tuple[str, str], ...]] = SIMPLE

    def __init__(self, components: Mapping[str, AnyProgram]):
        if not components:
            raise ClaimError("Program takes at least one component, not an empty mapping")
        check_texts("Program", components)
        for name, program in components.items():
            if not isinstance(program, AnyProgram):
                raise ClaimError(
                    f"{name!r} is given {program!r}, which is no program; use assay.programs, "
                    "and programs.custom for your own"
                )
        self.components = dict(components)

    @property
    def level(self) -> Level:
        return level_of(isinstance(program, LabelProgram) for program in self.components.values())

    def __repr__(self) -> str:
        shown = [f"{name!r}: {call(program)}" for name, program in list(self.components.items())[:SHOWN]]
        more = [f"... {len(self.components) - SHOWN} more"] if len(self.components) > SHOWN else []
        return f"Program({{{', '.join(shown + more)}}})"

    def fields(self, model: AnyModel | None = None) -> dict[str, Any]:
        return {"components": {name: block(name, program) for name, program in self.components.items()}}

    def assigned(self, model: AnyModel) -> list[tuple[Site, AnyProgram]]:
        """Every part with its program, in the model's order.

        Raises:
            ClaimError: when a program cannot stand for a part, or the model is no transformer.
        """
        if isinstance(model, ModuleModel):
            raise ClaimError(
                f"programs stand for parts of transformers, which {model.name} is not; use a claim of kind keep, "
                "remove or constant"
            )
        out: list[tuple[Site, AnyProgram]] = []
        for name, program in self.components.items():
            for site in expand([name], model):
                if isinstance(program, AttentionProgram) and site.kind != "head":
                    raise ClaimError(
                        f"program {program.name!r} says where a head attends, but {str(site)!r} is no head; "
                        "an MLP or a neuron can take 'ngram' or 'label'"
                    )
                if isinstance(program, CustomProgram) and program.returns == "pattern" and site.kind != "head":
                    raise ClaimError(f"{program.name!r} returns a pattern, but {str(site)!r} is no head")
                out.append((site, program))
        expand([str(site) for site, _ in out], model)  # refuses a part named twice
        return sorted(out, key=lambda pair: (pair[0].layer or 0, pair[0].kind != "head", pair[0].index or 0))

    def scope(self, model: AnyModel) -> list[Site]:
        return [site for site, _ in self.assigned(model)]

    def plan(self, workbench: PlanContext, ablation: str = "mean", draw: int = 0) -> Plan:
        """The explained run: it is the same under every ablation, which only the floor depends on."""
        return workbench.plan(self.edits(workbench))

    def edits(self, workbench: PlanContext, ablation: str = "mean", draw: int = 0) -> tuple[Edit, ...]:
        assigned = self.assigned(workbench.model)
        workbench.store.gather([site for site, program in assigned if fits.wants_values(workbench, site, program)])
        strengths = self.strengths(workbench, assigned)
        return tuple(Edit(site, source(workbench, site, program, strengths.get(site))) for site, program in assigned)

    def sentence(self, model_name: str) -> str:
        groups: dict[str, list[str]] = {}
        for name, program in self.components.items():
            groups.setdefault(words(program), []).append(name)
        parts = [
            f"{listed(names)} of {model_name} {'do' if len(names) > 1 else 'does'} {what}"
            for what, names in groups.items()
        ]
        return "; ".join(parts)

    def unmatched(self, workbench: PlanContext) -> float | None:
        """The share of scored tokens' queries about which no attention program of the claim says anything."""
        programs = [p for p in self.components.values() if isinstance(p, AttentionProgram)]
        if not programs:
            return None
        silent = torch.stack([~p.attend(workbench.task.tokens).matched[:, :-1] for p in set(programs)]).all(0)
        scored = workbench.task.scored[:, 1:]
        return float((silent & scored).sum() / scored.sum())

    def strengths(self, workbench: PlanContext, assigned: list[tuple[Site, AnyProgram]]) -> dict[Site, Tensor]:
        """The α of every `full` head, fitted together beside the other programs, by least KL on the reference."""
        full = [(s, p) for s, p in assigned if isinstance(p, AttentionProgram) and p.level == "full"]
        if not full:
            return {}

        def fitted() -> tuple[list[Tensor], Fit]:
            others = tuple(Edit(s, source(workbench, s, p)) for s, p in assigned if (s, p) not in full)
            return fits.strengths(workbench, full, others)

        found, fit = workbench.store.of(fits.FittedStrengths).once((tuple(assigned), workbench.frozen_norm), fitted)
        workbench.note(fit)
        return {site: value for (site, _), value in zip(full, found, strict=True)}

    # -- what is run beside it

    def alone(self, model: AnyModel) -> dict[str, list[Site]] | Undefined:
        return single_or_named(self, list(self.components), model)

    def values(self, workbench: PlanContext) -> tuple[Edit, ...]:
        return self.edits(workbench)

    def presence(self, workbench: PlanContext, ablation: str) -> Presence:
        return Presence(there={edit.site: edit for edit in self.edits(workbench)})

    def coarser(self, workbench: PlanContext, ablation: str) -> dict[str, Plan]:
        assigned, edits = self.assigned(workbench.model), self.edits(workbench)
        strengths = self.strengths(workbench, assigned)
        out: dict[str, Plan] = {}
        for index, (site, program) in enumerate(assigned):
            merge = coarser(program, several=1 < len(assigned) <= MOST_MERGED)
            if merge is None:
                continue
            what, simpler = merge
            # the α that was fitted for the finer rule serves the coarser one
            edit = None if simpler is None else Edit(site, source(workbench, site, simpler, strengths.get(site)))
            merged = workbench.ablate([site], "mean")[0] if edit is None else edit
            out[f"{site}: {what}"] = workbench.plan((*edits[:index], merged, *edits[index + 1 :]))
        return out

    # -- its length

    def claim_bits(self, model: AnyModel, channels: int = 0) -> ClaimBits | Undefined:
        if isinstance(model, ModuleModel):
            return Undefined("programs stand for parts of transformers")
        programs = [program for _, program in self.assigned(model)]
        try:
            lengths = [grammar_bits(program, model.config.vocab) for program in programs]
        except ValueError as problem:
            return Undefined(str(problem))
        # one bit says whether all parts do the same, which is then said once
        same = len(programs) > 1 and all(program == programs[0] for program in programs)
        grammar = (lengths[0] if same else sum(lengths)) + (len(programs) > 1)
        numbers = sum(program.parameters for program in programs if isinstance(program, AttentionProgram))
        where = parts_bits(self.scope(model), model).bits
        how = f"which parts {where:.1f} + productions {grammar:.1f} + {numbers} fitted numbers of {NUMBER} bits"
        return ClaimBits(where + grammar + NUMBER * numbers, how)

    def unread(self, model: Model, ablation: str) -> Iterator[Unread]:
        for site, program in self.assigned(model):
            match program:
                case AttentionProgram(level=level, without_match=without):
                    # its own V and O make the first position's value where nothing matched
                    free = level == "full" and without != "first"
                    yield Unread(site, values=free, output=free)
                case CustomProgram(returns=returns):
                    yield Unread(site, values=returns != "pattern", output=returns != "pattern")
                case _:
                    yield Unread(site, output=False)

    def constants_bits(self, workbench: PlanContext, ablation: str) -> float:
        model, total = workbench.model, 0.0
        assert isinstance(model, Model)
        for site, program in self.assigned(model):
            size = width_of(model, site)
            match program:
                case AttentionProgram(without_match="mean", level=level):
                    size = model.config.d_model if level == "full" else size  # `full` has no output matrix
                    total += NUMBER * 2 * size  # the first position has a mean of its own
                case LabelProgram():
                    total += 2 * 2 * NUMBER * size
                case NGramProgram(n=n):
                    count = fits.ngram_table(workbench, site, program).rows
                    total += subset_bits(model.config.vocab**n, count) + NUMBER * size * (count + 1)
        return total

    # -- its controls

    def assignment(self, model: AnyModel) -> Assignment:
        return dict(self.assigned(model))

    def like(self, assignment: Mapping[Site, Label]) -> Explanation:
        programs: dict[str, Any] = {str(site): program for site, program in assignment.items()}
        return Program(programs)

    def again(self) -> str:
        return f"the same program{'s' if len(set(self.components.values())) > 1 else ''} on"

    def costly(self, ablation: str) -> bool:
        fitted = any(isinstance(p, AttentionProgram) and p.level == "full" for p in self.components.values())
        return fitted or ablation in FITTED

    def foresee(self, workbench: PlanContext, sites: Sequence[Site]) -> None:
        workbench.store.gather(sites)

    def search(self, model: AnyModel) -> Searched:
        return Searched("head_scores" if self.searched_by(model) else "largest_attribution")

    def neighbours(self, workbench: PlanContext, ablation: str, most: int) -> Iterator[Neighbours]:
        return neighbours(self, dict(self.assigned(workbench.model)), workbench, most)

    def searched_by(self, model: AnyModel) -> dict[Site, str]:
        return {
            site: program.name
            for site, program in self.assigned(model)
            if isinstance(program, AttentionProgram) and program.name in SCORED and site.kind == "head"
        }


def source(workbench: PlanContext, site: Site, program: AnyProgram, strength: Tensor | None = None) -> Source:
    """The program as the source of the part's value; `strength` is the α of level `full`."""
    model = workbench.model
    assert isinstance(model, Model)
    assert site.layer is not None
    width = 1 if site.kind == "neuron" else model.config.d_model
    if isinstance(program, CustomProgram) and not program.reads:
        program(workbench.task.tokens[:1], width=width)  # what cannot be right is said before anything is run
    match program:
        case AttentionProgram():
            return _attention(workbench, model, site, program, strength)
        case CustomProgram(returns="pattern"):
            group = _group(model, site)
            reads = tuple(parse_site(name) for name in program.reads)

            def patterned(batch: Batch) -> Tensor:
                weights = program(batch.tokens, *(batch.read(r) for r in reads), width=width)
                return weights.to(batch.read(group).dtype) @ batch.read(group)

            return Call(patterned, (group, *reads))
        case CustomProgram():
            reads = tuple(parse_site(name) for name in program.reads)

            def output(batch: Batch) -> Tensor | Stream:
                value = program(batch.tokens, *(batch.read(r) for r in reads), width=width)
                return Stream(value) if site.kind == "head" else value

            return Call(output, reads)
        case NGramProgram():
            table = fits.ngram_table(workbench, site, program)
            return Call(lambda batch: table.look_up(batch.tokens))
        case LabelProgram():
            return Call(fits.label_constants(workbench, site, program))
    raise TypeError(program)


def _group(model: Model, site: Site) -> Site:
    """The key/value group whose values the head reads."""
    assert site.index is not None
    return Site("kv", site.layer, site.index // (model.config.heads // model.config.kv_heads))


def _attention(
    workbench: PlanContext, model: Model, site: Site, program: AttentionProgram, strength: Tensor | None
) -> Source:
    layer, head, group = site.layer or 0, site.index or 0, _group(model, site)
    rest = fits.without_match(workbench, site, program) if program.without_match == "mean" else None

    def z_without(values: Tensor) -> Tensor:
        if rest is not None:
            return rest.to(values)
        return values[:, :1].expand_as(values) if program.without_match == "first" else torch.zeros_like(values)

    def from_values(batch: Batch, values: Tensor) -> Tensor:
        attention = program.attend(batch.tokens)
        z = attention.weights.to(values.dtype) @ values
        return torch.where(attention.matched.unsqueeze(-1), z, z_without(values))

    def pattern(batch: Batch) -> Tensor:
        return from_values(batch, batch.read(group))

    def pattern_token(batch: Batch) -> Tensor:
        embedding = model.W_E[batch.tokens]
        return from_values(batch, model.values(embedding, layer)[:, :, group.index])

    def full(batch: Batch) -> Stream:
        attention = program.attend(batch.tokens)
        assert strength is not None
        out = fits.attended(model, attention, batch.tokens)
        out = strength.to(out) * out
        fallback = z_without(batch.read(group)) @ model.W_O(layer)[head]
        return Stream(torch.where(attention.matched.unsqueeze(-1), out, fallback))

    if program.level == "pattern_token":
        return Call(pattern_token)
    return Call(pattern if program.level == "pattern" else full, (group,))
