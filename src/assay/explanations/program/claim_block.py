"""The claim-file block of programs: component -> a program's name, or its name and arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from assay import plugins
from assay.errors import ClaimError, nearest
from assay.explanations.claims.block import Claim, NamesParts
from assay.explanations.levels import Level
from assay.explanations.program.spec import PROGRAMS, level_of, program_problem
from assay.names import Site

if TYPE_CHECKING:
    from assay.explanations.program.program import Program


class ProgramFields(NamesParts):
    """Component -> a program's name, or its name and arguments."""

    kind: Literal["program"]
    components: Annotated[dict[str, Any], Field(min_length=1)]

    @property
    def level(self) -> Level:
        return level_of(split_program(spec)[0] == "label" for spec in self.components.values())

    def build(self) -> Program:
        from assay.explanations.program.program import Program

        return Program({name: _built(spec) for name, spec in self.components.items()})

    def check_part(self, claim: Claim, path: tuple[str | int, ...], site: Site) -> None:
        where, name = claim.where(*path), path[-1]
        spec = self.components[str(name)]
        if isinstance(spec, dict) and "program" not in spec:
            misspelt = [key for key in spec if "'program'" in nearest(key, ("program", "level", "match", "n"), 1)]
            if misspelt:
                at = claim.where(*path, misspelt[0])
                raise ClaimError(f"{at}unknown field {misspelt[0]!r}; did you mean 'program'?")
            raise ClaimError(f"{where}{name!r} needs a field 'program'" + nearest("", PROGRAMS))
        program = spec["program"] if isinstance(spec, dict) else spec
        if not isinstance(program, str):
            raise ClaimError(f"{where}{name!r} needs the name of a program, not {program!r}" + nearest("", PROGRAMS))
        arguments = {k: v for k, v in spec.items() if k != "program"} if isinstance(spec, dict) else {}
        problem = program_problem(program, arguments)
        if problem:
            raise ClaimError(claim.where(*path, problem[0] or "program") + problem[1])
        attends = "level" in PROGRAMS.get(program, {})
        if attends and site.kind not in ("head", "attention", "kv"):
            raise ClaimError(f"{where}the program {program!r} says where a head attends, and {name!r} is no head")


def split_program(spec: Any) -> tuple[str, dict[str, Any]]:
    """`induction` or `{program: induction, level: full}` -> its name and its arguments."""
    if isinstance(spec, str):
        return spec, {}
    return spec["program"], {k: v for k, v in spec.items() if k != "program"}


def _built(spec: Any) -> Any:
    from assay.explanations import programs

    name, arguments = split_program(spec)
    if name in PROGRAMS:
        return getattr(programs, name)(**arguments)
    return plugins.call(plugins.PROGRAMS, name, programs.AnyProgram, **arguments)
