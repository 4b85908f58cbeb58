"""How much the pages of a parquet file unpack to, by the header of each page: what the file's footer says of them is
not checked by those who read it, and 46 KB can say 1,000 bytes and hold 1.5 GB.

The footer is read here too: pyarrow ends the whole process where it is asked for the columns of a broken one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

BYTE_ARRAY = 6  # the physical type of texts
_DEEPEST = 16
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _, _STRUCT = range(1, 13)
_FIXED = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8}


def unpacked_sizes(content: bytes) -> Iterator[tuple[int, int]]:
    """The physical type of every column of every group of rows, and the bytes of its pages, unpacked.

    Raises:
        ValueError: for a footer or pages that are not as the format has them.
    """
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    if start < 0:
        raise ValueError("its footer is cut off")
    for group in _structs(_Fields(content, start).struct(), 4):
        if not group.get((3, _I64)):  # nothing of it is read
            continue
        for column in _structs(group, 1):
            about = column.get((3, _STRUCT), {})
            packed, data = about.get((7, _I64), -1), about.get((9, _I64), -1)
            dictionary = about.get((11, _I64), 0)
            place = dictionary if 0 < dictionary < data else data
            if not 0 <= place <= place + packed <= len(content):
                raise ValueError("its pages lie outside the file")
            yield about.get((1, _I32), -1), _unpacked(content, place, place + packed)


def _structs(fields: dict[tuple[int, int], Any], number: int) -> list[dict[tuple[int, int], Any]]:
    found = fields.get((number, _LIST), [])
    if not all(isinstance(one, dict) for one in found):
        raise ValueError("a list of the footer holds what it should not")
    return found


def _unpacked(content: bytes, place: int, end: int) -> int:
    size = 0
    while place < end:
        header = _Fields(content, place)
        fields = header.struct()
        unpacked, packed = fields.get((2, _I32), -1), fields.get((3, _I32), -1)
        if unpacked < 0 or packed < 0:
            raise ValueError("a page has no size")
        size, place = size + unpacked, header.place + packed
    return size


class _Fields:
    """A reader of Thrift's compact protocol: whole numbers, structs and lists; the rest is skipped."""

    def __init__(self, content: bytes, place: int) -> None:
        self.content, self.place = content, place

    def struct(self, depth: int = 0) -> dict[tuple[int, int], Any]:
        """A struct's fields, by number and kind: of another kind than the format's they are no such fields."""
        found: dict[tuple[int, int], Any] = {}
        number, numbers = 0, set()
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._number()
            if number in numbers:
                raise ValueError("a field stands twice")
            numbers.add(number)
            found[number, byte & 15] = self._value(byte & 15, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if kind in (_I16, _I32, _I64):
            return self._number()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            byte = self._byte()
            count, held = (byte >> 4 if byte >> 4 < 15 else self._varint()), byte & 15
            # Of yes and no each is a byte in a list.
            return [self._byte() if held in (_TRUE, _FALSE) else self._value(held, depth + 1) for _ in range(count)]
        if kind == _BINARY:
            length = self._varint()
            self.place += length
        elif kind in _FIXED:
            self.place += _FIXED[kind]
        else:  # the format has no maps
            raise ValueError("a field is of no kind that the format has")
        return None

    def _byte(self) -> int:
        if self.place >= len(self.content):
            raise ValueError("it is cut off")
        self.place += 1
        return self.content[self.place - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number is too long")

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
