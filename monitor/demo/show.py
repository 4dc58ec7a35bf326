"""`telltale demo`: a broker, a trained model, a stream of heartbeats, and the alerts about it, on this machine.

    recordings -> `telltale train` -> artifact
    LocalKafka <- feeder thread: the stream      `telltale run` <-> LocalKafka      this thread: the alert topic

Read top down. `findings` defines what counts as found and as false; `ecg-demo.toml` explains the choices.

Rules of this file: everything is registered for clean-up before it starts, and is stopped in reverse order, whether the
demo succeeds or fails, on Ctrl-C, SIGTERM or a closed terminal. Only `--keep`, after a whole run, leaves something.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import typer

from monitor.backends.kafka.clients import create_topic
from monitor.broker.cluster import LocalKafka
from monitor.demo import screen as screens
from monitor.demo import stream
from monitor.demo.findings import Outcome
from monitor.demo.interruption import InterruptedRun, Interruptions
from monitor.demo.processes import DaemonProcess, train
from monitor.demo.screen import Screen
from monitor.demo.stream import Scenario
from monitor.demo.watching import Topics, watch

INPUT, ALERTS = "demo.ecg", "demo.alerts"
PARTITIONS = 2
EXIT_NOT_RIGHT = 1

CONFIG = """\
# Written by `telltale demo`.
[service]
name = "demo"
instance = "demo"

[kafka]
bootstrap_servers = ["{servers}"]
group_id = "demo"

[input]
topics = ["{input}"]
start = "earliest"

[output]
alerts = "{alerts}"

[model]
artifact = "artifact"

[alerting]
include_window = "full"
{alerting}

[http]
port = 0

[limits]
shutdown_timeout_ms = 8000

[log]
format = "json"
"""


def run_demo(
    *, seed: int, patients: int, data: Path | None, keep: bool, minutes: float = stream.DEFAULT_MINUTES
) -> None:
    """Runs the demo, with a summary at the end.

    Args:
        data: directory with ECG5000, whose real heartbeats are streamed instead of synthetic ones.
        keep: leave broker, daemon and their files at the end.
        minutes: length of the synthetic stream in event time, all patients together.

    Raises:
        typer.Exit: 1 if a planted beat was missed or anything went wrong; 128 + signal if interrupted.
        TelltaleError: a process could not be started, or ended early.
    """
    # The client warns while everything is being stopped; real failures are raised.
    logging.getLogger("kafka").addHandler(logging.NullHandler())
    try:
        with Interruptions() as interruptions, ExitStack() as stack:
            try:
                with screens.for_this_terminal() as screen:
                    outcome = _Show(screen, interruptions, stack, seed).run(patients, data, minutes, keep=keep)
            finally:
                interruptions.close()
    except InterruptedRun as interrupted:
        typer.echo(f"Interrupted by {interrupted}; everything that the demo started is stopped.", err=True)
        raise typer.Exit(interrupted.exit_code) from None
    if outcome.failures():
        raise typer.Exit(EXIT_NOT_RIGHT)


class _Show:
    """One run; `stack` holds what must be stopped."""

    def __init__(self, screen: Screen, interruptions: Interruptions, stack: ExitStack, seed: int) -> None:
        self._screen = screen
        self._interruptions = interruptions
        self._stack = stack
        self._seed = seed
        with interruptions.held():
            # Every process of the demo has this name on its command line.
            self._work = Path(tempfile.mkdtemp(prefix="telltale-demo-"))
            stack.callback(shutil.rmtree, self._work, ignore_errors=True)

    def run(self, patients: int, data: Path | None, minutes: float, *, keep: bool) -> Outcome:
        started = time.monotonic()
        now_us = time.time_ns() // 1000
        if data is None:
            scenario = stream.synthetic(self._work, seed=self._seed, patients=patients, minutes=minutes, now_us=now_us)
        else:
            scenario = stream.heartbeats(self._work, data, seed=self._seed, patients=patients, now_us=now_us)
        self._screen.title(scenario.title)
        kafka = self._start_broker()
        self._train(scenario)
        daemon = self._start_daemon(scenario, kafka)
        outcome = watch(scenario, Topics(kafka.bootstrap_servers, INPUT, ALERTS), kafka, daemon, self._screen)
        if keep:
            self._stack.pop_all()
        else:
            self._screen.begin("stop", "stopping the daemon and the broker")
            self._interruptions.close()
            code = daemon.stop()
            if code:
                outcome = replace(
                    outcome,
                    problems=(
                        *outcome.problems,
                        "\n".join([f"the daemon ended with exit code {code}:", *daemon.tail()]),
                    ),
                )
            self._stack.close()
        self._conclude(outcome, time.monotonic() - started)
        self._screen.closing(self._kept(kafka, daemon) if keep else _next())
        return outcome

    def _conclude(self, outcome: Outcome, took_s: float) -> None:
        failures = outcome.failures()
        verdict = "; ".join(failures) if failures else f"{outcome.verdict()}, in {took_s:.0f} s."
        self._screen.summary(outcome.lines(), verdict, good=not failures)

    def _kept(self, kafka: LocalKafka, daemon: DaemonProcess) -> list[str]:
        """Where to find what still runs, and how to stop it."""
        telltale = shlex.join([sys.executable, "-m", "monitor"])
        work = shlex.quote(str(self._work))
        return [
            "Still running, because of --keep:",
            f"  broker   {kafka.bootstrap_servers}; topics {INPUT}, {ALERTS}",
            f"  daemon   pid {daemon.pid}; http://{daemon.address}/metrics",
            f"  config   {self._work}/telltale.toml",
            f"  log      tail -f {work}/daemon.log",
            f"  stop     kill {daemon.pid}; {telltale} kafka stop --data {work}/kafka && rm -r {work}",
        ]

    def _start_broker(self) -> LocalKafka:
        self._screen.begin("broker", "starting Apache Kafka")
        # Messages while it starts (a first download) are shown; those while it stops are not.
        starting = True
        kafka = LocalKafka(
            self._work / "kafka", port=0, brokers=1, report=lambda said: self._screen.note(said) if starting else None
        )
        self._stack.callback(kafka.stop)
        kafka.start()
        starting = False
        for topic, partitions in ((INPUT, PARTITIONS), (ALERTS, 1)):
            create_topic(kafka.bootstrap_servers, topic, partitions)
        self._screen.end("broker", f"Apache Kafka {kafka.status().version} runs at {kafka.bootstrap_servers}")
        return kafka

    def _train(self, scenario: Scenario) -> None:
        self._screen.begin("train", f"training an autoencoder on {scenario.training_text}")
        began = time.monotonic()
        said = train(
            self._interruptions,
            scenario.training,
            recipe=scenario.recipe,
            seed=self._seed,
            out=self._work / "artifact",
            on_epoch=lambda epoch, epochs: self._screen.progress(epoch / epochs, f"epoch {epoch} of {epochs}"),
        )
        line = next((line for line in said.splitlines() if line.startswith("threshold")), "")
        self._screen.end("train", f"done in {time.monotonic() - began:.0f} s on {scenario.training_text}")
        self._screen.note(f"the threshold is {line.removeprefix('threshold').strip()}")

    def _start_daemon(self, scenario: Scenario, kafka: LocalKafka) -> DaemonProcess:
        self._screen.begin("daemon", "starting `telltale run`")
        config = self._work / "telltale.toml"
        alerting = "\n".join(f"{name} = {value}" for name, value in scenario.alerting.items())
        config.write_text(CONFIG.format(servers=kafka.bootstrap_servers, input=INPUT, alerts=ALERTS, alerting=alerting))
        with self._interruptions.held():
            daemon = DaemonProcess(config, self._work / "daemon.log")
            self._stack.callback(daemon.stop)
        daemon.wait_ready()
        self._screen.end("daemon", f"telltale run (pid {daemon.pid}) reads {INPUT}; http://{daemon.address}/metrics")
        return daemon


def _next() -> list[str]:
    return [
        "Nothing was left behind. Where to go from here:",
        "  telltale demo --keep             leaves the broker and the daemon running, to look around",
        "  telltale train FILE --out DIR    a model of your own data; telltale config init, telltale run",
    ]
