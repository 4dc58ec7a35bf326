"""An artifact as bytes: what the trainer exports and the daemon serves. FORMAT.md specifies it.

Rules of this file: no file system, no code in the artifact, and no byte of it that could be changed unnoticed. Sizes
are checked before anything is parsed, checksums before anything is believed, known answers before anything is served.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from monitor.detector import scores, spec, thresholds, versions, windowing
from monitor.detector.arrays import Float32Array
from monitor.detector.scoring import Detector, Scorer
from monitor.errors import ArtifactFormatError, ArtifactIntegrityError, ArtifactSelfCheckError

MANIFEST = "manifest.json"
PARAMS = "params.safetensors"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_FILE_BYTES = 1024 * 1024 * 1024
KNOWN_ANSWERS = 8
SELF_CHECK_RELATIVE = 1e-5
_MODEL = "model/"
_WINDOWS = "known_answers/windows"
_SCORES = "known_answers/scores"
_SCORE = "score/"
_TABLE = "calibration/series_quantiles"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A trained detector: its manifest, its parameters, windows whose scores are known, and other files beside them.

    `parameters` are the model's tensors by name. `known_windows` is (k, length, channels), less the channels' levels,
    with `known_scores` (k,). `score_tensors` are what the score needs besides the model, `calibration_table` the
    quantiles of the series that `calibration.series` names, (series, probabilities). `extras` are files for people
    (report, metrics); the checksums cover them too. `digest` is the SHA-256 that names the artifact, empty until it was
    encoded or decoded.
    """

    manifest: spec.Manifest
    parameters: Mapping[str, Float32Array]
    known_windows: Float32Array
    known_scores: Float32Array
    extras: Mapping[str, bytes] = field(default_factory=dict)
    score_tensors: Mapping[str, Float32Array] = field(default_factory=dict)
    calibration_table: Float32Array | None = None
    digest: str = ""
    format_version: int = spec.FORMAT_VERSION

    @property
    def detector(self) -> Detector:
        """What decides its scores."""
        return Detector(
            window=self.manifest.window,
            channels=tuple(channel.name for channel in self.manifest.channels),
            scaling=self.manifest.scaling,
            model=self.manifest.model,
            parameters=self.parameters,
            score=self.manifest.score,
            score_tensors=self.score_tensors,
        )

    def scorer(self) -> Scorer:
        """The one way to score windows with this artifact."""
        return Scorer(self.detector, self.manifest.batch_rows)


def encode(artifact: Artifact) -> dict[str, bytes]:
    """The files of `artifact`, by name; the same artifact gives the same bytes.

    Raises:
        ArtifactFormatError: `decode` would refuse it.
    """
    _check(artifact.manifest)
    tensors = {_MODEL + name: np.ascontiguousarray(tensor) for name, tensor in artifact.parameters.items()}
    tensors |= {_SCORE + name: np.ascontiguousarray(tensor) for name, tensor in artifact.score_tensors.items()}
    if artifact.calibration_table is not None:
        tensors[_TABLE] = np.ascontiguousarray(artifact.calibration_table)
    tensors[_WINDOWS] = np.ascontiguousarray(artifact.known_windows)
    tensors[_SCORES] = np.ascontiguousarray(artifact.known_scores)
    _check_tensors(tensors, artifact.manifest)
    files = {PARAMS: safetensors.numpy.save(dict(sorted(tensors.items()))), **artifact.extras}
    try:
        # Through JSON and back: a whole number where a fraction belongs is written as it will be read.
        content = msgspec.to_builtins(msgspec.convert(msgspec.to_builtins(artifact.manifest), spec.Manifest))
        document: dict[str, Any] = {
            "format": spec.FORMAT,
            "format_version": artifact.format_version,
            **versions.written(content, artifact.format_version),
            "files": {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
        }
        document["digest"] = _digest(document)
        return {MANIFEST: _canonical(document), **files}
    except ValueError as error:  # NaN in `training`, a lone surrogate in a name
        raise ArtifactFormatError(f"{MANIFEST}: can't be written as JSON: {error}") from None


def _check(manifest: spec.Manifest) -> None:
    spec.check(manifest)
    windowing.check(manifest.window)
    scores.check(manifest)


def decode(files: Mapping[str, bytes]) -> Artifact:
    """Reads what `encode` wrote; `files` may hold more than the manifest names, and that is left alone.

    Raises:
        ArtifactIntegrityError: a byte is not the one that was exported.
        ArtifactFormatError: the form is not FORMAT.md's, or of a version that is not known here.
    """
    document = _read_manifest(files)
    sums: dict[str, str] = document.pop("files")
    digest: str = document.pop("digest")
    for name, expected in sums.items():
        if name not in files:
            raise ArtifactFormatError(f"{name}: named by {MANIFEST} but not there; copy the whole artifact")
        if hashlib.sha256(files[name]).hexdigest() != expected:
            raise ArtifactIntegrityError(
                f"{name}: its bytes are not those that were exported (SHA-256 differs from {MANIFEST}); copy it again"
            )
    version: int = document.pop("format_version")
    del document["format"]
    try:
        manifest = msgspec.convert(document, spec.Manifest)
    except msgspec.ValidationError as error:
        raise ArtifactFormatError(f"{MANIFEST}: {error}") from None
    versions.check(document, version)
    _check(manifest)
    tensors = _read_tensors(files[PARAMS], manifest)
    return Artifact(
        manifest,
        _under(_MODEL, tensors),
        tensors[_WINDOWS],
        tensors[_SCORES],
        {name: files[name] for name in sums if name != PARAMS},
        score_tensors=_under(_SCORE, tensors),
        calibration_table=tensors.get(_TABLE),
        digest=digest,
        format_version=version,
    )


def named_files(manifest: bytes) -> list[str]:
    """The files that a manifest names beside itself; none where it can't be read, which `decode` then says."""
    try:
        document = json.loads(manifest)
    except (ValueError, RecursionError):
        return []
    sums = document.get("files") if isinstance(document, dict) else None
    # Bare names only, so that nothing outside the artifact is ever opened.
    return [name for name in sums if name not in (".", "..") and "/" not in name] if isinstance(sums, dict) else []


def check_known_answers(artifact: Artifact, scorer: Scorer) -> None:
    """Scores the known windows here and compares.

    Raises:
        ArtifactSelfCheckError: a score differs by more than a relative 1e-5, near 0 by that of the threshold.
    """
    found = scorer(artifact.known_windows)
    least = SELF_CHECK_RELATIVE * thresholds.of(artifact.manifest).value
    if not np.allclose(found, artifact.known_scores, rtol=SELF_CHECK_RELATIVE, atol=least):
        worst = int(np.argmax(np.abs(found - artifact.known_scores)))
        raise ArtifactSelfCheckError(
            f"known window {worst} scores {found[worst]:.9g} here, {artifact.known_scores[worst]:.9g} at export "
            f"(allowed: relative {SELF_CHECK_RELATIVE}); this host's libraries compute something else, so its alerts "
            "would not be those that were calibrated: use the versions named in the manifest, or export again here"
        )


def _read_manifest(files: Mapping[str, bytes]) -> dict[str, Any]:
    raw = files.get(MANIFEST)
    if raw is None:
        raise ArtifactFormatError(f"{MANIFEST} is not there; this is not a Telltale artifact")
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ArtifactFormatError(f"{MANIFEST} has {len(raw)} bytes, at most {MAX_MANIFEST_BYTES} are read")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ArtifactIntegrityError(f"{MANIFEST}: not the JSON that was exported: {error}") from None
    if not isinstance(document, dict) or document.get("format") != spec.FORMAT:
        raise ArtifactFormatError(f'{MANIFEST}: "format" is not "{spec.FORMAT}"; this is not a Telltale artifact')
    version = document.get("format_version")
    if not isinstance(version, int) or version not in spec.KNOWN_VERSIONS:
        known = ", ".join(map(str, spec.KNOWN_VERSIONS))
        raise ArtifactFormatError(f"{MANIFEST}: format version {version!r}, this Telltale reads {known}; upgrade it")
    sums, digest = document.get("files"), document.get("digest")
    if not isinstance(sums, dict) or not isinstance(digest, str) or PARAMS not in sums:
        raise ArtifactFormatError(f'{MANIFEST}: "files" (with {PARAMS}) and "digest" are needed')
    content = {name: value for name, value in document.items() if name != "digest"}
    try:
        unchanged = _digest(content) == digest and _canonical(document) == raw
    except (ValueError, RecursionError):  # a lone surrogate, say: never exported
        unchanged = False
    if not unchanged:
        raise ArtifactIntegrityError(
            f"{MANIFEST}: its bytes are not those that were exported (digest differs); copy it again, and change "
            "thresholds in the daemon's configuration rather than here"
        )
    return document


def _read_tensors(raw: bytes, manifest: spec.Manifest) -> dict[str, Float32Array]:
    """All tensors by name; those of model and score are for `autoencoder.load` and `scores.check_tensors` to judge."""
    try:
        tensors: dict[str, Float32Array] = safetensors.numpy.load(raw)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArtifactFormatError(f"{PARAMS}: {error}") from None
    _check_tensors(tensors, manifest)
    return tensors


def _check_tensors(tensors: Mapping[str, Float32Array], manifest: spec.Manifest) -> None:
    if _WINDOWS not in tensors or _SCORES not in tensors or not tensors[_SCORES].size:
        raise ArtifactFormatError(f"{PARAMS}: no known answers ({_WINDOWS}, {_SCORES}); export again")
    calibration = manifest.calibration
    expected = {_SCORES: tensors[_SCORES].shape[:1], _WINDOWS: (tensors[_SCORES].shape[0], *manifest.window_shape)}
    if calibration.series:
        expected[_TABLE] = (len(calibration.series), len(calibration.quantiles))
    for name, shape in expected.items():
        if name not in tensors or tensors[name].dtype != np.float32 or tensors[name].shape != shape:
            found = f"{tensors[name].dtype} {tensors[name].shape}" if name in tensors else "missing"
            raise ArtifactFormatError(f"{PARAMS}: {name} is {found}, expected float32 {shape}")
        if not np.isfinite(tensors[name]).all():
            raise ArtifactFormatError(f"{PARAMS}: {name} holds numbers that are not finite; export again")
    if _TABLE in expected and (fallen := np.flatnonzero((np.diff(tensors[_TABLE], axis=1) < 0).any(axis=1))).size:
        name = calibration.series[fallen[0]]
        raise ArtifactFormatError(f"{PARAMS}: {_TABLE}: the quantiles of series {name!r} fall; calibrate again")
    strangers = [name for name in tensors if name not in expected and not name.startswith((_MODEL, _SCORE))]
    if strangers:
        raise ArtifactFormatError(f"{PARAMS}: unexpected tensors {strangers}")


def _under(prefix: str, tensors: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _canonical(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(document)).hexdigest()
