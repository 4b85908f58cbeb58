"""The claim-file block of dictionaries: site -> the folder of its dictionary, and which of its features are there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from assay.errors import ClaimError, ComponentError
from assay.explanations.claims.block import Claim, NamesParts
from assay.explanations.dictionary.spec import LEVEL, parse
from assay.explanations.levels import Level
from assay.names import Site

if TYPE_CHECKING:
    from assay.explanations.base import Explanation


class DictionaryFields(NamesParts):
    """Of each of some sites the value is what a sparse code says of it."""

    level: ClassVar[Level] = LEVEL
    streams: ClassVar[bool] = True

    kind: Literal["dictionary"]
    components: Annotated[dict[str, Any], Field(min_length=1)]

    def build(self) -> Explanation:
        from assay.explanations.dictionary.dictionary import Dictionary

        return Dictionary(self.components)

    @property
    def content(self) -> dict[str, Any]:
        digests = {}
        for name, value in self.components.items():
            folder = Path(parse(name, value).folder or "")
            files = sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors", ".pt"))
            digest = hashlib.sha256()
            for path in files:
                digest.update(path.name.encode() + path.read_bytes())
            digests[name] = digest.hexdigest()
        return {"dictionaries": digests}

    def check_part(self, claim: Claim, path: tuple[str | int, ...], site: Site) -> None:
        name = str(path[-1])
        try:
            coded = parse(name, self.components[name])
        except ClaimError as problem:
            raise ClaimError(f"{claim.where(*path)}{problem}") from None
        if coded.folder is None:
            raise ClaimError(f"{claim.where(*path)}{name!r} needs the folder of a dictionary")
        if site.position is not None:
            raise ClaimError(f"{claim.where(*path)}{name!r}: a dictionary stands at every position of a site")
        if not Path(coded.folder).is_dir():
            raise ClaimError(f"{claim.where(*path)}there is no folder {coded.folder!r} with a dictionary")

    def check_model(self, claim: Claim, model: Any) -> None:
        from assay.explanations.dictionary.dictionary import Dictionary

        super().check_model(claim, model)
        for name, value in self.components.items():
            try:
                Dictionary({name: value}).scope(model)
            except (ClaimError, ComponentError) as problem:
                raise ClaimError(f"{claim.where('explanation', 'components', name)}{problem}") from None
