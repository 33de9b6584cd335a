"""One page on its way through the stages."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.backends.inference import InferenceBackend
from cardioscan.errors import PageRefusedError, RefusalCode, StageError
from cardioscan.flatten.fading import fade_lines
from cardioscan.flatten.lattice import read_nodes, resolve_lattice
from cardioscan.flatten.lines import Flattened, LineReport, refine_lines
from cardioscan.flatten.page_map import PageMap, soften
from cardioscan.flatten.phase import refine_nodes
from cardioscan.imaging.geometry import Floats, area_resize, dominant_orientation, jacobians, transform_points
from cardioscan.imaging.images import ImageSource, load_image
from cardioscan.imaging.surfaces import robust_lattice, stiffest_that_predicts
from cardioscan.layout.separators import measure_separators, time_shift
from cardioscan.locate import alignment
from cardioscan.locate.corners import place_page
from cardioscan.locate.homography import LabelKeypoints, fit_homography
from cardioscan.locate.search import SURE_NAMES, search_page
from cardioscan.options import Digitization, DigitizerOptions, Progress
from cardioscan.page.template import LEAD_INDEX, SAMPLING_RATE_HZ
from cardioscan.postprocess import plausibility, signal
from cardioscan.postprocess.confidence import lead_features, page_noise_mv, trust
from cardioscan.record import Calibration, EcgRecord, ModelUse, Outcome, Reason
from cardioscan.sources import CATEGORIES
from cardioscan.sources.preprocessing import preprocess
from cardioscan.sources.quality import quality_score
from cardioscan.waveform import DecodedPage, DecodingOptions, decode_rows

__all__ = ["SURE_CATEGORY", "PageRun", "thumbnail_planes"]

Image = NDArray[np.uint8]

THUMBNAIL_SIZE: Final = 456
SURE_CATEGORY: Final = 0.5
"""A category that is less likely is not told."""
_SURE_LATTICE: Final = 0.4
_STIFFNESS: Final = (1.0, 5.0, 30.0, 300.0)
"""How smooth the surface through the network's nodes may be: flat paper gets the last, crumpled paper the first."""
_BLOCK: Final = 5
"""Nodes are guessed from others so many nodes away: what the network is off by, neighbours share."""
_EQUALLY: Final = 1.15
"""A stiffer surface is taken when it guesses them no worse than by this factor."""
_FARTHEST_PX: Final = 3.0
"""A node that is guessed wrong by more, px of the reference frame, counts as if by this much."""
_DOUBT_PX: Final = (3.0, 1.5)
"""By so many px of the reference frame a node leaves that smooth surface and counts a quarter; one round each."""
_COLOURLESS: Final = 3.0
_CLEAR_LATTICE: Final = 0.8
"""Where mould hides more of the grid, a second look has lost more on single pages (1.9 dB) than it gains on others."""
_UNSETTLED_CERTAINTY: Final = 0.7
"""What is left of the confidence when the phase of the grid does not settle; squared without a network's lattice."""


class PageRun:
    """One page on its way through the stages; what is found so far stands in its attributes."""

    def __init__(
        self, backend: InferenceBackend, options: DigitizerOptions, name: str, progress: Progress | None = None
    ) -> None:
        self.backend, self.options, self.name, self.progress = backend, options, name, progress
        self.template = options.template
        self.timings: dict[str, float] = {}
        self.diagnostics: dict[str, Any] = {}
        self.category: str | None = None
        self.source_probability: float | None = None
        self.image: Image | None = None
        self.original: Image | None = None
        self.certainty = 1.0
        self.corners: Floats | None = None
        self.labels: Floats | None = None
        self.nodes: Floats | None = None
        self.page_map: PageMap | None = None
        self.coverage: Image | None = None
        self.lattice_score = 0.0
        self.lines: LineReport | None = None
        self._soft: Image | None = None
        self._flat: Image | None = None
        self._moved: Floats | None = None

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        if self.progress is not None:
            self.progress(stage)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.timings[stage] = self.timings.get(stage, 0.0) + time.perf_counter() - started

    def _infer(self, model: str, tensor: str, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
        with self._timed(model):
            return self.backend.infer(model, {tensor: np.ascontiguousarray(array)})

    def read(self, source: ImageSource, page: int) -> None:
        """Open the picture."""
        with self._timed("read"):
            loaded = load_image(source, page, self.options.limits)
            self.image = self.original = np.asarray(loaded.pixels)

    def classify(self) -> None:
        """Ask, once, what kind of capture this is."""
        assert self.original is not None
        if self.source_probability is not None:
            return
        answer = self._infer("source_classifier", "thumbnail", thumbnail_planes(self.original))
        probability = answer["source_probability"][0]
        best = int(np.argmax(probability))
        self.category = CATEGORIES[best].code if probability[best] >= SURE_CATEGORY else None
        self.source_probability = float(probability[best])
        self.diagnostics["source_probability"] = round(self.source_probability, 4)

    def preprocessed(self) -> PageRun | None:
        """This page with its picture after the branch of its source category; None where there is no such branch."""
        assert self.image is not None
        with self._timed("preprocessing"):
            image = preprocess(self.image, self.category)
        if image is None:
            return None
        other = copy.copy(self)
        other.image, other._soft, other._flat = image, None, None
        other.diagnostics = {**self.diagnostics, "preprocessed": True}
        return other

    def locate(self, corners: Floats | None) -> None:
        """Stages 0 and 1."""
        if corners is None:
            self.align()
        else:
            self.place(corners)
        self.rectify()

    def quality(self) -> float:
        """How good the rectified page looks."""
        return quality_score(self.rectified)

    def located_confidence(self) -> float:
        """How sure stages 0 and 1 are: share of the lead names that agree, and of the lattice that was seen."""
        return self.names / len(self.template.labels) + self.lattice_score

    @property
    def names(self) -> int:
        """How many lead names agree on where the page lies."""
        return 0 if self.labels is None else len(self.labels)

    def align(self) -> None:
        """Stage 0: lead names, orientation, homography."""
        assert self.image is not None
        with self._timed("alignment"):
            best, looks = search_page(
                self.image, self._detect_labels, self.template, self.options.flip_tta, self.options.straightening
            )
        self.timings["alignment"] -= self.timings["label_detector"]
        found = best.alignment
        self.diagnostics["looks"] = looks
        self.diagnostics["straightened"] = best.view.straightened
        if found is None:
            # Says what is wrong: no names at all, or names that do not fit together.
            found = fit_homography(best.keypoints, self.template)
        self.labels = _label_table(
            best.keypoints, found.inliers, np.asarray(np.linalg.inv(best.view.matrix), np.float64)
        )
        self.diagnostics["labels_found"] = self.names
        # A page in the wrong place gives clean traces of wrong signals: doubt about the place is doubt about them all.
        self.certainty *= min(1.0, self.names / SURE_NAMES)
        self.homography = found.to_image(best.view.matrix)
        middle = jacobians(self.homography, np.array([[self.template.width / 2, self.template.height / 2]]))[0]
        self.diagnostics["orientation"] = int(dominant_orientation(middle[0]))
        self.diagnostics["alignment_score"] = round(found.score, 4)
        self.diagnostics["alignment_rms_px"] = round(found.rms_px, 3)

    def place(self, corners: Floats) -> None:
        """Stage 0 where a person has set the corners of the sheet."""
        assert self.image is not None
        self.corners = np.asarray(corners, np.float64)
        with self._timed("alignment"):
            placement = place_page(self.image, self.corners, self._detect_labels, self.template)
        self.timings["alignment"] -= self.timings["label_detector"]
        self.homography, self.labels = placement.homography, placement.labels
        self.diagnostics["labels_found"] = self.names

    def _detect_labels(self, view: Image) -> Mapping[str, NDArray[Any]]:
        return self._infer("label_detector", "page", _planes(view))

    def rectify(self) -> None:
        """Stage 1: the lattice and one warp of the original."""
        assert self.image is not None
        with self._timed("rectification"):
            to_aligned = alignment.aligned_matrix(self.homography, self.template)
            aligned = alignment.warp_to_aligned(self.image, to_aligned, self.template)
        answer = self._infer("grid_rectifier", "page", _planes(aligned))
        with self._timed("rectification"):
            nodes, trusted = self._lattice(answer, np.asarray(np.linalg.inv(to_aligned)))
            if self.corners is None:
                plausibility.refuse_other_layout(self.names, self.lattice_score)
            self.base = self._refined(nodes, trusted)
            self.nodes = self._on_lines(None)
            self._flatten()

    @property
    def rectified(self) -> Image:
        """The page (1700, 2200, 3) sampled from the picture through the lattice at hand, once it is asked for."""
        if self._flat is None:
            self._flat = self.sample_columns(slice(None))
        return self._flat

    def sample_columns(self, columns: slice) -> Image:
        """Some columns (1700, n, 3) of the flat page."""
        assert self.page_map is not None
        if self._flat is not None:
            return self._flat[:, columns]
        return self.page_map.sample(self._softened(self.page_map), columns=columns)

    def _flatten(self) -> None:
        """Map the flat page to the picture by the lattice at hand."""
        assert self.nodes is not None
        self.page_map, self._flat = PageMap.of(self.nodes, self.template), None

    def _softened(self, page_map: PageMap) -> Image:
        """The picture blurred as far as a flat page needs it; once for all lattices of this page, which are close."""
        assert self.image is not None
        if self._soft is None:
            self._soft = soften(self.image, page_map)
        return self._soft

    def _on_lines(self, ink: NDArray[np.uint8] | None) -> Floats:
        """The smooth lattice moved onto the printed lines, as often as the options say.

        Args:
            ink: (1700, 2200) uint8, where the trace is on the page as flattened before, on which the lines are measured
                then; None before that is known.
        """
        rounds = self.options.line_rounds[ink is not None] if self.options.line_refinement else 0
        if not rounds:
            return self.base
        soft = self._softened(PageMap.of(self.base, self.template))
        page, begun = None, None
        if ink is not None:
            assert self.page_map is not None
            page, begun = Flattened(self.rectified, self.page_map.inside(soft.shape)), self._moved
        nodes, moved, report = refine_lines(soft, self.base, self.template, ink, rounds, page, begun)
        self._moved, self.lines = moved, report
        self.diagnostics["lines"] = {
            "applied": report.applied,
            "measured": round(report.measured, 3),
            "precision_px": round(report.precision_px, 3) if report.applied else None,
            "moved_px": round(report.moved_px, 3),
            "raster": list(report.raster),
            "ink_apart": report.ink_apart,
        }
        return nodes

    def _lattice(self, answer: Mapping[str, NDArray[Any]], to_image: Floats) -> tuple[Floats, bool]:
        """Nodes (44, 57, 2) in image px, and whether the network saw them (else they are the homography's)."""
        detections = read_nodes(
            answer["point_probability"][0], answer["point_offset"][0], answer["lattice_coordinate"][0]
        )
        anchors = alignment.label_keypoints(alignment.as_probability(answer["label_probability"][0]))
        try:
            lattice = resolve_lattice(detections, self.template, anchors)
            if lattice.score < _SURE_LATTICE:
                raise StageError(RefusalCode.GRID_NOT_FOUND, "The printed grid is visible on a small part of the page.")
        except StageError:
            if self.options.phase_refinement == "never":
                raise
            # The printed grid may still be read by its phase, from where the lead names say the page lies.
            self.lattice_score = self.diagnostics["lattice_score"] = 0.0
            return transform_points(self.homography, self.template.lattice()), False
        self.lattice_score = lattice.score
        self.diagnostics["lattice_score"] = round(lattice.score, 4)
        self.diagnostics["lattice_residual_px"] = round(lattice.residual_rms_px, 3)
        return transform_points(to_image, lattice.nodes), True

    def _refined(self, nodes: Floats, trusted: bool) -> Floats:
        """The nodes made smooth, or moved onto the printed lines by the grid's phase where that is asked for or needed.

        Without a network's lattice there is nothing but the phase; with one it is no better than a smooth surface.
        """
        assert self.image is not None
        smooth = self._smoothed(nodes) if trusted else nodes
        if trusted and self.options.phase_refinement != "always":
            return smooth
        refined, report = refine_nodes(self.image, smooth, self.template)
        self.diagnostics["phase"] = {
            "applied": report.applied,
            "converged": report.converged,
            "source": report.source,
            "moved_px": round(float(np.median(report.moved_px)), 3),
            "confidence": round(float(report.confidence.mean()), 3),
            "last_p95_px": round(report.rounds[-1].p95_px, 3) if report.rounds else None,
        }
        if not trusted and not report.applied:
            raise StageError(RefusalCode.GRID_NOT_FOUND, "No printed grid was found where the lead names say it is.")
        if not report.converged:
            self.certainty *= _UNSETTLED_CERTAINTY if trusted else _UNSETTLED_CERTAINTY**2
        return smooth if trusted and not report.converged else refined

    def extract(self) -> None:
        """Stage 2: coverage of the rows, and the traces in it."""
        self._cover()
        if self._wants_second_pass():
            self._look_again()
        assert self.coverage is not None
        with self._timed("waveform"):
            options = DecodingOptions(crossing=self.options.crossing)
            shift = self._shift() if self.options.separators else None
            assert self.page_map is not None and self.image is not None
            valid = self.page_map.inside(self.image.shape)
            self.decoded: DecodedPage = decode_rows(self.coverage, self.template, valid, options, shift)

    def _shift(self) -> Floats:
        """By how much the trace stands to the right of where the lattice has it, (2200,) px."""
        found = measure_separators(self.sample_columns, self.template)
        self.diagnostics["separators_px"] = [None if np.isnan(px) else round(float(px), 3) for px in found]
        return time_shift(found, self.template)

    def _cover(self) -> None:
        """Ask the network for the coverage (4, 1700, 2200) of the flat page."""
        with self._timed("rectification"):
            faded = fade_lines(self.rectified, *self.options.line_fading, self.template)
        self.coverage = self._infer("waveform_extractor", "page", _planes(faded))["row_coverage"][0]

    def _wants_second_pass(self) -> bool:
        """Whether the extractor is to look again, at a page flattened by lines that are measured without the ink."""
        if not (self.options.line_refinement and self.options.line_rounds[1]):
            return False  # the page would be the same
        if self.options.second_pass == "auto":
            return self.lattice_score >= _CLEAR_LATTICE and self._grey_lines()
        return self.options.second_pass == "always"

    def _look_again(self) -> None:
        """Refine the lattice with the ink left out, now that it is known, and ask for the coverage of that page."""
        assert self.coverage is not None
        with self._timed("rectification"):
            nodes = self._on_lines(self.coverage.max(axis=0))
            if self.lines is None or not self.lines.applied:
                return
            self.nodes = nodes
            self._flatten()
        self._cover()

    def _grey_lines(self) -> bool:
        """Whether nothing but the extractor tells ink from lines: neither colour nor how dark they are."""
        if self.lines is None or not self.lines.ink_apart:
            return True
        sample = self.rectified[::8, ::8].astype(np.int16)
        return float((sample.max(axis=2) - sample.min(axis=2)).mean()) < _COLOURLESS

    def _smoothed(self, nodes: Floats) -> Floats:
        """A surface through the nodes as smooth as the paper, those far from it left out.

        Where single lines are measured from there, how stiff the page is is told by how well nodes predict their
        neighbours, so what single nodes are off by must be gone.
        """
        base = transform_points(self.homography, self.template.lattice())
        px = float(np.median(np.linalg.norm(np.diff(base, axis=1), axis=-1))) / self.template.grid_pitch
        moved, known = (nodes - base) / px, np.ones(base.shape[:2])
        blocks = (np.indices(known.shape) // _BLOCK).sum(axis=0) % 2
        smoothness = stiffest_that_predicts(moved, known, blocks, _STIFFNESS, _FARTHEST_PX, _EQUALLY)
        self.diagnostics["lattice_smoothness"] = smoothness
        return base + px * robust_lattice(moved, known, smoothness, _DOUBT_PX)[0]

    def finish(self) -> Digitization:
        """Post-process the signals and make the record."""
        with self._timed("signal"):
            signals = np.array(self.decoded.signals)
            clarity = np.array(self.decoded.confidence)
            short = self.decoded.duplicates.get("II")
            noise = page_noise_mv(signals, None if short is None else short.signal)
            read = plausibility.share_read(signals, self.template)
            self.diagnostics["read"] = round(read, 4)
            plausibility.refuse_unread(read)
            assert self.page_map is not None and self.nodes is not None
            in_place = plausibility.names_in_place(self.labels, self.nodes, self.template)
            plausibility.refuse_names_out_of_place(self.names, in_place)
            plausibility.refuse_contradiction(signals, noise[0], in_place)
            self._merge_lead_two(signals, clarity)
            if self.options.savitzky_golay:
                signals = signal.savitzky_golay(signals)
            if self.options.einthoven:
                signals = signal.einthoven_redistribute(signals, clarity)
            moved_px = self.lines.moved_px if self.lines is not None and self.lines.applied else None
            features = lead_features(signals, clarity, noise, moved_px, self.template)
            confidence = trust(clarity, features) * np.float32(self.certainty)
            plausibility.refuse_guesses(signals, confidence, read, self.template)
            rate = signal.heart_rate_bpm(signals, clarity * np.float32(self.certainty))
        self.diagnostics["pen_px"] = round(float(self.decoded.pen_px), 3)
        self.diagnostics["noise_mv"] = round(noise[0], 4)
        record = EcgRecord(
            name=self.name,
            signals=signals,
            confidence=confidence,
            outcome=Outcome.DIGITIZED,
            reasons=(),
            source=self.name,
            source_category=self.category,
            calibration=self._calibration(),
            models=self._models(),
            timings_s=self._rounded_timings(),
            heart_rate_bpm=rate,
            diagnostics=self.diagnostics,
        )
        flat = self.decoded.traces
        ends = np.cumsum([len(points) for points in flat.values()])
        traces = dict(zip(flat, np.split(self.page_map.at(np.concatenate([*flat.values()])), ends[:-1]), strict=True))
        return replace(self._details(record), traces=traces, lead_features=features, certainty=self.certainty)

    def _merge_lead_two(self, signals: Floats, clarity: NDArray[np.float32]) -> None:
        """Let the short print of lead II help its rhythm row, in place."""
        lead, short = LEAD_INDEX["II"], self.decoded.duplicates.get("II")
        if short is not None:
            signals[lead], clarity[lead] = signal.merge_duplicate(
                signals[lead], clarity[lead], short.signal, short.confidence
            )

    def refuse(self, error: PageRefusedError) -> Digitization:
        """The refused record of this page."""
        record = EcgRecord.refused(
            self.name,
            (Reason.from_error(error),),
            source=self.name,
            source_category=self.category,
            models=self._models(),
            timings_s=self._rounded_timings(),
            diagnostics=self.diagnostics,
        )
        return self._details(record)

    def _details(self, record: EcgRecord) -> Digitization:
        if self.corners is not None:
            record = replace(record, edits=({"kind": "corners", "corners": np.round(self.corners, 2)},))
        # Not a method of this object: it would keep all that was worked with.
        flatten = None if self.page_map is None else partial(self.page_map.sample, self._softened(self.page_map))
        return Digitization(record, self.original, {}, self.labels, self.nodes, flatten, self.coverage)

    def _calibration(self) -> Calibration:
        template = self.template
        return Calibration(
            SAMPLING_RATE_HZ, template.px_per_mv, template.px_per_s, template.speed_mm_per_s, template.gain_mm_per_mv
        )

    def _models(self) -> tuple[ModelUse, ...]:
        return tuple(
            ModelUse(name, version, digest) for name, (version, digest) in self.backend.model_versions().items()
        )

    def _rounded_timings(self) -> dict[str, float]:
        return {stage: round(seconds, 4) for stage, seconds in self.timings.items()}


def thumbnail_planes(image: Image) -> NDArray[np.uint8]:
    """What the source classifier is shown of a picture (H, W, 3) uint8: (1, 3, 456, 456) uint8.

    It is the letterboxed picture squeezed to a square, made at once: of the label detector's 1440 x 1152 px only every
    third to either side would be left.
    """
    rows, columns = image.shape[:2]
    across, down = (THUMBNAIL_SIZE / side for side in alignment.INPUT_SIZE)
    scale = min(alignment.INPUT_SIZE[0] / columns, alignment.INPUT_SIZE[1] / rows)
    width, height = max(1, round(columns * scale * across)), max(1, round(rows * scale * down))
    left, top = (THUMBNAIL_SIZE - width) // 2, (THUMBNAIL_SIZE - height) // 2
    square = np.full((THUMBNAIL_SIZE, THUMBNAIL_SIZE, 3), alignment.MARGIN_GREY, np.uint8)
    square[top : top + height, left : left + width] = area_resize(np.ascontiguousarray(image), width, height)[0]
    return _planes(square)


def _planes(image: Image) -> NDArray[np.uint8]:
    """(H, W, 3) to (1, 3, H, W) uint8."""
    planes = np.empty((1, 3, *image.shape[:2]), np.uint8)
    cv2.split(image, list(planes[0]))  # into these planes: they have the size and type that it would make
    return planes


def _label_table(keypoints: LabelKeypoints, inliers: NDArray[np.bool_], to_image: Floats) -> Floats:
    """The lead names that agree with the alignment: (n, 3) class id, x, y in image px."""
    points = transform_points(to_image, keypoints.points[inliers])
    return np.column_stack([keypoints.class_ids[inliers].astype(np.float64), points])
