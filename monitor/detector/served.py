"""The model in service: all that decides what a window is, loaded, verified and replaced as one.

Everything that uses an artifact gets it from `load_verified`: daemon, `replay`, `inspect` and the trainer's commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monitor.detector import scores, storage, thresholds
from monitor.detector.arrays import Float32Array
from monitor.detector.artifact import Artifact, check_known_answers
from monitor.detector.attribution import Attribution
from monitor.detector.scoring import Scorer
from monitor.detector.spec import Manifest
from monitor.detector.thresholds import Quantiles, Thresholds
from monitor.errors import ArtifactError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """An artifact, and what it takes to score windows with it, to judge the scores, and to explain them."""

    artifact: Artifact
    scorer: Scorer
    thresholds: Thresholds
    quantiles: Quantiles
    attribution: Attribution

    @classmethod
    def of(cls, artifact: Artifact, scorer: Scorer, override: float | None = None) -> ServedModel:
        """`scorer` is the artifact's; `override` is a threshold that replaces all of its own."""
        manifest = artifact.manifest
        return cls(
            artifact=artifact,
            scorer=scorer,
            thresholds=thresholds.of(manifest, override),
            quantiles=Quantiles(manifest.calibration, artifact.calibration_table),
            attribution=Attribution(manifest, scores.KINDS[manifest.score.kind].sample_limit),
        )

    @property
    def manifest(self) -> Manifest:
        """What the artifact says about itself."""
        return self.artifact.manifest

    @property
    def score_noun(self) -> str:
        """What people call its score."""
        noun = scores.KINDS[self.manifest.score.kind].noun
        return noun if self.smoothed_over is None else f"mean {noun} of {self.smoothed_over} windows"

    @property
    def smoothed_over(self) -> int | None:
        """How many windows a score is the mean of; None: it is a window's own."""
        smoothing = self.manifest.score.smoothing
        return None if smoothing is None else smoothing.windows

    def reason(self, window: Float32Array) -> str:
        """What is unusual about a window (rows, channels) with a high score, in words; empty: the kind does not say."""
        return scores.KINDS[self.manifest.score.kind].reason(window, self.artifact.score_tensors)


def load_verified(path: Path, override: float | None = None) -> ServedModel:
    """The artifact at `path`, after every byte of it and its known answers were verified here.

    Raises:
        ArtifactError: it must not be used; names `path`.
    """
    artifact = storage.load(path)
    try:
        scorer = artifact.scorer()
        check_known_answers(artifact, scorer)
    except ArtifactError as error:
        raise type(error)(f"artifact {path}: {error}") from None
    return ServedModel.of(artifact, scorer, override)
