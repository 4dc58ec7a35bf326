"""Recurrent autoencoders: sequence to sequence, with LSTM or GRU cells."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from monitor.detector.architectures import RecurrentSpec
from monitor.detector.networks.layers import ACTIVATIONS, Linear

Carry = tuple[jax.Array, ...]


class Cell(nnx.Module):
    """One recurrent cell, run over a whole sequence by `unroll`.

    `inputs` projects all steps at once, outside the loop; `recurrent` is what each step adds. Gates lie side by side:
    input, forget, candidate and output for LSTM; reset, update and candidate for GRU.

    References:
        Hochreiter & Schmidhuber 1997, "Long short-term memory", with Gers et al. 2000's forget gate; Cho et al. 2014,
        arXiv:1406.1078, the reset gate applied after the recurrent product, as in cuDNN.
    """

    def __init__(self, kind: str, inputs: int, units: int, rngs: nnx.Rngs) -> None:
        gates = 4 if kind == "lstm" else 3
        self.kind, self.units = kind, units
        self.inputs = Linear(inputs, gates * units, rngs=rngs)
        self.recurrent = Linear(units, gates * units, rngs=rngs)

    def unroll(self, sequence: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(rows, steps, inputs) to all hidden states (rows, steps, units) and the last one (rows, units)."""
        step = self._lstm if self.kind == "lstm" else self._gru
        zeros = jnp.zeros((sequence.shape[0], self.units), dtype=sequence.dtype)
        start: Carry = (zeros, zeros) if self.kind == "lstm" else (zeros,)
        (last, *_), states = jax.lax.scan(step, start, jnp.swapaxes(self.inputs(sequence), 0, 1))
        return jnp.swapaxes(states, 0, 1), last

    def _lstm(self, carry: Carry, projected: jax.Array) -> tuple[Carry, jax.Array]:
        hidden, memory = carry
        enter, forget, candidate, leave = jnp.split(projected + self.recurrent(hidden), 4, axis=-1)
        # 1 is added to the forget gate, so that a fresh cell remembers (Jozefowicz et al. 2015)
        memory = nnx.sigmoid(forget + 1.0) * memory + nnx.sigmoid(enter) * nnx.tanh(candidate)
        hidden = nnx.sigmoid(leave) * nnx.tanh(memory)
        return (hidden, memory), hidden

    def _gru(self, carry: Carry, projected: jax.Array) -> tuple[Carry, jax.Array]:
        (hidden,) = carry
        reset, update, candidate = jnp.split(self.recurrent(hidden), 3, axis=-1)
        reset_input, update_input, candidate_input = jnp.split(projected, 3, axis=-1)
        update = nnx.sigmoid(update + update_input)
        candidate = nnx.tanh(candidate_input + nnx.sigmoid(reset + reset_input) * candidate)
        hidden = (1.0 - update) * candidate + update * hidden
        return (hidden,), hidden


class RecurrentAutoencoder(nnx.Module):
    """The encoder's last state is the code; the decoder sees it at every step."""

    def __init__(self, spec: RecurrentSpec, window_shape: tuple[int, int], rngs: nnx.Rngs) -> None:
        length, channels = window_shape
        self.length = length
        self.encoder = Cell(spec.cell, channels, spec.units, rngs)
        self.decoder = Cell(spec.cell, spec.units, spec.units, rngs)
        self.readout = Linear(spec.units, channels, rngs=rngs)
        self.output = spec.output

    def encode(self, windows: jax.Array) -> jax.Array:
        """(rows, length, channels) to codes (rows, units)."""
        return self.encoder.unroll(windows)[1]

    def decode(self, codes: jax.Array) -> jax.Array:
        """Codes (rows, units) to (rows, length, channels)."""
        repeated = jnp.broadcast_to(codes[:, None], (codes.shape[0], self.length, codes.shape[1]))
        return ACTIVATIONS[self.output](self.readout(self.decoder.unroll(repeated)[0]))
