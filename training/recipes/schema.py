"""What a recipe says: frozen, typed tables with their defaults. `recipes` reads and checks them."""

from __future__ import annotations

from typing import Literal

import msgspec

from monitor.detector.architectures import ModelSpec
from training.thresholds.rules import ThresholdPart

LossName = Literal["mae", "mse", "huber", "bce"]


class RecipeTable(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every table of a recipe."""


class WindowPart(RecipeTable, frozen=True):
    """How windows come about; `length` and `hop` in samples, 0 for the length of the data's own windows (`record`).

    `kind`, `max_gap_ms`, `max_missing_ratio`, `max_hold_ms`, `gap_fill`, `template_beats`: as in the artifact's
    `WindowSpec`. `missing` says what becomes of NaN: `refuse` the data, `drop` windows that hold any, or `fill` along
    time up to `max_missing_ratio`. `image_shape` (height, width) makes windows images; image files say it themselves.
    `before_ms` and `after_ms`: where a window about an event (`beats`) begins and ends, unless `length` says how long.
    """

    kind: str
    length: int = 0
    hop: int = 0
    sampling_rate_hz: float | None = None
    max_gap_ms: float | None = None
    max_missing_ratio: float = 0.0
    missing: Literal["refuse", "drop", "fill"] = "drop"
    image_shape: tuple[int, int] | None = None
    max_hold_ms: float | None = None
    gap_fill: Literal["none", "previous", "interpolate"] = "none"
    before_ms: float = 250.0
    after_ms: float = 450.0
    template_beats: int = 0


class ScalingPart(RecipeTable, frozen=True):
    """`kind` as in the artifact's `ScalingSpec`, or `auto`: `centre` where the channels have one unit, else `standard`;
    see `training.fitting.units`.

    `fit_on`: the normal training rows, or `all` training rows (the tutorial takes its range before it filters).
    """

    kind: Literal["none", "minmax_global", "minmax", "standard", "robust", "window", "centre", "auto"]
    fit_on: Literal["normal", "all"] = "normal"


class ObjectivePart(RecipeTable, frozen=True):
    """What fitting minimises: `loss` against the clean window, and what is added to it.

    `noise_std` (scaled units) and `mask_ratio` spoil the input (denoising). `dropout` is the share of code units
    dropped, `l1` weighs the code's mean absolute activation (with `fit.weight_decay`, else the decoder grows as the
    code shrinks), `sparsity_weight` the divergence of its mean activation from `sparsity_target` (codes in (0, 1)),
    `contractive` the squared Frobenius norm of the encoder's Jacobian, and `beta` the divergence of a variational code
    from its prior. 0 is off.
    """

    loss: LossName = "mae"
    huber_delta: float = 1.0
    noise_std: float = 0.0
    mask_ratio: float = 0.0
    dropout: float = 0.0
    l1: float = 0.0
    sparsity_target: float = 0.05
    sparsity_weight: float = 0.0
    contractive: float = 0.0
    beta: float = 1.0


class FitPart(RecipeTable, frozen=True):
    """`method`: `adam`, or `exact` for the linear autoencoder by squared error, which needs none of what follows.

    `epochs`, but as many as `min_steps` steps take where that is more: epochs of little data are short. `clip_norm`
    bounds the gradient's global norm, 0 for no bound. `epsilon` is Adam's.

    `schedule`: the learning rate stays, or falls to 0 along a cosine, after `warmup_epochs` of rising. `patience`: stop
    after so many epochs without a validation loss lower by more than `min_delta`, and keep the best; 0 never stops.
    `trim`: the share of training windows with the highest loss that weigh nothing, chosen anew each epoch after the
    first tenth of them, for data that is not all normal (the calibration leaves as many out).
    """

    method: Literal["adam", "exact"] = "adam"
    epochs: int = 0
    min_steps: int = 0
    batch_size: int = 256
    learning_rate: float = 1e-3
    clip_norm: float = 0.0
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: int = 0
    patience: int = 0
    min_delta: float = 0.0
    trim: float = 0.0


class SplitPart(RecipeTable, frozen=True):
    """Shares of the rows: `test` of all; `calibration` of what is left (0: thresholds come from the training rows).

    `random` permutes windows by seed; `time` takes fit, calibration and test one after the other from each series;
    `series` gives whole series (records, patients) to one split each. `validation` is a share of the fit split, by
    which fitting stops early.

    `cross_fit` is for short data split by `time`, instead of `calibration`: the rows to learn from are divided into so
    many blocks of time, each is scored by a model that saw no sample of it, these scores choose the threshold, and the
    model that is kept learns from all blocks. 0: no cross-fitting.
    """

    kind: Literal["random", "time", "series"]
    test: float = 0.2
    calibration: float = 0.2
    validation: float = 0.0
    cross_fit: int = 0

    @property
    def held_out(self) -> bool:
        """Whether the threshold is chosen by scores of windows that their model has not seen."""
        return self.calibration > 0 or self.cross_fit > 0


class ScorePart(RecipeTable, frozen=True):
    """What the daemon scores by; see `ScoreSpec`. `prototypes` k-means centres of normal windows, or of their
    reconstructions: what the autoencoder holds for normal. `memory`: how many codes of normal windows are stored at
    most. `worst`: how many channels `worst_channels` is of. `smoothing`: the mean over so many of a series' windows is
    compared with the threshold.
    """

    kind: str = "mae"
    prototypes: int = 32
    prototypes_of: Literal["windows", "reconstructions"] = "reconstructions"
    beta: float = 1.0
    memory: int = 3_000
    worst: int = 4
    smoothing: int = 1


class Recipe(RecipeTable, frozen=True):
    """One way to train; `normal_class` is the label of normal rows, all others are anomalies; or `all` are normal.

    `choose`: the model, its fit and its score are those of one of a few kinds, this one among them; see
    `training.choosing`. `missing_values` are texts and numbers that mean a missing number, such as -9999, besides
    the usual words.
    """

    name: str
    window: WindowPart
    scaling: ScalingPart
    model: ModelSpec
    fit: FitPart
    split: SplitPart
    threshold: ThresholdPart
    objective: ObjectivePart = ObjectivePart()
    score: ScorePart = ScorePart()
    description: str = ""
    normal_class: int | Literal["all"] = 0
    choose: bool = False
    missing_values: tuple[str | int | float, ...] = ()
