"""The score's incident of a silent series says so, and ends by time, however a log is cut and restored."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from monitor.messages.alerts import Alert
from tests.property.test_no_data import TICK, Log, _alone, configuration, events_of, logs, oracle

__all__ = ["_alone"]  # the checks and alerts of test_no_data
OVER, UNDER = b"[9e8, -9e8]", b"[0.5, 0.25]"


def expected(log: Log, over: list[bool], resolves_after: int, close_after: int) -> list[tuple[str, str, str | None]]:
    """Place by place: what is found silent, the record's own window, and who has stayed silent for too long."""
    published: list[tuple[str, str, str | None]] = []
    under: dict[str, int] = {}  # of each open incident, how many windows in a row
    silent: dict[str, int] = {}
    now = -1
    for (time, own), is_over, news in zip(log, over, oracle(log, None, 3), strict=True):
        now = max(now, time)
        for series, status, _, _ in news:
            if status == "resolved":
                del silent[series]
                continue
            silent[series] = now
            published += [(series, "update", "no_data")] if series in under else []
        if own != TICK:
            series = f"s{own}"
            if is_over:
                published += [] if series in under else [(series, "firing", None)]
                under[series] = 0
            elif series in under:
                under[series] += 1
                if under[series] == close_after:
                    del under[series]
                    published.append((series, "resolved", "recovered"))
        ends = sorted((at + resolves_after, series) for series, at in silent.items() if series in under)
        for at, series in ends:
            if resolves_after and at <= now:
                del under[series]
                published.append((series, "resolved", "no_data"))
    return published


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    logs(),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 600), max_size=6),
    st.integers(1, 9) | st.just(65_536),
    st.sampled_from([0, 1, 50, 400]),
    st.integers(0, 600),
    st.integers(0, 30),
)
def test_any_chunking_and_a_restore_give_the_oracles_alerts(
    log: Log, seed: int, cuts: list[int], slice_: int, resolves_after: int, restore: int, since: int
) -> None:
    over = (np.random.default_rng(seed).random(len(log)) < 0.3).tolist()
    values = [OVER if each else UNDER for each in over]
    config = configuration(no_data_least_ms=3, no_data_resolves_after_ms=resolves_after)
    config = config.model_copy(
        update={"alerting": config.alerting.model_copy(update={"close_after": 2, "update_every": 100_000})}
    )
    found = events_of(config, log, "record", cuts, slice_, restore, restore + since, values)
    own = [each for each in found if isinstance(each, Alert)]
    assert [(each.subject, each.data.status, each.data.reason) for each in own] == expected(
        log, over, resolves_after, close_after=2
    )
    assert max(Counter(each.id for each in found).values(), default=1) == 1
