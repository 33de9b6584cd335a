"""Files, bytes and arrays become pages or are refused; lists of inputs become files."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cardioscan.errors import ImageError, RefusalCode
from cardioscan.imaging import images
from cardioscan.imaging.images import ImageLimits, count_pages, expand_inputs, load_image
from tests.cardioscan.imaging.encoded_pictures import (
    HEIGHT,
    WIDTH,
    encoded,
    pdf_bytes,
    picture,
    png_header,
    refused,
    rgb_bytes,
)


def test_loaded_image_cannot_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "Seite 1.png"
    path.write_bytes(rgb_bytes("PNG"))
    loaded = load_image(str(path))
    assert loaded.name == "Seite 1.png"
    with pytest.raises(ValueError):
        loaded.pixels[0, 0, 0] = 1
    with pytest.raises(AttributeError):
        loaded.page = 2  # type: ignore[misc]


# --- refusals ---------------------------------------------------------------------------------------------------


def test_missing_file_folder_and_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    assert refused(tmp_path / "no.png").code is RefusalCode.FILE_NOT_FOUND
    assert refused(tmp_path / "empty.png" / "no.png").code is RefusalCode.FILE_NOT_FOUND
    assert refused("a\0b.png").code is RefusalCode.FILE_NOT_FOUND
    assert refused(tmp_path).code is RefusalCode.NOT_AN_IMAGE
    assert refused(tmp_path / "empty.png").code is RefusalCode.EMPTY_FILE
    assert refused(b"").code is RefusalCode.EMPTY_FILE
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        assert refused(tmp_path / "pipe.png").code is RefusalCode.NOT_AN_IMAGE


@pytest.mark.parametrize(
    "data", [b"this is a text", b"BMI of the patient: 24, further words to fill the line", b"GIF89a", b"\0" * 5000]
)
def test_whatever_is_no_picture_is_refused_for_what_it_is(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "page.png"
    path.write_bytes(data)
    assert refused(path).code is RefusalCode.NOT_AN_IMAGE
    with pytest.raises(ImageError):
        count_pages(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("WEBP", {}),
    ],
)
def test_truncated_files_are_refused(file_format: str, options: dict, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    data = encoded(Image.fromarray(noise), file_format, **options)
    assert refused(data[: int(share * len(data))]).code is RefusalCode.CORRUPT_IMAGE


def test_too_small() -> None:
    assert refused(encoded(Image.new("RGB", (1, 1)), "PNG")).code is RefusalCode.IMAGE_TOO_SMALL
    assert refused(encoded(Image.new("RGB", (2000, 299)), "PNG")).code is RefusalCode.IMAGE_TOO_SMALL
    assert load_image(encoded(Image.new("RGB", (300, 300)), "PNG")).pixels.shape == (300, 300, 3)


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (png_header(30_000, 30_000), ImageLimits()),
        (png_header(32_001, 400), ImageLimits()),
        (rgb_bytes("TIFF"), ImageLimits(max_pixels=100_000)),
        (rgb_bytes("WEBP"), ImageLimits(max_side=400)),
        (rgb_bytes("JPEG"), ImageLimits(max_bytes=500)),
    ],
)
def test_too_large(data: bytes, limits: ImageLimits, tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(data)
    assert refused(data, limits=limits).code is RefusalCode.IMAGE_TOO_LARGE
    assert refused(path, limits=limits).code is RefusalCode.IMAGE_TOO_LARGE


def test_a_huge_picture_costs_no_memory(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="needs the module resource (Unix)")
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(30_000, 30_000))
    program = (
        "import resource, sys\n"
        "from cardioscan.imaging.images import load_image\n"
        "from cardioscan.errors import ImageError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: load_image(sys.argv[1])\n"
        "except ImageError as error: print(error.code.value)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert after - before < 50 * (1024 if sys.platform != 'darwin' else 2**20), (before, after)\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False, cwd=root, timeout=120
    )
    assert done.stdout.strip() == "image_too_large", done.stderr


def test_size_warnings_and_limits_of_pillow_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for file_format in ("PNG", "TIFF", "JPEG"):
        data = rgb_bytes(file_format)
        for pixels in (100_000, 1_000):  # Pillow warns above its limit and raises above twice of it
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                if file_format == "TIFF" and pixels == 1_000:  # Pillow's own refusal inside the TIFF decoder
                    assert refused(data).code is RefusalCode.IMAGE_TOO_LARGE
                else:
                    assert load_image(data).pixels.shape == (HEIGHT, WIDTH, 3)


@settings(max_examples=60, deadline=None)
@given(
    file_format=st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "WEBP", "PDF"]),
    position=st.floats(0, 1),
    junk=st.binary(min_size=1, max_size=40),
)
def test_damaged_bytes_give_a_picture_or_a_refusal(file_format: str, position: float, junk: bytes) -> None:
    if file_format == "PDF":
        pytest.importorskip("pypdfium2")
    data = bytearray(pdf_bytes((400, 300)) if file_format == "PDF" else rgb_bytes(file_format))
    start = int(position * (len(data) - 1))
    data[start : start + len(junk)] = junk
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            loaded = load_image(bytes(data))
        except ImageError as error:
            assert isinstance(error.code, RefusalCode)
        else:
            assert loaded.pixels.dtype == np.uint8
            assert loaded.pixels.ndim == 3
            assert loaded.pixels.shape[2] == 3


# --- arrays -----------------------------------------------------------------------------------------------------


def test_arrays() -> None:
    rgb = picture()
    loaded = load_image(rgb)
    np.testing.assert_array_equal(loaded.pixels, rgb)
    assert (loaded.format, loaded.name, loaded.n_pages, count_pages(rgb)) == ("ARRAY", "array", 1, 1)
    np.testing.assert_array_equal(load_image(rgb[..., 0]).pixels, np.repeat(rgb[..., :1], 3, axis=-1))
    np.testing.assert_array_equal(load_image(rgb[..., :1]).pixels, np.repeat(rgb[..., :1], 3, axis=-1))
    half = np.full((HEIGHT, WIDTH, 1), 128, np.uint8)
    over_white = load_image(np.concatenate([rgb, half], axis=-1)).pixels
    np.testing.assert_allclose(over_white, rgb * (128 / 255) + 255 * (127 / 255), atol=1)
    np.testing.assert_array_equal(load_image(rgb[:, ::-1]).pixels, rgb[:, ::-1])


def test_an_array_is_copied() -> None:
    rgb = picture()
    loaded = load_image(rgb)
    rgb[:] = 0
    assert loaded.pixels.any()


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((400, 400), np.float32), RefusalCode.NOT_AN_IMAGE),
        (np.zeros((400, 400), bool), RefusalCode.NOT_AN_IMAGE),
        (np.zeros((400, 400, 2), np.uint8), RefusalCode.NOT_AN_IMAGE),
        (np.zeros((3, 400, 400), np.uint8), RefusalCode.NOT_AN_IMAGE),
        (np.zeros((1, 400, 400, 3), np.uint8), RefusalCode.NOT_AN_IMAGE),
        (np.zeros(5000, np.uint8), RefusalCode.NOT_AN_IMAGE),
        (np.zeros((0, 0, 3), np.uint8), RefusalCode.IMAGE_TOO_SMALL),
        (np.broadcast_to(np.uint8(0), (30_000, 30_000, 3)), RefusalCode.IMAGE_TOO_LARGE),
    ],
)
def test_refused_arrays(array: np.ndarray, code: RefusalCode) -> None:
    assert refused(array).code is code


def test_an_array_has_one_page() -> None:
    assert refused(picture(), page=1).code is RefusalCode.PAGE_NOT_FOUND


# --- lists of inputs --------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a.jpg", "c.pdf", "notes.txt", ".hidden.png", "odd[1].png", "sub/d.tif", "other/x.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "void").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["."], ["a.jpg", "b.PNG", "c.pdf", "odd[1].png"]),
        (["sub", "."], ["sub/d.tif", "a.jpg", "b.PNG", "c.pdf", "odd[1].png"]),
        (["c.pdf", "a.jpg", "c.pdf", "./a.jpg"], ["c.pdf", "a.jpg"]),
        (["*.jpg", "a.jpg"], ["a.jpg"]),
        (["?.*"], ["a.jpg", "b.PNG", "c.pdf"]),
        (["**/*"], ["a.jpg", "b.PNG", "c.pdf", "odd[1].png", "sub/d.tif"]),
        (["odd[1].png"], ["odd[1].png"]),
        (["notes.txt"], ["notes.txt"]),
        (["*.txt"], ["notes.txt"]),
        (["missing.png", "a.jpg"], ["missing.png", "a.jpg"]),
        (["*.dcm"], ["*.dcm"]),
        (["void"], ["void"]),
        (["other"], ["other"]),
        ([], []),
    ],
)
def test_expand_inputs(tree: Path, monkeypatch: pytest.MonkeyPatch, patterns: list[str], expected: list[str]) -> None:
    monkeypatch.chdir(tree)
    assert [path.as_posix() for path in expand_inputs(patterns)] == expected


def test_known_suffixes_are_lower_case_with_a_dot() -> None:
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in images.KNOWN_SUFFIXES)


# --- real files -------------------------------------------------------------------------------------------------


def test_real_pages(shared_data: Path) -> None:
    page = load_image(shared_data / "pages" / "892067079-0001.png")
    assert page.pixels.shape == (1700, 2200, 3)
    photo = load_image(next(iter(expand_inputs([shared_data / "photos"]))))
    assert photo.format == "JPEG"
