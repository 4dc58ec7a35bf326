"""What happens on each golden log. A scenario's name is its transcript's; its docstring says what is in it.

Numbers are such that scores are exact: see `artifacts`. With a network of zeros the `mae` of a window of equal numbers
is that number.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from monitor import extensions
from monitor.errors import Reason
from monitor.formats.schemas import Schema
from tests.golden.logs.cluster import INPUT, Cluster, ms
from tests.schema_registry import framed

QUIET, OVER, HIGH, HIGHER = 0.25, 0.625, 1.25, 4.0  # ratios 0.5, 1.25 (warning), 2.5 (error), 8 (critical)
SCENARIOS: dict[str, Callable[[], Cluster]] = {}


def scenario(play: Callable[[], Cluster]) -> Callable[[], Cluster]:
    SCENARIOS[play.__name__.replace("_", "-")] = play
    return play


@scenario
def incidents() -> Cluster:
    """Sliding windows of JSON samples in two partitions, `mae`: incidents open late, are updated, become worse, are
    resolved and open again, across a stop, a crash, commits that fail before and after their effect, and the loss of
    all partitions."""
    policy = {"open_after": 2, "close_after": 2, "update_every": 3}
    cluster = Cluster("mae", 2, alerting=policy, limits={"max_poll_records": 16, "checkpoint_interval_ms": 3000})
    cluster.samples("pump-1", 0, [QUIET] * 6 + [OVER] * 3 + [QUIET] * 3)  # one window over, then one under
    cluster.samples("Bett Ä", 7, [HIGH] * 4)  # one window over, and the next one after the stop
    cluster.samples("pump-2", 0, [[QUIET, 0.5]] * 5 + [[HIGH, QUIET]] * 8, 1)
    cluster.work()
    cluster.samples("pump-1", 12, [HIGH] * 8)
    cluster.samples("Bett Ä", 11, [HIGHER] * 9)
    cluster.samples("pump-2", 13, [[QUIET, -HIGHER]] * 12, 1)
    cluster.work_and_crash()
    cluster.samples("pump-1", 20, [HIGHER] * 9 + [QUIET] * 3 + [HIGH] * 3)
    cluster.log.fail_next_commit("before")
    cluster.work()
    cluster.samples("Bett Ä", 20, [QUIET] * 8)
    cluster.log.fail_next_commit("after")
    cluster.turns(
        lambda: None,
        lambda: cluster.samples("pump-2", 25, [QUIET] * 9 + [HIGH] * 4, 1),
        lambda: cluster.log.fail_next_commit("after"),
        lambda: cluster.samples("pump-1", 35, [QUIET] * 9),
        cluster.lose_partitions,
        lambda: cluster.samples("pump-2", 38, [HIGH] * 4, 1),
    )
    return cluster


@scenario
def samples_that_are_missing_late_or_refused() -> Cluster:
    """Gaps, missing channels, windows that are filled and windows that can't be, late samples and duplicates, samples
    without a time of their own, and records refused for every reason that a JSON record can have."""
    cluster = Cluster("mae", input={"max_record_bytes": 160}, alerting={"update_every": 3, "close_after": 1})
    cluster.samples("filled", 0, [HIGH, HIGH, [None, HIGH], HIGH, [HIGH, None], [None, HIGH], QUIET, QUIET])
    cluster.samples("unscorable", 0, [HIGH] * 4 + [None] * 2 + [HIGH] * 2 + [QUIET] * 2)
    cluster.samples("gap", 0, [HIGH] * 5 + [QUIET])
    cluster.samples("gap", 60, [HIGH] * 3)
    cluster.samples("no gap", 60, [HIGH] * 4, step_s=5.0)
    cluster.work()
    cluster.samples("gap", 63, [HIGH, QUIET, QUIET])
    cluster.samples("late", 70, [HIGH] * 3)
    cluster.samples("late", 69, [QUIET] * 4)  # 69 to 71 are late, and 72 is there already
    cluster.samples("late", 73, [QUIET] * 3)
    for second in (70, 70, 71, 70, 72, 72):  # the fourth is late
        cluster.send({"flow": HIGH, "pressure": -HIGH}, "untimed", at_s=second)
    cluster.work()
    for value, key in REFUSED:
        cluster.send(value, key, at_s=76)
    for key in ("filled", "gap", "late"):
        cluster.samples(key, 77, [HIGH] * 7)
    cluster.work()
    return cluster


REFUSED: list[tuple[bytes | None, str | bytes | None]] = [
    (b'{"flow": 1', "gap"),
    (b"", "gap"),
    (None, "gap"),
    (b'{"flow": 1, "pressure": 2, "note": "%s"}' % (b"x" * 160), "gap"),
    (b'{"flow": "high", "pressure": 2}', "late"),
    (b'{"flow": 1}', "late"),
    (b'{"flow": 1, "pressure": Infinity}', "filled"),
    (b'{"values": [[1, 2], [3]]}', "filled"),
    (b'{"ts": "soon", "flow": 1, "pressure": 2}', "filled"),
    (b'{"ts": 17, "flow": 1, "pressure": 2}', "filled"),
    (b'{"ts": %d, "flow": 1, "pressure": 2}' % ms(1e8), "filled"),
    (b'{"flow": 1, "pressure": 2}', None),
    (b'{"flow": 1, "pressure": 2}', b"\xff\xfe"),
    (b'{"flow": 1, "pressure": 2}', "x" * 300),
]


@scenario
def records_with_thresholds_of_their_own() -> Cluster:
    """Records that are windows, as f32, `mse`, scaled: series named in a header, with thresholds and quantiles of their
    own, alerts that show the window, records of another size, and `model.threshold` in the place of all thresholds."""
    cluster = Cluster(
        "mse-of-series",
        input={"format": "f32", "series": "header:pump"},
        alerting={"include_window": "full", "close_after": 2, "error_ratio": 4.0, "critical_ratio": 16.0},
    )
    normal = np.array([[1.0, -1.0]] * 4)

    def send(window: np.ndarray, name: bytes, at_s: float) -> None:
        cluster.send(window.astype("<f4").tobytes(), None, at_s=at_s, headers=(("other", b"x"), ("pump", name)))

    for place, apart in enumerate([0.25, 0.75, 1.0, 2.0, 0.0, 0.5, 0.25, 3.0]):
        if place == 4:
            cluster.work()
        for name in (b"pump-1", b"pump-2", b"unseen"):
            send(normal + np.array([2 * apart, -apart / 2]), name, 10.0 * place)
    cluster.work_and_crash()
    cluster.send(b"\0" * 31, None, at_s=90, headers=(("pump", b"pump-1"),))
    cluster.send(b"\0" * 40, None, at_s=90, headers=(("pump", b"pump-1"),))
    cluster.send(b"\0" * 32, None, at_s=91)
    send(normal * np.inf, b"pump-2", 92)
    send(np.where(np.eye(4, 2) > 0, np.nan, normal), b"pump-1", 93)
    cluster.work()
    cluster.configure(model={"threshold": 1.0})  # for all series
    for place in range(2):
        for name in (b"pump-1", b"pump-2"):
            send(normal + np.array([1.5, -0.375]), name, 100.0 + place)
    cluster.work()
    return cluster


@scenario
def chunks_whitened() -> Cluster:
    """JSON records that hold several samples each, a window closed by every one of them, `whitened`."""
    cluster = Cluster("whitened", alerting={"update_every": 4})
    loud, quiet = [[1.25, 0.25]] * 3, [[0.25, 0.25]] * 5
    cluster.send({"ts": ms(0), "values": [*quiet, *loud], "rate_hz": 8}, "pump-1", at_s=3)
    cluster.send([*quiet, *loud, *loud], "no time", at_s=1)
    cluster.work()
    cluster.send({"ts": ms(1), "values": loud, "rate_hz": 4}, "pump-1", at_s=3)
    cluster.send(quiet, "no time", at_s=3)
    cluster.send({"ts": ms(2), "values": [*quiet, *quiet], "rate_hz": 8}, "pump-1", at_s=3)
    cluster.work()
    return cluster


@scenario
def prototypes() -> Cluster:
    """Records that are windows, as JSON, `prototype`: the series' name stands in the value, and an incident is open
    while a window is missing numbers."""
    cluster = Cluster("prototype", input={"series": "field:id", "timestamp_field": "time"}, alerting={"close_after": 2})

    def send(minute: int, name: str | int, number: float | None) -> None:
        time = f"2026-12-01T00:{minute:02}:00Z"
        cluster.send({"time": time, "id": name, "values": [[number, number]] * 4}, "not this", at_s=60 * minute)

    for minute, (first, second) in enumerate([(0, 4), (0.25, 4.5), (1, -8), (None, -10), (4, 4), (-7.5, 0)]):
        if minute == 3:
            cluster.work_and_crash()
        send(minute, "pump-1", first)
        send(minute, 17, second)
    cluster.work()
    return cluster


@scenario
def remembered_codes() -> Cluster:
    """`memory`: what is known but not reconstructed, what is neither, and a new start between."""
    cluster = Cluster("memory", alerting={"close_after": 1})
    for second in range(24):
        number = [0.0, 1.0, 9.0, 0.0, 1.0, 0.0][second // 4]
        cluster.samples("pump-1", second, [[number, number]])
        if second == 9:
            cluster.work_and_crash()
    cluster.work()
    return cluster


@scenario
def nearest_codes() -> Cluster:
    """`nearest_code`: as far from the code as from the window."""
    cluster = Cluster("nearest-code", alerting={"close_after": 1})
    for second in range(12):
        cluster.samples("pump-1", second, [[[1.0, 1.0], [-7.0, -7.0], [1.0, 1.0]][second // 4]])
    cluster.work()
    return cluster


@scenario
def the_worst_channels() -> Cluster:
    """`worst_channels`: 1 is much for the one and little for the other."""
    cluster = Cluster("worst-channels", alerting={"close_after": 1, "include_window": "full"})
    for second in range(24):
        flow, pressure = [(0.0, 0.0), (0.0, 2.0), (1.0, 1.0), (0.25, 8.0), (0.0, 0.0), (0.5, -4.0)][second // 4]
        cluster.samples("pump-1", second, [[flow, pressure]])
    cluster.work()
    return cluster


@scenario
def likelihoods() -> Cluster:
    """`elbo` of a variational network; times are text, and windows overlap by one sample."""
    cluster = Cluster("elbo")
    for minute, number in enumerate([0.0, 0.5, 1.0, 0.25]):
        for second in range(8):
            ts = f"2026-12-01T01:{minute:02}:{second:02}.250+01:00"
            cluster.send({"ts": ts, "flow": number, "pressure": -number}, "pump-1", at_s=60 * minute + second)
        if minute % 2:
            cluster.work()
    return cluster


@scenario
def ensembles() -> Cluster:
    """The mean of two networks' scores; windows that do not overlap; `model.threshold` in the place of the artifact's;
    two series of which one comes first, and whose windows close after the other's."""
    cluster = Cluster("ensemble", model={"threshold": 0.375})
    for second in range(64):
        number = [0.25, 0.25, 0.5, 2.0, 0.125, 0.0, 0.5, 0.25][second // 8]
        for name in ("pump-2", "pump-1") if second else ("pump-1", "pump-2"):
            cluster.samples(name, second, [number])
    cluster.work()
    return cluster


@scenario
def windows_by_their_own_moments() -> Cluster:
    """Each window scaled by its own mean and deviation: what moves scores 1, what is flat 0."""
    cluster = Cluster("each-window", alerting={"include_window": "full", "close_after": 1})
    flat, moving = [[1000.0, 0.0]] * 8, [[1000.0, 0.0], [1002.0, 8.0]] * 4
    cluster.samples("pump-1", 0, [*flat, *moving])
    cluster.work()
    cluster.samples("pump-1", 16, [*moving, *flat, *moving])
    cluster.work()
    return cluster


@scenario
def levels() -> Cluster:
    """Format version 3: a channel far from zero, whose level is taken off; f32 samples, and alerts with the window."""
    cluster = Cluster("levels", alerting={"include_window": "full", "close_after": 1})
    for place, over in enumerate([0.25, HIGH, 0.0]):
        numbers = [[18_228_934 + over, -over]] * 5 + [[None, over]]
        cluster.samples("tank-1", 6 * place, numbers, names=("tank", "flow"))
    cluster.work()
    cluster.configure(input={"format": "f32"})
    sample = np.array([[18_228_936, 1.5], [18_228_934, 0.0]], dtype="<f4")
    cluster.send(np.repeat(sample, 2, axis=0).tobytes(), "tank-1", at_s=30)
    cluster.send(sample.tobytes()[:-1], "tank-1", at_s=31)
    cluster.work()
    return cluster


@scenario
def series_that_are_forgotten() -> Cluster:
    """At most three series, and none that was silent for a minute: incidents end for it, series come back, time jumps
    ahead by hours and the clock is asked, and the limit is lower after a restart."""
    cluster = Cluster("one-channel", input={"max_series": 3, "series_ttl": 60, "max_future_ms": 60_000})

    def samples(key: str, first_s: float, numbers: list[float]) -> None:
        cluster.samples(key, first_s, numbers, names=("value",))

    for place, key in enumerate(["a", "b", "c"]):
        samples(key, place, [HIGH] * 4)
    samples("d", 3, [HIGH] * 5)  # a is forgotten: b and c were seen after it
    samples("b", 8, [HIGH])
    cluster.work()
    samples("a", 10, [QUIET] * 4)  # a is another one now, and c is forgotten for it
    samples("a", 50, [HIGH] * 6)
    samples("e", 72, [HIGH] * 4)  # b and d are silent for too long
    cluster.work_and_crash()
    samples("a", 76, [HIGH] * 3)
    samples("e", 120, [HIGH])
    samples("a", 138, [HIGH] * 2)  # after a minute, and not longer
    samples("a", 180, [HIGH] * 2)  # e was silent for longer, by a second
    cluster.work()
    cluster.now_s = 7200.0
    samples("f", 7150, [HIGH] * 5)  # two hours later: the clock says that it is so
    samples("g", 7155, [HIGH] * 5)
    samples("g", 90_000, [QUIET] * 2)  # a day ahead of everything
    samples("h", 7160, [HIGH] * 5)
    cluster.work_and_crash()
    cluster.configure(input={"max_series": 1})
    samples("h", 7170, [HIGH] * 2)
    cluster.work()
    samples("h", 7172, [QUIET] * 8)
    cluster.work()
    return cluster


@scenario
def records_of_many_series() -> Cluster:
    """Records that are windows keep no windows, but series all the same: the limit and silence hold for them too."""
    cluster = Cluster("prototype", input={"max_series": 2, "series_ttl": 100}, alerting={"close_after": 1})
    numbers = {"a": [1.0, 1.0], "b": [1.5, 0.0], "c": [2.0, 0.25]}
    for second, key in enumerate("abacbac"):
        value = numbers[key][second > 4]
        cluster.send([[value, value]] * 4, key, at_s=second)
        if second == 4:
            cluster.work()
    cluster.send([[1.5, 1.5]] * 4, "d", at_s=9)
    cluster.work_and_crash()
    cluster.send([[0.0, 0.0]] * 4, "a", at_s=150)
    cluster.work()
    return cluster


@scenario
def a_topic_made_again() -> Cluster:
    """The topic is deleted and made again while a daemon runs, with fewer partitions than before; then while none runs:
    incidents of the old one end, and the new one's offsets begin anew."""
    cluster = Cluster("mae", 3, alerting={"close_after": 1})
    for partition in range(3):
        cluster.samples(f"pump-{partition}", 0, [QUIET, *[HIGH] * 6], partition)
    cluster.turns(
        lambda: None,
        lambda: cluster.log.create_topic(INPUT, 2),
        lambda: cluster.samples("pump-0", 100, [HIGH] * 4),
        lambda: cluster.samples("pump-1", 100, [QUIET] * 6, 1),
    )
    cluster.log.create_topic(INPUT, 3)
    cluster.samples("pump-0", 200, [HIGH] * 8)
    cluster.samples("pump-2", 200, [QUIET] * 8, 2)
    cluster.work()
    return cluster


@scenario
def offsets_that_do_not_fit_the_log() -> Cluster:
    """Records deleted before they were read, a group's offset that is missing, partitions that are added, an offset
    that another tool set, and one behind the end of the log."""
    cluster = Cluster("mae", alerting={"close_after": 1})
    (place,) = cluster.log.partitions(INPUT)
    cluster.samples("pump-1", 0, [QUIET, *[HIGH] * 6])
    cluster.work()
    cluster.samples("pump-1", 7, [HIGH] * 8)
    cluster.log.trim(place, 10)
    cluster.work()
    cluster.log.forget(cluster.config.kafka.group_id, [place])
    cluster.samples("pump-1", 15, [QUIET] * 3)
    cluster.work()
    cluster.samples("pump-1", 18, [HIGH] * 5)
    cluster.log.add_partitions(INPUT, 2)
    cluster.samples("pump-2", 18, [HIGH] * 5, 1)
    cluster.work()
    cluster.set_offset(place, 20)
    cluster.samples("pump-1", 23, [QUIET] * 4)
    cluster.work()
    cluster.set_offset(place, 99)
    cluster.configure(input={"beyond_end": "stop"})
    cluster.work()
    cluster.configure(input={"beyond_end": "end"})
    cluster.work()
    return cluster


@scenario
def damaged_batches() -> Cluster:
    """A batch that nobody can read is skipped and all series of its partition begin anew; at one whose bytes are not
    those that were written, all before it is committed and the daemon stops, where it is told to."""
    cluster = Cluster("mae", alerting={"close_after": 1})
    cluster.samples("pump-1", 0, [HIGH] * 5)
    cluster.log.append_damaged(INPUT, 0, 3, Reason.UNREADABLE_BATCH)
    cluster.samples("pump-1", 8, [QUIET] * 3)
    cluster.work_and_crash()
    cluster.samples("pump-1", 11, [QUIET, HIGH, HIGH])
    cluster.log.append_damaged(INPUT, 0, 2, Reason.CORRUPT_BATCH)
    cluster.samples("pump-1", 16, [HIGH] * 8)
    cluster.configure(input={"damaged_batches": "stop"})
    cluster.work()
    cluster.configure(input={"damaged_batches": "skip"})
    cluster.work()
    return cluster


@scenario
def records_that_are_all_refused() -> Cluster:
    """A partition of nothing but refused records is held and nothing of it is committed, while the other goes on; with
    `max_rejected_ratio` 1 all become dead letters."""
    cluster = Cluster("mae", 2)
    cluster.samples("pump-1", 0, [HIGH] * 5, 1)
    cluster.samples("pump-0", 0, [HIGH] * 21, names=("another",))
    cluster.turns(lambda: None, cluster.lose_partitions)
    cluster.configure(input={"max_rejected_ratio": 1.0})
    cluster.samples("pump-1", 5, [QUIET] * 5, 1)
    cluster.turns(lambda: None, cluster.lose_partitions)
    return cluster


@scenario
def records_in_avro() -> Cluster:
    """Sliding windows of Avro samples, `mae`: a new schema in mid-stream, whose fields stand in another order, times of
    another unit; a schema that the registry does not have, and records that are not what they say."""
    cluster = Cluster(
        "mae",
        input={"format": "avro", "series": "field:pump"},
        alerting={"close_after": 1},
        schema_registry={"urls": ["http://registry.plant:8081"]},
    )
    number: list[Any] = ["null", "double"]
    fields = {"ts": ("long", "timestamp-millis"), "flow": number, "pressure": number, "pump": "string"}
    older = _record(fields)
    newer = _record({"pump": "string", **fields, "ts": ("long", "timestamp-micros"), "note": "string"})
    cluster.schemas = {1: Schema("AVRO", json.dumps(older)), 9: Schema("AVRO", json.dumps(newer)), 4: NO_SCHEMA}
    for second in range(16):
        flow = HIGH if second < 12 else QUIET
        document = {"ts": ms(second), "flow": flow, "pressure": flow, "pump": f"pump-{second % 2}", "note": "x"}
        of_newer = framed(9, newer, document | {"ts": 1000 * ms(second)})
        good = of_newer if second % 3 == 2 else framed(1, older, document)
        cluster.send(good, None, at_s=second)
        if second == 7:
            for value in (
                b"\0\0\0\0\4" + good[5:],
                good[5:],
                good + b"x",
                good[:-1],
                b"\xc3\x01" + bytes(8) + good[5:],
            ):
                cluster.send(value, None, at_s=second)
            cluster.send({"flow": 1, "pressure": 2}, None, at_s=second)
            cluster.work()
    cluster.work()
    return cluster


@scenario
def records_of_mixed_formats() -> Cluster:
    """Sliding windows of samples in JSON, MessagePack, CSV and float32 by turns, `mae`, as the header content-type
    says; records without it, of no format that is known, and of another than they say."""
    cluster = Cluster(
        "mae",
        input={
            "format_header": "content-type",
            "content_types": {"application/x-f32": "f32"},
            "csv_columns": ["ts", "flow", "pressure"],
        },
        alerting={"close_after": 1},
    )
    for second in range(16):
        flow = HIGH if second < 12 else QUIET
        sample = {"ts": ms(second), "flow": flow, "pressure": flow}
        packed, line = msgspec.msgpack.encode(sample), f"{ms(second)},{flow},{flow}".encode()
        kinds: list[tuple[bytes, Any]] = [
            (b"application/json; charset=utf-8", sample),
            (b"application/msgpack", packed),
            (b"text/csv", line),
            (b"application/x-f32", np.array([flow, flow], "<f4").tobytes()),
            (b"application/octet-stream", sample),
        ]
        kind, value = kinds[second % len(kinds)]
        cluster.send(value, f"pump-{second % 2}", at_s=second, headers=[("content-type", kind)])
        if second == 7:
            cluster.send(sample, "pump-0", at_s=second)
            for kind, value in ((b"application/xml", sample), (b"text/csv", packed), (b"application/json", line)):
                cluster.send(value, "pump-1", at_s=second, headers=[("content-type", kind)])
            cluster.work()
    cluster.work()
    return cluster


NO_SCHEMA = "the schema registry has no schema with id 4"


def _record(fields: dict[str, Any]) -> dict[str, Any]:
    """A schema with these fields; a pair is a type and its logical type."""
    types = {
        name: {"type": kind[0], "logicalType": kind[1]} if isinstance(kind, tuple) else kind
        for name, kind in fields.items()
    }
    return {"type": "record", "name": "Sample", "fields": [{"name": name, "type": types[name]} for name in types]}


@scenario
def dead_sensors() -> Cluster:
    """All checks of data quality: a series that falls silent and comes back, a channel that freezes, one that reads
    -9999, whose score says so too, nulls in one channel and in both, records without a channel, and late samples;
    across a stop, a crash, commits that fail, and the loss of all partitions."""
    cluster = Cluster("known-channels", quality=dict.fromkeys(extensions.CHECKS, True))
    moving = [0.25, 0.375, 0.3125, 0.4375]

    def send(first: int, end: int) -> None:
        """A sample of each series a second."""
        for second in range(first, end):
            number, broken = moving[second % 4], 50 <= second < 90
            samples: dict[str, list[float | None]] = {
                "frozen": [number, 0.5 if broken else -number],
                "marked": [number, -9999.0 if broken and second % 4 else -number],
                "null": [number, None if broken else -number],
                "nulls": [None, None] if broken else [number, -number],
                "well": [number, -number],
            }
            for key, numbers in samples.items():
                cluster.samples(key, second, [numbers])
            if not broken:
                cluster.samples("silent", second, [[number, -number]])
                cluster.samples("wrong", second, [[number, -number]])
            else:
                cluster.send({"ts": ms(second), "flow": number}, "wrong", at_s=second)

    send(0, 48)
    cluster.work()
    send(48, 57)
    cluster.work_and_crash()
    send(57, 75)
    cluster.log.fail_next_commit("before")
    cluster.work()
    send(75, 95)
    cluster.log.fail_next_commit("after")
    cluster.turns(lambda: send(95, 120), cluster.lose_partitions, lambda: send(120, 210))
    return cluster


@scenario
def drift() -> Cluster:
    """A channel that is for eight days beyond what training saw of it, then not for as long, with a stop each day."""
    cluster = Cluster("known-channels", quality=dict.fromkeys(extensions.CHECKS, True))
    hours = 3_600.0
    for day in range(17):
        shifted = 0.4375 + 0.03125 if day < 8 else 0.25
        numbers = [[0.25 + 0.0625 * (hour % 3), shifted + 0.015625 * (hour % 2)] for hour in range(24)]
        cluster.samples("pump-1", 24 * hours * day, numbers, step_s=hours)
        cluster.now_s = 24 * hours * (day + 1)
        cluster.work()
    return cluster
