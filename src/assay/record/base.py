"""What all blocks of a record share: they are frozen, know no other fields, and hold no number that JSON cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from assay.stats.estimate import LARGEST, Estimate
from assay.store.canonical import plain

SCHEMA = 3
BRIEF = 80  # characters of a field in a block's repr


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

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, _Brief(_brief(value))


class _Brief(str):
    """A text that is its own repr."""

    def __repr__(self) -> str:
        return str(self)


def _brief(value: Any) -> str:
    """A value of a block on part of a line: what is long is only named."""
    text = str(value) if isinstance(value, Estimate) else repr(value)
    if len(text) <= BRIEF:
        return text
    if isinstance(value, Block):
        return f"{type(value).__name__}(...)"
    return f"<{len(value)} entries>" if isinstance(value, tuple | list | dict) else f"{text[: BRIEF - 3]}..."
