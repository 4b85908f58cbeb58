"""The names of what the zoo holds beside its models (`index.py`): texts with their splits, and families."""

NOVEL, STORIES = "novel", "stories"
SPLITS = {NOVEL: ("test", "unseen", "train"), STORIES: ("test", "train")}
FAMILIES = (NOVEL,)  # whose members were trained alike, with more and less compute


def text_of(model: str) -> str | None:
    """The text that a zoo model was trained on, by its name, with or without "zoo:" and a folder; None for others."""
    name = model.removeprefix("zoo:").rstrip("/").rpartition("/")[2].partition("-")[0]
    return name if name in SPLITS else None
