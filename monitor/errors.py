"""Every error that Telltale raises on purpose, and who must act on it.

Rules of this file: an error's class decides what happens to it (`exit_code`, `retriable`); its message says what was
wrong, where, what was expected and what to do. A `RecordError` becomes a dead letter, an
`AbortedError` a restore, a `PartitionError` holds one partition; the others end the process. Anything that is not a
`TelltaleError` is a bug of ours: exit code 70, and the supervisor restarts the process.

Exit codes follow sysexits.h: 78 EX_CONFIG, 75 EX_TEMPFAIL, 70 EX_SOFTWARE. 75 is every `BackendError` that nobody
catches: no broker at the start, or records unread after two new clients (`monitor/backends/kafka/backend.py`), the last
commit not confirmed, or too many recoveries in a row (`monitor/serving/daemon.py`). Two threads end the process with it
at once: a stop that takes too long (`monitor/serving/stopping.py`), and a call of the client
that hangs (`monitor/backends/kafka/watchdog.py`).
"""

from __future__ import annotations

from enum import StrEnum

EXIT_USAGE = 2
EXIT_SOFTWARE = 70
EXIT_TEMPFAIL = 75
EXIT_CONFIG = 78


class TelltaleError(Exception):
    """Base class of all errors; never raised itself."""

    exit_code = EXIT_SOFTWARE
    retriable = False

    def __init__(self, message: str) -> None:
        if type(self) is TelltaleError:
            raise TypeError("raise one of TelltaleError's subclasses: each says who must act")
        super().__init__(message)


class ConfigError(TelltaleError):
    """The operator must fix it: configuration, permissions, names. A restart does not help."""

    exit_code = EXIT_CONFIG


class DataError(TelltaleError):
    """A data file or recipe given to a command can't be used as asked."""

    exit_code = EXIT_CONFIG


class ArtifactError(TelltaleError):
    """The trainer must fix it: an artifact that must not be served."""

    exit_code = EXIT_CONFIG


class ArtifactFormatError(ArtifactError):
    """The artifact does not have the form that FORMAT.md describes."""


class ArtifactIntegrityError(ArtifactError):
    """The artifact's bytes are not those that were exported."""


class ArtifactSelfCheckError(ArtifactError):
    """The artifact's known-answer windows don't get their known scores on this machine."""


class BackendError(TelltaleError):
    """The brokers, or the network to them, failed. A restart may help."""

    exit_code = EXIT_TEMPFAIL
    retriable = True


class PartitionError(ConfigError):
    """One partition can't be taken over until somebody acts; others can. It is tried again."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


class SchemaRegistryError(BackendError):
    """The schema registry does not answer, or not as one does. It is asked again."""

    def __init__(self, reason: str, remedy: str, *, refused: bool = False) -> None:
        """`refused`: it did answer, and somebody must correct a configuration, its own or ours."""
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy
        self.refused = refused


class FencedError(ConfigError):
    """Another daemon uses this one's `transactional.id`; they would fence each other forever."""


class DamagedError(TelltaleError):
    """The log holds records that can't be read, and only the operator may allow to skip them."""

    exit_code = EXIT_CONFIG


class BrokerError(TelltaleError):
    """A command of the local broker (`telltale kafka`) failed."""

    exit_code = EXIT_TEMPFAIL


class Reason(StrEnum):
    """Why a record was rejected. A closed set: safe as a metric label."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    WRONG_TYPE = "wrong_type"
    WRONG_SHAPE = "wrong_shape"
    MISSING_CHANNEL = "missing_channel"
    NOT_FINITE = "not_finite"
    BAD_TIMESTAMP = "bad_timestamp"
    FUTURE_TIMESTAMP = "future_timestamp"
    BAD_SERIES = "bad_series"
    UNKNOWN_FORMAT = "unknown_format"
    UNKNOWN_SCHEMA = "unknown_schema"
    CORRUPT_BATCH = "corrupt_batch"
    UNREADABLE_BATCH = "unreadable_batch"


class RecordError(TelltaleError):
    """The sender must fix it: one record that can't be read."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
