"""What is generated about configuration and metrics is complete, works, and is what the tree holds."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from monitor import reference
from monitor.config import file as configfile
from monitor.config.options import Config

ROOT = Path(__file__).resolve().parents[2]


def test_shipped_configuration_is_the_generated_one() -> None:
    shipped = (ROOT / "deploy" / "telltale.toml").read_text(encoding="utf-8")
    assert shipped == reference.commented_toml(), "`make docs` writes it"


def test_shipped_configuration_is_the_defaults() -> None:
    path = ROOT / "deploy" / "telltale.toml"
    assert configfile.parse(tomllib.loads(path.read_text(encoding="utf-8"))) == (Config(), [])


def test_shipped_configuration_has_every_option_and_no_secret() -> None:
    lines = reference.commented_toml().splitlines()
    for section, fields in reference.sections():
        assert f"[{section}]" in lines
        for option in fields.model_fields:
            written = [line for line in lines if line.removeprefix("# ").startswith(f"{option} = ")]
            assert len(written) == sum(option in other.model_fields for _, other in reference.sections()) or (
                option == "password" and not written
            )


def test_options_that_are_commented_out_work_when_they_are_not() -> None:
    text = reference.commented_toml()
    active = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and line.split()[2:3] == ["="] else line
        for line in text.splitlines()
    )
    loaded, problems = configfile.parse(tomllib.loads(active))
    assert problems == []
    assert loaded is not None
    assert loaded.model.threshold is not None
    assert loaded.kafka.ssl_keyfile is not None


def test_config_init_prints_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "monitor", "config", "init"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == reference.commented_toml()


def test_every_option_is_described() -> None:
    for section, fields in reference.sections():
        assert fields.__doc__
        for option, field in fields.model_fields.items():
            assert field.description, f"{section}.{option}"
            assert field.description.endswith("."), f"{section}.{option}"
            assert f"| `{section}.{option}` |" in reference.markdown_table()


@pytest.mark.parametrize("table", ["config", "metrics"])
def test_readme_holds_the_generated_tables(table: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    made = {"config": reference.markdown_table, "metrics": reference.metrics_table}[table]()
    found = reference.between_markers(readme, table)
    assert found is not None, f"README.md needs <!-- {table}:begin --> and <!-- {table}:end -->"
    assert found == made, "`make docs` writes it"


def test_tables_are_written_between_their_markers() -> None:
    text = "a\n<!-- config:begin -->\nold\n<!-- config:end -->\nb\n<!-- metrics:begin -->\n<!-- metrics:end -->\n"
    new = reference.with_tables(text)
    assert reference.between_markers(new, "config") == reference.markdown_table()
    assert reference.between_markers(new, "metrics") == reference.metrics_table()
    assert new.startswith("a\n<!-- config:begin -->\n| option |")
    assert reference.with_tables(new) == new
    assert reference.with_tables("# No tables\n") == "# No tables\n"
