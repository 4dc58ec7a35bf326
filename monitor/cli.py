"""The command `telltale`: parses arguments, calls, maps errors to exit codes. Results on stdout, the rest on stderr.

`train`, `evaluate`, `calibrate` and the trainer's other commands come from `training.commands`, by entry point.
"""

from __future__ import annotations

import gc
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from monitor import __version__, extras
from monitor.broker.cli import app as kafka_app
from monitor.deadletters.cli import app as deadletters_app
from monitor.errors import EXIT_SOFTWARE, TelltaleError

app = typer.Typer(
    name="telltale",
    help="The anomaly monitor for Apache Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="Write, show and describe the configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(kafka_app, name="kafka")
app.add_typer(deadletters_app, name="deadletters")

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="TOML file; see `telltale config init`.")]
DEFAULT_CONFIG = Path("telltale.toml")
GC_THRESHOLD = 400_000  # new containers from one collection to the next; CPython's is 700, JAX's imports make 200,000


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"telltale {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The anomaly monitor for Apache Kafka."""


@app.command()
def run(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the daemon: read topics, score windows, publish alerts, until SIGTERM."""
    from monitor.serving.run import run_daemon

    run_daemon(config)


@app.command()
def inspect(
    artifact: Annotated[Path, typer.Argument(help="Artifact directory or zip.")],
    json: Annotated[bool, typer.Option("--json", help="The manifest as JSON.")] = False,
) -> None:
    """Describe an artifact, after verifying every byte and its known answers on this machine."""
    from monitor.inspection import describe

    typer.echo(describe(artifact, as_json=json))


@app.command()
def replay(
    artifact: Annotated[Path, typer.Argument(help="Artifact directory or zip.")],
    file: Annotated[Path, typer.Argument(help="A file in any format that `telltale train` reads.")],
    alerts: Annotated[
        Path | None, typer.Option(help="Write the alerts to this file, as JSON lines; default: stdout.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The daemon's configuration, with its alert policy.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="The daemon's service.name; part of the alerts' ids.")] = None,
    topic: Annotated[str | None, typer.Option(help="The input topic; part of the alerts' ids.")] = None,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of that topic.")] = 1,
    series: Annotated[
        str, typer.Option(help="Name of the file's only series; default: as in `telltale train`, the file's name.")
    ] = "",
    series_column: Annotated[str, typer.Option(help="Column that names each row's series instead.")] = "",
    time_column: Annotated[
        str, typer.Option(help="Column with the rows' times, or none; default: as in `telltale train`.")
    ] = "",
    label_column: Annotated[
        str, typer.Option(help="Column of labels, which is ignored: a name, none, or for windows first or last.")
    ] = "",
    time_unit: Annotated[
        Literal["auto", "s", "ms", "us", "ns"],
        typer.Option(help="Unit of times that are numbers; auto: by their size."),
    ] = "auto",
    day_first: Annotated[
        bool | None,
        typer.Option("--day-first/--month-first", help="Whether 1/2/2026 is in February or in January, if unclear."),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(help="What means a missing number, as in `telltale train`; default: what did in the training."),
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Threshold of all series, instead of the artifact's.")] = None,
) -> None:
    """Run the daemon on a file instead of a topic: alerts as JSON lines, a summary on stderr.

    Row i of a series with key K goes to partition murmur2(K) mod --partitions, as with Kafka's producers, at the
    next offset of that partition, counted from 0 in the order of the file. A daemon named --source that reads --topic
    from its beginning gives the same alert ids.

    Time is that of the rows: a series is reported as silent by later rows of others in its partition. So a file of one
    series never reports no_data, and none does at its end.
    """
    from monitor.replay import FileSource, replay_file

    origin = FileSource(
        path=file,
        series=series,
        series_column=series_column,
        time_column=time_column or None,
        label_column=label_column or None,
        missing=missing,
        time_unit=time_unit,
        day_first=day_first,
        partitions=partitions,
    )
    replay_file(artifact, origin, config=config, alerts=alerts, service=source, topic=topic, threshold=threshold)


@app.command()
def doctor(
    source: Annotated[
        str, typer.Argument(metavar="TOPIC|FILE", help="A topic, kafka://HOST:PORT/TOPIC, or a file that train reads.")
    ],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A daemon's configuration, for its connection.")
    ] = None,
    bootstrap_server: Annotated[
        str | None,
        typer.Option("--bootstrap-server", "-b", metavar="HOST:PORT", help="A cluster without authentication."),
    ] = None,
    registry: Annotated[
        str | None, typer.Option(metavar="URL", help="The schema registry of Avro records; default: that of --config.")
    ] = None,
    records: Annotated[int, typer.Option(min=20, max=100_000, help="Records to look at, the newest.")] = 1_000,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the configuration to this new file, too.")
    ] = None,
) -> None:
    """Look at a topic or a file: what it holds, what is odd about it, and the configuration to use.

    Without --config or --bootstrap-server topics are those of the local broker. Nothing is written to the cluster.
    """
    from monitor.doctor.command import diagnose

    typer.echo(
        diagnose(
            source,
            config=config,
            servers=bootstrap_server,
            registry=registry,
            records=records,
            as_json=json,
            config_out=config_out,
        )
    )


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Seed of patients, noise and planted beats.")] = 1,
    patients: Annotated[int, typer.Option(min=1, max=64, help="Series in the stream.")] = 4,
    data: Annotated[Path | None, typer.Option(help="Directory with ECG5000_TRAIN.txt and ECG5000_TEST.txt.gz.")] = None,
    minutes: Annotated[float, typer.Option(min=1, help="Length of the synthetic stream, all patients together.")] = 60,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the broker and the daemon running at the end.")] = False,
) -> None:
    """Show everything on this machine: a broker, training, a stream of heartbeats, and the alerts."""
    from monitor.demo.show import run_demo

    run_demo(seed=seed, patients=patients, data=data, keep=keep, minutes=minutes)


@app.command()
def example(directory: Annotated[Path, typer.Argument(help="Directory for the files; it is created.")]) -> None:
    """Write CSV files of a simulated pump, to try the other commands: normal.csv, labelled.csv, lastweek.csv."""
    from monitor.demo.plant import write_example

    typer.echo("\n".join(write_example(directory)))


@config_app.command("init")
def config_init() -> None:
    """Print a commented configuration with every option at its default."""
    from monitor.reference import commented_toml

    typer.echo(commented_toml(), nl=False)


@config_app.command("show")
def config_show(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Print the effective configuration, with the environment applied and secrets hidden."""
    from monitor.config.file import load

    typer.echo(load(config, artifact_needed=False).model_dump_json(indent=2))


@config_app.command("schema")
def config_schema() -> None:
    """Print the configuration's JSON Schema."""
    import json

    from monitor.config.options import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


def _load_extensions() -> None:
    """Adds the commands of other packages, such as the trainer's."""
    for extension in entry_points(group="telltale.commands"):
        extension.load()(app)


def main() -> None:
    """Runs the command and exits with the code that says who must act."""
    # Imports and compilation make hundreds of thousands of objects that stay; to search them for cycles repeatedly
    # takes a tenth of a short training's time.
    gc.set_threshold(GC_THRESHOLD)
    _load_extensions()
    try:
        app(prog_name="telltale")
    except TelltaleError as error:
        _fail(error)
    except ImportError as error:
        if (known := extras.explain(error)) is not None:
            _fail(known)
        _report_defect()
    except Exception:
        _report_defect()
    finally:
        gc.freeze()  # at exit the interpreter would search all of JAX for cycles: a third of a second


def _fail(error: TelltaleError) -> NoReturn:
    typer.echo(f"telltale: {error}", err=True)
    sys.exit(error.exit_code)


def _report_defect() -> NoReturn:
    traceback.print_exc()
    typer.echo("telltale: this is a bug in Telltale; please report it with the lines above", err=True)
    sys.exit(EXIT_SOFTWARE)
