"""The alert policy by which incidents are counted: the operator's, by the daemon's own code, else the defaults."""

from __future__ import annotations

from pathlib import Path

import msgspec

from monitor.detector.incidents import Policy
from monitor.detector.spec import Manifest
from monitor.errors import DataError


class AssumedPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`source` is what it was taken from; None: nothing said otherwise, so it is the documented defaults."""

    policy: Policy = Policy()
    source: str | None = None

    def __str__(self) -> str:
        return f"{in_words(self.policy)} ({self.source or 'the defaults: no --config was given'})"


DEFAULTS = AssumedPolicy()


def assumed(config: Path | None) -> AssumedPolicy:
    """The policy of the section `alerting` of a daemon's configuration.

    Raises:
        ConfigError: the file can't be read, or anything in it is wrong.
    """
    if config is None:
        return DEFAULTS
    from monitor.configfile import load  # most trainings have none to read

    policy = load(config, artifact_needed=False).alerting.policy
    return AssumedPolicy(policy=policy, source=f"alerting of {config.name}")


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
