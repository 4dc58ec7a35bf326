"""What models there are, as data: the manifest's `model` and a recipe's `[model]`.

Rules of this file: only what the served network looks like. How it is fitted (noise, sparsity, dropout, ...) changes no
served number of its own and belongs to the recipe.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import msgspec

MAX_LAYER_WIDTH = 65_536
MAX_LAYERS = 64
MAX_KERNEL = 1_024
MAX_STRIDE = 64
MAX_MEMBERS = 64
MAX_WEIGHTS = 2**28  # of float32: 1 GiB, as much as a file of an artifact may be

Activation = Literal["relu", "leaky_relu", "elu", "silu", "gelu", "tanh", "sigmoid", "linear"]


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of every model: `hidden` activates all layers but the code and the last, `output` the last."""


class DenseSpec(Architecture, frozen=True, tag="dense"):
    """Fully connected: widths of the encoder, the last being the code; the decoder mirrors them.

    `code` activates the code, as `hidden` does where it is None. Linear, undercomplete, overcomplete and sparse
    autoencoders are all of this form.
    """

    widths: tuple[int, ...]
    hidden: Activation = "relu"
    output: Activation = "sigmoid"
    code: Activation | None = None


class ConvolutionalSpec(Architecture, frozen=True, tag="convolutional"):
    """Strided convolutions down, and up again: along time, or over both sides of an image.

    `filters` of each layer; `kernel` and `stride` are common to all. Windows of any length: each layer pads, and the
    decoder's surplus is cut. With `latent` the code is a vector of that width, else the last feature map. `upsampling`:
    `transposed` convolutions, or `nearest` repetition and a convolution.
    """

    filters: tuple[int, ...]
    kernel: int = 7
    stride: int = 2
    latent: int | None = None
    hidden: Activation = "relu"
    output: Activation = "linear"
    upsampling: Literal["transposed", "nearest"] = "transposed"


class RecurrentSpec(Architecture, frozen=True, tag="recurrent"):
    """Sequence to sequence: the encoder's last state is the code, which the decoder unrolls over the window.

    References:
        Malhotra et al. 2016, "LSTM-based Encoder-Decoder for Multi-sensor Anomaly Detection", arXiv:1607.00148; the
        decoder is fed the code at each step (Keras's RepeatVector form), not its own output.
    """

    cell: Literal["lstm", "gru"] = "lstm"
    units: int = 32
    output: Activation = "linear"


class VariationalSpec(Architecture, frozen=True, tag="variational"):
    """A dense encoder to the mean and log variance of a Gaussian code; `widths` end with the code's width.

    Served deterministically: the mean is decoded.

    References:
        Kingma & Welling 2014, "Auto-Encoding Variational Bayes", arXiv:1312.6114.
    """

    widths: tuple[int, ...]
    hidden: Activation = "relu"
    output: Activation = "linear"


Single = DenseSpec | ConvolutionalSpec | RecurrentSpec | VariationalSpec


class EnsembleSpec(Architecture, frozen=True, tag="ensemble"):
    """`members` networks of one form, fitted from different seeds; the score is the mean of theirs."""

    members: int
    member: Single


ModelSpec = DenseSpec | ConvolutionalSpec | RecurrentSpec | VariationalSpec | EnsembleSpec


def single(model: ModelSpec) -> Single:
    """The network itself: an ensemble's member."""
    return model.member if isinstance(model, EnsembleSpec) else model


def problems(model: ModelSpec, window_shape: tuple[int, int], image_shape: tuple[int, int] | None) -> list[str]:
    """What keeps `model` from being built for such windows; all at once."""
    bounds: list[tuple[str, int, int]] = []
    members = 1
    if isinstance(model, EnsembleSpec):
        bounds.append(("members", model.members, MAX_MEMBERS))
        members, model = model.members, model.member
    if isinstance(model, DenseSpec | VariationalSpec):
        bounds += [("widths", width, MAX_LAYER_WIDTH) for width in model.widths]
        layers, several = len(model.widths), "widths"
    elif isinstance(model, ConvolutionalSpec):
        bounds += [("filters", width, MAX_LAYER_WIDTH) for width in model.filters]
        bounds += [("kernel", model.kernel, MAX_KERNEL), ("stride", model.stride, MAX_STRIDE)]
        bounds += [] if model.latent is None else [("latent", model.latent, MAX_LAYER_WIDTH)]
        layers, several = len(model.filters), "filters"
    else:
        bounds.append(("units", model.units, MAX_LAYER_WIDTH))
        layers, several = 1, "units"
    found = [f"model.{name} is {value}, must be 1 to {most}" for name, value, most in bounds if not 1 <= value <= most]
    if not 1 <= layers <= MAX_LAYERS:
        found.append(f"model.{several} has {layers} layers, must be 1 to {MAX_LAYERS}")
    # Checked before anything of that size is allocated.
    if not found and (numbers := members * _weights(model, window_shape, image_shape)) > MAX_WEIGHTS:
        found.append(f"model would hold over {numbers:,} numbers, at most {MAX_WEIGHTS:,} are served")
    return found


def _weights(model: Single, window_shape: tuple[int, int], image_shape: tuple[int, int] | None) -> int:
    """How many numbers the kernels of `model` hold; biases are not counted."""
    (length, channels), size = window_shape, math.prod(window_shape)
    if isinstance(model, DenseSpec):
        return 2 * _chain(size, *model.widths)
    if isinstance(model, VariationalSpec):
        # the code's log variance beside its mean
        return 2 * _chain(size, *model.widths) + _chain(*[size, *model.widths][-2:])
    if isinstance(model, RecurrentSpec):
        gates = 4 if model.cell == "lstm" else 3
        return model.units * (gates * (channels + 3 * model.units) + channels)
    kernel = model.kernel if image_shape is None else model.kernel**2
    kernels = 2 * _chain(channels, *model.filters) * kernel
    if model.latent is None:
        return kernels
    sides: tuple[int, ...] = image_shape or (length,)
    for _ in model.filters:
        sides = tuple(-(-side // model.stride) for side in sides)
    return kernels + 2 * math.prod(sides) * model.filters[-1] * model.latent


def _chain(*widths: int) -> int:
    return sum(a * b for a, b in pairwise(widths))
