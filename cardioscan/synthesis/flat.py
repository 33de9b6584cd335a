"""The flat page: a 12-lead ECG laid out and drawn in the reference frame, whole or in part."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cardioscan.page.leads import LEAD_INDEX
from cardioscan.page.read_page import ReadPage
from cardioscan.page.scale import Scale
from cardioscan.page.sheet import Sheet
from cardioscan.synthesis.strokes import stroke_coverage, trace_polyline
from cardioscan.synthesis.style import Colour, PageStyle, text_sprite

FloatImage = NDArray[np.float32]
Polyline = NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """A window of the reference frame: first pixel (x, y) and size, px."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Sprite:
    """Something printed that is neither grid nor trace: coverage (h, w) uint8 with its first pixel at (x, y)."""

    coverage: NDArray[np.uint8]
    x: float
    y: float
    colour: Colour


@dataclass(frozen=True)
class FlatPage:
    """A laid-out page, drawn on demand.

    Attributes:
        printed: what is printed where.
        style: its look.
        signals: (12, 5000) float32 mV, what was printed from.
        rows: per printed row, the polylines (N, 2) in (x, y) px of the reference frame that carry signal, one a
            segment, left to right; the calibration pulse is not among them.
        extras: polylines drawn with the same pen that carry no signal (calibration pulses).
        bars: the bars between leads, printed in the trace's ink (their own colours are not used).
        sprites: text and marks.
    """

    printed: ReadPage
    style: PageStyle
    signals: NDArray[np.float32]
    rows: tuple[tuple[Polyline, ...], ...]
    extras: tuple[Polyline, ...]
    bars: tuple[Sprite, ...]
    sprites: tuple[Sprite, ...]

    @property
    def whole(self) -> Region:
        """The region of the whole page."""
        return Region(0, 0, self.printed.sheet.width, self.printed.sheet.height)

    def draw(self, region: Region | None = None) -> FloatImage:
        """Draw a region: (height, width, 3) float32 RGB in 0..1."""
        region = region or self.whole
        image = draw_grid(self.printed.sheet, self.style, region)
        for sprite in self.sprites:
            _paste(image, sprite, region)
        strokes = [polyline for row in self.rows for polyline in row] + list(self.extras)
        ink = stroke_coverage(_shifted(strokes, region), self.style.pen, region.width, region.height)
        for bar in self.bars:
            # One ink and one pass of the printer: where the trace runs through a bar, nothing shows it.
            _stamp(ink, bar, region)
        _blend(image, ink, self.style.ink, self.style.opacity)
        return image

    def coverage(self, region: Region | None = None) -> NDArray[np.uint8]:
        """True stroke coverage of each row: (rows, height, width) uint8, 255 where the pen covers the pixel whole."""
        region = region or self.whole
        maps = [
            stroke_coverage(_shifted(row, region), self.style.pen, region.width, region.height) for row in self.rows
        ]
        return np.stack(maps)

    def printed_signals(self) -> NDArray[np.float64]:
        """(12, 5000) float64 mV as printed: NaN outside each lead's own segments."""
        printed = np.full(self.signals.shape, np.nan)
        for segment in self.printed.segments:
            if not self.rows[segment.row]:
                continue
            start, stop = self.printed.samples(segment)
            lead = LEAD_INDEX[segment.lead]
            printed[lead, start:stop] = self.signals[lead, start:stop]
        return printed


def lay_out(
    signals: NDArray[np.float32],
    style: PageStyle,
    rng: Generator,
    page: ReadPage,
    missing_row: int | None = None,
) -> FlatPage:
    """Lay out a page of a record.

    Args:
        signals: (12, 5000) mV at 500 Hz.
        style: the look.
        rng: source of the header's words and of handwriting.
        page: what is printed where.
        missing_row: a row that this printer leaves empty.
    """
    scale = page.scale
    rows: list[list[Polyline]] = [[] for _ in range(page.n_rows)]
    for segment in page.segments:
        if segment.row == missing_row:
            continue
        start, stop = page.samples(segment)
        # The record ends at sample 4999: the last segment cannot draw further.
        samples = segment.cell.sign * signals[LEAD_INDEX[segment.lead], start : min(stop + 1, signals.shape[1])]
        zero = page.zero_y[segment.row]
        rows[segment.row].append(trace_polyline(samples, segment.x_start, zero, scale.px_per_sample, scale.px_per_mv))
    extras = []
    if style.pulses and page.pulse_x is not None:
        left, right = page.pulse_x
        for row, zero in enumerate(page.zero_y):
            if row != missing_row:
                top = zero - scale.px_per_mv
                extras.append(np.array([[left, zero], [left, top], [right, top], [right, zero]], np.float64))
    sprites = _name_sprites(page, style) + _header_sprites(scale, style, rng)
    bars = _bar_sprites(page, style) if style.separators else []
    if style.barcode:
        sprites.append(_barcode(page.sheet, rng))
    sprites += [_scribble(page.sheet, rng) for _ in range(style.handwriting)]
    printed = tuple(tuple(row) for row in rows)
    return FlatPage(page, style, signals, printed, tuple(extras), tuple(bars), tuple(sprites))


def line_profile(centres: NDArray[np.floating], width: float, start: int, length: int) -> FloatImage:
    """Coverage of pixels ``start .. start + length - 1`` by lines of a width at given centres: (length,) float32."""
    profile = np.zeros(length, np.float32)
    reach = int(np.ceil(width / 2 + 0.5))
    offsets = np.arange(-reach, reach + 1)
    pixels = np.round(centres).astype(int)[:, None] + offsets
    lower = np.maximum(pixels - 0.5, centres[:, None] - width / 2)
    upper = np.minimum(pixels + 0.5, centres[:, None] + width / 2)
    cover = np.clip(upper - lower, 0, 1)
    index = pixels - start
    inside = (index >= 0) & (index < length)
    np.maximum.at(profile, index[inside], cover[inside].astype(np.float32))
    return profile


def draw_grid(sheet: Sheet, style: PageStyle, region: Region) -> FloatImage:
    """The empty sheet: (height, width, 3) float32 RGB in 0..1. Thin lines every 1 mm, thick ones every 5 mm."""
    mm = sheet.pitch / 5
    extent_x = sheet.x0 + sheet.pitch * (sheet.n_vertical_lines - 1)
    extent_y = sheet.y0 + sheet.pitch * (sheet.n_horizontal_lines - 1)
    major_x = sheet.x0 + sheet.pitch * np.arange(sheet.n_vertical_lines)
    major_y = sheet.y0 + sheet.pitch * np.arange(sheet.n_horizontal_lines)
    minor_x = sheet.x0 + mm * np.arange(round((extent_x - sheet.x0) / mm) + 1)
    minor_y = np.arange(sheet.y0 - mm * np.floor(sheet.y0 / mm), extent_y + mm / 2, mm)
    offsets = sheet.raster_offsets()
    if style.raster and offsets is not None and sheet.raster_y0 is not None:
        # As pages that are drawn as pictures have them: every line on whole pixels.
        major_x, major_y = major_x + offsets[0], major_y + offsets[1]
        exact_y = minor_y + (sheet.raster_y0 - sheet.y0)
        minor_x, minor_y = np.floor(minor_x + 0.5), np.floor(exact_y + 0.5)

    def lines(xs: NDArray[np.floating], ys: NDArray[np.floating], width: float) -> tuple[FloatImage, FloatImage]:
        return (
            line_profile(xs, width, region.x, region.width),
            line_profile(ys, width, region.y, region.height),
        )

    fine_x, fine_y = lines(minor_x, minor_y, style.minor_width)
    thick_x, thick_y = lines(major_x, major_y, style.major_width)
    if style.dots:
        fine = fine_x[None, :] * fine_y[:, None]
    else:
        fine = np.maximum(fine_x[None, :], fine_y[:, None])
    vertical = style.major_vertical or style.major
    image = np.empty((region.height, region.width, 3), np.float32)
    for channel in range(3):
        plane = np.full((region.height, region.width), style.paper[channel], np.float32)
        steps = [(thick_x[None, :], vertical[channel]), (thick_y[:, None], style.major[channel])]
        if style.minor_visible:
            # Some printers draw the thin horizontal lines over the thick vertical ones, which then look dashed.
            steps.insert(1 if style.minor_on_top else 0, (fine, style.minor[channel]))
        for cover, value in steps:
            plane += cover * (value - plane)
        image[..., channel] = plane
    if style.border:
        for edge in (0 - region.y, sheet.height - 1 - region.y):
            if 0 <= edge < region.height:
                image[edge] = style.text_colour
        for edge in (0 - region.x, sheet.width - 1 - region.x):
            if 0 <= edge < region.width:
                image[:, edge] = style.text_colour
    return image


def _shifted(polylines: tuple[Polyline, ...] | list[Polyline], region: Region) -> list[Polyline]:
    return [polyline - (region.x, region.y) for polyline in polylines]


def _blend(image: FloatImage, coverage: NDArray[np.uint8], colour: Colour, opacity: float) -> None:
    ys = np.flatnonzero(coverage.any(axis=1))
    if ys.size == 0:
        return
    band = slice(int(ys[0]), int(ys[-1]) + 1)
    alpha = (coverage[band] * np.float32(opacity / 255))[..., None]
    image[band] += alpha * (np.asarray(colour, np.float32) - image[band])


def _placed(sprite: Sprite, region: Region) -> tuple[tuple[slice, slice], NDArray[np.uint8]]:
    """Rows and columns of a region that a sprite covers, and its coverage (h, w) uint8 there; empty where it is out."""
    x, y = round(sprite.x) - region.x, round(sprite.y) - region.y
    height, width = sprite.coverage.shape
    left, top = min(max(x, 0), region.width), min(max(y, 0), region.height)
    right, bottom = max(min(x + width, region.width), left), max(min(y + height, region.height), top)
    return (slice(top, bottom), slice(left, right)), sprite.coverage[top - y : bottom - y, left - x : right - x]


def _paste(image: FloatImage, sprite: Sprite, region: Region) -> None:
    place, part = _placed(sprite, region)
    if part.size:
        _blend(image[place], part, sprite.colour, 1.0)


def _stamp(ink: NDArray[np.uint8], sprite: Sprite, region: Region) -> None:
    """Add a sprite to the coverage (h, w) uint8 of a region, in place: where both are, the greater counts."""
    place, part = _placed(sprite, region)
    if part.size:
        ink[place] = np.maximum(ink[place], part)


def _name_sprites(page: ReadPage, style: PageStyle) -> list[Sprite]:
    """Lead names, their tops 34 px under the zero line and their left edges at the segment's start."""
    sprites = []
    starts = sorted({segment.x_start for segment in page.segments})
    columns = sorted({name.x for name in page.names})
    for name in page.names:
        x = starts[columns.index(name.x)] + 2 + style.label_shift[0]
        y = page.zero_y[name.row] + 34 + style.label_shift[1]
        # As the layout has it: an inverted lead is printed with a minus.
        labels = (cell.label for cell in page.layout.row(name.row) if cell.lead == name.lead)
        coverage = text_sprite(next(labels, name.lead), style.font, style.label_size, style.label_bold)
        sprites.append(Sprite(coverage, x, y, style.text_colour))
    return sprites


def _bar_sprites(page: ReadPage, style: PageStyle) -> list[Sprite]:
    """The bars between the leads of every row that has several."""
    half = round(style.separator_half_height)
    sprites: list[Sprite] = []
    if page.bars is None:
        return sprites
    zeros = [zero for row, zero in enumerate(page.zero_y) if len(page.row_segments(row)) > 1]
    for x in page.bars.x:
        # Pixel i reaches from i - 0.5 to i + 0.5. Time is read off these bars: nothing is rounded.
        left = x + page.bars.offset_px - style.separator_width / 2
        pixels = np.arange(round(left), round(left + style.separator_width) + 1)
        covered = np.minimum(left + style.separator_width, pixels + 0.5) - np.maximum(left, pixels - 0.5)
        bar = np.repeat(np.round(255 * np.clip(covered, 0, 1)).astype(np.uint8)[None], 2 * half, axis=0)
        sprites += [Sprite(bar, float(pixels[0]), zero - half, style.ink) for zero in zeros]
    return sprites


_WORDS = (
    "Name:", "ID: {n:05d}_hr", "Date: 19{y:02d}-0{m}-1{m}, 0{m}:2{m}:4{m}", "Age: {y} yrs", "Sex: Male", "Sex: Female",
    "Height: 1{y:02d}", "Weight: {y} Kgs", "HR {y} bpm", "PR 1{y:02d} ms", "QRS {y} ms", "QT/QTc 3{y:02d}/4{y:02d} ms",
    "Sinus rhythm", "Unconfirmed", "Normal ECG", "P-R-T axes {y} {m} 4{m}", "Dr. {n:04d}", "Room {m}{m}", "0.05-150 Hz",
)  # fmt: skip


def _header_sprites(scale: Scale, style: PageStyle, rng: Generator) -> list[Sprite]:
    sprites = []
    columns = (10.0, 600.0, 1190.0, 1700.0)

    def text() -> str:
        word = _WORDS[int(rng.integers(len(_WORDS)))]
        return word.format(n=int(rng.integers(99999)), y=int(rng.integers(10, 99)), m=int(rng.integers(1, 9)))

    for line in range(style.header_lines):
        for column in columns:
            if rng.random() < 0.7:
                coverage = text_sprite(text(), style.font, style.header_size)
                x, y = column + rng.normal(0, 12), 20 + line * (style.header_size + 10) + rng.normal(0, 3)
                sprites.append(Sprite(coverage, x, y, style.text_colour))
    if style.footer:
        y = 1640 + rng.normal(0, 6)
        for words, x in ((f"{scale.speed_mm_per_s:g}mm/s", 393.0), (f"{scale.gain_mm_per_mv:g}mm/mV", 787.0)):
            coverage = text_sprite(words, style.font, style.header_size)
            sprites.append(Sprite(coverage, x + rng.normal(0, 15), y, style.text_colour))
    return sprites


def _barcode(sheet: Sheet, rng: Generator) -> Sprite:
    """A square of random modules, as the codes that archives stick on their scans."""
    modules = (rng.random((25, 25)) < 0.5).astype(np.uint8) * 255
    size = int(rng.integers(90, 150))
    coverage = cv2.resize(modules, (size, size), interpolation=cv2.INTER_NEAREST)
    x = sheet.width - size - rng.uniform(10, 120)
    return Sprite(coverage, float(x), float(rng.uniform(10, 120)), (0.05, 0.05, 0.05))


def _scribble(sheet: Sheet, rng: Generator) -> Sprite:
    """Handwriting: a pen wandering along a line in loops."""
    length, size = rng.uniform(200, 900), rng.uniform(15, 40)
    t = np.linspace(0, length / size, int(length))
    x = t * size * 0.7 + size * 0.5 * np.sin(2 * np.pi * t * 0.9 + rng.uniform(0, 6))
    y = size * (np.sin(2 * np.pi * t + rng.uniform(0, 6)) + 0.6 * np.sin(2 * np.pi * t * rng.uniform(0.3, 0.6)))
    angle = rng.normal(0, 0.15)
    points = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], axis=1)
    points[rng.random(len(points)) < 0.01] = np.nan
    low = np.nanmin(points, axis=0) - 4
    points -= low
    width, height = (np.nanmax(points, axis=0) + 5).astype(int)
    coverage = stroke_coverage([points], float(rng.uniform(1.5, 4)), int(width), int(height))
    # Notes stand mostly in the empty top of the page, sometimes across the traces.
    top = rng.uniform(120, 480) if rng.random() < 0.7 else rng.uniform(480, 1550)
    dark = rng.uniform(0, 0.35)
    colour = (dark, dark, dark) if rng.random() < 0.6 else (dark * 0.6, dark, min(1.0, dark + 0.45))
    return Sprite(coverage, float(rng.uniform(0, sheet.width - 300)), float(top), colour)
