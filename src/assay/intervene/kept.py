"""Values that are kept from one question to the next: by typed keys, within a number of bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import ClassVar, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by key; where there is no room for another, the oldest go first.

    A sort of values is a subclass, which says the types of its keys and values, and how many bytes it may take.

    Attributes:
        room: bytes; None: there are few, or they are small.
        scale: bytes that each byte counts for: more than one in sketches of a model.
    """

    room: ClassVar[int | None] = None

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self._values: dict[K, V] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    @property
    def nbytes(self) -> int:
        return nbytes(self._values)

    def find(self, key: K) -> V | None:
        """The value, where it is kept."""
        return self._values.get(key)

    def once(self, key: K, make: Callable[[], V]) -> V:
        """The value, which is made where it is not kept."""
        return self._values[key] if key in self._values else self.keep(key, make())

    def keep(self, key: K, value: V) -> V:
        """Keeps a value, where it fits, in place of an older one of its key; gives it back."""
        self._values.pop(key, None)
        if self.room is not None:
            room = self.room / self.scale - nbytes(value)
            if room < 0:  # nothing else need go for what does not fit alone
                return value
            while nbytes(self._values) > room:
                self._values.pop(next(iter(self._values)))
        self._values[key] = value
        return value

    def copied(self) -> Kept[K, V]:
        """The same values; what is kept from now on is kept in one of the two."""
        out = type(self)(self.scale)
        out._values = dict(self._values)
        return out


def nbytes(value: object) -> int:
    """Bytes of all tensors in a value: of itself, or of the mappings and sequences that it is made of."""
    size = getattr(value, "nbytes", None)
    if size is not None:
        return int(size)
    if isinstance(value, Mapping):
        return sum(map(nbytes, value.values()))
    if isinstance(value, Iterable) and not isinstance(value, str):
        return sum(map(nbytes, value))
    return 0
