"""The two forms of the show: plain lines, and a terminal's."""

from __future__ import annotations

import io
import sys

import pytest

from monitor.demo import screen
from monitor.demo.alert_text import AlertText
from monitor.demo.processes import environment, metric

FIRING = AlertText(
    at="1:02.3", series="patient-1", status="firing", severity="error", text="2.0x the threshold",
    truth="premature beat at 1:02.0", right=True, observed="▁█", expected="▁▁",
)  # fmt: skip


def show(on: screen.Screen) -> None:
    with on:
        on.title("one patient")
        on.begin("broker", "starting")
        on.progress(0.5, "half")
        on.end("broker", "runs")
        on.begin("stream", "")
        on.alert(FIRING)
        on.note("by the way")
        on.summary([("planted", "1 found")], "all right", good=True)
        on.closing(["bye"])


def test_plain_lines_hold_nothing_but_text(capsys: pytest.CaptureFixture[str]) -> None:
    show(screen.PlainScreen())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Telltale demo: one patient"
    assert [line.split(" s  ", 1)[1] for line in lines[1:5]] == [
        "broker   starting ...",
        "broker   runs",
        "alert     1:02.3  patient-1  firing    2.0x the threshold  [premature beat at 1:02.0]",
        "         by the way",
    ]
    assert lines[5:] == ["", "planted   1 found", "all right", "", "bye"]
    assert all(" " <= character <= "~" for line in lines for character in line)


def test_what_is_not_right_is_said_in_words_too(capsys: pytest.CaptureFixture[str]) -> None:
    screen.PlainScreen().summary([], "1 missed", good=False)
    assert "FAILED: 1 missed" in capsys.readouterr().out


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("term", "kind"), [("xterm", screen.LiveScreen), ("dumb", screen.PlainScreen)])
def test_a_terminal_gets_the_live_form_if_it_can_show_it(
    monkeypatch: pytest.MonkeyPatch, term: str, kind: type[object]
) -> None:
    monkeypatch.setattr(sys, "stdout", _Terminal())
    monkeypatch.setenv("TERM", term)
    assert isinstance(screen.for_this_terminal(), kind)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert isinstance(screen.for_this_terminal(), screen.PlainScreen)


def test_the_live_form_shows_the_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "118")
    show(screen.LiveScreen())
    shown = terminal.getvalue()
    for part in ("one patient", "runs", "2.0x the threshold", "▁█", "premature beat at 1:02.0", "all right", "bye"):
        assert part in shown


def test_metrics_are_summed_over_their_labels() -> None:
    text = (
        "# HELP telltale_alerts_total x\n"
        'telltale_alerts_total{status="firing"} 3.0\ntelltale_alerts_total{status="resolved"} 2.0\n'
        "telltale_alerts_total_created 17.0\ntelltale_ready 1.0\n"
    )
    assert metric(text, "alerts_total") == 5.0
    assert metric(text, "ready") == 1.0
    assert metric(text, "absent") == 0.0


def test_the_daemon_of_the_demo_reads_no_options_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELLTALE__KAFKA__GROUP_ID", "mine")
    monkeypatch.setenv("TELLTALE_DATA", "stays")
    assert "TELLTALE__KAFKA__GROUP_ID" not in environment()
    assert environment()["TELLTALE_DATA"] == "stays"
