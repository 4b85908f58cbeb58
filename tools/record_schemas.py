"""Writes the JSON Schemas of records into the package: python -m tools.record_schemas"""

from __future__ import annotations

from pathlib import Path

import assay
from assay.record.read import SCHEMAS, schema_text


def main() -> None:
    for name in SCHEMAS:
        (Path(assay.__file__).parent / "record" / name).write_text(schema_text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
