"""Artifacts on disk: a directory, or its deterministic zip."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from monitor.detector import artifact as form
from monitor.errors import ArtifactError, ArtifactFormatError, ArtifactIntegrityError

MAX_FILES = 64
# The earliest time a zip can hold: the same content gives the same bytes.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def load(path: Path) -> form.Artifact:
    """Reads and verifies the artifact at `path`, a directory or a zip.

    Each file is opened once and its bytes are checked as they were read.

    Raises:
        ArtifactError: with `path` in front of what is wrong.
    """
    try:
        if path.is_dir():
            return form.decode(_read_directory(path))
        raw = _read(path, form.MAX_FILE_BYTES)
        files = _read_zip(raw)
        loaded = form.decode(files)
        if pack(loaded) != raw:
            raise ArtifactIntegrityError("the zip's bytes are not those that were exported; copy it again")
        return loaded
    except ArtifactError as error:
        raise type(error)(f"artifact {path}: {error}") from None


def save(artifact: form.Artifact, path: Path) -> form.Artifact:
    """Writes `artifact` to `path`, a directory, or a zip where the name ends in .zip; returns it with its digest.

    It is written beside `path`, synced, then renamed: a reader sees the whole artifact or none. An artifact that was
    there is replaced.

    Raises:
        ArtifactFormatError: `path` holds something that is not an artifact.
    """
    files = form.encode(artifact)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        _replace_file(path, pack(artifact))
    else:
        if path.exists() and not (path / form.MANIFEST).is_file() and (path.is_file() or any(path.iterdir())):
            raise ArtifactFormatError(f"artifact {path}: something else is there; choose another path")
        path.mkdir(exist_ok=True)
        # The manifest last: it names the others by their checksums, so an interrupted write is refused, not served.
        for name in sorted(files, key=lambda name: name == form.MANIFEST):
            _replace_file(path / name, files[name])
    return replace(artifact, digest=form.decode(files).digest)


def pack(artifact: form.Artifact) -> bytes:
    """The artifact's zip: the same artifact gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(form.encode(artifact).items()):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), content)
    return buffer.getvalue()


def _read_directory(path: Path) -> Mapping[str, bytes]:
    if not (path / form.MANIFEST).is_file():
        return {}
    manifest = _read(path / form.MANIFEST, form.MAX_MANIFEST_BYTES)
    names = form.named_files(manifest)
    if len(names) > MAX_FILES:
        raise ArtifactFormatError(f"{len(names)} files, at most {MAX_FILES} are read")
    found = {name: _read(path / name, form.MAX_FILE_BYTES) for name in names if (path / name).is_file()}
    return {form.MANIFEST: manifest, **found}


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise ArtifactFormatError(f"{path.name} has {size} bytes, at most {limit} are read")
            return file.read(limit)
    except FileNotFoundError:
        raise ArtifactFormatError("nothing is there; `telltale train` makes one") from None
    except OSError as error:
        raise ArtifactFormatError(f"{path.name} can't be read: {error.strerror}") from None


def _read_zip(raw: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > form.MAX_FILE_BYTES:
                raise ArtifactFormatError("the zip holds more than an artifact may")
            for entry in entries:
                # Stored, not deflated: nothing can unpack to more than its own size.
                if entry.compress_type != zipfile.ZIP_STORED or PurePosixPath(entry.filename).name != entry.filename:
                    raise ArtifactFormatError(f"zip entry {entry.filename!r} is not one of an artifact's")
            return {entry.filename: archive.read(entry) for entry in entries}
    # RuntimeError is zipfile's, for an entry that is encrypted, or of a version or with a flag that it does not know.
    except (zipfile.BadZipFile, ValueError, EOFError, RuntimeError, OSError) as error:
        raise ArtifactFormatError(f"neither an artifact directory nor an artifact zip: {error}") from None


def _replace_file(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
