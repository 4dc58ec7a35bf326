"""What a person should know of a topic's records besides what can be configured: clocks, series, kinds.

Rules of this file: pure. Each remark says what was seen, in how many records, and what to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import UNSET

from monitor.backends.abstract import RecordColumns
from monitor.detector.times import NEWEST_US, OLDEST_US
from monitor.doctor.fields import Content, is_called_time
from monitor.doctor.readings import is_reading
from monitor.doctor.shapes import Shape
from monitor.doctor.trial import Trial
from monitor.doctor.words import listing, span

_OLD_US = 30 * 86_400_000_000
_HOUR_US = 3_600_000_000
_FEWEST = 0.02  # of the entries, at least, are a kind of their own
_SHOWN = 4


def of_clocks(shape: Shape, trial: Trial, polls: Sequence[RecordColumns], now_us: int) -> Iterator[str]:
    """What is odd about times."""
    stamps = np.concatenate([columns.timestamps_ms for columns in polls]) * 1000
    broken = int(((stamps < OLDEST_US) | (stamps >= NEWEST_US)).sum())
    if broken:
        yield f"{broken} of {len(stamps)} records have a Kafka timestamp that is no time in ms ({stamps[0] // 1000})"
    elif trial.behind_us is not None and abs(trial.behind_us) > _HOUR_US:
        side = "after" if trial.behind_us > 0 else "before"
        yield f"records were written {span(abs(trial.behind_us))} {side} the times in their values, usually"
    if shape.time and 0 < trial.stated < 1:
        yield (
            f"{1 - trial.stated:.1%} of what can be read states no time in {shape.time}: Kafka's own timestamp is "
            "taken there"
        )
    if not shape.time:
        yield from _unread_times(shape)
    newest = max((each.last_us for each in trial.series.values()), default=now_us)
    if newest < now_us - _OLD_US:
        yield "the newest sample is more than 30 days old: nothing has been written since, or the clock is wrong"


def _unread_times(shape: Shape) -> Iterator[str]:
    odd = [each for each in shape.fields.values() if is_called_time(each) or each.why.startswith("time")]
    said = [f"{each.path} holds {each.why or 'no times'}" for each in odd if each.role != "clock"]
    if said:
        yield (
            f"{'; '.join(said[:_SHOWN])}: a record's time is read from one field, as a number since 1970, or as text "
            "with date and time of day, such as 2026-11-30T12:00:00Z. So Kafka's own timestamp is taken for the time; "
            "have the producer write that form if the two differ"
        )


def in_zone(shape: Shape, trial: Trial) -> str:
    """What to know of times that are local and say no zone, which Kafka's timestamps show; empty where they are not."""
    if not shape.time or trial.behind_us is None:
        return ""
    texts = [text.strip() for text in Content(shape.fields[shape.time]).texts]
    hours = -trial.behind_us / _HOUR_US
    quarters = round(hours * 4)
    if not texts or not quarters or abs(hours * 4 - quarters) > 0.08 or abs(hours) > 15 or any(map(_has_zone, texts)):
        return ""
    zone = f"{'+' if hours > 0 else '-'}{abs(quarters) // 4:02d}:{abs(quarters) % 4 * 15:02d}"
    return (
        f"{shape.time} holds local times without their zone, as {texts[0]}, {abs(quarters) / 4:g} h "
        f"{'ahead of' if hours > 0 else 'behind'} Kafka's own timestamps: as UTC, which times without a zone are taken "
        "for, they are wrong. So the configuration below takes Kafka's own timestamp; better have the producer write "
        f"the zone, as {texts[0][:19].replace(' ', 'T')}{zone}, and set timestamp_field to {shape.time}"
    )


def _has_zone(text: str) -> bool:
    return text[-1:] in ("Z", "z", "]") or text[-3:] in ("UTC", "GMT") or any(sign in text[19:] for sign in "+-")


def of_series(shape: Shape, trial: Trial) -> Iterator[str]:
    """What is odd about series: where they are, and what names them."""
    if spread := trial.spread:
        yield (
            f"{len(spread)} of {len(trial.names)} series are in several partitions, as {spread[0]}: each is a "
            "series of its own there, with a part of the samples; give the records a key that names the series"
        )
    if not shape.series and shape.format:
        yield "nothing names a series: give the records a key, such as the device's name"


def of_kinds(shape: Shape) -> Iterator[str]:
    """That records are of several kinds, of which one configuration reads one."""
    if not shape.fields:
        return
    there: Counter[frozenset[str]] = Counter()
    for row in range(len(shape.rows)):
        there[frozenset(path for path, each in shape.fields.items() if each.values[row] is not UNSET)] += 1
    kinds: list[tuple[set[str], int]] = []
    for paths, count in there.most_common():
        alike = next((at for at, (known, _) in enumerate(kinds) if _is_of(shape, paths, known)), None)
        if alike is None:
            kinds.append((set(paths), count))
        else:
            kinds[alike] = kinds[alike][0] | paths, kinds[alike][1] + count
    kinds = [(paths, count) for paths, count in kinds if count >= _FEWEST * len(shape.rows)]
    if len(kinds) > 1:
        listed = "; ".join(f"{count:,} with {listing(sorted(paths))}" for paths, count in kinds[:_SHOWN])
        yield (
            f"records are of {len(kinds)} kinds: {listed}. The configuration below is for {_read(shape)}; what it does "
            "not name is ignored. Give each kind a topic of its own, or a daemon with a configuration for it"
        )


def _is_of(shape: Shape, paths: frozenset[str], known: set[str]) -> bool:
    """Whether an entry with these fields is of a kind that has those: its form and its time are theirs."""
    if is_reading(shape.fields[path] for path in paths) != is_reading(shape.fields[path] for path in known):
        return False
    both = [shape.fields[path] for path in paths & known]
    said = [each for each in both if each.role not in ("channel", "constant", "counter", "value", "other")]
    times = {path for path in (*paths, *known) if shape.fields[path].role in ("time", "clock")}
    return bool(said) and (not times or any(each.role in ("time", "clock") for each in said))


def _read(shape: Shape) -> str:
    if shape.channel_field:
        return f"readings, whose channel is in {shape.channel_field}"
    return f"those with {listing([*shape.channels.values()])}"
