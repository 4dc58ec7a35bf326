"""The loop: poll, decide, commit. The only place that joins processor, scorer, backend and clock.

Rules of this file: read it top down. State is discarded and restored whenever an outcome is unknown; that is the
routine path, the same as after a crash. Signals only set a flag.
"""

from __future__ import annotations

import gc
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet

import structlog

from monitor.backends.abstract import (
    AbortedError,
    Assigned,
    Backend,
    Commit,
    Message,
    Poll,
    Restored,
    StalledError,
    TopicPartition,
)
from monitor.config.input import start_timestamp_ms
from monitor.config.options import Config
from monitor.detector.scoring import Scorer
from monitor.errors import BackendError, PartitionError
from monitor.messages import alerts, dead_letters
from monitor.processing import snapshots
from monitor.processing.outbox import Outputs
from monitor.processing.processor import Processor
from monitor.serving import arrivals, damage, holds, memory
from monitor.serving.backlog import Pace, Workload
from monitor.serving.checkpointing import SEND_BYTES_PER_S, CheckpointSchedule
from monitor.serving.complaints import Complaints
from monitor.serving.health import STUCK_S
from monitor.serving.holds import Hold, Holds
from monitor.serving.idle import Ticker
from monitor.serving.schemas import SchemaGate
from monitor.serving.telemetry import Telemetry, Vitals

log = structlog.get_logger("telltale")

POLL_TIMEOUT_S = 0.5
SCHEMA_POLL_TIMEOUT_S = 0.02  # while records wait for the registry's answer
MOST_FAILURES = 8  # in a row: with the pauses between them longer than Kafka takes to elect new leaders
# Between recoveries: three times as long after each that failed, so that a short fault costs little, and a broker in
# trouble is left in peace.
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
TAKE_OVER_S = 1.0
# How long one turn works before it polls again: a rebalance and a signal wait for it.
TURN_S = 1.0
# Share of the shutdown timeout that finishing the current slice may take.
FINISHING_SHARE = 0.25
# Cyclic garbage is rare here, and the automatic collector costs a third of the throughput: it runs this often instead.
# Objects from before the loop began are frozen, so a run takes a millisecond or two.
GC_INTERVAL_S = 30.0
VITALS_INTERVAL_S = 1.0
FORGOTTEN_INTERVAL_S = 60.0
SPARE = "set input.max_series lower, the same for every member of the group, or run more members."


class Daemon:
    """Runs a processor on a backend until `stop`."""

    def __init__(
        self,
        config: Config,
        backend: Backend,
        processor: Processor,
        scorer: Scorer,
        telemetry: Telemetry,
        vitals: Vitals,
        *,
        clock: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
        schemas: SchemaGate | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """`wait` sleeps between recoveries, in seconds; the default returns early on `stop`."""
        self._config = config
        self._backend = backend
        self._processor = processor
        self._scorer = scorer
        self._clock = clock
        self._workload = Workload(processor, scorer, clock, pace, today_us=_today_us, gate=schemas)
        self._schemas = schemas
        self._telemetry = telemetry
        self._vitals = vitals
        self._vitals.health.ready_age_s = config.limits.ready_age_ms / 1000
        self._vitals.health.stuck_s = STUCK_S + config.kafka.transaction_timeout_ms / 1000
        self._vitals.health.answered_s = backend.answered_s
        self._vitals.health.troubles = backend.troubles
        self._complaints = Complaints()
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._arriving: deque[TopicPartition] = deque()  # assigned, to be restored
        self._paused: set[TopicPartition] = set()
        self._holds = Holds()
        self._ticker: Ticker | None = Ticker(processor)
        self._checkpoints = CheckpointSchedule(config.limits.checkpoint_interval_ms / 1000)
        self._aborted: AbortedError | None = None
        self._damage_log = damage.DamageLog()
        self._hurry = False  # the group waits for our commit
        self._failures = 0  # in a row
        self._silent = False  # no broker had responded at the last one
        self._again: set[TopicPartition] = set()  # to be restored, though they were assigned before
        self._collected_s = self._looked_s = clock()
        self._counted_s = -FORGOTTEN_INTERVAL_S
        self._budget = memory.Budget(processor.partition_bytes, memory.total_bytes())
        self._forgotten_logged = 0

    def stop(self) -> None:
        """Asks the loop to end after its current turn; safe to call from a signal handler."""
        self._stop.set()

    def checkpoint_soon(self) -> None:
        """Makes the next commit a checkpoint of every partition."""
        self._checkpoints.soon()

    def run(self, *, until_caught_up: bool = False) -> None:
        """Joins the group, works until `stop` (or the end of the log), then writes a last checkpoint and leaves.

        Raises:
            BackendError: Kafka can't be reached, kept failing, or did not confirm the last commit.
            DamagedError: records can't be read, and the configuration says to stop at them.
        """
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            self._backend.start()
            log.info("Joined the group.", group=self._config.kafka.group_id, topics=self._config.input.topics)
            self._ticker = None if until_caught_up else self._ticker  # a run that ends there judges no silence
            while not self._stop.is_set():
                self.turn()
                if self._processor.stopped is not None and self._processor.settled:
                    break
                if until_caught_up and not self._arriving and self.caught_up():
                    self._processor.publish_waiting()
                    break
            if not self.drain():
                raise BackendError(
                    "stopped without its last commit; nothing is lost, the next start processes it again"
                )
            if self._processor.stopped is not None:
                raise holds.error(*self._processor.stopped, self._config)
        finally:
            gc.enable()
            gc.unfreeze()
            self._backend.close()
            self._vitals.health.working = False

    def turn(self) -> None:
        """Polls, decides, and commits if it is time to."""
        try:
            if self._aborted is not None and not self._recover(self._aborted):
                return
            self._pause_while_busy()
            started, limits = self._clock(), self._config.limits
            most = self._workload.most_records(limits.max_poll_records, limits.max_buffer_bytes)
            poll = self._backend.poll(self._timeout_s(started), most)
            self._telemetry.stage["poll"](self._clock() - started)
            self._hurry = poll.hurry
            self._apply(poll)
            self._take_over_next()
            self._workload.add(c for c in poll.columns if c.partition in self._processor.partitions)
            if self._ticker and not self._workload.busy and self._ticker.tick(self._backend.progress()):
                self._workload.stir()
            self._work()
            self._hold()
        except AbortedError as error:
            self._aborted = error
        self._look_around()

    def _timeout_s(self, now: float) -> float:
        """How long to wait for records: not past the time of the next commit, and not at all while there is work."""
        if self._arriving or self._workload.busy:
            return 0.0
        longest = SCHEMA_POLL_TIMEOUT_S if self._schemas is not None and self._schemas.asking else POLL_TIMEOUT_S
        if self._workload.since_s is None:
            return longest
        due = self._workload.since_s + self._config.limits.idle_commit_interval_ms / 1000
        return min(longest, max(0.0, due - now))

    def _pause_while_busy(self) -> None:
        """Pauses all partitions while there is a backlog: polls go on, so that the group keeps this member."""
        if self._workload.busy:
            more = [partition for partition in self._processor.partitions if partition not in self._paused]
            self._backend.pause(more)
            self._paused.update(more)
        elif more := sorted(each for each in self._paused - self._waiting() if not self._holds.standing(each)):
            self._backend.resume(more)
            self._paused.difference_update(more)

    def _waiting(self) -> AbstractSet[TopicPartition]:
        """The partitions whose next records wait for their schemas."""
        return set() if self._schemas is None else self._schemas.waiting.keys()

    def _hold_for_schemas(self, gate: SchemaGate) -> None:
        """Reads no further where records wait for schemas; holds partitions that the registry gave no answer for."""
        more = self._waiting() - self._paused
        self._backend.pause(sorted(more))
        self._paused |= more
        for partition in gate.take_released():
            self._holds.remove(partition)
        for partition, hold in gate.holds().items():
            self._holds.put(partition, hold)

    def _hold(self) -> None:
        """Holds partitions that need somebody to act: pauses and logs them, and is not ready meanwhile; see `holds`."""
        if self._processor.stopped is not None:
            return  # the daemon exits with the reason
        if self._schemas is not None:
            self._hold_for_schemas(self._schemas)
        for partition, halt in self._processor.held.items():
            if not self._holds.standing(partition):
                self._backend.pause([partition])
                self._paused.add(partition)
                self._workload.leave(partition)
            self._holds.put(partition, holds.explained(partition, halt, self._config))
        if tried := self._holds.tried & set(self._processor.partitions):
            progress = self._backend.progress()
            self._holds.end({partition: progress[partition] for partition in tried})
        self._vitals.held = len(self._holds.found)
        self._vitals.health.holds.pop("held", None)
        reasons = {name: f"not committed: {why}" for name, why in self._processor.withheld.items()}
        reasons |= {name: f"held: {hold.reason}" for name, hold in self._holds.found.items()}
        if reasons:
            self._vitals.health.holds["held"] = holds.not_ready(reasons)
        self._say_held()

    def _say_held(self) -> None:
        """Logs which partitions are held, and tries those again whose cause may have been fixed."""
        named, again = self._holds.due(self._clock())
        for partition in named:
            hold = self._holds.found[partition]
            text = "Partition held; the others continue."
            log.error(text, partition=str(partition), reason=hold.reason, remedy=hold.remedy, held=self._vitals.held)
        for partition in again:
            self._drop(partition)
            self._arriving.append(partition)

    def _apply(self, poll: Poll) -> None:
        for event in poll.events:
            if isinstance(event, Assigned):
                self._arriving.append(event.partition)
            else:
                self._forget(event.partition)
                log.info("Partition revoked.", partition=str(event.partition), lost=event.lost)

    def _take_over_next(self) -> None:
        """Takes partitions over for a second at most: then the group waits for a poll, and signals for the loop."""
        deadline = self._clock() + TAKE_OVER_S
        while self._arriving:
            partition = self._arriving[0]
            try:
                self._take_over(partition)
            except PartitionError as error:
                self._holds.put(partition, Hold(error.reason, error.remedy))
            self._arriving.popleft()
            if self._again and not self._arriving:
                log.info("Restored from the last commit.", partitions=len(self._again))
                self._again.clear()
            if self._clock() >= deadline:
                break

    def _take_over(self, partition: TopicPartition) -> None:
        started = self._clock()
        restored = self._backend.restore(partition)
        start = self._start_offset(partition, restored)
        resumed = self._processor.assign(partition, restored, start)
        retry = self._holds.had(partition) and not resumed.irregular
        self._vitals.resumed[resumed.how.value] += not retry
        arrivals.say_how(partition, resumed, restored, self._vitals)
        # Committed at once if it begins elsewhere than at the last commit, so that after a crash it begins there too.
        self._checkpoints.begin(partition, self._clock(), at_once=resumed.irregular)
        self._backend.begin(partition, resumed.begin)
        # After an unknown outcome one line covers all partitions that were assigned before. A held one has its own.
        say = log.debug if retry or partition in self._again else log.info
        say(
            "Partition assigned.",
            partition=str(partition),
            offset=resumed.live_from,
            replayed=resumed.live_from - resumed.begin,
            restore_ms=round((self._clock() - started) * 1000),
        )
        if resumed.other_artifact:
            say(
                "The last checkpoint is of another artifact.",
                partition=str(partition),
                sha256=resumed.other_artifact[:12],
            )

    def _start_offset(self, partition: TopicPartition, restored: Restored) -> int:
        """Where to begin without a position: at `input.start`, if the group has never read this partition."""
        if restored.position is not None or restored.added or snapshots.knows(partition, restored.state):
            return restored.beginning
        start = self._config.input.start
        if start == "earliest":
            return restored.beginning
        moment = start_timestamp_ms(start)
        return restored.end if moment is None else self._backend.offset_at(partition, moment)

    def _forget(self, partition: TopicPartition) -> None:
        """Forgets a partition that was revoked."""
        self._drop(partition)
        self._holds.remove(partition)
        self._again.discard(partition)
        if partition in self._arriving:
            self._arriving.remove(partition)

    def _drop(self, partition: TopicPartition) -> None:
        """Discards a partition's state."""
        self._processor.revoke(partition)
        self._workload.drop(partition)
        self._paused.discard(partition)
        self._checkpoints.forget(partition)

    def _work(self) -> None:
        """Processes slice by slice, with a commit after each if one is due, until the turn's time is over."""
        workload, until = self._workload, self._clock() + TURN_S
        scoring_s, working_s = workload.scoring_s, workload.working_s
        had_work = workload.busy
        while workload.advance(until):
            self._hurry = self._hurry or self._backend.awaited()
            self._commit_if_due()
            if not workload.busy or self._hurry or self._stop.is_set() or self._clock() >= until:
                break
        self._damage_log.log(self._processor.take_passed(), self._clock())
        if had_work:
            scoring_s, working_s = workload.scoring_s - scoring_s, workload.working_s - working_s
            self._telemetry.stage["score"](scoring_s)
            self._telemetry.stage["process"](working_s - scoring_s)

    def _commit_if_due(self) -> None:
        """Commits at once what there is to publish, or if the group waits; else by age or amount: idle costs little."""
        now, limits, since_s = self._clock(), self._config.limits, self._workload.since_s
        first = any(map(self._processor.wants_checkpoint, self._checkpoints.first))
        if since_s is None and not first:
            return
        age_ms = 0.0 if since_s is None else (now - since_s) * 1000
        full = self._workload.records >= limits.max_commit_records
        busy = age_ms >= limits.commit_interval_ms and self._processor.has_news
        caught_up = self._processor.has_news and self.caught_up()
        if full or busy or caught_up or first or self._hurry or age_ms >= limits.idle_commit_interval_ms:
            self._commit(self._checkpoints.due(now, self._processor.checkpoint_bytes))

    def caught_up(self) -> bool:
        """Whether all records up to the last known end offsets are processed."""
        lag = self._backend.lag()
        waits = any(not self._holds.standing(each) for each in self._waiting())
        behind = any(lag[each] for each in lag if not self._holds.standing(each))
        return not (self._workload.busy or waits or behind)

    def _commit(self, checkpoints: set[TopicPartition]) -> None:
        started = self._clock()
        outputs = self._processor.take_outputs(checkpoints)
        encoded = self._clock()
        positions = self._backend.commit(self._as_commit(outputs))
        self._processor.committed(positions, outputs.alerts)
        self._workload.committed()
        work_s = encoded - started + outputs.checkpoint_bytes / SEND_BYTES_PER_S
        self._checkpoints.committed(checkpoints, outputs.checkpoints, self._clock(), work_s)
        if outputs.positions:
            self._failures = 0
        self._vitals.commits += 1
        self._vitals.checkpoints += len(outputs.checkpoints)
        self._telemetry.stage["commit"](self._clock() - started)

    def _as_commit(self, outputs: Outputs) -> Commit:
        output, state_topic = self._config.output, self._config.state_topic
        published = [
            Message(output.alerts, alert.subject.encode(), alerts.encode(alert), alerts.headers(alert))
            for alert in outputs.alerts
        ]
        rejected = [
            Message(output.dead_letters, letter.key, dead_letters.encode(letter), dead_letters.headers(letter))
            for letter in outputs.dead_letters
        ]
        changed = [Message(state_topic, key, value, (), owner.partition) for owner, key, value in outputs.state]
        checkpoints = {
            owner: [Message(state_topic, key, value, (), owner.partition) for key, value in records]
            for owner, records in outputs.checkpoints.items()
        }
        return Commit([*published, *rejected, *changed], outputs.positions, checkpoints)

    def _recover(self, error: AbortedError) -> bool:
        """Discards all state and starts again from what was committed; False if asked to stop meanwhile."""
        self._vitals.aborts += 1
        # While no broker responds nothing can be committed, and no restart helps: that is waited for, not counted.
        silent, was_silent = not self._vitals.health.connected(time.monotonic()), self._silent
        self._silent = silent
        self._failures += not silent
        if self._failures > MOST_FAILURES:
            raise BackendError(
                f"{MOST_FAILURES} attempts in a row failed, the last one: {error}; check the brokers, then restart"
            ) from error
        if isinstance(error, StalledError):
            self._vitals.stalls += 1
            log.error("Waiting records are not read; restoring with a new client.", reason=str(error))
        elif not (silent and was_silent):
            log.warning("Commit outcome unknown, restoring.", reason=str(error), cause=repr(error.__cause__))
        self._workload.clear()
        for partition in list(self._processor.partitions):
            self._drop(partition)
        self._paused.clear()
        self._wait(self._pause_s())
        if self._stop.is_set():
            return False  # a successor restores
        self._arriving = deque(sorted(self._backend.recover()))
        self._again = set(self._arriving)
        self._holds.keep(self._again)
        self._aborted = None
        return True

    def _pause_s(self) -> float:
        """How long to wait before the next recovery; with jitter, as members may have failed together."""
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 3 ** max(0, self._failures - 1))
        return random.SystemRandom().uniform(longest / 2, longest)

    def drain(self) -> bool:
        """The last commit: offsets and a checkpoint of every partition. Whether all that was processed is committed.

        The backlog is left to a successor; the current slice is finished if that takes little time.
        """
        self._workload.drop_waiting()
        finishing_s = FINISHING_SHARE * self._config.limits.shutdown_timeout_ms / 1000
        committed = self._aborted is None and self._workload.advance(self._clock() + finishing_s)
        try:
            if committed and self._processor.partitions:
                self._commit_all()
        except AbortedError as error:
            committed = False
            log.warning("Outcome of the last commit unknown; the next start restores.", reason=str(error))
        self._backend.close()
        self._complain(last=True)
        log.info("Stopped.", commits=self._vitals.commits, windows=self._processor.counts.windows)
        return committed

    def _commit_all(self) -> None:
        self._commit(set())  # first what was processed, then what makes the next start quick
        self.checkpoint_soon()
        left = set(filter(self._processor.wants_checkpoint, self._processor.partitions))
        while due := self._checkpoints.due(self._clock(), self._processor.checkpoint_bytes, left):
            self._commit(due)
            left -= due

    def _complain(self, *, last: bool = False) -> None:
        for complaint in self._complaints.due(self._processor.counts, self._clock(), last=last):
            log.warning(complaint.event, **complaint.fields)

    def _look_around(self) -> None:
        now = self._clock()
        self._vitals.progressed_s = now
        if now - self._collected_s > GC_INTERVAL_S:
            gc.collect()
            self._collected_s = now
        # Each turn: a loop that hangs stops being ready because it observes nothing new.
        self._vitals.health.observe(self._backend.progress(), len(self._arriving))
        partitions = len(self._processor.partitions)
        if now - self._looked_s > VITALS_INTERVAL_S or partitions != self._vitals.partitions:
            self._looked_s = now
            self._complain()
            waiting = self._workload.waiting()
            self._vitals.lag = {name: lag + waiting[name] for name, lag in self._backend.lag().items()}
            self._vitals.series = self._processor.series_count()
            self._vitals.incidents = self._processor.open_by_rule()
            self._vitals.compilations = self._scorer.compilations
            self._vitals.clock_ahead_s = self._backend.clock_ahead_s()
            self._vitals.partitions = partitions
            if (shortage := self._budget.exceeded(partitions)) is not None:
                log.warning("The partitions' series may need more memory than there is; " + SPARE, **shortage)
        if now - self._counted_s > FORGOTTEN_INTERVAL_S:
            self._counted_s = now
            self._say_forgotten()

    def _say_forgotten(self) -> None:
        """Logs how many series were forgotten for lack of room since the last such line."""
        forgotten = self._processor.counts.forgotten["forgotten"]
        if forgotten > self._forgotten_logged:
            log.warning(
                "Series were forgotten to make room for new ones; if they still send, raise input.max_series.",
                forgotten=forgotten - self._forgotten_logged,
                max_series=self._processor.max_series,
            )
            self._forgotten_logged = forgotten


def _today_us() -> int:
    return time.time_ns() // 1000
