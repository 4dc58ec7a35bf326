"""`telltale kafka`: start, stop and status of the local broker, and topics.

Rules of this file: parse, call, print. Results go to stdout, progress to stderr; errors are raised, and the caller of
the app maps them to exit codes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.broker import topics

if TYPE_CHECKING:
    from monitor.broker.status import BrokerStatus, ClusterStatus

EXIT_NOT_RUNNING = 3  # of `status`, by the Linux Standard Base

app = typer.Typer(
    help="A real Apache Kafka on this machine, to try things and to test: loopback only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(topics.app, name="topics")

DataDir = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data directory. Default: ~/.local/state/telltale/kafka (XDG)."),
]
AS_LAST = "as at the last start, or"


@app.command()
def start(
    data: DataDir = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65533, help=f"Port of the first broker; 0: any free one. Default: {AS_LAST} 9092."),
    ] = None,
    brokers: Annotated[
        int | None,
        typer.Option(metavar="1|3", help=f"Number of brokers; 3 survive the loss of one. Default: {AS_LAST} 1."),
    ] = None,
    heap: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help=f"Java heap of each broker. Default: {AS_LAST} 512m, 384m each for 3."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help=f"A Kafka broker setting; may be repeated; KEY= removes it. Default: {AS_LAST} none.",
        ),
    ] = None,
    secure: Annotated[
        bool | None,
        typer.Option(
            "--secure",
            help="Also add TLS listeners, one with a password and one with client certificates, and create files to "
            "use them. Only at the first start.",
        ),
    ] = None,
) -> None:
    """Start the broker, and wait until it responds. Does nothing if it is running."""
    from monitor.broker.cluster import LocalKafka
    from monitor.broker.memory import parse_heap

    kafka = LocalKafka(
        data,
        port=port,
        brokers=brokers,
        heap_mb=None if heap is None else parse_heap(heap),
        settings=topics.pairs(settings),
        secure=secure,
        report=_to_stderr,
    )
    kafka.start()
    _say(kafka.status())


@app.command()
def stop(
    data: DataDir = None,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECS", help="Time after which it is killed.")] = 30.0,
) -> None:
    """Stop the broker cleanly; kill it if that takes too long. Its data are kept."""
    from monitor.broker.cluster import LocalKafka

    LocalKafka(data, report=typer.echo).stop(timeout)


@app.command()
def status(
    data: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show whether the broker is running, and where. Exit code 0 if it is, 3 if not."""
    from monitor.broker.cluster import LocalKafka

    found = LocalKafka(data).status()
    if as_json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(found, enc_hook=str), indent=2))
    else:
        _say(found)
    if not found.running:
        raise typer.Exit(EXIT_NOT_RUNNING)


def _to_stderr(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _say(found: ClusterStatus) -> None:
    if found.running:
        typer.echo(f"Apache Kafka {found.version} listens on {found.bootstrap_servers}")
    else:
        typer.echo(f"No local Kafka is running with its data in {found.data_dir}")
    for broker in found.brokers:
        if found.running or broker.is_alive:
            typer.echo(f"  broker {broker.node}: {_described(broker)}; log {broker.log}")
    if found.running:
        typer.echo(f"  data in {found.data_dir}")
        if found.secure is not None:
            typer.echo(f"  with TLS and a password or a certificate: see section [kafka] of {found.secure}")
    for note in found.notes:
        typer.echo(f"  {note}")


def _described(broker: BrokerStatus) -> str:
    if not broker.is_alive:
        return "not running"
    memory = "" if broker.resident_mb is None else f", {broker.resident_mb} MiB"
    return f"pid {broker.pid}{memory}, " + (
        "responds" if broker.answers else f"does not respond on {broker.address} yet"
    )
