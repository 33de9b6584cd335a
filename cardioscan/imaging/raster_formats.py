"""Decoding single pictures (PNG, JPEG, TIFF, BMP, WebP, HEIC) into upright 8-bit RGB.

Sizes and page numbers are checked by the caller (:mod:`cardioscan.imaging.images`), which also turns the errors that
decoders raise on damaged files into refusals.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cardioscan.errors import ImageError, RefusalCode

_EXIF_ORIENTATION: Final = 0x0112
_DECODERS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,  # phones append depth maps and previews as further pictures; they are no pages
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "WEBP": WebPImageFile,
}
_TURN_UPRIGHT: Final[dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, 1),
}


def open_raster(data: bytes, file_format: str, name: str) -> ImageFile.ImageFile:
    """Open a picture up to its header; close it when done. Pillow's ``Image.open`` would apply its own limits.

    Args:
        data: the encoded file.
        file_format: ``PNG``, ``JPEG``, ``TIFF``, ``BMP``, ``WEBP`` or ``HEIF``.
        name: what messages call the file.

    Raises:
        ImageError: HEIF, and the package pillow-heif is not installed. Damaged files raise whatever Pillow raises.
    """
    return _decoder_class(file_format, name)(BytesIO(data))


def _decoder_class(file_format: str, name: str) -> type[ImageFile.ImageFile]:
    if file_format != "HEIF":
        return _DECODERS[file_format]
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError:
        raise ImageError(
            RefusalCode.NOT_AN_IMAGE,
            f"{name} is a HEIC picture, which needs the optional package pillow-heif: pip install pillow-heif, "
            "or save the picture as JPEG",
        ) from None
    image_class: type[ImageFile.ImageFile] = heif.HeifImageFile
    return image_class


def count_frames(image: ImageFile.ImageFile, file_format: str) -> int:
    """Number of pages: all pictures of a TIFF, 1 for other formats, whose further pictures are no pages."""
    return int(getattr(image, "n_frames", 1)) if file_format == "TIFF" else 1


def claimed_dpi(image: ImageFile.ImageFile) -> float | None:
    """The resolution in the header; None where there is none, or a different one in x and y."""
    try:
        x, y = (float(v) for v in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return x if math.isfinite(x) and x > 0 and math.isclose(x, y, rel_tol=0.01) else None


def upright_rgb(image: ImageFile.ImageFile, name: str) -> NDArray[np.uint8]:
    """Decode the current page of an open picture: (H, W, 3) uint8 RGB over white, turned as its EXIF block says.

    Raises:
        ImageError: a colour mode that is not supported, or pixels that are no numbers. Damaged files raise whatever
            Pillow raises.
    """
    image.load()
    orientation = _orientation(image)  # after load(): Pillow turns TIFFs there and then forgets the tag
    pixels = to_rgb(image, name)
    return _TURN_UPRIGHT[orientation](pixels) if orientation in _TURN_UPRIGHT else pixels


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block is no reason to refuse a sound picture
        return 1


def to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Pixels of a decoded picture of any mode as (H, W, 3) uint8 RGB over white.

    Raises:
        ImageError: a colour mode that is not supported, or pixels that are no numbers.
    """
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image), name))
    try:
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            image = Image.new("RGB", rgba.size, "white")
            image.paste(rgba, mask=rgba.getchannel("A"))
        elif image.mode != "RGB":
            image = image.convert("RGB")
    except ValueError as error:
        raise ImageError(RefusalCode.NOT_AN_IMAGE, f"{name}: colour mode {image.mode} is not supported") from error
    # Read-only, as the picture will be; NumPy's way by the array interface copies the bytes once more.
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, 3)


def _eight_bits(grey: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Deep grey to 8 bits.

    Scanners store 10, 12 or 14 bits in 16 without saying so, hence white is the top of the smallest usual depth that
    holds the brightest pixel. Pictures of real numbers up to 1 are taken as 0..1.
    """
    peak, low = float(grey.max()), float(grey.min())
    if not (math.isfinite(peak) and math.isfinite(low)):
        raise ImageError(RefusalCode.CORRUPT_IMAGE, f"{name} holds pixels that are no numbers")
    depths = (1.0, 255.0) if grey.dtype.kind == "f" else (255.0,)
    white = next((top for top in (*depths, 1023.0, 4095.0, 16383.0, 65535.0) if peak <= top), peak)
    return np.asarray(np.clip(np.rint(grey * np.float32(255.0 / white)), 0, 255), np.uint8)
