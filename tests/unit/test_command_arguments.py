"""How the commands' options become the readers'."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from monitor.detector import storage
from monitor.detector.spec import Channel
from monitor.errors import DataError
from training.commands.arguments import artifact_options, read_options


@pytest.mark.parametrize("text", ["²x²", "28", "28x", "x28", "-1x2", "9" * 5000 + "x1", "28x28x3"])
def test_image_shapes_that_can_not_be_meant(text: str) -> None:
    with pytest.raises(DataError, match="expected height and width"):
        read_options(image_shape=text)


def test_what_is_said_in_words() -> None:
    options = read_options(channels="b, a", image_shape="28X14")
    assert (options.channels, options.image_shape) == (("b", "a"), (28, 14))


def test_an_artifact_may_have_channels_with_commas() -> None:
    manifest = storage.load(Path(__file__).parents[1] / "golden" / "v2").manifest
    channels = (Channel(name="flow, l/min"), Channel(name=" p "))
    options = artifact_options(
        msgspec.structs.replace(manifest, channels=channels),
        label_column=None,
        time_column=None,
        series_column=None,
        config=None,
    )
    assert options.channels == ("flow, l/min", " p ")
