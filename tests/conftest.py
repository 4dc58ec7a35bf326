"""What every test shares: strict JAX, checked shapes, and stacks of all threads when one hangs."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings

from tests.kafka_fixture import kafka_bootstrap  # noqa: F401 - a fixture

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# The machines are shared: a slow example is no finding.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2_000)
# The same examples each time, so that a bug that was seen once is seen again, and none made smaller (`make mutants`).
settings.register_profile(
    "mutants",
    settings.get_profile("default"),
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile(os.environ.get("TELLTALE_HYPOTHESIS", "default"))

# Whoever starts us in the background may have SIGINT ignored, and children inherit that: Ctrl-C could not be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROXY = type(structlog.get_logger()).__module__
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _watchdog() -> Iterator[None]:
    faulthandler.dump_traceback_later(300)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    """Undoes what a test configures: our loggers cache it, and `capture_logs` in a later test would hear nothing."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        for name, module in list(sys.modules.items()):
            if name.startswith("monitor.") and type(log := getattr(module, "log", None)).__module__ == PROXY:
                vars(log).pop("bind", None)


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """The public data sets; skips where they are not."""
    path = Path(os.environ.get("TELLTALE_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"the public data sets are not at {path}; set TELLTALE_DATA to where they are")
    return path
