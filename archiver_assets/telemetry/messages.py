"""The wording of the notifications.

What belongs here: from an incident, or a digest, to a title and a text. What does not: when they are sent.

A text has at most 900 characters and a title at most 120, because some services accept no more (PagerDuty: 1024 together). The title of an
incident stays the same when it is over, because services resolve an alert by its title.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import quote

from archiver_assets.config import Notifications, NotificationTarget
from archiver_assets.telemetry.incidents import Incident, Totals
from archiver_assets.untrusted_text import visible

LONGEST_TITLE: Final = 120
LONGEST_TEXT: Final = 900
_LINES: Final = 10


@dataclass(frozen=True)
class Message:
    """One notification. `mood` is what services colour it by, and whether they raise or resolve an alert."""

    title: str
    text: str
    mood: Literal["failure", "success", "info"]


def incident_message(incident: Incident, target: NotificationTarget, notifications: Notifications) -> Message:
    """Return what the target is told of an incident now."""
    title = f"Audit Archiver: {_scope(incident)}: {incident.kind}"
    told = incident.told.get(target.name)
    lines = [_what(incident)]
    if told and told.failures < incident.failures:
        lines.append(f"{incident.failures - told.failures} of them since the last message")
    if incident.closed is not None:
        lines.append(f"recovered: everything that failed has since succeeded, the last at {_time(incident.closed)}")
        return _message(title, lines, "success" if told else "failure")
    lines.append(_tables(incident))
    lines += [f"next step: {incident.hint}"] if incident.hint else []
    lines += _links(incident, notifications)
    return _message(title, lines, "failure")


def combined_message(incidents: Sequence[Incident], notifications: Notifications) -> Message:
    """Return one message about many incidents, so that trouble everywhere is not a message each."""
    recovered = sum(incident.closed is not None for incident in incidents)
    title = f"Audit Archiver: {len(incidents) - recovered} kinds of failures" + (f", {recovered} recovered" if recovered else "")
    lines = [_short(incident) for incident in incidents[:_LINES]]
    lines += [f"and {len(incidents) - _LINES} more"] if len(incidents) > _LINES else []
    lines += [f"{notifications.base_url.rstrip('/')}/runs"] if notifications.base_url else []
    return _message(title, lines, "success" if recovered == len(incidents) else "failure")


def digest_message(totals: Mapping[str, Totals], since: float, incidents: Sequence[Incident]) -> Message:
    """Return the summary of what was done since then, and of what is open."""
    busiest = sorted(totals.items(), key=lambda each: (-each[1].failures, -each[1].rows_archived, each[0]))
    lines = [f"{name or 'no database'}: {_done(done)}" for name, done in busiest[:_LINES]] or ["nothing was archived or purged"]
    lines += [f"and {len(busiest) - _LINES} more databases"] if len(busiest) > _LINES else []
    lines += [f"open: {_short(incident)}" for incident in incidents[:3]]
    return _message(f"Audit Archiver: summary since {_time(since)}", lines, "info")


def _what(incident: Incident) -> str:
    text = f"{incident.kind}: {incident.text}" if incident.text else incident.kind
    return f"{_scope(incident)}: {_count(incident)} since {_time(incident.opened)}: {text}"


def _short(incident: Incident) -> str:
    end = ", recovered" if incident.closed is not None else ""
    return f"{_scope(incident)}: {_count(incident)} since {_time(incident.opened)}: {incident.kind}{end}"[:140]


def _scope(incident: Incident) -> str:
    return incident.database or "no database"


def _count(incident: Incident) -> str:
    what = f"check {incident.check}" if incident.check else "run"
    return f"{incident.failures} {what}s failed" if incident.failures > 1 else f"1 {what} failed"


def _tables(incident: Incident) -> str:
    more = incident.table_count - len(incident.tables)
    names = ", ".join(incident.tables)
    return f"tables: {names} and {more} more" if more > 0 else f"tables: {names}"


def _links(incident: Incident, notifications: Notifications) -> list[str]:
    if notifications.base_url is None:
        return [f"first run: {incident.run_id}"]
    base = notifications.base_url.rstrip("/")
    queries = ["status:FAILURE", *([f"tag:archiver/database={incident.database}"] if incident.database else [])]
    query = "&".join(f"q[]={quote(each, safe='')}" for each in queries)
    return [f"first run: {base}/runs/{incident.run_id}", f"all: {base}/runs?{query}"]


def _done(done: Totals) -> str:
    archived = f"{done.days_archived} days archived ({done.rows_archived:,} rows, {done.bytes_archived:,} bytes)"
    return f"{archived}, {done.days_purged} purged ({done.rows_purged:,} rows), {done.failures} failures"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _message(title: str, lines: Sequence[str], mood: Literal["failure", "success", "info"]) -> Message:
    text = visible("\n".join(lines))
    cut = text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
    return Message(" ".join(visible(title).split())[:LONGEST_TITLE], cut, mood)  # one line: mailboxes have it as a header
