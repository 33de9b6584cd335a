"""What capture does to the colours of a page: light, ink, optics, sensors, screens, scanners, water and mould.

All functions take and return float32 RGB images ``(h, w, 3)`` in 0..1 and work in place where they can. ``scale`` is
the number of image px per px of the reference frame, so that sizes on paper stay sizes on paper.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import expit

FloatImage = NDArray[np.float32]


def smooth_noise(shape: tuple[int, int], correlation_px: float, rng: Generator) -> FloatImage:
    """Smooth random field of about unit deviation: (h, w) float32, correlated over ``correlation_px``."""
    height, width = shape
    cell = max(1.0, correlation_px)
    small = rng.standard_normal((int(height / cell) + 4, int(width / cell) + 4)).astype(np.float32)
    big = cv2.resize(small, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
    y, x = (int(rng.integers(0, max(1, big.shape[k] - n + 1))) for k, n in enumerate((height, width)))
    field = big[y : y + height, x : x + width]
    if field.shape != (height, width):
        field = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(field) * np.float32(1.25)


def uneven_light(image: FloatImage, strength: float, rng: Generator) -> FloatImage:
    """A gradient of brightness and of colour over the picture, as near a window or under a lamp."""
    height, width = image.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (np.cos(angle) * x + np.sin(angle) * y).astype(np.float32) * np.float32(0.25 * strength)
    ramp += np.float32(0.08 * strength) * smooth_noise((height, width), max(height, width) / 2.5, rng)
    level = np.float32(1 - strength * rng.uniform(0, 0.25))
    tint = (1 + strength * rng.normal(0, 0.05, 3)).astype(np.float32)
    image *= (level * (1 + ramp))[..., None] * tint
    return image


def shadows(image: FloatImage, count: int, rng: Generator) -> FloatImage:
    """Soft-edged shadows of hands, phones and window bars."""
    height, width = image.shape[:2]
    reduction = 8
    for _ in range(count):
        mask = np.zeros((height // reduction + 1, width // reduction + 1), np.float32)
        centre = rng.uniform(0, 1, 2) * mask.shape[::-1]
        corners = rng.integers(3, 7)
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radii = rng.uniform(0.2, 0.9, corners) * max(mask.shape)
        points = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
        cv2.fillPoly(mask, [points.round().astype(np.int32)], 1.0)
        mask = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.5, 12)))
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
        image *= (1 - np.float32(rng.uniform(0.1, 0.45)) * mask)[..., None]
    return image


def relief_shading(image: FloatImage, relief: FloatImage, strength: float, rng: Generator) -> FloatImage:
    """Light and shade of bent paper. ``relief``: (h, w) slope towards the light, about -1..1."""
    image *= (1 + np.float32(strength * rng.uniform(0.6, 1.0)) * relief)[..., None]
    return image


def blur(image: FloatImage, sigma: float, rng: Generator, motion: float = 0.0) -> FloatImage:
    """Defocus (Gaussian, sigma px) and camera shake (a line of ``motion`` px in a random direction)."""
    if motion >= 1.5:
        size = int(np.ceil(motion)) | 1
        kernel = np.zeros((size, size), np.float32)
        angle, middle = rng.uniform(0, np.pi), (size - 1) / 2
        step = np.array([np.cos(angle), np.sin(angle)]) * motion / 2
        ends = [tuple(int(v) for v in np.round(middle + sign * step)) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.2 else image


def resample(image: FloatImage, density: float) -> FloatImage:
    """Loses what a coarser sensor loses: shrinks by ``density`` (< 1) with area averaging and enlarges again."""
    if density >= 0.98:
        return image
    height, width = image.shape[:2]
    size = (max(8, round(width * density)), max(8, round(height * density)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def sensor_noise(image: FloatImage, strength: float, rng: Generator, correlation: float = 0.0) -> FloatImage:
    """Shot and read noise; phones blur theirs, so it may be correlated over ``correlation`` px."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    if correlation > 0.3:
        noise = cv2.GaussianBlur(noise, (0, 0), correlation) * np.float32(1 + 2.5 * correlation)
    image += noise * (np.float32(strength) * np.sqrt(np.clip(image, 0.05, 1)))
    return image


def jpeg(image: FloatImage, quality: int) -> FloatImage:
    """Through a JPEG encoder and back; (h, w, 3) float32."""
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32)
    return decoded * np.float32(1 / 255)


def tone(image: FloatImage, rng: Generator, amount: float) -> FloatImage:
    """Contrast, brightness, gamma, saturation and white balance of a camera's own processing."""
    image = np.clip(image, 0, 1.2)
    gamma = np.exp(amount * rng.normal(0, 0.25))
    contrast = 1 + amount * rng.normal(0, 0.12)
    saturation = np.float32(np.clip(1 + amount * rng.normal(0, 0.3), 0.1, 1.8))
    image = np.power(image, np.float32(gamma))
    image = (image - 0.5) * np.float32(contrast) + 0.5 + np.float32(amount * rng.normal(0, 0.05))
    grey = image.mean(axis=2, keepdims=True)
    image = grey + saturation * (image - grey)
    image *= (1 + amount * rng.normal(0, 0.04, 3)).astype(np.float32)
    return image.astype(np.float32)


def greyscale_scan(image: FloatImage, rng: Generator) -> FloatImage:
    """A black-and-white scanner or copier: one channel, hard contrast, speckle and screening dots.

    Half of them know two levels only: pale lines become scattered dots, and a dark grid is as black as the trace.
    """
    weights = rng.dirichlet((6, 8, 4)).astype(np.float32)
    grey = image @ weights
    pivot, contrast = np.float32(rng.uniform(0.6, 0.85)), np.float32(rng.uniform(1.5, 5))
    texture = smooth_noise(grey.shape, 1.0, rng) * np.float32(rng.uniform(0.0, 0.12))
    texture += rng.standard_normal(grey.shape, dtype=np.float32) * np.float32(rng.uniform(0.0, 0.06))
    grey = np.clip((grey + texture - pivot) * contrast + np.float32(rng.uniform(0.5, 0.7)), 0, 1)
    if rng.random() < 0.5:
        threshold = rng.normal(rng.uniform(0.4, 0.6), rng.uniform(0.1, 0.28), grey.shape).astype(np.float32)
        dots = (grey > threshold).astype(np.float32)
        grey = cv2.GaussianBlur(dots, (0, 0), float(rng.uniform(0.35, 0.6)))
    if rng.random() < 0.3:
        grey = np.maximum(grey, np.float32(rng.uniform(0, 0.15)))
    return np.repeat(grey[..., None], 3, axis=2)


def moire(image: FloatImage, strength: float, rng: Generator) -> FloatImage:
    """A screen's pixel grid beating with the sensor's: coloured waves, broad and fine, and a bluish cast."""
    height, width = image.shape[:2]
    y, x = np.ogrid[:height, :width]
    image = image * (1 + strength * rng.normal(0, [0.1, 0.05, 0.12])).astype(np.float32)
    for _ in range(int(rng.integers(2, 5))):
        period, angle = np.exp(rng.uniform(np.log(3), np.log(120))), rng.uniform(0, np.pi)
        bend = smooth_noise((height, width), max(height, width) / 3, rng) * np.float32(rng.uniform(0, 3))
        phase = ((np.cos(angle) * x + np.sin(angle) * y) * (2 * np.pi / period)).astype(np.float32) + bend
        shift = rng.normal(0, 1.0)
        amplitude = strength * rng.uniform(0.02, 0.12)
        for channel in range(3):
            image[..., channel] *= 1 + np.float32(amplitude) * np.cos(phase + np.float32(shift * channel))
    return image


def stains(image: FloatImage, count: int, scale: float, rng: Generator) -> FloatImage:
    """Dried coffee, tea and water: tinted patches with a darker rim."""
    height, width = image.shape[:2]
    for _ in range(count):
        field = smooth_noise((height, width), scale * rng.uniform(120, 420), rng)
        level = float(rng.uniform(0.8, 1.6))
        inside = expit((field - level) * np.float32(rng.uniform(8, 40)))
        rim = np.exp(-(((field - level) * np.float32(rng.uniform(6, 20))) ** 2))
        colour = np.array(rng.uniform((0.75, 0.6, 0.35), (0.97, 0.92, 0.85)), np.float32)
        absorbed = (np.float32(rng.uniform(0.4, 1.0)) * inside + np.float32(rng.uniform(0, 0.7)) * rim)[..., None]
        image *= 1 - np.clip(absorbed, 0, 1) * (1 - colour)
    return image


def mould(image: FloatImage, density: float, scale: float, rng: Generator) -> FloatImage:
    """Clusters of small dark, greenish or brown spots with soft edges."""
    height, width = image.shape[:2]
    clusters = smooth_noise((height, width), scale * 250, rng)
    spots = smooth_noise((height, width), max(1.5, scale * rng.uniform(4, 14)), rng)
    fuzz = smooth_noise((height, width), max(1.0, scale * 2.5), rng)
    cover = expit(8 * (spots + 0.3 * fuzz + 0.9 * clusters - np.float32(2.6 - 1.2 * density)))
    colour = np.array(rng.uniform((0.15, 0.15, 0.08), (0.5, 0.5, 0.4)), np.float32)
    image += (np.float32(rng.uniform(0.4, 0.9)) * cover)[..., None] * (colour - image)
    return image


def damage(image: FloatImage, count: int, scale: float, rng: Generator) -> FloatImage:
    """Scratches, worn creases and rubbed-off patches that bare the white of the paper."""
    height, width = image.shape[:2]
    for _ in range(count):
        if rng.random() < 0.7:
            mask = np.zeros((height, width), np.float32)
            start = rng.uniform(0, 1, 2) * (width, height)
            bends = np.cumsum(rng.normal(0, 90 * scale, (int(rng.integers(3, 9)), 2)), axis=0)
            points = np.vstack([start, start + bends]).round().astype(np.int32)
            cv2.polylines(mask, [points], False, 1.0, max(1, round(scale * rng.uniform(1, 4))), cv2.LINE_AA)
            mask *= (smooth_noise((height, width), scale * 12, rng) > rng.uniform(-1.5, 0.5)).astype(np.float32)
        else:
            worn = smooth_noise((height, width), scale * rng.uniform(60, 200), rng)
            mask = np.clip((worn - np.float32(rng.uniform(1.6, 2.4))) * 6, 0, 1)
        white = np.float32(rng.uniform(0.75, 1.0))
        image += (np.float32(rng.uniform(0.3, 0.95)) * mask)[..., None] * (white - image)
    return image
