"""`telltale deadletters`: list and redrive.

Rules of this file: parse, call, print. Results go to stdout; errors are raised, and the caller maps them to exit codes.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from monitor.deadletters.letters import Selection

app = typer.Typer(
    help="List rejected records, and write them to their topics again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The daemon's configuration.")]
Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only this reason; may be repeated.")]
Topics = Annotated[list[str] | None, typer.Option("--topic", help="Only records of this topic; may be repeated.")]
Partitions = Annotated[list[int] | None, typer.Option("--partition", help="Only this partition; may be repeated.")]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Only those rejected since: 2h, 3d, or 2026-11-21T08:00:00Z.")
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only those rejected before this time.")]
Offsets = Annotated[
    str | None, typer.Option(metavar="FROM:TO", help="Only records at these offsets, TO not included; either may lack.")
]
DEFAULT_CONFIG = Path("telltale.toml")


@app.command("list")
def list_letters(
    config: ConfigFile = DEFAULT_CONFIG,
    reason: Reasons = None,
    topic: Topics = None,
    partition: Partitions = None,
    since: Since = None,
    until: Until = None,
    offsets: Offsets = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows of the table; 0: all.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show rejected records by reason, detail, topic and partition: how many, when, an example, and what to do."""
    from monitor.config.file import load
    from monitor.deadletters import redriving, text

    found = load(config, artifact_needed=False)
    census = redriving.take_census(found, _selection(reason, topic, partition, since, until, offsets))
    shown = [group.example.rejection for group in census.most_first()[: limit or None]]
    by_place = {rejection.origin[:3]: rejection for rejection in shown}
    values = {
        rejection.origin: record.value
        for record in redriving.originals(found, shown)
        if redriving.is_it(record, rejection := by_place[record.topic, record.partition, record.offset])
    }
    typer.echo((text.as_json if as_json else text.census)(census, found.output.dead_letters, values, limit))


@app.command()
def redrive(
    config: ConfigFile = DEFAULT_CONFIG,
    reason: Reasons = None,
    topic: Topics = None,
    partition: Partitions = None,
    since: Since = None,
    until: Until = None,
    offsets: Offsets = None,
    limit: Annotated[int, typer.Option(min=1, help="Records of one run.")] = 100_000,
    again: Annotated[bool, typer.Option("--again", help="Also those that a redrive wrote and were rejected.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write; otherwise only show what would be written.")] = False,
) -> None:
    """Write rejected records to their topics again, once the artifact or the configuration is right.

    Key, value, headers, timestamp and partition are kept; the header telltale-redriven says where a record lay. None
    is written twice, however often the command runs or is killed.
    """
    from monitor.backends.kafka.redriving import stamped_by_brokers
    from monitor.config.file import load
    from monitor.deadletters import redriving, text

    found = load(config, artifact_needed=False)
    selection = _selection(reason, topic, partition, since, until, offsets)
    stamped = stamped_by_brokers(found, found.input.topics)
    outcome = redriving.redrive(found, selection, limit=limit, again=again, write=yes)
    typer.echo(text.outcome(outcome, found.output.dead_letters, wrote=yes, stamped=stamped))


def _selection(
    reasons: list[str] | None,
    topics: list[str] | None,
    partitions: list[int] | None,
    since: str | None,
    until: str | None,
    offsets: str | None,
) -> Selection:
    from monitor.deadletters.letters import Selection
    from monitor.errors import Reason

    known = {each.value for each in Reason}
    for reason in set(reasons or ()) - known:
        raise typer.BadParameter(f"{reason!r}; the reasons are {', '.join(sorted(known))}", param_hint="--reason")
    first, end = _offsets(offsets)
    return Selection(
        reasons=frozenset(reasons or ()),
        topics=frozenset(topics or ()),
        partitions=frozenset(partitions or ()),
        since_ms=float("-inf") if since is None else moment_ms(since, "--since"),
        until_ms=float("inf") if until is None else moment_ms(until, "--until"),
        first_offset=first,
        end_offset=end,
    )


def moment_ms(text: str, option: str) -> float:
    """A time, or one so long ago, in ms since 1970.

    Raises:
        typer.BadParameter: it is neither.
    """
    from monitor.detector.times import text_us

    if ago := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return (time.time() - int(ago[1]) * _SECONDS[ago[2]]) * 1000
    try:
        return text_us(text) / 1000
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r}; expected 90m, 2h or 3d for so long ago, or a time like 2026-11-21T08:00:00Z", param_hint=option
        ) from None


def _offsets(text: str | None) -> tuple[float, float]:
    found = re.fullmatch(r"(\d{0,18}):(\d{0,18})", text or ":")
    if found is None:
        raise typer.BadParameter(f"{text!r}; expected FROM:TO, like 1200:1300", param_hint="--offsets")
    return float(found[1] or "-inf"), float(found[2] or "inf")
