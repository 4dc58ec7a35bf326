"""`python -m monitor.broker` is `telltale kafka`, without the rest of Telltale."""

from __future__ import annotations

import sys

from monitor.broker.cli import app
from monitor.errors import TelltaleError


def main() -> None:
    try:
        app(prog_name="python -m monitor.broker")
    except TelltaleError as error:
        sys.stderr.write(f"telltale: {error}\n")
        sys.exit(error.exit_code)


main()
