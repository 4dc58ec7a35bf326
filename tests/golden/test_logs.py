"""Golden logs: what is published, remembered and committed of fixed logs, byte for byte."""

from __future__ import annotations

import difflib
import re

import pytest

from monitor.errors import Reason
from tests.golden.logs import transcripts
from tests.golden.logs.scenarios import SCENARIOS

SHOWN_LINES = 30
ALL = "\n".join(map(transcripts.kept, SCENARIOS))


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_log_is_decided_as_it_always_was(name: str) -> None:
    kept, found = transcripts.kept(name).splitlines(), SCENARIOS[name]().transcript().splitlines()
    changes = list(difflib.unified_diff(kept, found, "as it was", "as it is", n=1, lineterm=""))
    assert not changes, "\n".join([f"tests/golden/README.md says what to do; {name}:", *changes[:SHOWN_LINES]])


def test_what_is_kept_is_what_is_compared() -> None:
    assert {path.stem for path in transcripts.HERE.glob("*.txt")} == SCENARIOS.keys()


@pytest.mark.parametrize(
    "text",
    [
        *(
            f'"kind":"{kind}"'
            for kind in ("mae", "mse", "whitened", "prototype", "elbo", "memory", "nearest_code", "worst_channels")
        ),
        *(f'"status":"{status}"' for status in ("firing", "update", "resolved")),
        *(f'"severity":"{severity}"' for severity in ("info", "warning", "error", "critical")),
        *(f'"reason":"{reason}"' for reason in ("recovered", "forgotten", "silent", "topic_recreated")),
        *(f'"reason":"{reason}"' for reason in Reason),
        *(f"{kind}/plant.pumps/" for kind in ("windows", "incident", "time")),
        '"ticks":[[',
        "AbortedError",
    ],
)
def test_everything_there_is_happens_in_one_of_them(text: str) -> None:
    assert text in ALL


def test_no_score_is_rounded() -> None:
    """So that none depends on the machine: all are whole numbers of 1/256ths."""
    scores = {float(score) for score in re.findall(r'"kind":"\w+","value":([^,]+),', ALL)}
    assert len(scores) > 15
    assert all(256 * score == round(256 * score) for score in scores)
