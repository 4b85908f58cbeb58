"""Pictures of a run's page, at 1280 and 400 pixels, light and dark, for the docs; needs chromium.

    python -m tools.screenshots RUN OUT [--height 2600]

Writes OUT/page-WIDTH-THEME.png: the page from its top, at most so high, in at most 256 colours. Where OUT ends in .png
it is one picture, 1280 pixels wide and light.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np

WIDTHS, THEMES = (1280, 400), ("light", "dark")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--height", type=int, default=2600, help="pixels at most")
    given = parser.parse_args()
    one, page = given.out.suffix == ".png", (given.run / "report.html").read_text(encoding="utf-8")
    (given.out.parent if one else given.out).mkdir(parents=True, exist_ok=True)
    for width in WIDTHS[:1] if one else WIDTHS:
        for theme in THEMES[:1] if one else THEMES:
            place = given.out if one else given.out / f"page-{width}-{theme}.png"
            place.write_bytes(written(cropped(shot(page, width, theme, given.height))))
            print(f"{place}: {place.stat().st_size / 1000:.0f} kB")


def shot(page: str, width: int, theme: str, height: int) -> np.ndarray:
    """[height, width, 3] what a browser without network shows of a page."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "page.html", Path(folder) / "page.png"
        source.write_text(page.replace("<html ", f'<html data-theme="{theme}" ', 1), encoding="utf-8")
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={folder}/profile", "--proxy-server=127.0.0.1:9", "--virtual-time-budget=8000"]
        command += [f"--window-size={width},{height}", f"--screenshot={target}", source.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=180)
        return read(target.read_bytes())


def read(png: bytes) -> np.ndarray:
    """[height, width, 3] of a PNG of 8 bits a channel, as chromium writes it."""
    width, height = (int.from_bytes(png[place : place + 4]) for place in (16, 20))
    channels = {2: 3, 6: 4}[png[25]]
    place, packed = 8, b""
    while place < len(png):
        size = int.from_bytes(png[place : place + 4])
        packed += png[place + 8 : place + 8 + size] if png[place + 4 : place + 8] == b"IDAT" else b""
        place += size + 12
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * channels)
    out, above = np.empty((height, width * channels), np.uint8), np.zeros(width * channels, np.uint8)
    for i, row in enumerate(rows):
        above = out[i] = _plain(int(row[0]), row[1:], above, channels)
    return out.reshape(height, width, channels)[:, :, :3]


def _plain(kind: int, row: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """A row without its filter (PNG specification, section 9)."""
    if kind in (0, 2):
        return row if kind == 0 else row + above
    if kind == 1:
        return np.cumsum(row.reshape(-1, step), axis=0, dtype=np.uint8).reshape(-1)
    out, up = [0] * step + row.tolist(), [0] * step + above.tolist()
    for i in range(step, len(out)):
        left, top, corner = out[i - step], up[i], up[i - step]
        if kind == 3:
            guess = (left + top) // 2
        else:
            near = (abs(top - corner), abs(left - corner), abs(left + top - 2 * corner))
            guess = (left, top, corner)[near.index(min(near))]
        out[i] = (out[i] + guess) % 256
    return np.array(out[step:], np.uint8)


def cropped(picture: np.ndarray, margin: int = 30) -> np.ndarray:
    """Without empty rows at the end."""
    full = np.flatnonzero((picture != picture[-1, 0]).any((1, 2)))
    return picture[: int(full[-1]) + margin if len(full) else None]


def written(picture: np.ndarray) -> bytes:
    """A PNG of the 256 most frequent colours; every other one takes the nearest of these."""
    height, width, _ = picture.shape
    colours, place, count = np.unique(picture.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    kept = np.argsort(-count, kind="stable")[:256]
    palette = colours[kept]
    nearest = np.array([((palette.astype(int) - one) ** 2).sum(1).argmin() for one in colours.astype(int)], np.uint8)
    indices = nearest[place.reshape(-1)].reshape(height, width)
    body = np.concatenate([np.zeros((height, 1), np.uint8), indices], axis=1).tobytes()
    head = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 3, 0, 0, 0])
    parts = [(b"IHDR", head), (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(body, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4) for kind, data in parts
    )


if __name__ == "__main__":
    main()
