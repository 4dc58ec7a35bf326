"""Models as ONNX graphs, written by hand: windows (rows, length, channels) to scores (rows,), as the scorer makes them.

Left out is what only a score far from everything needs: that numbers are bounded before they are squared.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from monitor.detector.architectures import Activation, ConvolutionalSpec, DenseSpec, RecurrentSpec
from monitor.detector.arrays import Float32Array
from monitor.detector.artifact import Artifact

ACTIVATIONS: dict[Activation, str] = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}
OPSET, IR_VERSION = 18, 10


def graph(artifact: Artifact) -> bytes:
    """The artifact's model with its scaling and its score (mae or mse).

    Raises:
        ValueError: the model is of a kind that has no graph here; says what to do.
    """
    return _Graph(artifact).written()


def _without_graph(model: str) -> ValueError:
    return ValueError(f"there is no ONNX graph of {model}: leave it out of the models to compare, or write its graph")


class _Graph:
    """A graph that grows node by node; each method returns the name of what it made."""

    def __init__(self, artifact: Artifact) -> None:
        self._manifest, self._parameters = artifact.manifest, artifact.parameters
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._length, self._channels = artifact.manifest.window_shape

    def written(self) -> bytes:
        scaled = self._scaled("windows")
        scores = self._scores(scaled, self._model(scaled))
        shape = ["rows", self._length, self._channels]
        made = helper.make_graph(
            self._nodes,
            "autoencoder",
            [helper.make_tensor_value_info("windows", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(scores, TensorProto.FLOAT, ["rows"])],
            self._constants,
        )
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())

    def _constant(self, value: NDArray[Any] | list[int]) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """The name of its last output: the one that is wanted of those that are used here."""
        names = [f"value{len(self._nodes)}.{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[-1]

    def _flat(self, windows: str) -> str:
        return self._node("Flatten", windows, axis=1)

    def _shaped(self, values: str, *shape: int) -> str:
        return self._node("Reshape", values, self._constant([-1, *shape]))

    def _turned(self, values: str, *order: int) -> str:
        return self._node("Transpose", values, perm=order)

    def _active(self, values: str, activation: Activation) -> str:
        return values if activation == "linear" else self._node(ACTIVATIONS[activation], values)

    def _linear(self, values: str, layer: str) -> str:
        return self._node("Gemm", values, self._weights(layer, "kernel"), self._weights(layer, "bias"))

    def _tensor(self, layer: str, name: str) -> Float32Array:
        return self._parameters[f"{layer}.{name}"]

    def _weights(self, layer: str, name: str) -> str:
        return self._constant(self._tensor(layer, name))

    def _scaled(self, windows: str) -> str:
        scaling = self._manifest.scaling
        if scaling.kind == "none":
            return windows
        # Flat: with one channel as the last axis ONNX Runtime takes ten times as long.
        tiled = [np.tile(np.array(each, np.float32), self._length) for each in (scaling.offset, scaling.scale)]
        offset, scale = map(self._constant, tiled)
        scaled = self._node("Div", self._node("Sub", self._flat(windows), offset), scale)
        return self._shaped(scaled, self._length, self._channels)

    def _scores(self, scaled: str, expected: str) -> str:
        difference = self._node("Sub", self._flat(scaled), expected)
        error = self._node("Abs", difference) if self._manifest.score.kind == "mae" else None
        error = error or self._node("Mul", difference, difference)
        return self._node("ReduceMean", error, self._constant([1]), keepdims=0)

    def _model(self, scaled: str) -> str:
        """What is expected of scaled windows, (rows, length * channels)."""
        model = self._manifest.model
        if isinstance(model, DenseSpec):
            return self._dense(model, self._flat(scaled))
        if isinstance(model, ConvolutionalSpec):
            return self._flat(self._convolutional(model, scaled))
        if isinstance(model, RecurrentSpec):
            return self._flat(self._recurrent(model, scaled))
        raise _without_graph(f"a {type(model).__name__}")

    def _dense(self, model: DenseSpec, values: str) -> str:
        hidden = [model.hidden] * (len(model.widths) - 1)
        for number, activation in enumerate([*hidden, model.code or model.hidden, *hidden, model.output]):
            values = self._active(self._linear(values, f"layers.{number}"), activation)
        return values

    def _convolutional(self, model: ConvolutionalSpec, values: str) -> str:
        """Along time, with a code, by transposed convolutions, of lengths that the strides divide."""
        whole, rest = divmod(self._length, model.stride ** len(model.filters))
        if rest or model.latent is None or model.upsampling != "transposed":
            raise _without_graph("a convolutional model of this form")
        values = self._turned(values, 0, 2, 1)
        for number in range(len(model.filters)):
            kernel = self._constant(self._tensor(f"down.{number}", "kernel").transpose(2, 1, 0))
            bias = self._weights(f"down.{number}", "bias")
            made = self._node("Conv", values, kernel, bias, strides=[model.stride], auto_pad="SAME_UPPER")
            values = self._active(made, model.hidden)
        code = self._linear(self._flat(self._turned(values, 0, 2, 1)), "to_code")
        values = self._active(self._linear(code, "from_code"), model.hidden)
        values = self._turned(self._shaped(values, whole, model.filters[-1]), 0, 2, 1)
        # As `jax.lax.conv_transpose` pads for SAME, with the kernel turned round, as ONNX has it.
        before = model.kernel - 1 - math.ceil((model.kernel + model.stride - 2) / 2)
        after = model.kernel - model.stride - before
        for number in range(len(model.filters)):
            kernel = self._constant(self._tensor(f"up.{number}", "kernel")[::-1].transpose(1, 2, 0))
            bias = self._weights(f"up.{number}", "bias")
            pads = [before, after]
            made = self._node("ConvTranspose", values, kernel, bias, strides=[model.stride], pads=pads)
            values = self._active(made, model.output if number == len(model.filters) - 1 else model.hidden)
        return self._turned(values, 0, 2, 1)

    def _recurrent(self, model: RecurrentSpec, values: str) -> str:
        if model.cell != "lstm":
            raise _without_graph("a GRU")
        last = self._lstm(model.units, "encoder", self._turned(values, 1, 0, 2), outputs=2)  # (1, rows, units)
        steps = self._constant(np.array([self._length, 1, 1]))
        states = self._lstm(model.units, "decoder", self._node("Expand", last, steps), outputs=1)
        states = self._turned(self._node("Squeeze", states, self._constant([1])), 1, 0, 2)
        product = self._node("MatMul", states, self._weights("readout", "kernel"))
        return self._active(self._node("Add", product, self._weights("readout", "bias")), model.output)

    def _lstm(self, units: int, cell: str, steps: str, *, outputs: int) -> str:
        """All hidden states (steps, 1, rows, units), or with two outputs the last one."""

        def gates(tensor: Float32Array) -> Float32Array:
            """Ours are input, forget, candidate, output; ONNX's are input, output, forget, candidate, by rows."""
            enter, forget, candidate, leave = np.split(np.atleast_2d(tensor).T, 4)
            return np.concatenate([enter, leave, forget, candidate])[None]

        bias = self._tensor(f"{cell}.inputs", "bias").copy()
        bias[units : 2 * units] += 1  # our forget gate's
        both = np.concatenate([gates(bias), gates(self._tensor(f"{cell}.recurrent", "bias"))], axis=1)[:, :, 0]
        kernels = [self._constant(gates(self._tensor(f"{cell}.{part}", "kernel"))) for part in ("inputs", "recurrent")]
        return self._node("LSTM", steps, *kernels, self._constant(both), outputs=outputs, hidden_size=units)
