"""SQL of sessions: pinned settings, locks, and queries about the server itself; no statement touches a configured table.

What belongs here, and its conventions: see `sql.py`.
"""

from collections.abc import Mapping

from psycopg import sql

# Settings that every session of the archiver pins, so that a value's text does not depend on the settings of role, database or server.
# - `client_connection_check_interval` makes the server notice a client killed during a long statement.
# - The keepalives detect a client whose machine disappeared, within a minute: the system's defaults would keep the lock of its partition
#   for two hours. They tolerate a client that is slow to read, which `tcp_user_timeout` would consider dead.
# - A session that waits for an upload or a pause holds its partition's lock and no transaction: `idle_session_timeout` must not end it.
# - Without `array_nulls`, the NULL of an archived row would be read as a text of four letters, and would match and delete a row that has
#   since received that text.
# - The transaction that holds an archive's snapshot lasts as long as the reading: `transaction_timeout` must not end it.
# `Source.settings` adds the timeouts from the config.
PINNED_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "array_nulls": "on",
    "standard_conforming_strings": "on",
    "gin_fuzzy_search_limit": "0",
    "search_path": "pg_catalog",
    "synchronous_commit": "on",
    "lock_timeout": "30s",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "client_connection_check_interval": "10s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

# Settings that only servers from 14 or 17 on have; a missing one is not pinned. The oldest supported server has those of 14, but a session
# must be open before the archiver can report that a server is too old.
_NOT_EVERYWHERE = {"idle_session_timeout", "client_connection_check_interval", "transaction_timeout"}

# Catalog only; no lock on the table.
PIN = f"""
    SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS pinned(name, value)
    WHERE name NOT IN ({", ".join(f"'{name}'" for name in sorted(_NOT_EVERYWHERE))}) OR current_setting(name, true) IS NOT NULL
"""  # noqa: S608 - built from the names above

# Catalog only. `pg_walfile_name` gives the current timeline; the control file has that of the last checkpoint.
SERVER = """
    SELECT now() AS now,
           current_setting('server_version') AS server_version,
           (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
           (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_oid,
           ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int AS timeline,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_xid
"""

# Catalog only. A standby knows its timeline only from its control file, which the next restartpoint updates.
STANDBY = """
    SELECT pg_is_in_recovery() AS in_recovery, (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
           (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline
"""

# Catalog only.
IN_RECOVERY = "SELECT pg_is_in_recovery() AS in_recovery"

# A session-level advisory lock: no row, no table. Released by `UNLOCK` or by the end of the session, however it ends.
LOCK = "SELECT pg_try_advisory_lock($1) AS locked"
UNLOCK = "SELECT pg_advisory_unlock($1)"
# No lock. Whether a session holds that advisory lock, without requesting it, since that would block the next session that requests it.
LOCKED = """
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND ((classid::bigint << 32) | objid::bigint) = $1::bigint
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS locked
"""

# No lock. From here on the server refuses every write of this session, including to sequences.
READ_ONLY = "SET default_transaction_read_only = on"

# No table. Counts other sessions that wait for a lock held by any session of the archiver in this database, including this one. Only for
# waiting sessions does it query which sessions block them, because that query briefly stops the lock manager.
BLOCKED_BY_US = """
    WITH ours AS (
        SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND usename = session_user AND application_name = current_setting('application_name')
    )
    SELECT count(DISTINCT waiting.pid) AS sessions FROM pg_locks waiting
    WHERE NOT waiting.granted AND waiting.pid <> ALL (SELECT pid FROM ours)
      AND pg_blocking_pids(waiting.pid) && ARRAY(SELECT pid FROM ours)
"""

# No table. The replica furthest behind, if it lags by more than $1 seconds. A replica that has replayed everything has no lag, whatever it
# last measured. A client that receives WAL without replaying it (pg_receivewal, a backup) is not counted. Needs pg_read_all_stats, or else
# everything is NULL.
LAGGING_REPLICA = """
    SELECT coalesce(application_name, '') AS name, extract(epoch FROM replay_lag)::float8 AS seconds,
           pg_wal_lsn_diff(pg_current_wal_flush_lsn(), replay_lsn)::bigint AS bytes
    FROM pg_stat_replication
    WHERE replay_lsn < pg_current_wal_flush_lsn() AND extract(epoch FROM replay_lag) > $1::float8
    ORDER BY replay_lag DESC
    LIMIT 1
"""

# No table. Both queries at once, between two batches: the number of other `sessions` that wait for ours, and the replica that lags by more
# than $1 seconds; NULL if there is none or $1 is NULL.
STRAIN = f"""
    SELECT blocked.sessions, lagging.name, lagging.seconds, lagging.bytes
    FROM ({BLOCKED_BY_US}) AS blocked LEFT JOIN ({LAGGING_REPLICA}) AS lagging ON true
"""  # noqa: S608 - built from the two above

# No table. The number of replicas of which this role may see nothing but their existence.
HIDDEN_REPLICAS = "SELECT count(*) AS replicas FROM pg_stat_replication WHERE state IS NULL"

# REPEATABLE READ: all statements from the first query on see one snapshot, which other sessions can import.
BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
EXPORT_SNAPSHOT = """
    SELECT pg_export_snapshot() AS id, pg_current_snapshot()::text AS snapshot,
           (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)::text AS lsn
"""

# Autovacuum's default delay, so that a manual VACUUM does not use all of the disk's bandwidth.
GENTLE_VACUUM = "SET vacuum_cost_delay = '2ms'"

# No lock.
BACKEND_PID = "SELECT pg_backend_pid() AS pid"


def pin(settings: Mapping[str, str]) -> sql.Composed:
    """Pin settings as `PIN` does, on a connection that cannot bind parameters."""
    always = sql.SQL("set_config({name}, {value}, false)")
    where_known = sql.SQL("CASE WHEN current_setting({name}, true) IS NOT NULL THEN set_config({name}, {value}, false) END")
    each = [
        (where_known if name in _NOT_EVERYWHERE else always).format(name=sql.Literal(name), value=sql.Literal(value))
        for name, value in settings.items()
    ]
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(each))


# No lock. With row security off, a query that row security would filter raises an error.
NO_ROW_SECURITY = "SET row_security = off"
NOW = "SELECT clock_timestamp() AS now"


# No lock. The WAL of a transaction visible to the snapshot lies before the insert position that is read after it.
WAL_FLUSHED = "SELECT pg_current_wal_flush_lsn() >= $1::pg_lsn AS flushed"
# No table. Takes a transaction id, so that the commit writes a record, which the WAL writer flushes within 0.6 s (3 `wal_writer_delay`).
# While no session commits, the WAL writer may leave the last page unflushed for 15 s, until the server logs a record by itself.
COMMIT_WITH_ID = "SELECT pg_current_xact_id()"


def import_snapshot(snapshot_id: str) -> sql.Composed:
    """Let a transaction see what the exporting transaction sees. No lock."""
    return sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot_id))


# No table.
ENCODING = "SELECT current_setting('server_encoding') AS encoding"
