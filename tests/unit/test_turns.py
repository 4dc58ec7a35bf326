"""What a turn says of refused records."""

from __future__ import annotations

import numpy as np

from monitor.errors import Reason
from monitor.formats.decoder import Rejected
from monitor.processing.turns import REASONS, Refused


def test_a_refused_record_is_there_once_for_each_series_that_it_names() -> None:
    rejected = [Rejected(2, Reason.MALFORMED, ""), Rejected(4, Reason.WRONG_TYPE, ""), Rejected(5, Reason.EMPTY, "")]
    rows, series = np.array([2, 4, 4, 4, 4, 5]), np.array([7, 3, 1, 3, -1, -1])
    refused = Refused.of(rejected, rows, series, rows + 100)
    found = list(zip(refused.series.tolist(), refused.offset.tolist(), refused.reason.tolist(), strict=True))
    malformed, wrong_type = REASONS.index(Reason.MALFORMED), REASONS.index(Reason.WRONG_TYPE)
    assert found == [(7, 102, malformed), (3, 104, wrong_type), (1, 104, wrong_type)]
    assert len(Refused.of([], rows[:0], series[:0], rows[:0])) == 0
