"""`telltale encode`, `decode`, `denoise` and `sample`: an autoencoder's halves put to use by themselves.

Rules of this file: as of `training.commands`. Windows are written as .npy (n, length, channels) in the data's own unit,
codes as .npz.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.errors import DataError
from training.commands import arguments as reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from monitor.detector.artifact import Artifact
    from training.codec import Codes


def encode(
    artifact: reading.ArtifactIn,
    data: reading.Data,
    out: Annotated[Path, typer.Option(help="Where the codes go, .npz.")],
    label_column: reading.LabelColumn = None,
    time_column: reading.TimeColumn = None,
    series_column: reading.SeriesColumn = None,
    config: reading.KafkaConfig = None,
) -> None:
    """Compress windows to the autoencoder's codes; prints how much smaller they are, and what decoding them loses."""
    from training import codec

    loaded = _load(artifact)
    windows = _windows(loaded, data, label_column, time_column, series_column, config)
    codes = codec.encode(loaded.detector, windows)
    _save(
        out,
        {"codes": codes.values, "offset": codes.offset, "scale": codes.scale, "network": codec.digest(loaded.detector)},
    )
    typer.echo(f"codes      {len(windows)} windows, {codes.values.shape[1]} numbers each, to {out}")
    _say_compression(loaded, windows)


def decode(
    artifact: reading.ArtifactIn,
    codes: Annotated[Path, typer.Argument(help="What `telltale encode` wrote.")],
    out: Annotated[Path, typer.Option(help="Where the windows go, .npy.")],
) -> None:
    """Windows from codes."""
    from training import codec

    loaded = _load(artifact)
    windows = codec.decode(loaded.detector, _codes(codes, loaded))
    _save(out, _in_user_units(loaded, windows))
    typer.echo(f"windows    {len(windows)} of {windows.shape[1]} samples x {windows.shape[2]} channels, to {out}")


def denoise(
    artifact: reading.ArtifactIn,
    data: reading.Data,
    out: Annotated[Path, typer.Option(help="Where the reconstructed windows go, .npy.")],
    label_column: reading.LabelColumn = None,
    time_column: reading.TimeColumn = None,
    series_column: reading.SeriesColumn = None,
    config: reading.KafkaConfig = None,
) -> None:
    """Windows as the autoencoder reconstructs them: what it does not know, noise for one, is gone."""
    from training import codec

    loaded = _load(artifact)
    windows = _windows(loaded, data, label_column, time_column, series_column, config)
    _save(out, _in_user_units(loaded, codec.decode(loaded.detector, codec.encode(loaded.detector, windows))))
    typer.echo(f"windows    {len(windows)}, to {out}")
    _say_compression(loaded, windows)


def sample(
    artifact: reading.ArtifactIn,
    out: Annotated[Path, typer.Option(help="Where the windows go, .npy.")],
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Draws the codes.")] = 0,
) -> None:
    """Draw new windows from a variational autoencoder."""
    from training import codec

    loaded = _load(artifact)
    windows = codec.sample(loaded.detector, count, seed)
    _save(out, _in_user_units(loaded, windows))
    typer.echo(f"windows    {count} of {windows.shape[1]} samples x {windows.shape[2]} channels, to {out}")


def _load(path: Path) -> Artifact:
    from monitor.detector.served import load_verified

    artifact = load_verified(path).artifact
    if artifact.manifest.window.template_beats:
        raise DataError(
            f"{path}: its model sees beats less their own series' template, so that codes alone give no windows back; "
            "take an artifact without window.template_beats"
        )
    return artifact


def _windows(
    artifact: Artifact,
    data: list[str],
    label_column: str | None,
    time_column: str | None,
    series_column: str | None,
    config: Path | None,
) -> NDArray[np.float32]:
    """Complete windows of the data; others are counted and left out."""
    import numpy as np

    from training.datasets import sources
    from training.windows.subsets import all_windows

    manifest = artifact.manifest
    options = reading.artifact_options(
        manifest,
        label_column=label_column,
        time_column=time_column,
        series_column=series_column,
        config=config,
    )
    tables, _ = sources.read(data, manifest.window.kind, options, lambda text: typer.echo(f"note: {text}", err=True))
    windows = all_windows(tables, manifest.window, 0).windows
    if windows.shape[1:] != manifest.window_shape:
        raise DataError(
            f"windows of {windows.shape[1:]} (samples, channels); the artifact takes {manifest.window_shape}"
        )
    complete = np.isfinite(windows).all(axis=(1, 2))
    if not complete.all():
        typer.echo(f"note: {int((~complete).sum())} windows are left out: they miss too many numbers", err=True)
    if not complete.any():
        raise DataError(f"no complete window of {manifest.window.length} samples in {', '.join(data)}")
    return windows[complete]


def _in_user_units(artifact: Artifact, windows: NDArray[np.float32]) -> NDArray[np.floating]:
    """Windows with their channels' levels, in float64 where there are any."""
    from monitor.detector import levels

    return levels.put_back(windows, levels.of(artifact.manifest.channels))


def _say_compression(artifact: Artifact, windows: NDArray[np.float32]) -> None:
    from training import codec

    found = codec.compression(artifact.detector, windows)
    typer.echo(
        f"compressed {found.ratio:.3g} times; decoding loses rmse {found.rmse:.4g}, mean absolute error "
        f"{found.mae:.4g} in the data's unit; {found.explained:.2%} of the variance is kept"
    )


def _codes(path: Path, artifact: Artifact) -> Codes:
    import numpy as np

    from monitor.datafiles import read_arrays
    from training.codec import Codes, digest

    arrays = read_arrays(path)
    if arrays.keys() - {"network"} != {"codes", "offset", "scale"}:
        raise DataError(
            f"{path}: holds {sorted(arrays)}; expected codes, offset and scale, as `telltale encode` writes"
        )
    if "network" in arrays and not np.array_equal(arrays["network"], digest(artifact.detector)):
        raise DataError(f"{path}: codes of another network; decode with the artifact that encoded")
    values, offset, scale = (np.asarray(arrays[name], dtype=np.float32) for name in ("codes", "offset", "scale"))
    return Codes(values=values, offset=offset, scale=scale)


def _save(path: Path, content: Any) -> None:
    import numpy as np

    try:
        with path.open("wb") as file:
            if isinstance(content, dict):
                np.savez(file, **content)
            else:
                np.save(file, content)
    except OSError as error:
        raise DataError(f"{path}: can't be written: {error.strerror}") from None
