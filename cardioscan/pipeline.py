"""``Digitizer``: the stages in order, over an ``InferenceBackend``."""

from __future__ import annotations

import logging
from pathlib import Path

from cardioscan.digitization import Digitization, DigitizerOptions, Progress
from cardioscan.errors import CardioscanError, PageRefusedError, RefusalCode, StageError
from cardioscan.geometry import Floats
from cardioscan.images import ImageSource
from cardioscan.inference import InferenceBackend, OnnxBackend
from cardioscan.record import EcgRecord
from cardioscan.run import PageRun
from cardioscan.threads import use_one_algebra_thread

__all__ = ["Digitization", "Digitizer", "DigitizerOptions", "Progress"]

_LOG = logging.getLogger(__name__)


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

    def open_ahead(self) -> None:
        """Begin to open the networks, if they run in this process, so that the first page waits less."""
        if isinstance(self.backend, OnnxBackend):
            self.backend.open_ahead()

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

        Sets linear algebra to one thread in this process, see ``cardioscan.threads``.

        Args:
            source, page: see ``digitize``.
            corners: (4, 2) px of the picture, set by a person: upper left, upper right, lower right and lower left of
                the sheet as it is read. None looks for the page.
            progress: told what begins, in the thread of this call.

        Raises:
            PlacementError: the corners span no page.
        """
        run = PageRun(self.backend, self.options, _name_of(source), progress)
        use_one_algebra_thread()
        try:
            run.read(source, page)
            run.classify()
            run = self._located(run, corners)
            run.extract()
            return run.finish()
        except PageRefusedError as error:
            return run.refuse(error)
        except CardioscanError:
            raise
        except Exception as error:  # a fault of ours on this page must not take other pages with it
            _LOG.exception("digitizing %s failed", run.name)
            detail = f"An unexpected error ended this page ({type(error).__name__}: {error}). Please report it."
            return run.refuse(StageError(RefusalCode.INTERNAL_ERROR, detail))

    def _located(self, run: PageRun, corners: Floats | None) -> PageRun:
        """Stages 0 and 1 on the candidates that are asked for; gives the better one of those that get through."""
        wanted = self.options.candidates
        other = None if wanted == "original" else run.preprocessed()
        if other is None:
            run.locate(corners)
            return run
        located, troubles = [], []
        for candidate in (other,) if wanted == "preprocessed" else (run, other):
            try:
                candidate.locate(corners)
                located.append(candidate)
            except PageRefusedError as trouble:
                troubles.append(trouble)
        if not located:
            raise troubles[0]
        return max(located, key=PageRun.quality if wanted == "quality" else PageRun.located_confidence)


def _name_of(source: ImageSource) -> str:
    return Path(source).stem if isinstance(source, (str, Path)) else "page"
