"""Sends the stream at its pace, from a thread of its own, and records when each record was sent."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Sequence

from monitor.backends.kafka.feed import FeedProducer
from monitor.demo.stream import Sent
from monitor.errors import TelltaleError

_TICK_S = 0.01


class Feeder:
    """Sends `records` in order, each when it is due; behind time it sends as fast as it can.

    Times are of the monotonic clock, in seconds.
    """

    def __init__(self, bootstrap_servers: str, topic: str, records: Sequence[Sent]) -> None:
        self._records = records
        self._topic = topic
        self._stop = threading.Event()
        self._starts_us: dict[str, list[int]] = {}
        self._sent_s: dict[str, list[float]] = {}
        self._failure: TelltaleError | None = None
        self.sent = 0
        self.took_s = 0.0
        self._producer = FeedProducer(bootstrap_servers)
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> None:
        """Starts to send; the first records are due now."""
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether all records are on the broker.

        Raises:
            TelltaleError: a record could not be written.
        """
        if self._failure is not None:
            raise self._failure
        return bool(self.took_s)

    def sent_s(self, series: str, at_us: int) -> float:
        """When the record with the sample of `series` at `at_us` was passed to the producer."""
        position = bisect.bisect_right(self._starts_us[series], at_us) - 1
        return self._sent_s[series][position]

    def close(self) -> None:
        """Stops sending; what was not sent yet is dropped."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._producer.close()

    def _run(self) -> None:
        try:
            self._feed()
        except TelltaleError as error:
            self._failure = error

    def _feed(self) -> None:
        started = time.monotonic()
        for record in self._records:
            while (wait_s := started + record.due_s - time.monotonic()) > 0:
                if self._stop.wait(max(wait_s, _TICK_S)):
                    return
            if self._stop.is_set():
                return
            # Recorded first: an alert must not arrive before its record's time of sending is known.
            self._starts_us.setdefault(record.series, []).append(record.start_us)
            self._sent_s.setdefault(record.series, []).append(time.monotonic())
            self._producer.send(self._topic, record.value, record.series.encode())
            self.sent += 1
        self._producer.flush()
        self.took_s = time.monotonic() - started
