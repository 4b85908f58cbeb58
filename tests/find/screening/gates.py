"""Compiled networks whose answer depends on exactly two heads of the first layer: an MLP of the second puts them
together, by AND or by XOR."""

from __future__ import annotations

from functools import cache

import numpy as np

from assay import Task, Workbench
from assay.planted.compiled_world import CompiledWorld
from assay.planted.gadgets import at, fuzzy, pick
from assay.planted.inputs import DataSplit, DrawnExample, Inputs
from assay.planted.program import Head, PlantedProgram, Units

BOS, END, SHARP, FILLERS = "<s>", "|", 12.0, tuple(f"f{i}" for i in range(1, 9))
TOKENS = (BOS, END, "on", "off", "yes", "no", *FILLERS)
CONTEXT, BOTH = 8, ("a0.h0", "a0.h1")


def exclusive(left: str, right: str, to: str):
    """|x - y| = relu(x - y) + relu(y - x), as `fuzzy` has AND and OR."""
    reads = {left: np.array([[1.0, -1.0, 0.0]]), right: np.array([[-1.0, 1.0, 0.0]])}
    gate, one = np.array([1.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    return reads, one, {to: np.stack([gate, one - gate], axis=1)}


def rule(kind: str, left: bool, right: bool) -> str:
    return "yes" if (left and right if kind == "and" else left != right) else "no"


@cache
def world(kind: str) -> CompiledWorld:
    """BOS A f B f f | answer."""
    on = {"token": pick(TOKENS, ["on"])}
    heads = (Head(0, 0, (at(CONTEXT, 1),), on, "left"), Head(0, 1, (at(CONTEXT, 3),), on, "right"))
    units = fuzzy("left", "right", "gate", "and") if kind == "and" else exclusive("left", "right", "gate")
    sizes, readout = {"left": 1, "right": 1, "gate": 2}, {"gate": SHARP * pick(["yes", "no"], TOKENS)}
    program = PlantedProgram(f"late_{kind}", TOKENS, CONTEXT, sizes, heads, readout, (Units(1, *units),))

    def draw(random: np.random.Generator, split: DataSplit) -> DrawnExample:
        f = [str(word) for word in random.choice(FILLERS, 3)]
        left, right = (bool(random.random() < 0.5) for _ in range(2))
        cues = ["on" if cue else "off" for cue in (left, right)]
        answer, other = rule(kind, left, right), rule(kind, not left, right)
        row = (BOS, cues[0], f[0], cues[1], f[1], f[2], END)
        turned = (BOS, "off" if left else "on", *row[2:])
        return DrawnExample((*row, answer), (*turned, other), "no" if answer == "yes" else "yes")

    alphabet = ((BOS,), ("on", "off"), FILLERS, ("on", "off"), FILLERS, FILLERS, (END,), ("yes", "no"))
    inputs = Inputs(program.name, TOKENS, draw, (7,), alphabet)
    return CompiledWorld(program, inputs, seed=1)  # of 0 the proof on load tells the empty MLP from itself


@cache
def bench(kind: str, seed: int = 0, n: int = 48) -> Workbench:
    task: Task = world(kind).task(n, seed)
    return Workbench(world(kind).model, task)
