"""Continuous electrocardiograms of the MIT-BIH Arrhythmia Database: how well beats are found.

python -m tests.benchmarks.mitbih      records of one's own: --records DIRECTORY, of PhysioNet's files
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.mitbih import qrs, records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("TELLTALE_DATA", "../shared/data")) / "mitbih"
    parser.add_argument("--records", type=Path, default=data)
    asked = parser.parse_args()
    if not any(asked.records.glob("*.hea")):
        parser.error(f"{asked.records} holds no records; give --records, or set TELLTALE_DATA")
    print(report.header("MIT-BIH: beats, from continuous records, lead MLII", ("numpy",)), flush=True)
    with tempfile.TemporaryDirectory(prefix="telltale-mitbih-") as scratch:
        qrs.show(records.read(asked.records, Path(scratch)))


if __name__ == "__main__":
    main()
