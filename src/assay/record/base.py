"""What all blocks of a record share: they are frozen, know no other fields, and hold no number that JSON cannot."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from assay.stats.estimate import LARGEST
from assay.store.canonical import plain

SCHEMA = 2


def _text(value: Any) -> Any:
    """A name of a file may hold lone surrogates, which are text in no encoding."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) and not value.isascii() else value


Text = Annotated[str, BeforeValidator(_text)]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Json = Annotated[dict[str, JsonValue], BeforeValidator(plain)]


class Block(BaseModel):
    """A part of a record. Its fields are those of the JSON object, in this order."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True
    )

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the file holds them."""
        return self.model_dump(by_alias=True)
