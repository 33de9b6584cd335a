"""``Digitizer``: the stages in order, over an ``InferenceBackend``."""

from __future__ import annotations

import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Final

from cardioscan.arrays import Floats
from cardioscan.backends.inference import InferenceBackend, OnnxBackend
from cardioscan.backends.memory import keep_freed_memory
from cardioscan.backends.threads import use_one_algebra_thread, use_one_picture_thread
from cardioscan.imaging.images import ImageSource
from cardioscan.options import DigitizerOptions
from cardioscan.record import Digitization, EcgRecord
from cardioscan.stopwatch import Progress, Stopwatch

__all__ = ["Digitization", "Digitizer", "DigitizerOptions", "Progress", "import_stages"]

_STAGES: Final = "cardioscan.stages"
_LATE: Final = "scipy.signal"
"""What takes 0.3 s to import and is needed only when the traces have been read."""


def import_stages(late: bool = True) -> None:
    """Import now what the first page would else wait for, so that a server answers its first request like any other.

    Args:
        late: also what is needed only when the traces have been read.

    Raises:
        ImportError: the installation is broken.
    """
    import_module(_STAGES)
    if late:
        import_module(_LATE)


class Digitizer:
    """Turns pictures of printed ECG pages into records.

    Args:
        backend: runs the networks; None opens the released ONNX files in this process on first use.
        options: see ``DigitizerOptions``.

    One digitizer can be used for any number of pages and by several threads at once.
    """

    def __init__(self, backend: InferenceBackend | None = None, options: DigitizerOptions | None = None) -> None:
        self.options = options or DigitizerOptions()
        self.backend = backend or OnnxBackend(
            self.options.models,
            self.options.threads,
            engine=self.options.engine,
            arithmetic=self.options.arithmetic,
        )

    def open_ahead(self) -> threading.Thread:
        """Begin to open the networks, if they run in this process, and to import the stages; gives the thread of it.

        The first page then waits less: while it is imported what one stage needs, the network of the next is opened.
        """

        def prepare() -> None:
            if isinstance(self.backend, OnnxBackend):
                self.backend.open_all()
            with suppress(ImportError):  # left to the page that needs it
                import_stages()

        # No daemon: a program that ends meanwhile waits for it, since a thread killed inside an engine takes it along.
        thread = threading.Thread(target=prepare, name="cardioscan-ahead")
        thread.start()
        return thread

    def digitize(self, source: ImageSource, page: int = 0) -> EcgRecord:
        """Digitize one page.

        Args:
            source: a path, the bytes of a file, or an (H, W, 3) uint8 RGB array.
            page: which page of a PDF or TIFF, from 0.

        Returns:
            The record. A page that cannot be read gives a record with outcome ``refused`` and a reason.

        Raises:
            ModelError: the networks are missing or damaged.
        """
        return self.digitize_with_details(source, page).record

    def digitize_with_details(
        self,
        source: ImageSource,
        page: int = 0,
        *,
        corners: Floats | None = None,
        progress: Progress | None = None,
    ) -> Digitization:
        """As ``digitize``, with the page, the traces on it and what the stages found.

        Sets linear algebra to one thread in this process, see ``cardioscan.backends.threads``.

        Args:
            source, page: see ``digitize``.
            corners: (4, 2) px of the picture, set by a person: upper left, upper right, lower right and lower left of
                the sheet as it is read. None looks for the page.
            progress: told what begins, in the thread of this call.

        Raises:
            PlacementError: the corners span no page.
        """
        # Imported here, since that takes half a second, in which networks can be opened already.
        from cardioscan.stages import digitize_page

        keep_freed_memory()
        use_one_algebra_thread()
        use_one_picture_thread()
        return digitize_page(source, page, _name_of(source), self.backend, self.options, corners, Stopwatch(progress))


def _name_of(source: ImageSource) -> str:
    return Path(source).stem if isinstance(source, (str, Path)) else "page"
