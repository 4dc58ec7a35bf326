"""Files of TSB-AD that can be made of data at hand: ten of NAB's series, three of SMD's machines, a channel of SMAP's.

Which is which is known by length, number of events, labelled rows and first anomaly, all four as TSB-AD's file and its
tables say. It drops the first row of NAB's series, and the first of each labelled window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from monitor.datafiles import SeriesTable
from monitor.detector.arrays import Int64Array
from tests.benchmarks.series import nab, smap_msl, smd
from training.metrics import events

NAB = {
    "001_NAB_id_1_Facility_tr_1007_1st_2014.csv": "realKnownCause/ec2_request_latency_system_failure.csv",
    "009_NAB_id_9_Traffic_tr_500_1st_438.csv": "realTraffic/TravelTime_451.csv",
    "013_NAB_id_13_Traffic_tr_623_1st_2084.csv": "realTraffic/speed_t4013.csv",
    "014_NAB_id_14_WebService_tr_500_1st_1045.csv": "realAdExchange/exchange-3_cpm_results.csv",
    "016_NAB_id_16_Environment_tr_1816_1st_3540.csv": "realKnownCause/ambient_temperature_system_failure.csv",
    "017_NAB_id_17_Synthetic_tr_1007_1st_1805.csv": "artificialWithAnomaly/art_increase_spike_density.csv",
    "018_NAB_id_18_Facility_tr_500_1st_669.csv": "realKnownCause/rogue_agent_key_hold.csv",
    "019_NAB_id_19_Facility_tr_1007_1st_1171.csv": "realAWSCloudwatch/ec2_cpu_utilization_5f5533.csv",
    "025_NAB_id_25_WebService_tr_3958_1st_4614.csv": "realTweets/Twitter_volume_FB.csv",
    "026_NAB_id_26_Traffic_tr_624_1st_2261.csv": "realTraffic/speed_6005.csv",
}
SMD = {
    "057_SMD_id_1_Facility_tr_4529_1st_4629.csv": "machine-1-2",
    "063_SMD_id_7_Facility_tr_5923_1st_6506.csv": "machine-2-1",
    "066_SMD_id_10_Facility_tr_2634_1st_2734.csv": "machine-3-4",
}
SMAP = {"165_SMAP_id_22_Sensor_tr_2129_1st_5000.csv": "E-1"}


def readers(data: Path) -> dict[str, Callable[[], SeriesTable]]:
    """What reads each of these files, as TSB-AD has it, from the folder of data sets; only of sets that are there."""
    found: dict[str, Callable[[], SeriesTable]] = {}
    for name, series in NAB.items():
        if (data / "nab" / "data" / series).exists():
            found[name] = partial(_nab, data / "nab", series)
    for name, machine in SMD.items():
        if (data / "smd" / "test" / f"{machine}.txt.gz").exists():
            found[name] = partial(_smd, data / "smd", machine)
    for name, channel in SMAP.items():
        if (data / "smap_msl" / "test" / f"{channel}.npy").exists():
            found[name] = partial(_smap, data / "smap_msl", channel)
    return found


def _nab(folder: Path, series: str) -> SeriesTable:
    table = nab.read(folder, series)
    assert table.labels is not None
    labels = table.labels.copy()
    labels[events.intervals(labels == 1)[:, 0]] = 0
    return replace(table, samples=table.samples[1:], labels=labels[1:], exact=None)


def _smd(folder: Path, machine: str) -> SeriesTable:
    return smd.read(folder, machine)[1]


def _smap(folder: Path, channel: str) -> SeriesTable:
    _, spans = smap_msl.labelled(folder)[channel]
    return smap_msl.task(folder, channel, spans).tested


def facts(table: SeriesTable) -> tuple[int, int, int, int]:
    """What a series is known by: rows, events, labelled rows, the first of them."""
    assert table.labels is not None
    labels: Int64Array = table.labels
    return len(labels), len(events.intervals(labels == 1)), int(labels.sum()), int(np.argmax(labels))
