"""What versions 2 to 6 of the format added to the manifest, so that earlier ones are read and written without it.

Rules of this file: manifests as they stand in JSON, of `spec.Manifest`'s form. FORMAT.md marks the same with (2) to
(6).
"""

from __future__ import annotations

from typing import Any

from monitor.detector.spec import DETECTORS_SCALINGS, DETECTORS_SCORES
from monitor.errors import ArtifactFormatError

# Fields, with what they are where a manifest of version 1 is read.
_FIELDS: dict[str, dict[str, Any]] = {
    "window": {"image_shape": None},
    "model": {"code": None},
    "score": {"beta": 1.0},
    "threshold": {"series": {}},
    "calibration": {"windows_per_day": None, "tail": None, "series": ()},
}
# Fields of the window since version 5, with what they are in earlier ones.
_FILLING: dict[str, Any] = {"max_hold_ms": None, "gap_fill": "none"}
# Fields that came with version 6, with what they are in earlier ones.
_DETECTOR_FIELDS: dict[str, dict[str, Any]] = {
    "window": {"before": 0, "template_beats": 0},
    "calibration": {"channel_errors": ()},
    "score": {"worst": 4, "smoothing": None},
    "threshold": {"follows": None},
}
# Values that came with version 6, of fields that there were.
_DETECTOR_VALUES: dict[str, dict[str, set[str]]] = {
    "scaling": {"kind": DETECTORS_SCALINGS},
    "score": {"kind": DETECTORS_SCORES},
}
# The values that version 1 had, of fields that got more.
_VALUES: dict[str, dict[str, set[str]]] = {
    "scaling": {"kind": {"none", "minmax_global", "minmax", "standard"}},
    "model": {
        "kind": {"dense"},
        "hidden": {"relu", "tanh", "gelu", "linear"},
        "output": {"sigmoid", "linear"},
    },
    "score": {"kind": {"mae"}},
    "threshold": {"method": {"mean_std", "quantile", "given"}},
}


def check(document: dict[str, Any], version: int) -> None:
    """Refuses what `version` did not have.

    Raises:
        ArtifactFormatError: all such fields and values at once.
    """
    newer = {2: _newer_than_1(document) if version == 1 else []}
    newer[3] = ["channels.level"] if version < 3 and any("level" in each for each in document["channels"]) else []
    newer[4] = ["quality"] if version < 4 and "quality" in document else []
    newer[5] = [f"window.{name}" for name in _FILLING if version < 5 and name in document["window"]]
    newer[6] = _newer_than_5(document) if version < 6 else []
    found = [name for names in newer.values() for name in names]
    if found:
        first = max(needed for needed, names in newer.items() if names)
        raise ArtifactFormatError(
            f"format version {version} has no {', no '.join(found)}; export it again, as version {first}"
        )


def _newer_than_1(document: dict[str, Any]) -> list[str]:
    newer = [f"{part}.{name}" for part, fields in _FIELDS.items() for name in fields if name in document[part]]
    return newer + [
        f'{part}.{name} "{document[part][name]}"'
        for part, fields in _VALUES.items()
        for name, values in fields.items()
        if name in document[part] and document[part][name] not in values
    ]


def _newer_than_5(document: dict[str, Any]) -> list[str]:
    newer = [f"{part}.{name}" for part, fields in _DETECTOR_FIELDS.items() for name in fields if name in document[part]]
    return newer + [
        f'{part}.{name} "{document[part][name]}"'
        for part, fields in _DETECTOR_VALUES.items()
        for name, values in fields.items()
        if document[part].get(name) in values
    ]


def written(document: dict[str, Any], version: int) -> dict[str, Any]:
    """`document` without the fields that `version` reads as their defaults.

    Raises:
        ArtifactFormatError: it says something that `version` can't.
    """
    made = _without(_DETECTOR_FIELDS, document)  # in version 6, too: an artifact says what it uses
    made = made if version > 1 else _without(_FIELDS, made)
    if version < 3:
        channels = [
            {name: value for name, value in channel.items() if name != "level" or value != 0.0}
            for channel in made["channels"]
        ]
        made = made | {"channels": channels}
    if version < 4 and made["quality"] is None:
        made = {name: content for name, content in made.items() if name != "quality"}
    if version < 5:
        window = {name: value for name, value in made["window"].items() if _FILLING.get(name, made) != value}
        made = made | {"window": window}
    check(made, version)
    return made


def _without(defaults: dict[str, dict[str, Any]], document: dict[str, Any]) -> dict[str, Any]:
    """`document` without those fields that are as they are by default."""
    return {
        part: {
            name: value
            for name, value in content.items()
            if name not in defaults[part] or value != defaults[part][name]
        }
        if part in defaults
        else content
        for part, content in document.items()
    }
