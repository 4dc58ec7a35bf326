"""`telltale doctor`: looks at a topic or a file, and prints what it is and how to use it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import typer
from pydantic import ValidationError

from monitor.broker.topics import named_cluster
from monitor.config.connections import KafkaOptions, SchemaRegistryOptions
from monitor.config.options import Config, HttpOptions
from monitor.config.sections import NAME_LENGTH, is_loopback
from monitor.datafiles.content import is_file
from monitor.doctor import file_report, files, report, topic
from monitor.doctor.configuration import changed
from monitor.doctor.diagnosis import Diagnosis, examine
from monitor.doctor.report import Place
from monitor.errors import ConfigError, DataError
from monitor.formats.schemas import Schema, ids_of
from monitor.serving.schema_registry import SchemaRegistry

SCHEME = "kafka://"
NAME = "telltale.toml"
_MOST_SCHEMAS = 50  # that are fetched
_LONGEST_NAME = NAME_LENGTH - len(".state")


def diagnose(
    source: str,
    *,
    config: Path | None,
    servers: str | None,
    registry: str | None,
    records: int,
    as_json: bool,
    config_out: Path | None,
) -> str:
    """The report, of a file where there is one of this name, else of a topic.

    Raises:
        ConfigError, DataError, BackendError: the source can't be read; says why.
    """
    place = source.removeprefix(SCHEME).partition("?")[0]
    if source.startswith(SCHEME) and "/" in place:
        servers, _, source = place.rpartition("/")
    else:
        source = place if source.startswith(SCHEME) else source
        if is_file(Path(source)):
            return _of_file(Path(source), as_json=as_json, config_out=config_out)
        if "/" in source or "\\" in source:
            raise DataError(f"{source}: no such file, and no topic can be called so; check the path")
    cluster, base = named_cluster(config, servers, None)
    excerpt = topic.newest(cluster, source, records)
    asked = _registry(registry, base)
    found = examine(excerpt.polls, time.time_ns() // 1000, _schemas(asked, excerpt))
    found.notes += [f"a batch of records can't be read, {each}" for each in excerpt.damaged]
    where = Place(
        topic=source,
        partitions=excerpt.partitions,
        held=excerpt.held,
        sections=sections(cluster, base, source, asked),
        artifact=f"{source}-model",
        config=str(config_out or NAME),
        words=[word for name, value in (("-c", config), ("-b", servers)) if value for word in (name, str(value))],
    )
    if config_out is not None:
        _write(config_out, report.configuration(found, where), found)
    return _json(found, where) if as_json else report.of_topic(found, where)


def _of_file(path: Path, *, as_json: bool, config_out: Path | None) -> str:
    if config_out is not None:
        raise ConfigError(f"{path} is a file: it needs no configuration, only the command that is shown")
    found = files.examine(path)
    if not as_json:
        return file_report.of_file(found)
    document = {
        "file": str(path),
        "rows": found.rows,
        "fields": found.fields,
        "channels": found.channels,
        "time": found.time or None,
        "series": dict(sorted(found.orders.items())),
        "missing": found.missing,
        "missing_values": found.sentinels,
        "notes": found.notes,
        "problem": found.problem or None,
        "command": None if found.problem else found.command,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _registry(url: str | None, base: Config | None) -> SchemaRegistryOptions | None:
    """The schema registry to ask: at this URL, else the configuration's, if it names one. Raises `ConfigError`."""
    known = SchemaRegistryOptions() if base is None else base.schema_registry
    if url is None:
        return known if known.urls else None
    try:
        return SchemaRegistryOptions.model_validate(known.model_dump() | {"urls": [url]})
    except ValidationError as error:
        said = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise ConfigError(f"--registry: {said}") from None


def _schemas(options: SchemaRegistryOptions | None, excerpt: topic.Excerpt) -> dict[int, Schema | str]:
    """The schemas that values name, by their ids, as far as a registry is known. Raises `BackendError`."""
    if options is None:
        return {}
    numbers = sorted(ids_of(value for columns in excerpt.polls for value in columns.values))[:_MOST_SCHEMAS]
    registry = SchemaRegistry(options)
    return {number: registry.schema(number) for number in numbers}


def sections(
    cluster: KafkaOptions, base: Config | None, topic_name: str, registry: SchemaRegistryOptions | None
) -> dict[str, dict[str, Any]]:
    """What the configuration says but for input and model: the given one's, or how the cluster is reached.

    A daemon of other topics needs a name, a group and a port of its own, so these are called after the topic, unless
    the given configuration is that of this topic.
    """
    found: dict[str, dict[str, Any]] = {}
    if base is not None:
        found = {name: changed(base, name) for name in Config.model_fields if name not in ("input", "model")}
    else:
        remote = not all(is_loopback(server.rpartition(":")[0]) for server in cluster.bootstrap_servers)
        found["kafka"] = {"bootstrap_servers": list(cluster.bootstrap_servers)}
        found["kafka"] |= {"allow_plaintext": True} if remote else {}
    if registry is not None:
        found.setdefault("schema_registry", {})["urls"] = list(registry.urls)
    if base is None or topic_name not in base.input.topics:
        name = f"telltale.{topic_name}"[:_LONGEST_NAME]
        found.setdefault("service", {})["name"] = name
        found.setdefault("kafka", {})["group_id"] = name
        found.setdefault("output", {}).pop("state", None)
        found["http"] = {"port": HttpOptions().port} | found.get("http", {})
    return {name: options for name, options in found.items() if options}


def _write(path: Path, text: str, found: Diagnosis) -> None:
    if not found.works:
        raise ConfigError(f"{path} is not written: no configuration reads most of these records; see the report")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} exists; name another file") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from None
    typer.echo(f"{path} written", err=True)


def _json(found: Diagnosis, place: Place) -> str:
    trial = found.trial
    document = {
        "topic": place.topic,
        "partitions": place.partitions,
        "held": place.held,
        "records": trial.records,
        "format": found.shape.format,
        "mapping": found.mapping or None,
        "mean_bytes": found.mean_bytes,
        "channels": found.channels,
        "fields": [
            {"path": each.path, "role": each.role, "seen": each.seen, "missing": each.missing} for each in found.fields
        ],
        "rejected": dict(trial.rejected),
        "examples": {
            reason: {"partition": str(each.partition), "offset": each.offset, "detail": each.detail}
            for reason, each in trial.examples.items()
        },
        "series": [
            {"series": name, "partition": str(partition), **msgspec.to_builtins(each)}
            for (name, partition), each in sorted(trial.series.items())
        ],
        "missing_values": found.sentinels,
        "joins": None if found.joins is None else msgspec.to_builtins(found.joins),
        "schema": found.schema,
        "notes": found.notes,
        "options": found.options,
        "configuration": report.configuration(found, place) if found.works else None,
        "commands": report.commands(found, place) if found.works else [],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
