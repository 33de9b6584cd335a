"""Reading and checking input images: files, bytes or arrays become one RGB page each, or an ``ImageError``.

The first bytes of a file tell its format; its name is ignored. Sizes are checked on the header, before anything is
decoded, so that a picture of 30,000 x 30,000 px costs no memory. Whether a page *shows* an ECG is not decided here.
"""

from __future__ import annotations

import glob
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cardioscan.errors import ImageError, MissingDependencyError, RefusalCode
from cardioscan.imaging.pdf_pages import PDF_DPI, open_pdf, page_size_px, render_page
from cardioscan.imaging.raster_formats import claimed_dpi, count_frames, open_raster, to_rgb, upright_rgb

ImageSource = str | os.PathLike[str] | bytes | NDArray[Any]
"""A path, the encoded bytes of a file, or decoded pixels."""

KNOWN_SUFFIXES: Final = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".pdf", ".heic", ".heif")
)
"""File name endings (lower case) that ``expand_inputs`` picks out of folders."""

_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@dataclass(frozen=True)
class ImageLimits:
    """Limits of accepted inputs, checked before decoding.

    Attributes:
        max_bytes: largest encoded input.
        max_pixels: largest width x height. Above about 179 million Pillow itself refuses TIFF files.
        max_side: largest width or height, px. OpenCV cannot warp pictures of 32,767 px or more to a side.
        min_side: smallest width and height, px; below it no trace of a 12-lead page can be read.
    """

    max_bytes: int = 256 * 2**20
    max_pixels: int = 100_000_000
    max_side: int = 32_000
    min_side: int = 300

    def check(self, width: int, height: int, name: str) -> None:
        """Raise ``ImageError`` (``image_too_small`` or ``image_too_large``) for a size in px outside the limits."""
        if min(width, height) < self.min_side:
            raise ImageError(
                RefusalCode.IMAGE_TOO_SMALL,
                f"{name} is {width} x {height} px; each side must have at least {self.min_side} px. "
                "Scan at 200 dpi or photograph the whole page at full resolution",
            )
        if width * height > self.max_pixels or max(width, height) > self.max_side:
            raise ImageError(
                RefusalCode.IMAGE_TOO_LARGE,
                f"{name} is {width} x {height} px; the limits are {self.max_pixels / 1e6:g} million px and "
                f"{self.max_side} px a side. Scale the picture down; 200 dpi are enough",
            )


DEFAULT_LIMITS: Final = ImageLimits()


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """One page as pixels.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright as far as the file says (EXIF), C-contiguous, read-only.
        name: file name without folders, or ``"bytes"`` / ``"array"``.
        page: index of the page in its file, from 0.
        n_pages: number of pages in the file.
        format: ``PNG``, ``JPEG``, ``TIFF``, ``BMP``, ``WEBP``, ``HEIF``, ``PDF`` or ``ARRAY``.
        dpi: resolution that the file claims (for a PDF, that of the rendering); None where it claims none, or
            different ones in x and y. Not reliable: phones and editors write arbitrary numbers.
    """

    pixels: NDArray[np.uint8]
    name: str
    page: int
    n_pages: int
    format: str
    dpi: float | None


def load_image(source: ImageSource, page: int = 0, limits: ImageLimits = DEFAULT_LIMITS) -> LoadedImage:
    """Read one page.

    Transparent parts become white, palettes and CMYK become RGB, deep grey is scaled to 8 bits, EXIF orientation is
    applied. PDF pages are rendered on white at 200 dpi. Only TIFF and PDF have more than one page; of an animation only
    the first picture is read.

    Args:
        source: a path, encoded bytes, or a uint8 array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA.
        page: page of the file, from 0.
        limits: sizes that are accepted.

    Raises:
        ImageError: the source cannot be read; ``code`` says why.
        MissingDependencyError: a PDF, and pypdfium2 is not installed.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, page, limits)
    name, data = _read(source, limits)
    file_format = _format_by_signature(data, name)
    if file_format == "PDF":
        with _decoder_errors_as_refusals(name), open_pdf(data, name) as document:
            n_pages = len(document)
            _check_page(page, n_pages, name)
            pdf_page = document[page]
            limits.check(*page_size_px(pdf_page), name)
            dpi: float | None = PDF_DPI
            pixels = render_page(pdf_page)
    else:
        with _decoder_errors_as_refusals(name), open_raster(data, file_format, name) as image:
            n_pages = count_frames(image, file_format)
            _check_page(page, n_pages, name)
            if n_pages > 1:
                image.seek(page)
            width, height = image.size
            limits.check(width, height, name)
            dpi = claimed_dpi(image)
            pixels = upright_rgb(image, name)
    return LoadedImage(_frozen(pixels), name, page, n_pages, file_format, dpi)


def count_pages(source: ImageSource, limits: ImageLimits = DEFAULT_LIMITS) -> int:
    """Number of pages in a source; 1 for an array and for every format but TIFF and PDF. Decodes no pixels.

    Raises:
        ImageError: the source cannot be read at all; ``code`` says why.
        MissingDependencyError: a PDF, and pypdfium2 is not installed.
    """
    if isinstance(source, np.ndarray):
        return 1
    name, data = _read(source, limits)
    file_format = _format_by_signature(data, name)
    if file_format == "PDF":
        with _decoder_errors_as_refusals(name), open_pdf(data, name) as document:
            return len(document)
    with _decoder_errors_as_refusals(name), open_raster(data, file_format, name) as image:
        return count_frames(image, file_format)


def expand_inputs(patterns: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The files that a list of files, folders and glob patterns stands for.

    A folder gives its own files of known type (one level, no hidden files), a glob its matches of known type
    (``**`` goes through sub-folders); both in order of name. Order of the arguments is kept and a file met twice is
    listed once. Nothing vanishes silently: a missing file, a folder without pages and a glob without matches stay in
    the list as they are, and matches of unknown type stay where a glob has no others, so that ``load_image`` can say
    what is wrong with them.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            members = sorted(member for member in path.iterdir() if not member.name.startswith("."))
            paths = [member for member in members if _known_file(member)] or [path]
        elif not path.exists() and glob.has_magic(os.fspath(pattern)):
            matches = sorted(Path(match) for match in glob.glob(os.fspath(pattern), recursive=True))
            files = [match for match in matches if match.is_file()]
            paths = [match for match in files if _known_file(match)] or files or [path]
        else:
            paths = [path]
        for member in paths:
            found.setdefault(os.path.realpath(member), member)
    return list(found.values())


def _known_file(path: Path) -> bool:
    return path.suffix.lower() in KNOWN_SUFFIXES and path.is_file()


def _frozen(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels = np.ascontiguousarray(pixels)
    pixels.setflags(write=False)
    return pixels


def _from_array(array: NDArray[Any], page: int, limits: ImageLimits) -> LoadedImage:
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not shape_ok:
        raise ImageError(
            RefusalCode.NOT_AN_IMAGE,
            f"array of {array.dtype} with shape {array.shape}; give uint8 of shape (H, W), (H, W, 3) RGB or "
            "(H, W, 4) RGBA",
        )
    _check_page(page, 1, "array")
    limits.check(array.shape[1], array.shape[0], "array")
    if array.ndim == 3 and array.shape[2] == 4:
        pixels = to_rgb(Image.fromarray(np.ascontiguousarray(array), "RGBA"), "array")
    else:
        pixels = np.empty((*array.shape[:2], 3), np.uint8)  # a copy: the caller may change the array later
        pixels[...] = array if array.ndim == 3 else array[..., None]
    return LoadedImage(_frozen(pixels), "array", 0, 1, "ARRAY", None)


def _read(source: str | os.PathLike[str] | bytes, limits: ImageLimits) -> tuple[str, bytes]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, data = "bytes", bytes(source)
    else:
        name, data = Path(source).name or os.fspath(source), _read_file(Path(source), limits)
    if not data:
        raise ImageError(RefusalCode.EMPTY_FILE, f"{name} is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise ImageError(
            RefusalCode.IMAGE_TOO_LARGE, f"{name} has more than {limits.max_bytes / 2**20:g} MiB, the largest size read"
        )
    return name, data


def _read_file(path: Path, limits: ImageLimits) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(RefusalCode.NOT_AN_IMAGE, f"{path} is a folder; no page was found in it")
        if not stat.S_ISREG(mode):
            raise ImageError(RefusalCode.NOT_AN_IMAGE, f"{path} is not a regular file")
        with path.open("rb") as file:
            return file.read(limits.max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(RefusalCode.FILE_NOT_FOUND, f"there is no file {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError(RefusalCode.FILE_NOT_FOUND, f"{str(path)!r} cannot be opened: {error}") from error


def _format_by_signature(data: bytes, name: str) -> str:
    """Name of the format that the first bytes show, as in ``LoadedImage.format``."""
    head = data[:1024]
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    # "BM" alone also begins many a text.
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "HEIF"
    if b"%PDF-" in head:
        return "PDF"
    raise ImageError(
        RefusalCode.NOT_AN_IMAGE, f"{name} is none of PNG, JPEG, TIFF, BMP, WebP, HEIC or PDF, whatever its name says"
    )


def _check_page(page: int, n_pages: int, name: str) -> None:
    if not 0 <= page < n_pages:
        raise ImageError(RefusalCode.PAGE_NOT_FOUND, f"{name} has no page {page}; its pages are 0 to {n_pages - 1}")


@contextmanager
def _decoder_errors_as_refusals(name: str) -> Iterator[None]:
    """Turn any error of a decoder into an ``ImageError``, and suppress Pillow's warnings."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            yield
        except (ImageError, MissingDependencyError):
            raise
        except (Image.DecompressionBombError, MemoryError) as error:
            raise ImageError(RefusalCode.IMAGE_TOO_LARGE, f"{name} is too large to decode: {error}") from error
        except Exception as error:  # on damaged bytes decoders raise almost every built-in error
            raise ImageError(RefusalCode.CORRUPT_IMAGE, f"{name} is damaged or cut off: {error}") from error
