"""Pictures that show no ECG at all: documents, charts, tables, scenes, noise. Some look like one from afar.

Every kind is a function from a random generator to a picture, (H, W, 3) uint8 RGB, 800 to 2400 px wide.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from benchmarks.refusal_set.captures import capture_sheet, degrade_picture
from benchmarks.refusal_set.drawing import (
    FONTS,
    blank_sheet,
    draw_axes,
    draw_curve,
    draw_plot_frame,
    draw_table,
    draw_turned_box,
    picture_size,
    random_colour,
    random_font,
    random_ink,
    random_number,
    random_words,
    scrawl,
    to_bytes,
    write,
    write_paragraphs,
)
from cardioscan.arrays import Image
from cardioscan.page.leads import LEADS
from cardioscan.synthesis.capture import desk
from cardioscan.synthesis.photometry import smooth_noise


def text_page(rng: Generator) -> Image:
    """A letter with its head, date and signature, or an article in two columns."""
    sheet = blank_sheet(rng, (0.7, 1.42))
    height, width = sheet.shape[:2]
    margin, size, font = width // 12, max(9, int(width * rng.uniform(0.011, 0.018))), random_font(rng)
    write(sheet, random_words(rng, 3).title(), (margin, margin + 2 * size), 2 * size, font)
    top = margin + 4 * size
    if rng.random() < 0.5:
        for line in range(4):
            write(sheet, random_words(rng, 3).title(), (margin, top + line * 2 * size), size, font)
        date = f"{rng.integers(1, 29)}.{rng.integers(1, 13)}.20{rng.integers(10, 30)}"
        write(sheet, date, (width - margin - 12 * size, top), size, font)
        body = (margin, top + 10 * size, width - 2 * margin, height - top - 20 * size)
        write_paragraphs(sheet, body, size, font, rng)
        scrawl(sheet, (margin, height - 8 * size), 10 * size, 2 * size, rng)
    else:
        half = (width - 3 * margin) // 2
        for left in (margin, 2 * margin + half):
            write_paragraphs(sheet, (left, top, half, height - top - margin), size, font, rng)
        figure = (margin, height // 2, half, height // 5)
        left, top, wide, high = figure
        sheet[top : top + high, left : left + wide] = 255
        draw_plot_frame(sheet, figure, rng)
        draw_curve(sheet, figure, np.cumsum(rng.standard_normal(200)), random_colour(rng), 2)
    return capture_sheet(sheet, rng)


def form(rng: Generator) -> Image:
    """A form with boxes to fill in and to tick, or an invoice with its table and total."""
    sheet = blank_sheet(rng, (0.75, 1.4))
    height, width = sheet.shape[:2]
    margin, size, font = width // 14, max(10, width // 75), random_font(rng)
    write(sheet, random_words(rng, 2).upper(), (margin, margin + 2 * size), 2 * size, font)
    write(sheet, f"No. {rng.integers(10**6)}", (width - margin - 12 * size, margin + 2 * size), size, font)
    top = margin + 4 * size
    if rng.random() < 0.5:
        columns = int(rng.integers(2, 5))
        cell_width, cell_height = (width - 2 * margin) // columns, 4 * size
        for box_top in range(top, height - 6 * cell_height, cell_height):
            for column in range(columns):
                left = margin + column * cell_width
                cv2.rectangle(sheet, (left, box_top), (left + cell_width, box_top + cell_height), random_ink(rng), 2)
                write(sheet, random_words(rng, 1).title(), (left + size // 2, box_top + size), size * 2 // 3, font)
                if rng.random() < 0.4:
                    box = (left + size, box_top + 2 * size)
                    cv2.rectangle(sheet, box, (box[0] + size, box[1] + size), random_ink(rng), 1)
                elif rng.random() < 0.6:
                    write(sheet, random_number(rng), (left + size, box_top + 3 * size), size, font, (30, 40, 140))
        top = height - 5 * cell_height
    draw_table(
        sheet, (margin, top, width - 2 * margin, height - top - 5 * size), int(rng.integers(3, 7)), 2 * size, rng
    )
    write(sheet, f"Total {random_number(rng)}", (width - margin - 14 * size, height - 2 * size), size * 3 // 2, font)
    return capture_sheet(sheet, rng)


def line_chart(rng: Generator) -> Image:
    """Several series over axes with grid lines, numbers and a legend."""
    sheet = blank_sheet(rng, (0.5, 0.85))
    box = draw_axes(sheet, rng)
    for series in range(int(rng.integers(2, 7))):
        steps = rng.standard_normal(int(rng.integers(30, 600)))
        values = np.cumsum(steps) if rng.random() < 0.6 else np.sin(np.linspace(0, rng.uniform(6, 90), steps.size))
        colour = random_colour(rng)
        draw_curve(sheet, box, values + rng.normal(0, 2), colour, int(rng.integers(1, 5)), (-8, 8))
        place = (box[0] + box[2] * 3 // 4, box[1] + 24 + 26 * series)
        cv2.line(sheet, (place[0] - 40, place[1] - 6), (place[0] - 8, place[1] - 6), colour, 3)
        write(sheet, random_words(rng, 1), place, 14, random_font(rng))
    return capture_sheet(sheet, rng)


def bar_chart(rng: Generator) -> Image:
    """Groups of bars over named classes."""
    sheet = blank_sheet(rng, (0.5, 0.9))
    left, top, width, height = draw_axes(sheet, rng)
    groups, bars = int(rng.integers(3, 13)), int(rng.integers(1, 5))
    colours = [random_colour(rng) for _ in range(bars)]
    pitch = width / groups
    for group in range(groups):
        for bar, colour in enumerate(colours):
            x = round(left + pitch * (group + 0.1 + 0.8 * bar / bars))
            y = round(top + height * rng.uniform(0.05, 0.95))
            cv2.rectangle(sheet, (x, y), (round(x + 0.7 * pitch / bars), top + height), colour, -1)
        write(sheet, random_words(rng, 1), (round(left + pitch * group), top + height + 40), 13, random_font(rng))
    return capture_sheet(sheet, rng)


def spectrum(rng: Generator) -> Image:
    """Panels of spectra, one above the other: narrow peaks on a flat line, which look much like beats."""
    sheet = blank_sheet(rng, (0.6, 0.9))
    height, width = sheet.shape[:2]
    panels = int(rng.integers(1, 5))
    for panel in range(panels):
        box = (width // 12, height * panel // panels + height // 40, width * 5 // 6, height * 9 // (10 * panels))
        draw_plot_frame(sheet, box, rng)
        x = np.arange(1500.0)
        centres, sharpness = rng.uniform(0, 1500, (int(rng.integers(4, 30)), 1)), rng.uniform(2, 12)
        peaks = np.exp(rng.normal(0, 1, centres.shape)) / (1 + ((x - centres) / sharpness) ** 2)
        draw_curve(sheet, box, peaks.sum(axis=0) + rng.normal(0, 0.01, x.size), random_ink(rng), 2)
        write(sheet, f"{panel + 1}", (box[0] + 10, box[1] + 30), 18, random_font(rng))
    return capture_sheet(sheet, rng)


def stock_chart(rng: Generator) -> Image:
    """Candles with a moving average, and bars of volume below."""
    sheet = blank_sheet(rng, (0.5, 0.75), dark=bool(rng.random() < 0.4))
    left, top, width, height = draw_axes(sheet, rng)
    count = int(rng.integers(40, 160))
    course = np.cumsum(rng.standard_normal(count + 1))
    course = (course - course.min()) / np.ptp(course)
    to_y = top + height * (0.72 - 0.65 * course)
    pitch = width / count
    for day in range(count):
        x, a, b = round(left + pitch * (day + 0.5)), to_y[day], to_y[day + 1]
        colour = (30, 150, 80) if b < a else (200, 50, 50)
        wick = np.abs(rng.normal(0, 0.02 * height, 2))
        cv2.line(sheet, (x, round(min(a, b) - wick[0])), (x, round(max(a, b) + wick[1])), colour, 1)
        half = max(1, round(0.35 * pitch))
        cv2.rectangle(sheet, (x - half, round(min(a, b))), (x + half, round(max(a, b))), colour, -1)
        volume = round(top + height * (1 - 0.2 * rng.random()))
        cv2.rectangle(sheet, (x - half, volume), (x + half, top + height), colour, -1)
    average = np.convolve(course, np.ones(9) / 9, "valid")
    draw_curve(sheet, (left, top, width, height * 3 // 4), average, (220, 150, 30), 2)
    return capture_sheet(sheet, rng)


def noise(rng: Generator) -> Image:
    """White noise, coloured blobs, or a smooth gradient."""
    height, width = picture_size(rng, (0.6, 1.2))
    which = int(rng.integers(3))
    if which == 0:
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if which == 1:
        grain = float(rng.uniform(2, 60))
        planes = [128 + 60 * smooth_noise((height, width), grain, rng) for _ in range(3)]
        return to_bytes(np.stack(planes, axis=-1))
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    weight = np.clip(x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1) + rng.uniform(0, 1), 0, 1)[..., None]
    return to_bytes(weight * rng.uniform(0, 255, 3) + (1 - weight) * rng.uniform(0, 255, 3))


def desk_scene(rng: Generator) -> Image:
    """A desk with sheets of white paper, pens, cups and a phone on it, but no page."""
    height, width = picture_size(rng, (0.6, 1.0))
    scene = to_bytes(desk((width, height), rng) * 255)
    for _ in range(int(rng.integers(2, 8))):
        middle = rng.uniform(0.1, 0.9, 2) * (width, height)
        angle, long = float(rng.uniform(0, 180)), float(rng.uniform(0.1, 0.45) * width)
        thing = int(rng.integers(4))
        if thing == 0:
            shade = int(rng.integers(215, 256))
            draw_turned_box(scene, middle, (long, 0.75 * long), angle, (shade, shade, shade))
        elif thing == 1:
            draw_turned_box(scene, middle, (long, max(6.0, 0.03 * long)), angle, random_colour(rng))
        elif thing == 2:
            radius = int(0.25 * long)
            centre = (int(middle[0]), int(middle[1]))
            cv2.circle(scene, centre, radius, random_colour(rng), -1, cv2.LINE_AA)
            cv2.circle(scene, centre, int(0.8 * radius), (70, 45, 25), -1, cv2.LINE_AA)
        else:
            draw_turned_box(scene, middle, (0.6 * long, 0.3 * long), angle, (15, 15, 18))
    return degrade_picture(scene, "phone_photo", rng)


def graph_paper(rng: Generator) -> Image:
    """Squared paper with handwriting and a curve drawn by hand."""
    sheet = blank_sheet(rng, (0.7, 1.3))
    height, width = sheet.shape[:2]
    pitch, colour = int(rng.integers(14, 52)), (int(rng.integers(120, 190)), 170, int(rng.integers(180, 230)))
    sheet[::pitch] = sheet[:, ::pitch] = colour
    pen = (25, 35, 120) if rng.random() < 0.5 else random_ink(rng)
    for line in range(height // 8, height * 7 // 8, max(2 * pitch, height // 12)):
        if rng.random() < 0.75:
            length = int(rng.uniform(0.3, 0.85) * width)
            scrawl(sheet, (width // 12, line), length, rng.uniform(0.5, 0.9) * pitch, rng, pen)
    if rng.random() < 0.6:
        draw_curve(
            sheet, (width // 8, height // 2, width // 2, height // 5), np.cumsum(rng.standard_normal(60)), pen, 3
        )
    return capture_sheet(sheet, rng)


def tiles(rng: Generator) -> Image:
    """A chequerboard, or tiles with joints between them."""
    sheet = blank_sheet(rng, (0.6, 1.0))
    height, width = sheet.shape[:2]
    pitch = int(rng.integers(24, 180))
    y, x = np.mgrid[:height, :width]
    if rng.random() < 0.5:
        dark = ((x // pitch + y // pitch) % 2).astype(bool)
        sheet[dark] = random_colour(rng)
    else:
        shades = rng.normal(0, 10, (height // pitch + 1, width // pitch + 1, 1)) + np.array(random_colour(rng))
        sheet[:] = to_bytes(shades)[y // pitch, x // pitch]
        sheet[(x % pitch < pitch // 12 + 1) | (y % pitch < pitch // 12 + 1)] = int(rng.integers(60, 250))
    return capture_sheet(sheet, rng)


def spreadsheet(rng: Generator) -> Image:
    """A table of numbers with named columns (some of them leads), or a sudoku."""
    sheet = blank_sheet(rng, (0.6, 1.0))
    height, width = sheet.shape[:2]
    if rng.random() < 0.35:
        side = min(height, width) * 4 // 5
        left, top, cell = (width - side) // 2, (height - side) // 2, side / 9
        for line in range(10):
            thick, at = (4 if line % 3 == 0 else 1), round(line * cell)
            cv2.line(sheet, (left, top + at), (left + side, top + at), (0, 0, 0), thick)
            cv2.line(sheet, (left + at, top), (left + at, top + side), (0, 0, 0), thick)
        for row, column in np.argwhere(rng.random((9, 9)) < 0.4):
            place = (round(left + (column + 0.3) * cell), round(top + (row + 0.75) * cell))
            write(sheet, str(rng.integers(1, 10)), place, round(cell / 2), FONTS[0])
    else:
        names = LEADS if rng.random() < 0.5 else None
        columns = 12 if names else int(rng.integers(5, 14))
        draw_table(sheet, (width // 30, height // 20, width * 14 // 15, height * 9 // 10), columns, 34, rng, names)
    return capture_sheet(sheet, rng)


def music(rng: Generator) -> Image:
    """Staves of five lines with notes and bars."""
    sheet = blank_sheet(rng, (0.8, 1.4))
    height, width = sheet.shape[:2]
    gap = max(6, width // int(rng.integers(90, 140)))
    write(sheet, random_words(rng, 2).title(), (width // 3, 5 * gap), 2 * gap, FONTS[3])
    for top in range(9 * gap, height - 8 * gap, int(rng.integers(9, 13)) * gap):
        left, right = width // 15, width * 14 // 15
        for line in range(5):
            cv2.line(sheet, (left, top + line * gap), (right, top + line * gap), (20, 20, 20), 1)
        for bar in np.linspace(left, right, int(rng.integers(3, 7))).astype(int):
            cv2.line(sheet, (int(bar), top), (int(bar), top + 4 * gap), (20, 20, 20), 2)
        for x in np.arange(left + 5 * gap, right - 2 * gap, rng.uniform(2.5, 5) * gap).astype(int):
            y = top + int(rng.integers(-2, 11)) * gap // 2
            cv2.ellipse(sheet, (int(x), y), (round(0.65 * gap), round(0.45 * gap)), -20, 0, 360, (10, 10, 10), -1)
            stem = (int(x) + round(0.6 * gap), y)
            cv2.line(sheet, stem, (stem[0], y - round(3.3 * gap)), (10, 10, 10), 2)
    return capture_sheet(sheet, rng)


def landscape(rng: Generator) -> Image:
    """Ridges of hills under a sky, with the texture of leaves or stone."""
    height, width = picture_size(rng, (0.55, 0.8))
    depth = np.linspace(0, 1, height)[:, None, None]
    scene = (1 - depth) * rng.uniform(90, 200, 3) + depth * rng.uniform(180, 255, 3) + np.zeros((1, width, 1))
    clouds = np.clip(smooth_noise((height, width), width / 8, rng), 0, 2)[..., None]
    scene += 25 * clouds
    for ridge in range(int(rng.integers(3, 7))):
        outline = sum(smooth_noise((1, width), width / 2**k, rng)[0] / 2**k for k in range(2, 9))
        crest = height * (0.35 + 0.1 * ridge) + height * 0.25 * np.asarray(outline)
        texture = sum(smooth_noise((height, width), 2.0**k, rng) for k in range(1, 6))
        ground = rng.uniform((30, 50, 20), (130, 140, 110)) + 7 * np.asarray(texture)[..., None]
        scene = np.where((np.arange(height)[:, None] > crest)[..., None], ground, scene)
    return degrade_picture(to_bytes(scene), "phone_photo", rng)


def shapes(rng: Generator) -> Image:
    """Faces and figures put together from ellipses, circles and polygons."""
    height, width = picture_size(rng, (0.6, 1.3))
    scene = np.full((height, width, 3), random_colour(rng), np.uint8)
    for _ in range(int(rng.integers(10, 40))):
        corners = rng.uniform(0, 1, 2) * (width, height) + rng.normal(0, 0.1 * width, (int(rng.integers(3, 7)), 2))
        cv2.fillPoly(scene, [corners.round().astype(np.int32)], random_colour(rng), cv2.LINE_AA)
    for _ in range(int(rng.integers(1, 6))):
        x, y = (rng.uniform(0.15, 0.85, 2) * (width, height)).astype(int).tolist()
        size = int(rng.uniform(0.05, 0.2) * width)
        cv2.ellipse(scene, (x, y), (size, size * 5 // 4), 0, 0, 360, (225, 185, 150), -1, cv2.LINE_AA)
        for side in (-1, 1):
            cv2.circle(scene, (x + side * size * 2 // 5, y - size // 4), size // 7, (250, 250, 250), -1, cv2.LINE_AA)
            cv2.circle(scene, (x + side * size * 2 // 5, y - size // 4), size // 14, (30, 30, 30), -1, cv2.LINE_AA)
        cv2.ellipse(scene, (x, y + size // 3), (size // 2, size // 4), 0, 10, 170, (150, 40, 40), 4, cv2.LINE_AA)
    return degrade_picture(scene, "phone_photo", rng)


def codes(rng: Generator) -> Image:
    """Labels with bar codes and square codes."""
    sheet = blank_sheet(rng, (0.5, 1.1))
    height, width = sheet.shape[:2]
    rows, columns = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    for row in range(rows):
        for column in range(columns):
            left, top = width * column // columns + width // 40, height * row // rows + height // 40
            room = (width * 9 // (10 * columns), height * 7 // (10 * rows))
            if rng.random() < 0.5:
                bars = np.repeat(rng.random((1, 95)) < 0.5, 2, axis=0)
                size = room
            else:
                side = int(rng.integers(21, 46))
                bars, size = rng.random((side, side)) < 0.5, (min(room), min(room))
                for corner in ((0, 0), (0, side - 7), (side - 7, 0)):
                    square = bars[corner[0] : corner[0] + 7, corner[1] : corner[1] + 7]
                    square[:], square[1:6, 1:6], square[2:5, 2:5] = True, False, True
            code = cv2.resize(np.where(bars, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
            sheet[top : top + size[1], left : left + size[0]] = code[..., None]
            write(sheet, str(rng.integers(10**11)), (left, top + size[1] + 24), 18, FONTS[0])
    return capture_sheet(sheet, rng)
