"""The page in a real browser, without a network: by day and by night it is drawn, in colours that can be told apart."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gb_ray.report import report
from gb_ray.train.run import Run

BROWSER = shutil.which("chromium")
NIGHT, DAY = 0, 1
"""What chromium calls a reader's preferred colour scheme."""
WIDE, HIGH = 1000, 2600
ACCENT = {DAY: (0x1F, 0x6F, 0x8B), NIGHT: (0x6B, 0xB8, 0xD0)}

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH: the page cannot be looked at")


def drawn(page: Path, scheme: int) -> np.ndarray:
    """Its first HIGH pixels, [HIGH, WIDE, 3], as a reader sees it who prefers a scheme."""
    image = page.parent / "page.png"
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={page.parent / 'browser'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={WIDE},{HIGH}"]
    subprocess.run([*command, f"--screenshot={image}", page.as_uri()], check=True, capture_output=True, timeout=120)
    return np.asarray(Image.open(image).convert("RGB")).astype(int)


def near(pixels: np.ndarray, colour: tuple[int, ...]) -> int:
    return int((np.abs(pixels - np.array(colour)).max(axis=-1) < 12).sum())


@pytest.mark.parametrize("scheme", [DAY, NIGHT], ids=["day", "night"])
def test_it_is_drawn_light_by_day_and_dark_by_night(run: Run, tmp_path: Path, scheme: int) -> None:
    pixels = drawn(report.write(run, tmp_path / "page.html"), scheme)
    assert pixels.shape == (HIGH, WIDE, 3)
    light = pixels.mean(axis=-1)
    background = np.median(light)
    assert background > 240 if scheme == DAY else background < 40
    # Words down the whole of it, far from the background; and charts.
    ink = np.abs(light - background) > 150
    assert all(part.sum() > 500 for part in np.array_split(ink, 5))
    assert near(pixels, ACCENT[scheme]) > 1000
    # Nothing runs over the edges: the margins are empty.
    assert not ink[:, :30].any() and not ink[:, -30:].any()
