"""When there is an alert: by the policy and the threshold that the operator set, read by the daemon's own code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from monitor.detector import thresholds
from monitor.detector.incidents import Policy
from monitor.detector.spec import Manifest
from monitor.detector.thresholds import Follow, Thresholds
from monitor.errors import DataError


class AssumedPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`source` is what it was taken from; None: nothing said otherwise, so it is the documented defaults."""

    policy: Policy = Policy()
    source: str | None = None

    def __str__(self) -> str:
        return f"{in_words(self.policy)} ({self.source or 'the defaults: no --config was given'})"


DEFAULTS = AssumedPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What a daemon of this configuration alerts by; None as `threshold`: by the artifact's own thresholds.

    `max_missing_ratio` is the share of a window that may be missing; None: as much as the artifact allows. `follow`:
    whether thresholds follow, as `alerting.follow`.
    """

    alerting: AssumedPolicy = DEFAULTS
    threshold: float | None = None
    threshold_source: str | None = None
    max_missing_ratio: float | None = None
    follow: Follow = "auto"

    def thresholds(self, manifest: Manifest) -> Thresholds:
        """Those that the daemon would use."""
        return thresholds.of(manifest, self.threshold, self.follow)


NOTHING_SET = Assumed()


def assumed(config: Path | None) -> Assumed:
    """The section `alerting`, `model.threshold` and `input.max_missing_ratio` of a daemon's configuration.

    Raises:
        ConfigError: the file can't be read, or anything in it is wrong, but how to connect: a topic's reader says that.
    """
    if config is None:
        return NOTHING_SET
    from monitor.config.file import load  # most trainings have none to read

    found = load(config, artifact_needed=False, connects=False)
    threshold = found.model.threshold
    return Assumed(
        alerting=AssumedPolicy(policy=found.alerting.policy, source=f"alerting of {config.name}"),
        threshold=threshold,
        threshold_source=None if threshold is None else f"model.threshold of {config.name}",
        max_missing_ratio=found.input.max_missing_ratio,
        follow=found.alerting.follow,
    )


def stored(manifest: Manifest) -> AssumedPolicy | None:
    """The policy by which the incidents of an artifact's calibration were counted; None where each window was one.

    Raises:
        DataError: what the artifact says of it can't be read.
    """
    try:
        policy = msgspec.convert(manifest.training.get("alerting", {}), Policy | None)
    except msgspec.ValidationError as error:
        raise DataError(f"artifact {manifest.name}: alert policy of its calibration: {error}") from None
    return None if policy is None else AssumedPolicy(policy=policy, source="as the stored calibration has it")


def counting(alerting: AssumedPolicy | None) -> str:
    """How incidents are counted, in words; None: in random order, where windows are no neighbours in time."""
    if alerting is None:
        return "each window over the threshold, as the windows were split at random"
    return str(alerting)


def in_words(policy: Policy) -> str:
    """As "open_after = 1, close_after = 3, update_every = 20"."""
    return ", ".join(f"{name} = {number}" for name, number in msgspec.structs.asdict(policy).items())
