"""Makes the pictures of the README from the example page: its traces drawn over it, and the redrawn sheet.

python examples/make_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import cv2

from cardioscan import Digitizer
from cardioscan.plots import overlay_of, plot_record

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent / "docs" / "images"
WIDTH = 1400


def main() -> None:
    """Digitize the example page and write both pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    details = Digitizer().digitize_with_details(HERE / "page-photo.jpg")
    overlay = cv2.cvtColor(overlay_of(details), cv2.COLOR_RGB2BGR)
    height = round(overlay.shape[0] * WIDTH / overlay.shape[1])
    overlay = cv2.resize(overlay, (WIDTH, height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(IMAGES / "overlay.jpg"), overlay, [cv2.IMWRITE_JPEG_QUALITY, 85])
    plot_record(details.record).savefig(IMAGES / "sheet.png", dpi=70)


if __name__ == "__main__":
    main()
