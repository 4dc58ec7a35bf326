"""Fitting an autoencoder: one compiled step, one compiled epoch, the same parameters for the same seed.

Rules of this file: the loss of a step is the mean over its real rows. The last batch of an epoch is as short as the
data makes it (Keras keeps it, and so do we): it is padded to the common shape and the padding weighs nothing. An
ensemble's members are fitted at once, each in an order of its own. Where JAX has several devices a batch is divided
among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import optax
from numpy.typing import NDArray

from monitor.detector import autoencoder
from monitor.detector.architectures import DenseSpec, EnsembleSpec, ModelSpec, single
from monitor.detector.arrays import Float32Array
from monitor.detector.autoencoder import Autoencoder, State
from monitor.detector.scoring import Scaler
from monitor.detector.spec import ScalingSpec
from monitor.errors import DataError
from training.fitting import exact, objectives
from training.fitting.checkpoints import Checkpoints, Epoch, FitProgress
from training.fitting.reconstructing import in_batches
from training.recipes.schema import FitPart, ObjectivePart

# How to compile a fit that would be over before XLA has compiled it thoroughly: without its newer emitters for CPUs,
# unoptimised, in two parts. On 2 cores that takes half a second off compiling and doubles the time of a step. These are
# internal flags, measured with this JAX; another takes its own time.
_QUICKLY: dict[str, bool | int] = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 0,
    "xla_cpu_parallel_codegen_split_count": 2,
}
# What a fit takes, counted in products of a row and a parameter; each row and each step costs as many besides. A fifth
# of a second of 2 cores is short.
_SHORT, _OF_ROW, _OF_STEP = 1e9, 2e3, 2e5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Parameters by their tensor names, the loss of every epoch, and the epoch whose parameters these are.

    `trimmed` (n,) marks the share `fit.trim` of the rows, those with the highest loss by these parameters.
    """

    parameters: dict[str, Float32Array]
    history: tuple[Epoch, ...]
    best_epoch: int
    trimmed: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to fit, by which rules; `seed` decides initial parameters, the order of rows and everything drawn."""

    model: ModelSpec
    shape: autoencoder.Shape
    options: FitPart
    objective: ObjectivePart = field(default_factory=ObjectivePart)
    seed: int = 0


def scale(windows: Float32Array, scaling: ScalingSpec) -> Float32Array:
    """Windows as the scorer scales them, (n, length, channels) float32; affine scaling needs no compiling."""
    if not len(windows):
        return windows
    if scaling.kind == "window":
        rows = windows.reshape(len(windows), windows.shape[1] * windows.shape[2])
        scaled = jax.jit(lambda rows: Scaler(scaling, windows.shape[1])(rows)[0])(rows)
        return np.asarray(scaled).reshape(windows.shape)
    offset, spread = np.asarray(scaling.offset, np.float32), np.asarray(scaling.scale, np.float32)
    return (windows - offset) / spread


def fit(
    windows: Float32Array,
    validation: Float32Array,
    task: Task,
    *,
    on_start: Callable[[int], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> Fitted:
    """Fits a model to normal windows.

    Args:
        windows: (n, length, channels) float32, scaled, without NaN; n >= 1.
        validation: (k, length, channels), scaled; never learnt from, k may be 0. With `patience` it decides when to
            stop.
        on_start: called before the first epoch with how many there will be at most; `on_epoch` after each.
        checkpoints: where an interrupted run goes on from; the result is the same as of one that was not.

    Raises:
        DataError: there is nothing to fit, or the loss stopped being a number.
    """
    if not len(windows):
        raise DataError("no normal window to fit: check the labels (--normal-class) and the window's length")
    task = replace(task, options=long_enough(task.options, len(windows)))
    if on_start is not None:
        on_start(task.options.epochs)
    if task.options.method == "exact":
        return _exactly(windows, validation, task, on_epoch)
    run = _Run(task, windows, validation)
    progress = run.start() if checkpoints is None else checkpoints.restore(run.start())
    while progress.epoch < task.options.epochs and not run.is_over(progress):
        progress = run.advance(progress)
        done = progress.history[-1]
        watched = done.loss if done.validation is None else done.loss + done.validation
        if not np.isfinite(watched):
            raise DataError(
                f"the loss is {watched} after epoch {done.number}: lower fit.learning_rate or set clip_norm"
            )
        if checkpoints is not None:
            checkpoints.save(progress)
        if on_epoch is not None:
            on_epoch(done)
    best = progress.best if task.options.patience else progress.state
    return Fitted(
        parameters=autoencoder.parameters_of(best),
        history=tuple(progress.history),
        best_epoch=progress.best_epoch if task.options.patience else progress.epoch,
        trimmed=run.kept(best) == 0,
    )


def long_enough(options: FitPart, rows: int) -> FitPart:
    """`options` with as many epochs as `min_steps` takes with so many rows, where that is more; one for `exact`."""
    if options.method == "exact":
        return msgspec.structs.replace(options, epochs=1)
    steps = -(-rows // min(options.batch_size, rows))
    return msgspec.structs.replace(options, epochs=max(options.epochs, -(-options.min_steps // steps)))


def _exactly(
    windows: Float32Array, validation: Float32Array, task: Task, on_epoch: Callable[[Epoch], None] | None
) -> Fitted:
    """One epoch, as it were: its loss is that of the parameters that are kept."""
    assert isinstance(task.model, DenseSpec)
    parameters = exact.fit(windows.reshape(len(windows), windows.shape[1] * windows.shape[2]), task.model.widths[0])
    network, state = autoencoder.load(task.model, task.shape, parameters)
    losses = jax.jit(lambda rows: row_errors(network, task.objective, state, rows))
    loss, unseen = (
        float(in_batches(losses, part).mean(dtype=np.float64)) if len(part) else None for part in (windows, validation)
    )
    assert loss is not None, "`fit` refuses to learn from nothing"
    done = Epoch(number=1, loss=loss, validation=unseen)
    if on_epoch is not None:
        on_epoch(done)
    return Fitted(parameters=parameters, history=(done,), best_epoch=1, trimmed=np.zeros(len(windows), dtype=np.bool_))


class _Run:
    """The compiled parts of one fit, and how they make an epoch."""

    def __init__(self, task: Task, windows: Float32Array, validation: Float32Array) -> None:
        self._task = task
        self._members = task.model.members if isinstance(task.model, EnsembleSpec) else 0
        initial = autoencoder.initial_parameters(task.model, task.shape, task.seed)
        self._network, self._state = autoencoder.load(task.model, task.shape, initial)
        self._data, self._unseen = jax.device_put(windows), jax.device_put(validation)
        self._batch = min(task.options.batch_size, len(windows))
        self._optimizer = _optimizer(task.options, -(-len(windows) // self._batch))
        seeds = autoencoder.member_seeds(task.seed, self._members) if self._members else [task.seed]
        self._orders = [np.random.default_rng(seed) for seed in seeds]
        self._drawn = 0
        self._needs_key = objectives.needs_key(task.model, task.objective)
        errors = partial(row_errors, self._network, task.objective)
        self._losses = jax.jit(self._each(errors, axes=(0, None)))
        in_axes = (0, 0, None, None, 0, 0, 0 if self._needs_key else None)
        self._epoch = jax.jit(
            self._each(_epoch(self._network, task, self._optimizer), axes=in_axes),
            compiler_options=_QUICKLY if is_short(task, self._state, len(windows), len(validation)) else None,
        )

    def _each(self, function: Callable[..., object], axes: tuple[int | None, ...]) -> Callable[..., object]:
        return jax.vmap(function, in_axes=axes) if self._members else function

    def start(self) -> FitProgress:
        """Nothing done yet."""
        # Adam begins with zeros, whatever the parameters: nothing to compile for that.
        shapes = jax.eval_shape(self._each(self._optimizer.init, axes=(0,)), self._state)
        moments = jax.tree.map(lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype)), shapes)
        kept = np.ones(len(self._data), dtype=np.float32)
        return FitProgress(state=self._state, moments=moments, best=self._state, kept=kept)

    def is_over(self, progress: FitProgress) -> bool:
        """Whether patience has run out."""
        patience = self._task.options.patience
        return bool(patience) and progress.epoch - progress.best_epoch >= patience and progress.best_epoch > 0

    def advance(self, before: FitProgress) -> FitProgress:
        """One epoch; `before` is not to be used again."""
        indices, weights = self._batches(before.epoch)
        key = None
        if self._needs_key:
            key = jax.random.fold_in(jax.random.key(self._task.seed), before.epoch)
            key = jax.random.split(key, self._members) if self._members else key
        weights *= before.kept[indices]
        state, moments, loss, unseen = self._epoch(
            before.state, before.moments, self._data, self._unseen, indices, weights, key
        )
        number = before.epoch + 1
        validation = None if unseen is None else _mean(unseen)
        done = Epoch(number=number, loss=_mean(loss), validation=validation)
        options = self._task.options
        watched = done.loss if validation is None else validation
        better = watched < before.best_loss - options.min_delta
        trims = options.trim and number >= max(options.epochs // 10, 1)
        before.history.append(done)
        return FitProgress(
            state=state,
            moments=moments,
            best=state if better else before.best,
            best_loss=watched if better else before.best_loss,
            best_epoch=number if better else before.best_epoch,
            kept=self.kept(state) if trims else before.kept,
            history=before.history,
        )

    def _batches(self, epoch: int) -> tuple[NDArray[np.int32], Float32Array]:
        """Rows of each step and their weights; a run that goes on draws what was drawn before it again."""
        while self._drawn <= epoch:
            drawn = [batch_indices(order, len(self._data), self._batch) for order in self._orders]
            self._drawn += 1
        indices, weights = (np.stack(part) for part in zip(*drawn, strict=True))
        devices = jax.device_count()
        if surplus := -self._batch % devices:
            wide = ((0, 0), (0, 0), (0, surplus))
            indices, weights = np.pad(indices, wide), np.pad(weights, wide)
        return (indices, weights) if self._members else (indices[0], weights[0])

    def kept(self, state: State) -> Float32Array:
        """1 for the rows that weigh, 0 for the share with the highest loss."""
        kept = np.ones(len(self._data), dtype=np.float32)
        if left_out := int(self._task.options.trim * len(kept)):
            losses = np.asarray(self._losses(state, self._data)).reshape(-1, len(kept)).mean(axis=0)
            kept[np.argsort(losses, kind="stable")[-left_out:]] = 0
        return kept


def _mean(values: jax.Array) -> float:
    """By NumPy: of JAX's own arrays each shape would be compiled for."""
    return float(np.asarray(values, dtype=np.float64).mean())


def is_short(task: Task, state: State, rows: int, validation: int) -> bool:
    """Whether quick compiling pays: on a CPU, with the JAX it was measured with, of dense models that draw nothing.

    Of those alone it is known that a row costs so many products as there are parameters.
    """
    known = jax.__version_info__[:2] == (0, 10) and jax.default_backend() == "cpu"
    if not known or not isinstance(single(task.model), DenseSpec) or objectives.needs_key(task.model, task.objective):
        return False
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state))
    steps = -(-rows // task.options.batch_size)
    epoch = (rows + validation) * (parameters + _OF_ROW) + steps * _OF_STEP
    return bool(task.options.epochs * epoch <= _SHORT)


def row_errors(network: Autoencoder, objective: ObjectivePart, state: State, rows: jax.Array) -> jax.Array:
    """The loss of each row without noise or penalties, (n,): with `mae` it is the daemon's score."""
    return objectives.row_losses(objective.loss, objective.huber_delta, rows, network.reconstruct(state, rows))


def batch_indices(random: np.random.Generator, rows: int, batch: int) -> tuple[NDArray[np.int32], Float32Array]:
    """Rows in a random order, cut in batches; drawn by NumPy, which needs no compiling and never changes its draws.

    Returns:
        numbers of rows (steps, batch) and their weights, 1.0, or 0.0 for padding; every row has weight 1.0 once.
    """
    steps = -(-rows // batch)
    order = np.zeros(steps * batch, dtype=np.int32)
    order[:rows] = random.permutation(rows)
    weights = (np.arange(steps * batch) < rows).astype(np.float32)
    return order.reshape(steps, batch), weights.reshape(steps, batch)


def _optimizer(options: FitPart, steps: int) -> optax.GradientTransformation:
    rate: float | optax.Schedule = options.learning_rate
    warmup = options.warmup_epochs * steps
    if options.schedule == "cosine":
        rate = optax.schedules.warmup_cosine_decay_schedule(
            0.0 if warmup else rate, options.learning_rate, warmup, max(options.epochs * steps, warmup + 1)
        )
    elif warmup:
        rate = optax.schedules.linear_schedule(0.0, options.learning_rate, warmup)
    if options.weight_decay:
        adam = optax.adamw(rate, eps=options.epsilon, weight_decay=options.weight_decay)
    else:
        adam = optax.adam(rate, eps=options.epsilon)
    whole = optax.chain(optax.clip_by_global_norm(options.clip_norm), adam) if options.clip_norm else adam
    # On one vector rather than tensor by tensor: a third of a second less to trace and compile.
    return optax.flatten(whole)


_Carry = tuple[State, optax.OptState]
_Compiled = Callable[..., tuple[State, optax.OptState, jax.Array, jax.Array | None]]


def _epoch(network: Autoencoder, task: Task, optimizer: optax.GradientTransformation) -> _Compiled:
    loss = objectives.batch_loss(network, task.model, task.objective)
    divided: jax.sharding.NamedSharding | None = None
    if jax.device_count() > 1:
        mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("rows",))
        divided = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))

    def train_step(
        carry: _Carry, data: jax.Array, indices: jax.Array, weights: jax.Array, key: jax.Array | None
    ) -> tuple[_Carry, jax.Array]:
        state, moments = carry
        windows = data[indices]
        if divided is not None:
            windows = jax.lax.with_sharding_constraint(windows, divided)
        value, gradient = jax.value_and_grad(loss)(state, windows, weights, key)
        # Optax raises a float to an integer count, which is an error where our tests make promotion strict.
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = optimizer.update(gradient, moments, state)
            state = optax.apply_updates(state, updates)
        return (state, moments), value * jnp.sum(weights)

    def epoch(
        state: State,
        moments: optax.OptState,
        data: jax.Array,
        unseen: jax.Array,
        indices: jax.Array,
        weights: jax.Array,
        key: jax.Array | None,
    ) -> tuple[State, optax.OptState, jax.Array, jax.Array | None]:
        keys = None if key is None else jax.random.split(key, indices.shape[0])
        (state, moments), sums = jax.lax.scan(
            lambda carry, step: train_step(carry, data, *step), (state, moments), (indices, weights, keys)
        )
        # In the same program: one to trace and compile, rather than two.
        losses = row_errors(network, task.objective, state, unseen) if len(unseen) else None
        return state, moments, jnp.sum(sums) / jnp.maximum(jnp.sum(weights), 1.0), losses

    return epoch
