"""A stage: nobody is woken by a warning, from midnight to six; what is worse says that it came at night."""

from __future__ import annotations

import msgspec

from monitor.messages.alerts import Alert
from monitor.processing.gates import Suppressed


def night(alert: Alert) -> Alert | Suppressed:
    if not "00:00" <= alert.time[11:16] < "06:00":
        return alert
    if alert.data.severity in ("info", "warning"):
        return Suppressed("asleep")
    return msgspec.structs.replace(
        alert, data=msgspec.structs.replace(alert.data, summary=f"{alert.data.summary} (at night)")
    )


def never(_alert: Alert) -> Suppressed:
    return Suppressed("never")
