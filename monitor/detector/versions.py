"""What version 2 of the format added to the manifest, so that version 1 is read and written without it.

Rules of this file: manifests as they stand in JSON, of `spec.Manifest`'s form. FORMAT.md marks the same with (2).
"""

from __future__ import annotations

from typing import Any

from monitor.errors import ArtifactFormatError

# Fields, with what they are where a manifest of version 1 is read.
_FIELDS: dict[str, dict[str, Any]] = {
    "window": {"image_shape": None},
    "model": {"code": None},
    "score": {"beta": 1.0},
    "threshold": {"series": {}},
    "calibration": {"windows_per_day": None, "tail": None, "series": ()},
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


def check_version_1(document: dict[str, Any]) -> None:
    """Refuses what version 1 did not have.

    Raises:
        ArtifactFormatError: all such fields and values at once.
    """
    newer = [f"{part}.{name}" for part, fields in _FIELDS.items() for name in fields if name in document[part]]
    newer += [
        f'{part}.{name} "{document[part][name]}"'
        for part, fields in _VALUES.items()
        for name, values in fields.items()
        if name in document[part] and document[part][name] not in values
    ]
    if newer:
        raise ArtifactFormatError(f"format version 1 has no {', no '.join(newer)}; export it again, as version 2")


def as_version_1(document: dict[str, Any]) -> dict[str, Any]:
    """`document` without the fields that version 1 reads as their defaults.

    Raises:
        ArtifactFormatError: it says something that version 1 can't.
    """
    made = {
        part: {
            name: value for name, value in content.items() if name not in _FIELDS[part] or value != _FIELDS[part][name]
        }
        if part in _FIELDS
        else content
        for part, content in document.items()
    }
    check_version_1(made)
    return made
