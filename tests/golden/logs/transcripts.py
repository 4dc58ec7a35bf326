"""Where transcripts are kept."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def kept(name: str) -> str:
    """A scenario's transcript; empty where none was recorded yet."""
    path = HERE / f"{name}.txt"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def keep(name: str, transcript: str) -> None:
    (HERE / f"{name}.txt").write_text(transcript, encoding="utf-8")
