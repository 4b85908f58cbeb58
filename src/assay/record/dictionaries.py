"""The record of dictionaries that were trained, and of their controls, as `dictionaries.json` holds it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from assay.record.about import Arguments, Assay, DataRecord, ModelRecord, TaskRecord, Timing, Versions
from assay.record.base import SCHEMA, Block, Count, Number, Text
from assay.stats.estimate import Estimate


class CurvePoint(Block):
    """After so many tokens: the error over the variance, active features a value, and the share of dead ones."""

    tokens: Count
    error: Number
    active: Number
    dead: Number


class DictionaryRow(Block):
    """A dictionary, and what it is like on the network that it is of.

    Attributes:
        name: of its folder; network: "trained", or how the weights of a copy were made random.
        kind: what it is: "trained" (every part of it is), what of it stayed as it was drawn, or what nobody trained.
        recovered: R_D of the spliced run by ablation of the site; kl: of the spliced run, nats a token.
        loss: of the network itself; spliced: of the spliced run, nats a token.
        explained: share of the variance; active: features a value; dead: share of features that are never active;
            one_token: share of the others that lie on one token; coded: share of values that are coded.
        dark, dark_norm: of what it leaves, and of its squared norm, the share that is linear in what it reads (None:
            not measured). numbers: how many it has.
    """

    name: Text
    network: Text
    kind: Text
    architecture: Text | None = None
    width: Count
    k: Count | None = None
    seed: Count | None = None
    recovered: dict[Text, Estimate]
    kl: Estimate
    loss: Estimate
    spliced: Estimate
    explained: Estimate
    active: Estimate
    dead: Number
    one_token: Number | None
    coded: Number
    dark: Number | None = None
    dark_norm: Number | None = None
    numbers: Count
    density: tuple[tuple[Number, Count], ...]
    curve: tuple[CurvePoint, ...] = ()


class Agreement(Block):
    """How alike what two dictionaries' features write is, by cosines.

    Attributes:
        one, other: names; network: of both. nearest: the mean over one's features of the nearest of the other's; back:
            the other way round; matched: the mean over the best one-to-one matching.
        null: `nearest` and `matched` of random dictionaries of their size.
    """

    network: Text
    one: Text
    other: Text
    nearest: Number
    back: Number
    matched: Number
    null: tuple[Number, Number]


class Harvested(Block):
    """Activations of a network: tokens, and the seconds that it took."""

    network: Text
    tokens: Count
    seconds: Number


class DictionariesRecord(Block):
    """Dictionaries of one site.

    Attributes:
        site: where they stand; reads: what they read. text: what they were trained on, in words.
        rows: all, the trained ones of the network first; chosen: the row that the claim file names.
    """

    schema_: Literal[3] = Field(default=SCHEMA, alias="schema")
    kind: Literal["dictionaries"] = "dictionaries"
    assay: Assay
    arguments: Arguments
    model: ModelRecord
    task: TaskRecord
    evaluation: DataRecord
    site: Text
    reads: Text
    text: Text
    tokens: Count
    harvests: tuple[Harvested, ...]
    rows: tuple[DictionaryRow, ...]
    agreements: tuple[Agreement, ...]
    chosen: Count = 0
    timing: Timing
    versions: Versions
