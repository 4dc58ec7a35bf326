"""`telltale kafka topics`: create, change and list topics of the local broker or of any cluster.

Rules of this file: as for `monitor.broker.cli`. The daemon's error messages suggest these commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.config.connections import KafkaOptions
    from monitor.config.options import Config

app = typer.Typer(
    help="Create, change and list topics.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

DataDir = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The local broker's data directory, if it is not the default."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="A daemon's configuration: its cluster and its topics."),
]
Servers = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-server",
        "-b",
        metavar="HOST:PORT",
        help="A cluster without authentication. Default: the local broker.",
    ),
]
Partitions = Annotated[int | None, typer.Option(min=1, help="Number of partitions.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A topic setting, such as retention.ms; may be repeated."),
]


@app.command()
def create(
    names: Annotated[
        list[str] | None, typer.Argument(help="Topics; default: those of --config that don't exist.")
    ] = None,
    partitions: Partitions = None,
    replication_factor: Annotated[int, typer.Option(min=-1, help="Replicas; -1: the broker's default.")] = -1,
    settings: Settings = None,
    config: ConfigFile = None,
    bootstrap_server: Servers = None,
    data: DataDir = None,
) -> None:
    """Create topics, and wait until they can be used. Existing ones are not changed.

    With --config and no name: the topics that the daemon reads and writes, each with the settings that it needs, and by
    default as many partitions as the largest input topic has.
    """
    from monitor.backends.kafka import create_topic, list_topics
    from monitor.backends.kafka.topics import outputs

    cluster, found = named_cluster(config, bootstrap_server, data)
    wanted: dict[str, dict[str, str]] = {name: {} for name in names or ()}
    if not names:
        if found is None:
            raise ConfigError("no topic is named; name one, or give --config to create those of a configuration")
        wanted = {**{topic: {} for topic in found.input.topics}, **outputs(found)}
        there = list_topics(cluster)
        partitions = partitions or max(there.get(topic, 1) for topic in found.input.topics)
        replication_factor = found.output.replication_factor if replication_factor < 0 else replication_factor
    for name, needed in wanted.items():
        made = create_topic(
            cluster,
            name,
            partitions or 1,
            replication_factor=replication_factor,
            topic_settings=needed | pairs(settings),
        )
        typer.echo(f"topic {name}: {f'created, partitions: {partitions or 1}' if made else 'already exists'}")


@app.command()
def alter(
    name: Annotated[str, typer.Argument(help="A topic.")],
    partitions: Partitions = None,
    settings: Settings = None,
    config: ConfigFile = None,
    bootstrap_server: Servers = None,
    data: DataDir = None,
) -> None:
    """Add partitions to a topic, or change its settings. Partitions can't be removed."""
    from monitor.backends.kafka import alter_topic

    if partitions is None and not settings:
        raise ConfigError("nothing to change; give --partitions, --set KEY=VALUE, or both")
    cluster, _ = named_cluster(config, bootstrap_server, data)
    alter_topic(cluster, name, partitions=partitions, topic_settings=pairs(settings))
    typer.echo(f"topic {name}: changed")


@app.command("list")
def list_all(config: ConfigFile = None, bootstrap_server: Servers = None, data: DataDir = None) -> None:
    """List topics and their numbers of partitions."""
    from monitor.backends.kafka import list_topics

    cluster, _ = named_cluster(config, bootstrap_server, data)
    for name, count in sorted(list_topics(cluster).items()):
        typer.echo(f"{name}  partitions: {count}")


def pairs(settings: list[str] | None) -> dict[str, str]:
    """KEY=VALUE texts as a mapping.

    Raises:
        typer.BadParameter: one of them has no `=`.
    """
    found = {}
    for pair in settings or ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r}: write KEY=VALUE", param_hint="--set")
        found[key.strip()] = value.strip()
    return found


def named_cluster(config: Path | None, servers: str | None, data: Path | None) -> tuple[KafkaOptions, Config | None]:
    """The cluster that the options name, else the running local broker."""
    from monitor.broker.cluster import LocalKafka
    from monitor.config.connections import KafkaOptions
    from monitor.config.file import load

    if sum(given is not None for given in (config, servers, data)) > 1:
        raise ConfigError("--config, --bootstrap-server and --data each name a cluster; give one of them")
    if config is not None:
        found = load(config, artifact_needed=False)
        return found.kafka, found
    if servers is not None:
        return KafkaOptions(bootstrap_servers=servers.split(","), allow_plaintext=True), None
    status = LocalKafka(data).status()
    if not status.running:
        raise ConfigError(
            f"no local Kafka is running with its data in {status.data_dir}; start it with `telltale kafka start`, or "
            "name a cluster with --bootstrap-server or --config"
        )
    return KafkaOptions(bootstrap_servers=status.bootstrap_servers.split(",")), None
