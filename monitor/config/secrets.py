"""Passwords: from the environment, or from a file that nobody else may read; never from the TOML."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pydantic import SecretStr

from monitor.errors import ConfigError


def read_password(section: str, password: SecretStr, path: Path | None) -> str:
    """The password of a section of the configuration: `password` unless it is empty, else what its file holds.

    Raises:
        ConfigError: the file can't be read, others may read it, or it is empty.
    """
    if password.get_secret_value() or path is None:
        return password.get_secret_value()
    option = f"{section}.password_file"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        # A supervisor protects what it hands out by the directory, whatever the file's own mode.
        handed_out = any(path.is_relative_to(directory) for directory in _credential_directories())
        if mode & 0o077 and not handed_out:
            raise ConfigError(
                f"{option}: {path} has mode {mode:04o}, so others may read it; expected 0600 or less: chmod 600 {path}"
            )
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{option}: {path} can't be read: {error}") from None
    if not text:
        raise ConfigError(f"{option}: {path} is empty; expected the password on its first line")
    return text


def _credential_directories() -> list[str]:
    """Where systemd puts credentials, and containers their secrets."""
    return [directory for directory in (os.environ.get("CREDENTIALS_DIRECTORY"), "/run/secrets") if directory]
