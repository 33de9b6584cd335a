"""Drawing documents and charts on 8-bit pictures: text, tables, axes, curves.

Pictures are (H, W, 3) uint8 RGB and are drawn on in place; places and sizes are px, (x, y) from the top left corner.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cardioscan.arrays import Image

Ink = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""Left, top, width and height, px."""

FONTS: Final = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
"""OpenCV's upright fonts."""

_SYLLABLES: Final = ("an", "be", "cor", "da", "el", "fi", "gra", "ho", "in", "ka", "lo", "mi", "no", "or", "pe", "ra")


def picture_size(rng: Generator, ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of a picture 800 to 2400 px wide; ``ratio`` bounds height over width."""
    width = int(rng.integers(800, 2401))
    return int(width * rng.uniform(*ratio)), width


def blank_sheet(rng: Generator, ratio: tuple[float, float], dark: bool = False) -> Image:
    """A sheet of nearly white (or nearly black) colour; ``ratio`` bounds height over width."""
    tint = rng.integers(12, 40, 3) if dark else rng.integers(238, 256, 3)
    return np.full((*picture_size(rng, ratio), 3), tint, np.uint8)


def to_bytes(values: NDArray[np.floating]) -> Image:
    """Values meant for 0..255, clipped."""
    return np.clip(values, 0, 255).astype(np.uint8)


def random_colour(rng: Generator) -> Ink:
    """Any colour that is neither black nor white."""
    red, green, blue = rng.integers(20, 235, 3).tolist()
    return red, green, blue


def random_ink(rng: Generator) -> Ink:
    """A dark grey."""
    shade = int(rng.integers(0, 80))
    return shade, shade, shade


def random_font(rng: Generator) -> int:
    """One of ``FONTS``."""
    return FONTS[int(rng.integers(len(FONTS)))]


def random_words(rng: Generator, count: int) -> str:
    """Words of no language, in small letters."""
    words = ["".join(rng.choice(_SYLLABLES, int(rng.integers(1, 5)))) for _ in range(count)]
    return " ".join(words)


def random_number(rng: Generator) -> str:
    """A number of one to four digits before its two decimals."""
    return f"{rng.uniform(0, 10 ** rng.uniform(0, 4)):.2f}"


def write(image: Image, text: str, place: tuple[int, int], height: int, font: int, ink: Ink = (25, 25, 25)) -> None:
    """Write a line whose capitals are ``height`` px high; its base line starts at ``place``."""
    thickness = max(1, height // 12)
    scale = cv2.getFontScaleFromHeight(font, max(6, height), thickness)
    cv2.putText(image, text, place, font, scale, ink, thickness, cv2.LINE_AA)


def write_paragraphs(image: Image, box: Box, height: int, font: int, rng: Generator) -> None:
    """Fill a box with running text of random words, some lines short, some left out."""
    left, top, width, depth = box
    scale = cv2.getFontScaleFromHeight(font, max(6, height), 1)
    for base in range(top + height, top + depth, round(1.8 * height)):
        if rng.random() < 0.1:
            continue
        reach = width * (rng.uniform(0.3, 0.9) if rng.random() < 0.15 else 1.0)
        line = ""
        while cv2.getTextSize(longer := f"{line} {random_words(rng, 1)}", font, scale, 1)[0][0] < reach:
            line = longer
        write(image, line.strip(), (left, base), height, font)


def scrawl(
    image: Image, place: tuple[int, int], length: float, size: float, rng: Generator, ink: Ink = (20, 25, 90)
) -> None:
    """Handwriting from ``place`` to the right: words of joined loops, ``size`` px high."""
    x, end = float(place[0]), place[0] + length
    while x < end:
        t = np.linspace(0, rng.uniform(2, 7), 90)
        high = np.interp(t, np.arange(8), rng.uniform(0.2, 0.9, 8))
        along = x + size * (0.55 * t + 0.22 * np.sin(2 * np.pi * t + rng.uniform(0, 0.8)))
        across = place[1] + size * high * np.sin(2 * np.pi * t)
        points = np.stack([along, across], axis=1).round().astype(np.int32)
        cv2.polylines(image, [points], False, ink, max(1, round(size / 9)), cv2.LINE_AA)
        x = float(along.max()) + rng.uniform(0.5, 1.2) * size


def draw_axes(sheet: Image, rng: Generator) -> Box:
    """Title, frame, grid lines and numbers of a chart that fills the sheet; returns the plot's box."""
    height, width = sheet.shape[:2]
    box = (width // 10, height // 8, width * 17 // 20, height * 3 // 4)
    ink = (200, 200, 200) if sheet.mean() < 80 else (25, 25, 25)
    write(sheet, random_words(rng, 4).title(), (width // 4, height // 14), max(14, height // 35), random_font(rng), ink)
    draw_plot_frame(sheet, box, rng)
    size = max(10, height // 70)
    for tick in range(6):
        write(sheet, random_number(rng), (width // 60, box[1] + box[3] - box[3] * tick // 6), size, FONTS[0], ink)
        below = (box[0] + box[2] * tick // 6, box[1] + box[3] + max(20, height // 40))
        write(sheet, str(10 * tick), below, size, FONTS[0], ink)
    return box


def draw_plot_frame(sheet: Image, box: Box, rng: Generator) -> None:
    """A frame with grid lines, in one weight or in two, as plots and recorders have them."""
    left, top, width, height = box
    across, down, fine = int(rng.integers(4, 26)), int(rng.integers(3, 16)), int(rng.choice([1, 1, 2, 5]))
    grey = int(rng.integers(150, 225))
    colour = (grey, grey, grey) if rng.random() < 0.6 else (235, grey, grey)
    for count, size, start, vertical in ((across, width, left, True), (down, height, top, False)):
        for line in range(count * fine + 1):
            at = start + round(size * line / (count * fine))
            ends = ((at, top), (at, top + height)) if vertical else ((left, at), (left + width, at))
            cv2.line(sheet, *ends, colour, 2 if fine > 1 and line % fine == 0 else 1)
    cv2.rectangle(sheet, (left, top), (left + width, top + height), random_ink(rng), 2)


def draw_curve(
    sheet: Image,
    box: Box,
    values: NDArray[np.floating],
    ink: Ink,
    pen: int,
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw a series (N,) over the box's width; ``limits`` are the values at its bottom and top, else the extremes."""
    left, top, width, height = box
    low, high = limits or (float(values.min()), float(values.max()))
    level = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    points = np.stack([np.linspace(left, left + width, values.size), top + height * (1 - level)], axis=1)
    cv2.polylines(sheet, [points.round().astype(np.int32)], False, ink, pen, cv2.LINE_AA)


def draw_table(
    sheet: Image, box: Box, columns: int, pitch: int, rng: Generator, names: tuple[str, ...] | None = None
) -> None:
    """Ruled rows of numbers, ``pitch`` px high, under a row of names (random words without ``names``)."""
    left, top, width, height = box
    rows = max(2, height // pitch)
    for row in range(rows + 1):
        cv2.line(sheet, (left, top + row * pitch), (left + width, top + row * pitch), (120, 120, 120), 1)
    for column in range(columns + 1):
        x = left + width * column // columns
        cv2.line(sheet, (x, top), (x, top + rows * pitch), (120, 120, 120), 1)
    for row in range(rows):
        for column in range(columns):
            title = names[column] if names else random_words(rng, 1)[:8]
            place = (left + width * column // columns + 5, top + round((row + 0.7) * pitch))
            write(sheet, title if row == 0 else random_number(rng), place, pitch * 2 // 5, FONTS[row == 0])


def draw_turned_box(
    image: Image, middle: NDArray[np.floating], size: tuple[float, float], degrees: float, ink: Ink
) -> None:
    """Fill a rectangle of ``size`` (width, height) around ``middle`` (x, y), turned clockwise."""
    corners = cv2.boxPoints(((float(middle[0]), float(middle[1])), size, degrees))
    cv2.fillPoly(image, [corners.round().astype(np.int32)], ink, cv2.LINE_AA)
