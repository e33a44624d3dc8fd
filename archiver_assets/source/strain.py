"""What the server reports about the strain on others: sessions that wait for ours, replicas that lag.

What belongs here: the queries. What does not: waiting (`lifecycle/purging/pacing.py`).
"""

from dataclasses import dataclass

from archiver_assets.source import sql_session
from archiver_assets.source.catalog import Connection


@dataclass(frozen=True)
class Lag:
    """How far a replica is behind the WAL that the primary has flushed, in seconds and in bytes."""

    name: str
    seconds: float
    bytes: int


def count_blocked(connection: Connection) -> int:
    """Return how many other sessions wait for a lock that a session of the archiver holds in this database."""
    row = connection.execute(sql_session.BLOCKED_BY_US).fetchone()
    return int(row["sessions"]) if row else 0


@dataclass(frozen=True)
class Strain:
    """How many other sessions wait for ours, and the replica that lags most, if it lags too far."""

    sessions: int
    lag: Lag | None


def read_strain(connection: Connection, limit_seconds: float | None) -> Strain:
    """Return the current strain on others. `lag` is None without a limit, or if the role lacks pg_read_all_stats."""
    row = connection.execute(sql_session.STRAIN, [limit_seconds]).fetchall()[0]
    lag = None if row["seconds"] is None else Lag(row["name"], row["seconds"], row["bytes"])
    return Strain(row["sessions"], lag)


def count_hidden_replicas(connection: Connection) -> int:
    """Return how many replicas are connected whose lag the role may not see."""
    row = connection.execute(sql_session.HIDDEN_REPLICAS).fetchone()
    return int(row["replicas"]) if row else 0
