"""Every way in: files of many formats and ranges of Kafka topics, as the tables that training starts from.

    tables = read("records.parquet", kind="sliding", options=ReadOptions(series_column="pump"))

Rules of this package: sources are read as they are. What is odd about them (gaps, late rows, missing numbers) is
counted and reported by `timestamps` and `missing`, and left to windowing, which treats it as the daemon does.
"""

from training.datasets.options import Note, ReadOptions, Table
from training.datasets.reading import read

__all__ = ["Note", "ReadOptions", "Table", "read"]
