"""How a page is printed: colours, pens, fonts, header and marks. One ``PageStyle`` is one printer on one day."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[float, float, float]

_FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "C:/Windows/Fonts")
_FONT_NAMES = (
    "DejaVuSans.ttf",
    "DejaVuSansCondensed.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSansMono.ttf",
    "LiberationSans-Regular.ttf",
    "arial.ttf",
)


@lru_cache(maxsize=1)
def available_fonts() -> tuple[str, ...]:
    """Paths of the known sans-serif fonts on this machine, after "" for the one that Pillow carries itself."""
    found = [""]
    for folder in map(Path, _FONT_FOLDERS):
        if folder.is_dir():
            found += sorted(str(path) for path in folder.rglob("*.ttf") if path.name in _FONT_NAMES)
    return tuple(found)


@lru_cache(maxsize=4096)
def text_sprite(text: str, font: str, size: int, stroke: int = 0) -> NDArray[np.uint8]:
    """Coverage (h, w) uint8 of a line of text, cropped to its ink. ``font`` is a path, or "" for Pillow's own."""
    face = ImageFont.truetype(font, size) if font else ImageFont.load_default(size)
    left, top, right, bottom = face.getbbox(text, stroke_width=stroke)
    image = Image.new("L", (max(1, int(right - left) + 2), max(1, int(bottom - top) + 2)))
    ImageDraw.Draw(image).text((1 - left, 1 - top), text, fill=255, font=face, stroke_width=stroke)
    return np.asarray(image)


@dataclass(frozen=True)
class PageStyle:
    """The look of one printed page. Lengths in px of the reference frame, colours as RGB in 0..1."""

    paper: Colour = (1.0, 1.0, 1.0)
    major: Colour = (0.93, 0.15, 0.15)
    minor: Colour = (1.0, 0.84, 0.82)
    major_vertical: Colour | None = None
    major_width: float = 1.2
    minor_width: float = 1.0
    minor_visible: bool = True
    minor_on_top: bool = False
    dots: bool = False
    raster: bool = True
    ink: Colour = (0.1, 0.1, 0.1)
    pen: float = 2.3
    opacity: float = 1.0
    font: str = ""
    label_size: int = 30
    label_bold: int = 0
    label_shift: tuple[float, float] = (0.0, 0.0)
    text_colour: Colour = (0.0, 0.0, 0.0)
    header_size: int = 28
    header_lines: int = 3
    footer: bool = True
    pulses: bool = True
    separators: bool = True
    separator_width: float = 5.0
    separator_half_height: float = 27.0
    border: bool = False
    barcode: bool = False
    handwriting: int = 0


CLEAN_STYLE = PageStyle()

_RED_GRIDS: tuple[tuple[Colour, Colour], ...] = (
    ((0.93, 0.12, 0.12), (1.0, 0.85, 0.83)),
    ((0.80, 0.35, 0.35), (0.95, 0.82, 0.82)),
    ((0.95, 0.55, 0.55), (0.98, 0.85, 0.85)),
    ((0.85, 0.45, 0.25), (0.97, 0.86, 0.78)),
    ((0.96, 0.65, 0.70), (0.99, 0.88, 0.90)),
)
_OTHER_GRIDS: tuple[tuple[Colour, Colour], ...] = (
    ((0.35, 0.62, 0.42), (0.80, 0.91, 0.82)),
    ((0.40, 0.50, 0.85), (0.82, 0.86, 0.97)),
    ((0.55, 0.55, 0.55), (0.86, 0.86, 0.86)),
    ((0.15, 0.15, 0.15), (0.70, 0.70, 0.70)),
    ((0.30, 0.25, 0.25), (0.85, 0.80, 0.80)),
)


def random_style(rng: Generator, variety: float = 1.0) -> PageStyle:
    """Draw a style. ``variety`` 0 gives the clean standard page, 1 everything that real printers do."""

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability * variety)

    def jitter(colour: Colour, amount: float) -> Colour:
        shifted = np.clip(np.asarray(colour) + variety * rng.normal(0, amount, 3), 0, 1)
        return (float(shifted[0]), float(shifted[1]), float(shifted[2]))

    grids = _OTHER_GRIDS if chance(0.35) else _RED_GRIDS
    major, minor = grids[0] if variety == 0 else grids[int(rng.integers(len(grids)))]
    shade = float(rng.uniform(0.0, 0.25)) if variety else 0.1
    fonts = available_fonts()
    label_size = int(np.clip(rng.normal(30, 3 * variety), 18, 42))
    style = replace(
        CLEAN_STYLE,
        paper=jitter((1.0, 1.0, 1.0), 0.02),
        major=jitter(major, 0.06),
        minor=jitter(minor, 0.03),
        major_width=float(rng.uniform(1.0, 1.0 + 1.6 * variety)),
        minor_width=float(rng.uniform(0.8, 0.8 + 0.7 * variety)),
        minor_visible=not chance(0.3),
        minor_on_top=bool(rng.random() < 0.4),
        dots=chance(0.06),
        raster=not chance(0.4),
        ink=jitter((shade, shade, shade), 0.03),
        pen=float(np.clip(rng.normal(2.4, 0.5 * variety), 1.6, 4.5)),
        opacity=float(1 - variety * rng.uniform(0, 0.25)),
        font=fonts[int(rng.integers(len(fonts)))] if variety else fonts[min(1, len(fonts) - 1)],
        label_size=label_size,
        label_bold=1 if chance(0.12) else 0,
        label_shift=(float(rng.normal(0, 3 * variety)), float(rng.normal(0, 3 * variety))),
        text_colour=jitter((0.02, 0.02, 0.02), 0.05),
        header_size=int(np.clip(rng.normal(28, 4 * variety), 18, 44)),
        header_lines=int(rng.integers(1, 5)),
        footer=not chance(0.15),
        pulses=not chance(0.08),
        separators=not chance(0.05),
        separator_width=float(rng.uniform(5 - 1.5 * variety, 5 + 2 * variety)),
        separator_half_height=float(27 + variety * rng.uniform(-5, 5)),
        border=chance(0.4),
        barcode=chance(0.15),
        handwriting=int(rng.integers(1, 4)) if chance(0.25) else 0,
    )
    if chance(0.15):
        style = replace(style, major_vertical=jitter((0.3, 0.3, 0.3), 0.1))
    if chance(0.06):
        style = replace(style, ink=jitter((0.1, 0.15, 0.5), 0.05))
    return style


def without_grid(style: PageStyle) -> PageStyle:
    """The same style on plain paper."""
    return replace(style, major=style.paper, major_vertical=None, minor=style.paper, minor_visible=False)
