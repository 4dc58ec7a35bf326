"""Artifacts: round trips, refusals, known answers."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.numpy

from monitor.detector import artifact as form
from monitor.detector import spec, storage
from monitor.errors import ArtifactError, ArtifactFormatError, ArtifactIntegrityError, ArtifactSelfCheckError
from tests.helpers import make_artifact

GOLDEN = Path(__file__).parent.parent / "golden"
EXTRAS = {"report.html": b"<p>fine</p>", "metrics.json": b"{}"}


@pytest.fixture(scope="module")
def made() -> form.Artifact:
    return replace(make_artifact(channels=("a", "b"), max_gap_ms=500.0), extras=EXTRAS, digest="")


def signed(encoded: dict[str, bytes], changes: dict[str, object]) -> dict[str, bytes]:
    """`encoded` with changed manifest fields and a digest that is right again."""
    document = {**json.loads(encoded[form.MANIFEST]), **changes}
    document = {name: value for name, value in document.items() if value is not ...}
    document.pop("digest", None)
    document["digest"] = form._digest(document)
    return {**encoded, form.MANIFEST: form._canonical(document)}


@pytest.mark.parametrize("name", ["artifact", "artifact.zip"])
def test_what_is_saved_is_loaded(made: form.Artifact, tmp_path: Path, name: str) -> None:
    saved = storage.save(made, tmp_path / "deeper" / name)
    loaded = storage.load(tmp_path / "deeper" / name)
    assert len(saved.digest) == 64
    assert loaded.digest == saved.digest
    assert loaded.manifest == made.manifest
    assert loaded.extras == EXTRAS
    assert loaded.parameters.keys() == made.parameters.keys()
    for tensor in made.parameters:
        np.testing.assert_array_equal(loaded.parameters[tensor], made.parameters[tensor])
    np.testing.assert_array_equal(loaded.known_windows, made.known_windows)
    np.testing.assert_array_equal(loaded.known_scores, made.known_scores)
    form.check_known_answers(loaded, loaded.scorer())


def test_the_same_artifact_gives_the_same_bytes(made: form.Artifact) -> None:
    turned = replace(
        made, parameters=dict(reversed(list(made.parameters.items()))), extras=dict(reversed(EXTRAS.items()))
    )
    assert form.encode(turned) == form.encode(made)
    assert storage.pack(turned) == storage.pack(made)


def test_saving_again_replaces_and_nothing_else_is_overwritten(made: form.Artifact, tmp_path: Path) -> None:
    storage.save(made, tmp_path / "a")
    newer = replace(made, manifest=msgspec.structs.replace(made.manifest, version="2"))
    storage.save(newer, tmp_path / "a")
    assert storage.load(tmp_path / "a").manifest.version == "2"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    with pytest.raises(ArtifactFormatError, match="something else is there"):
        storage.save(made, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_other_files_beside_it_are_left_alone(made: form.Artifact, tmp_path: Path) -> None:
    storage.save(made, tmp_path / "a")
    (tmp_path / "a" / "notes.txt").write_text("not part of it")
    assert storage.load(tmp_path / "a").extras == EXTRAS


@pytest.mark.parametrize("name", [form.MANIFEST, form.PARAMS, "report.html"])
def test_a_missing_file_is_named(made: form.Artifact, tmp_path: Path, name: str) -> None:
    storage.save(made, tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    with pytest.raises(ArtifactFormatError, match=name):
        storage.load(tmp_path / "a")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactFormatError, match="telltale train"):
        storage.load(tmp_path / "nothing")


def test_every_problem_of_a_manifest_is_reported_at_once(made: form.Artifact) -> None:
    manifest = json.loads(form.encode(made)[form.MANIFEST])
    manifest["window"] |= {"length": 0, "hop": -1, "max_missing_ratio": 1.5, "max_gap_ms": -1.0}
    manifest["scaling"]["scale"] = [0.0]
    manifest["threshold"]["value"] = -1.0
    manifest["batch_rows"] = 0
    manifest["model"]["widths"] = []
    manifest["channels"] = [{"name": "a", "unit": ""}, {"name": "a", "unit": ""}]
    manifest["calibration"]["quantiles"] = [[0.5, 2.0], [0.1, 1.0]]
    with pytest.raises(ArtifactFormatError) as caught:
        form.decode(signed(form.encode(made), manifest))
    for place in (
        "window.length", "window.hop", "max_missing_ratio", "max_gap_ms", "scaling holds 1", "positive scales",
        "threshold.value", "batch_rows", "model.widths", "channel names", "quantiles",
    ):  # fmt: skip
        assert place in str(caught.value), place


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": "zip"}, "not a Telltale artifact"),
        ({"format_version": 7}, "version 7, this Telltale reads 1, 2, 3, 4, 5, 6; upgrade"),
        ({"surprise": 1}, "surprise"),
        ({"batch_rows": "16"}, "batch_rows"),
        ({"name": ...}, "name"),
        ({"files": {}}, "files"),
        ({"files": []}, "files"),
        ({"model": {"kind": "lstm", "widths": [1]}}, "lstm"),
    ],
)
def test_a_manifest_of_another_form_is_refused_although_its_digest_is_right(
    made: form.Artifact, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(ArtifactFormatError, match=told):
        form.decode(signed(form.encode(made), changes))


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("scaling", {"kind": "robust"}),
        ("scaling", {"kind": "window"}),
        ("score", {"kind": "mse"}),
        ("score", {"kind": "whitened"}),
        ("score", {"beta": 1.0}),
        ("threshold", {"method": "budget"}),
        ("threshold", {"series": {}}),
        ("model", {"kind": "variational"}),
        ("model", {"hidden": "silu"}),
        ("model", {"output": "tanh"}),
        ("calibration", {"tail": None}),
    ],
)
def test_version_1_holds_no_field_and_no_value_of_version_2(part: str, content: dict[str, object]) -> None:
    files = form.encode(storage.load(GOLDEN / "v1"))
    manifest = json.loads(files[form.MANIFEST])
    form.decode(signed(files, manifest))
    manifest[part] |= content
    (name,) = content
    with pytest.raises(ArtifactFormatError, match=rf"format version 1 has no {part}\.{name}"):
        form.decode(signed(files, manifest))


def test_nothing_is_lost_by_writing_version_1() -> None:
    golden = storage.load(GOLDEN / "v1")
    change = msgspec.structs.replace
    manifest = golden.manifest
    for changed, told in (
        (change(manifest, threshold=change(manifest.threshold, series={"a": 0.5})), "threshold.series"),
        (change(manifest, score=change(manifest.score, kind="mse")), 'score.kind "mse"'),
        (change(manifest, calibration=change(manifest.calibration, windows_per_day=5.0)), "windows_per_day"),
    ):
        with pytest.raises(ArtifactFormatError, match=told):
            form.encode(replace(golden, manifest=changed))
        assert form.decode(form.encode(replace(golden, manifest=changed, format_version=2))).manifest == changed


@pytest.mark.parametrize(
    ("calibration", "told"),
    [
        ({"quantiles": [[-0.1, 0.1], [1.0, 2.0]]}, "quantiles"),
        ({"quantiles": [[0.0, 0.1], [1.5, 2.0]]}, "quantiles"),
        ({"quantiles": [[0.0, 0.2], [1.0, 0.1]]}, "quantiles"),
        ({"std": -0.1}, "calibration.std -0.1"),
        ({"windows": 0}, "calibration.windows is 0"),
    ],
)
def test_a_calibration_that_can_not_have_been_is_refused(
    made: form.Artifact, calibration: dict[str, object], told: str
) -> None:
    manifest = json.loads(form.encode(made)[form.MANIFEST])
    manifest["calibration"] |= calibration
    with pytest.raises(ArtifactFormatError, match=told):
        form.decode(signed(form.encode(made), manifest))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([[0.1, 0.4, 2.0], [0.1, np.nan, 2.0]], "not finite"),
        ([[0.1, 0.4, 2.0], [0.1, 0.4, np.inf]], "not finite"),
        ([[0.1, 0.4, 2.0], [0.1, 0.4, 0.3]], "quantiles of series 'b' fall"),
        ([[0.1, 0.4, 2.0]], "expected float32"),
    ],
)
def test_a_table_of_series_that_is_no_table_of_quantiles_is_refused(
    made: form.Artifact, rows: list[list[float]], told: str
) -> None:
    """Read and written: the tensors are put beside a manifest whose sums are right."""
    calibration = msgspec.structs.replace(made.manifest.calibration, series=("a", "b"))
    fine = replace(
        made,
        manifest=msgspec.structs.replace(made.manifest, calibration=calibration),
        calibration_table=np.array([[0.1, 0.4, 2.0], [0.1, 0.1, 0.1]], np.float32),
    )
    files = form.encode(fine)
    assert form.decode(files).calibration_table is not None
    bad = np.array(rows, np.float32)
    with pytest.raises(ArtifactFormatError, match=told):
        form.encode(replace(fine, calibration_table=bad))
    tensors = safetensors.numpy.load(files[form.PARAMS]) | {"calibration/series_quantiles": bad}
    params = safetensors.numpy.save(tensors)
    sums = json.loads(files[form.MANIFEST])["files"] | {form.PARAMS: hashlib.sha256(params).hexdigest()}
    with pytest.raises(ArtifactFormatError, match=told):
        form.decode(signed({**files, form.PARAMS: params}, {"files": sums}))


def test_an_artifact_that_could_not_be_served_is_not_written(made: form.Artifact, tmp_path: Path) -> None:
    bad = replace(made, manifest=msgspec.structs.replace(made.manifest, batch_rows=0))
    with pytest.raises(ArtifactFormatError, match="batch_rows"):
        storage.save(bad, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_tensors_that_are_not_the_models_are_named(made: form.Artifact) -> None:
    name = next(iter(made.parameters))
    without = {each: tensor for each, tensor in made.parameters.items() if each != name}
    with pytest.raises(ArtifactFormatError, match=f"'{name}' is missing"):
        replace(made, parameters=without).scorer()
    for bad, told in (
        (np.zeros((1, 1), np.float32), "float32"),
        (np.full_like(made.parameters[name], np.nan), "finite"),
    ):
        with pytest.raises(ArtifactFormatError, match=told):
            replace(made, parameters={**without, name: bad}).scorer()
    with pytest.raises(ArtifactFormatError, match="'more' is not part"):
        replace(made, parameters={**made.parameters, "more": np.zeros(1, np.float32)}).scorer()


def test_known_answers_are_needed_and_checked(made: form.Artifact) -> None:
    scorer = made.scorer()
    form.check_known_answers(made, scorer)
    factors = np.array([1, 1, 1 + 3e-5, 1], np.float32)
    with pytest.raises(ArtifactSelfCheckError, match="known window 2"):
        form.check_known_answers(replace(made, known_scores=made.known_scores * factors), scorer)
    form.check_known_answers(replace(made, known_scores=made.known_scores * np.float32(1 + 3e-6)), scorer)
    # Where scores are small, so is the threshold, and what is allowed.
    large = spec.ScalingSpec(kind="standard", offset=(0.0, 0.0), scale=(1e5, 1e5))
    threshold = msgspec.structs.replace(made.manifest.threshold, value=1e-4)
    small = replace(made, manifest=msgspec.structs.replace(made.manifest, scaling=large, threshold=threshold))
    exact = replace(small, known_scores=small.scorer()(small.known_windows))
    assert exact.known_scores.max() < 1e-4
    form.check_known_answers(exact, small.scorer())
    with pytest.raises(ArtifactSelfCheckError):
        form.check_known_answers(replace(exact, known_scores=exact.known_scores * np.float32(1.05)), small.scorer())
    none = replace(made, known_windows=made.known_windows[:0], known_scores=made.known_scores[:0])
    with pytest.raises(ArtifactFormatError, match="known"):
        form.decode(form.encode(none))
    with pytest.raises(ArtifactFormatError, match="known_answers/windows"):
        form.decode(form.encode(replace(made, known_windows=made.known_windows[:, 1:])))


def test_a_zip_is_only_taken_as_it_was_packed(made: form.Artifact, tmp_path: Path) -> None:
    files = form.encode(made)

    def zipped(compression: int, names: dict[str, str]) -> Path:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            for name, content in files.items():
                archive.writestr(names.get(name, name), content)
        path = tmp_path / "a.zip"
        path.write_bytes(buffer.getvalue())
        return path

    for path in (
        zipped(zipfile.ZIP_DEFLATED, {}),
        zipped(zipfile.ZIP_STORED, {}),
        zipped(zipfile.ZIP_STORED, {"report.html": "../report.html"}),
    ):
        with pytest.raises(ArtifactError):
            storage.load(path)


def test_whole_numbers_in_places_for_fractions_survive_the_zip(made: form.Artifact, tmp_path: Path) -> None:
    window = msgspec.structs.replace(made.manifest.window, max_gap_ms=500)
    whole = replace(made, manifest=msgspec.structs.replace(made.manifest, window=window))
    storage.save(whole, tmp_path / "a.zip")
    assert storage.load(tmp_path / "a.zip").manifest == whole.manifest


def test_the_manifests_of_two_artifacts_are_not_exchanged(made: form.Artifact) -> None:
    other = replace(made, known_scores=made.known_scores * np.float32(2))
    with pytest.raises(ArtifactIntegrityError, match=form.PARAMS):
        form.decode({**form.encode(made), form.PARAMS: form.encode(other)[form.PARAMS]})


def test_bounds_come_before_parsing(made: form.Artifact) -> None:
    big = b" " * (form.MAX_MANIFEST_BYTES + 1)
    with pytest.raises(ArtifactFormatError, match="at most"):
        form.decode({**form.encode(made), form.MANIFEST: big})
    assert spec.MAX_WINDOW_NUMBERS < 2**31
