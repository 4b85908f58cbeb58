"""A YAML reader for files that strangers write: plain data only, every value with its line. Refused in one sentence:
files over 1 MB, tags, anchors, duplicate keys, several documents, deep nesting, bytes that are not UTF-8 text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from assay.errors import ClaimError, nearest
from assay.store import inputs

LARGEST = 1_000_000  # bytes
SUFFIXES = (".yaml", ".yml")
DEEPEST = 12  # levels; a claim file needs five

Path_ = tuple[str | int, ...]  # keys and indices from the top of the file down to a value
NAMES: Path_ = ("explanation", "components")  # a list there holds names, whatever they look like

_NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{t}" for t in ("null", "bool", "int", "float"))
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class SourceFile:
    """A file's data and where each value stands.

    Attributes:
        name: what messages call the file.
        text: the file as it was read.
        data: dictionaries, lists, strings, numbers, booleans and None.
        lines: path of keys and indices -> line, from 1; a key's line where the value has a key.
    """

    name: str
    text: str
    data: dict[str, object]
    lines: dict[Path_, int]

    def at(self, path: Path_) -> str:
        """`claim.yaml:5: `, of the value at a path or the nearest one above it."""
        while path not in self.lines:
            path = path[:-1]
        return f"{self.name}:{self.lines[path]}: "


class _Composer(yaml.SafeLoader):
    """Nodes only: what a node means is decided below, and nothing is ever constructed from a tag."""

    def __init__(self, text: str, name: str):
        super().__init__(text)
        self.file, self.depth = name, 0

    def compose_node(self, parent: Node | None, index: object) -> Node | None:
        event = self.peek_event()
        where = f"{self.file}:{event.start_mark.line + 1}: "
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent):
            raise ClaimError(f"{where}the alias '*{event.anchor}' is not allowed; write the value out")
        if anchor is not None:
            raise ClaimError(f"{where}the anchor '&{anchor}' is not allowed; write the value out where it is needed")
        if tag is not None:
            tag = tag.replace("tag:yaml.org,2002:", "!!")
            raise ClaimError(f"{where}the tag {tag!r} is not allowed; a claim file is plain data, never code")
        if self.depth >= DEEPEST:
            raise ClaimError(f"{where}values are nested more than {DEEPEST} levels deep; a claim file needs five")
        self.depth += 1
        node = super().compose_node(parent, index)  # type: ignore[arg-type]
        self.depth -= 1
        return node


def _value(node: Node, name: str, path: Path_, lines: dict[Path_, int]) -> object:
    """What a node means; fills `lines` on the way."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, MappingNode):
        mapping: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                raise ClaimError(f"{name}:{line}: the merge key '<<' is not allowed; write the fields out")
            if not isinstance(key_node, ScalarNode) or not key_node.value:
                raise ClaimError(f"{name}:{line}: a field's name must be a word, not a list, a mapping or nothing")
            key = key_node.value  # as it is written: `1`, `yes` and `null` are names too
            if key in mapping:
                first = lines[(*path, key)]
                raise ClaimError(f"{name}:{line}: the field {key!r} stands here a second time, first on line {first}")
            lines[(*path, key)] = line
            mapping[key] = _value(value_node, name, (*path, key), lines)
        return mapping
    if isinstance(node, SequenceNode):
        return [_value(item, name, (*path, i), lines) for i, item in enumerate(node.value)]
    assert isinstance(node, ScalarNode)
    if path[:-1] == NAMES and isinstance(path[-1], int) and node.tag != _NULL:
        return node.value  # as it is written: a `Sequential` calls its parts 0, 1 and 2.0
    return _scalar(node, f"{name}:{node.start_mark.line + 1}: ")


def _scalar(node: ScalarNode, where: str) -> object:
    text = node.value
    if node.tag == _NULL:
        return None
    if node.tag == _BOOL:
        return text.lower() in ("yes", "true", "on")
    try:
        if node.tag == _INT and ":" not in text:  # YAML 1.1 reads 1:30 as ninety
            return int(text.replace("_", ""), 0)
        if node.tag == _FLOAT and ":" not in text:
            return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as problem:  # 0777 and numbers of thousands of digits
        raise ClaimError(f"{where}the number {text[:40]!r} cannot be read; write it in plain digits") from problem
    return text


def read_text(path: Path, name: str | None = None) -> str:
    """The text of a small regular file.

    Raises:
        ClaimError: when it is missing, not a regular file, over 1 MB, or not UTF-8 text.
    """
    name = name or str(path)
    if inputs.is_folder(path):
        within = inputs.inside(path, SUFFIXES)
        raise ClaimError(f"{name} is a folder, not a claim file" + (nearest(path, within) if within else ""))
    if inputs.is_absent(path):
        tail = inputs.similar_files(path, SUFFIXES) or "; `assay init MODEL` writes one"
        raise ClaimError(f"the claim file {inputs.shown(path)} does not exist{tail}")
    content = inputs.read_bytes(path, "the claim file", ClaimError, most=LARGEST)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        byte = content[problem.start]
        raise ClaimError(f"{name}:{line}: the byte 0x{byte:02x} is not UTF-8 text; save the file as UTF-8") from problem
    return text


def parse(text: str, name: str) -> SourceFile:
    """Reads YAML text whose top level is a mapping.

    Raises:
        ClaimError: one sentence with the file's name and the line.
    """
    problem_at = text.find("\0")
    if problem_at >= 0:
        line = text.count("\n", 0, problem_at) + 1
        raise ClaimError(f"{name}:{line}: there is a NUL character here; a claim file is text")
    try:
        composer = _Composer(text, name)
        node = composer.get_single_node()
    except ComposerError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise ClaimError(f"{name}:{line}: a second document starts here; a claim file is one document") from problem
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        reason = " ".join((problem.problem or problem.context or "it cannot be read").split())
        raise ClaimError(f"{name}:{line}: this is not YAML: {reason}") from problem
    except ReaderError as problem:
        line = text.count("\n", 0, problem.position) + 1
        sign = problem.character if isinstance(problem.character, str) else chr(problem.character)
        raise ClaimError(f"{name}:{line}: the character {sign!r} is not allowed in YAML") from problem
    if node is None:
        raise ClaimError(f"{name}: the file is empty; `assay init MODEL` writes a claim file to start from")
    lines: dict[Path_, int] = {}
    data = _value(node, name, (), lines)
    if not isinstance(data, dict):
        what = "a list" if isinstance(data, list) else f"the value {_short(data)}"
        raise ClaimError(f"{name}:{lines[()]}: a claim file is a mapping of fields such as 'model:', not {what}")
    return SourceFile(name, text, data, lines)


def read(path: str | Path) -> SourceFile:
    """Reads a claim file's data. See `read_text` and `parse` for what is refused."""
    path = Path(path)
    return parse(read_text(path), str(path))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
