"""Continuous electrocardiograms of the MIT-BIH Arrhythmia Database: how well beats are found and told apart.

python -m tests.benchmarks.mitbih      --qrs: only where beats are, without training or a broker
                                       --records DIRECTORY: of PhysioNet's files; with all of DS1 and DS2 there,
                                       DS1 is learnt and DS2 is streamed, else each record in its turn by the others
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from monitor.broker.cluster import LocalKafka
from tests.benchmarks import report
from tests.benchmarks.mitbih import live, qrs, records

WHERE = """\
{folder} holds no records (100.hea, 100.dat, 100.atr and so on). Download them from
    https://physionet.org/content/mitdb/1.0.0/
and say where they are: make mitbih DATA={folder}, or set TELLTALE_DATA where all data sets are"""
PACKAGES = ("jax", "numpy", "kafka-python")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("TELLTALE_DATA", "../shared/data")) / "mitbih"
    parser.add_argument("--records", type=Path, default=data)
    parser.add_argument("--qrs", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if not any(asked.records.glob("*.hea")):
        parser.error(WHERE.format(folder=asked.records))
    print(report.header(f"MIT-BIH: beats, from continuous records, lead {records.LEAD}", PACKAGES), flush=True)
    with tempfile.TemporaryDirectory(prefix="telltale-mitbih-") as scratch:
        found = records.read(asked.records, Path(scratch) / "wfdb")
        qrs.show(found)
        if not asked.qrs:
            print(flush=True)
            live.show(_streamed(found, Path(scratch), asked.seed))


def _streamed(found: list[records.HeartRecord], scratch: Path, seed: int) -> list[live.Outcome]:
    outcomes = []
    with LocalKafka(scratch / "kafka", port=0) as kafka:
        for number, (learnt, tested) in enumerate(records.divided(found)):
            place = scratch / f"part-{number}"
            place.mkdir()
            artifact = live.train(learnt, place, seed)
            outcomes += [
                live.streamed(kafka.bootstrap_servers, artifact, record, place / record.name) for record in tested
            ]
    return outcomes


if __name__ == "__main__":
    main()
