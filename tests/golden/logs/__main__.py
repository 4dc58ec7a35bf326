"""Records golden logs anew: `python -m tests.golden.logs [--record] [NAME...]`; without --record it only compares.

tests/golden/README.md says when they may be.
"""

from __future__ import annotations

import argparse
import sys

import structlog

from tests.golden.logs import artifacts, transcripts
from tests.golden.logs.scenarios import SCENARIOS


def main() -> int:
    """Returns 1 where a transcript is not the one that is kept, and was not recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios; all, where none is named")
    parser.add_argument("--record", action="store_true", help="keep what comes out now")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    if options.record:
        artifacts.write()
    changed = 0
    for name in options.names or SCENARIOS:
        found = SCENARIOS[name]().transcript()
        same = transcripts.kept(name) == found
        changed += not same
        if options.record:
            transcripts.keep(name, found)
        print(f"{name}: {'as it was' if same else 'recorded anew' if options.record else 'CHANGED'}")
    return 1 if changed and not options.record else 0


if __name__ == "__main__":
    sys.exit(main())
