"""What the sections of the configuration have in common."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Kafka's own rule for topic names (org.apache.kafka.common.internals.Topic): neither "." nor ".."
NAME = r"^\.*[a-zA-Z0-9_-][a-zA-Z0-9._-]*$"
NAME_LENGTH = 249
TopicName = Annotated[str, Field(pattern=NAME, max_length=NAME_LENGTH)]
FilePath = Annotated[Path, Field(strict=False)]  # TOML has no paths, only strings
# Names with dots between them; a backslash makes a dot part of a name (`monitor.formats.paths`).
PATH = r"(?:[^.\\]|\\.)+(?:\.(?:[^.\\]|\\.)+)*"
FieldPath = Annotated[str, Field(pattern=f"^{PATH}$")]
OptionalPath = Annotated[str, Field(pattern=f"^(?:{PATH})?$")]


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine. The only name that is trusted to is localhost."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


class Options(BaseModel):
    # strict: true is not 1, and "8900" is not a port
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False)
