"""Data files as named columns: what `telltale train`, `evaluate` and `replay` read.

Rules of this package: numpy, `monitor.detector.arrays` and `monitor.errors` only; whatever the bytes are, the result is
a table or a `DataError` that says where and what to do. Sizes are checked before anything is allocated. Nothing is
unpickled.

A file holds one series (`read_series`: rows are samples) or windows (`read_windows`: rows are windows), in one of

    text    cells separated by comma, semicolon, tab, bar or spaces, with or without a header line; gzipped or not
    .npy    one array; gzipped or not
    .npz    arrays by name: channels of a series, or `windows` and `labels`
The content decides which, never the file name. `training.datasets` reads further formats into the same tables.
"""

from monitor.datafiles.clocks import TIME_NAMES
from monitor.datafiles.columns import LABEL_NAMES
from monitor.datafiles.reading import read_arrays, read_series, read_text_column, read_windows
from monitor.datafiles.tables import SeriesTable, WindowTable, by_series

__all__ = [
    "LABEL_NAMES",
    "TIME_NAMES",
    "SeriesTable",
    "WindowTable",
    "by_series",
    "read_arrays",
    "read_series",
    "read_text_column",
    "read_windows",
]
