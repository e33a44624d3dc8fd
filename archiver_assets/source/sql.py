"""All SQL that touches a configured table or the catalog, one function a statement.

What belongs here: composed statements (`psycopg.sql`), each commented with the lock it takes and the index it needs. What does not:
running them. Identifiers are always `sql.Identifier`. Values are bound as `$1`, for raw cursors, so that a `%` in a name means nothing;
the bounds of a range are literals, because they also stand in a COPY, which cannot bind.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from psycopg import sql


@dataclass(frozen=True)
class Relation:
    """A table by its true names."""

    schema: str
    name: str

    @property
    def identifier(self) -> sql.Identifier:
        """The quoted, qualified name."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class Days:
    """The rows of a table in a half-open range `[lower, upper)` of its timestamp column.

    The bounds have the column's own type: aware times for timestamptz, local times without zone for timestamp, dates for date. So NULL
    and infinite timestamps are in no range.
    """

    relation: Relation
    column: str
    lower: datetime | date
    upper: datetime | date

    def condition(self, alias: str) -> sql.Composed:
        """Return the range as a condition on `alias`, with its bounds as literals of the column's type."""
        return sql.SQL("{column} >= {lower} AND {column} < {upper}").format(
            column=sql.Identifier(alias, self.column), lower=sql.Literal(self.lower), upper=sql.Literal(self.upper)
        )


@dataclass(frozen=True)
class Condition:
    """A condition on a column: an operator of `OPERATORS`, and values as text, to be read as `pg_type`, which is trusted."""

    column: str
    operator: str
    pg_type: sql.Composable
    values: tuple[str, ...] = ()

    def met(self, alias: str) -> sql.Composed:
        """Return it as SQL: as there, neither true nor false where the column is NULL. Values are literals, so that each has its type."""
        values = sql.SQL(", ").join(sql.SQL("{}::{}").format(sql.Literal(value), self.pg_type) for value in self.values)
        return sql.SQL(OPERATORS[self.operator]).format(column=sql.Identifier(alias, self.column), values=values)


OPERATORS = {
    **{operator: f"{{column}} {operator} {{values}}" for operator in ("=", "<", "<=", ">", ">=")},
    "!=": "{column} <> {values}",
    "in": "{column} IN ({values})",
    "is null": "{column} IS NULL",
    "is not null": "{column} IS NOT NULL",
}


@dataclass(frozen=True)
class HeldRows:
    """The rows that one hold keeps: in `[lower, upper)` of the timestamp `column`, each bound or None, and meeting all `conditions`."""

    column: str
    lower: datetime | date | None = None
    upper: datetime | date | None = None
    conditions: tuple[Condition, ...] = ()

    def held(self, alias: str) -> sql.Composed:
        """Return, as SQL that is never NULL, whether a row is held."""
        column = sql.Identifier(alias, self.column)
        terms: list[sql.Composable] = [condition.met(alias) for condition in self.conditions]
        if self.lower is not None:
            terms.append(sql.SQL("{} >= {}").format(column, sql.Literal(self.lower)))
        if self.upper is not None:
            terms.append(sql.SQL("{} < {}").format(column, sql.Literal(self.upper)))
        return sql.SQL("(({}) IS TRUE)").format(sql.SQL(" AND ").join(terms or [sql.SQL("true")]))


# Settings that every session of the archiver pins, so that a value's text is the same whatever role, database or server says.
# `client_connection_check_interval` makes the server notice a client that was killed in the middle of a long statement. A session that
# waits for an upload or a pause holds the lock of its partition and no transaction: `idle_session_timeout` must not end it. The timeouts
# that the config decides are added by `Source.settings`.
PINNED_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "search_path": "pg_catalog",
    "synchronous_commit": "on",
    "lock_timeout": "30s",
    "idle_session_timeout": "0",
    "client_connection_check_interval": "10s",
}

# Catalog only; no lock on the table.
PIN = "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS pinned(name, value)"

# Catalog only. `pg_walfile_name` names the current timeline; that of the control file is the one of the last checkpoint.
SERVER = """
    SELECT now() AS now,
           current_setting('server_version') AS server_version,
           current_setting('server_version_num')::int AS server_version_num,
           current_setting('server_encoding') AS server_encoding,
           (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
           (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_oid,
           ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int AS timeline,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_xid
"""

# Catalog only. A standby cannot name its timeline but by its control file, which follows with the next restartpoint.
STANDBY = """
    SELECT pg_is_in_recovery() AS in_recovery, (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
           (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline
"""

# Catalog only.
IN_RECOVERY = "SELECT pg_is_in_recovery() AS in_recovery"

# A session-level advisory lock: no row, no table. Released by `UNLOCK_PARTITION` or by the end of the session, however it ends.
LOCK_PARTITION = "SELECT pg_try_advisory_lock($1) AS locked"
UNLOCK_PARTITION = "SELECT pg_advisory_unlock($1)"
# No lock: whether a session holds that advisory lock, without asking for it, which would be in the way of whoever asks next.
PARTITION_LOCKED = """
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND ((classid::bigint << 32) | objid::bigint) = $1::bigint
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS locked
"""

# No lock. From here on the server refuses whatever this session would write, sequences included.
READ_ONLY = "SET default_transaction_read_only = on"

# No lock. To the end of the transaction no statement waits longer for a lock than $1, or takes longer than $2 or than the session allows
# (all in milliseconds).
BATCH_TIMEOUTS = """
    SELECT set_config('lock_timeout', $1, true),
           set_config('statement_timeout', least(
               $2::bigint, nullif(extract(epoch FROM current_setting('statement_timeout')::interval) * 1000, 0)::bigint)::text, true)
"""

# No table. The sessions of others that wait for a lock of ours: of any session of the archiver in this database, this one included. Only
# for those that wait at all is it asked who blocks them, because that stops the lock manager for a moment.
BLOCKED_BY_US = """
    WITH ours AS (
        SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND usename = session_user AND application_name = current_setting('application_name')
    )
    SELECT count(DISTINCT waiting.pid) AS sessions FROM pg_locks waiting
    WHERE NOT waiting.granted AND waiting.pid <> ALL (SELECT pid FROM ours)
      AND pg_blocking_pids(waiting.pid) && ARRAY(SELECT pid FROM ours)
"""

# No table. The replica that is furthest behind, if it lags by more than $1 seconds. A replica that has everything lags by nothing, whatever
# it last measured; one that receives only and replays nothing (pg_receivewal, a backup) is none. Needs pg_monitor, else everything is NULL.
LAGGING_REPLICA = """
    SELECT coalesce(application_name, '') AS name, extract(epoch FROM replay_lag)::float8 AS seconds,
           pg_wal_lsn_diff(pg_current_wal_flush_lsn(), replay_lsn)::bigint AS bytes
    FROM pg_stat_replication
    WHERE replay_lsn < pg_current_wal_flush_lsn() AND extract(epoch FROM replay_lag) > $1::float8
    ORDER BY replay_lag DESC
    LIMIT 1
"""
# No table. How many replicas this role may know nothing of but that they are there.
HIDDEN_REPLICAS = "SELECT count(*) AS replicas FROM pg_stat_replication WHERE state IS NULL"

# REPEATABLE READ: every statement after the first query sees one snapshot, which other sessions can import.
BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
EXPORT_SNAPSHOT = """
    SELECT pg_export_snapshot() AS id, pg_current_snapshot()::text AS snapshot,
           (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)::text AS lsn
"""

# Catalog only; the caller holds ACCESS SHARE on the table, so that the answer stays true.
RELATION = """
    SELECT c.oid::bigint AS oid, c.relkind::text AS kind, c.relpersistence::text AS persistence
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2
"""
COLUMNS = """
    SELECT a.attname AS name, a.attnum::int AS number, a.attnotnull AS not_null,
           format_type(a.atttypid, a.atttypmod) AS pg_type,
           CASE WHEN n.nspname = 'pg_catalog' THEN t.typname ELSE '' END AS builtin_type,
           concat_ws(' ', CASE WHEN a.attgenerated <> '' THEN
               (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END,
               (SELECT string_agg(e.oid || '=' || quote_literal(e.enumlabel), ',' ORDER BY e.oid)
                FROM pg_enum e WHERE e.enumtypid IN (t.oid, t.typelem, t.typbasetype)),
               (SELECT string_agg(m.attnum || ' ' || quote_ident(m.attname) || ' ' || m.atttypid, ',' ORDER BY m.attnum)
                FROM pg_attribute m WHERE t.typrelid <> 0 AND m.attrelid = t.typrelid AND m.attnum > 0 AND NOT m.attisdropped)
           ) AS meaning,
           (t.typtype = 'd' AND t.typoutput = 'bpcharout'::regproc) OR EXISTS (
               SELECT FROM pg_cast k WHERE k.castsource IN (t.oid, t.typbasetype) AND k.casttarget = 'text'::regtype
                   AND k.castmethod <> 'i' AND k.oid >= 16384
           ) AS text_is_lossy
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
# Catalog only: the relations that hold the rows, the table itself or its leaves, each with a digest of its columns and their numbers. A
# number is never used again, so that a column that was dropped and added again is another one.
LEAVES = """
    WITH family AS (SELECT relid FROM pg_partition_tree($1::oid) WHERE isleaf UNION SELECT $1::oid)
    SELECT c.oid::bigint AS oid, encode(sha256(convert_to((
               SELECT coalesce(string_agg(
                   concat_ws(' ', a.attnum, quote_ident(a.attname), a.atttypid, a.atttypmod), ',' ORDER BY a.attnum), '')
               FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           ), 'UTF8')), 'hex') AS columns
    FROM pg_class c JOIN family f ON f.relid = c.oid
    WHERE c.relkind = 'r'
    ORDER BY c.oid
"""
# Catalog only: a leaf right below a table, and its bounds if both are finite, in the pinned settings' text.
LEAF_BOUNDS = """
    SELECT n.nspname AS schema, c.relname AS name, bounds[1] AS lower, bounds[2] AS upper
    FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
         regexp_match(pg_get_expr(c.relpartbound, c.oid), $$^FOR VALUES FROM \\('([^']+)'\\) TO \\('([^']+)'\\)$$ || '$') AS bounds
    WHERE c.oid = $1::oid AND h.inhparent = $2::oid AND c.relkind = 'r' AND NOT h.inhdetachpending
"""
# Catalog only: leaves of another kind than an ordinary, permanent table.
WRONG_LEAVES = """
    SELECT c.oid::regclass::text AS leaf, CASE c.relkind WHEN 'f' THEN 'a foreign table' ELSE 'an unlogged or temporary table' END AS kind
    FROM pg_partition_tree($1::oid) t JOIN pg_class c ON c.oid = t.relid
    WHERE t.isleaf AND c.oid <> $1::oid AND (c.relkind = 'f' OR c.relkind = 'r' AND c.relpersistence <> 'p')
    ORDER BY 1
"""
# Keys that identify a row at every instant: unique, valid, immediate, without predicate or expression.
UNIQUE_KEYS = """
    SELECT array_agg(a.attname::text ORDER BY k.position) AS columns
    FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, position), pg_attribute a
    WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
      AND k.position <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.attnum
    GROUP BY i.indexrelid
"""
# Catalog only: what would make a DELETE do more, or less, than delete the rows it names, here or on a leaf. Bits of tgtype: 2 is BEFORE,
# 8 DELETE, 64 INSTEAD OF. Of the actions of a foreign key, a and r only refuse a delete; the others change the rows that refer.
SIDE_EFFECTS = """
    WITH family AS (SELECT relid FROM pg_partition_tree($1::oid) UNION SELECT $1::oid)
    SELECT CASE WHEN t.tgtype::int & 66 = 0 THEN 'after_delete_trigger' ELSE 'delete_trigger' END AS name,
           'trigger ' || quote_ident(t.tgname) || ' on ' || t.tgrelid::regclass AS effect
    FROM pg_trigger t JOIN family f ON f.relid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype::int & 8 <> 0
    UNION
    SELECT 'delete_rule', 'rule ' || quote_ident(r.rulename) || ' on ' || r.ev_class::regclass
    FROM pg_rewrite r JOIN family f ON f.relid = r.ev_class
    WHERE r.ev_type = '4'
    UNION
    SELECT CASE WHEN c.confdeltype IN ('a', 'r') THEN 'inbound_foreign_key' ELSE 'cascading_foreign_key' END,
           'foreign key ' || quote_ident(c.conname) || ' of ' || c.conrelid::regclass
    FROM pg_constraint c JOIN family f ON f.relid = c.confrelid
    WHERE c.contype = 'f'
    UNION
    SELECT 'row_level_security', 'row-level security on ' || c.oid::regclass FROM pg_class c JOIN family f ON f.relid = c.oid
    WHERE row_security_active(c.oid)
    UNION
    SELECT 'inheritance', 'inheritance child ' || i.inhrelid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
    WHERE i.inhparent = $1::oid AND c.relkind = 'r'
    ORDER BY 2
"""
# Catalog only: whether the role may VACUUM and ANALYZE: as the table's owner or the database's, or, from PostgreSQL 17 on, by MAINTAIN.
OWNS = """
    SELECT pg_has_role(c.relowner, 'USAGE') OR pg_has_role(d.datdba, 'USAGE') AS allowed
    FROM pg_class c, pg_database d WHERE c.oid = $1::oid AND d.datname = current_database()
"""
MAINTAINS = "SELECT has_table_privilege($1::oid, 'MAINTAIN') AS allowed"
# Statistics only: bytes of the tables with their TOAST, and the numbers of rows in them that are there, and that are dead.
SPACE = """
    SELECT coalesce(sum(pg_table_size(each.oid)), 0)::bigint AS bytes, coalesce(sum(pg_stat_get_live_tuples(each.oid)), 0)::bigint AS live,
           coalesce(sum(pg_stat_get_dead_tuples(each.oid)), 0)::bigint AS dead
    FROM unnest($1::regclass[]) AS each(oid)
"""
# What autovacuum does by default, so that a manual VACUUM does not read and write as fast as the disk can.
GENTLE_VACUUM = "SET vacuum_cost_delay = '2ms'"
# No lock.
BACKEND_PID = "SELECT pg_backend_pid() AS pid"
# Catalog only. Rights on a partitioned table are enough for its leaves.
RIGHTS = """
    SELECT has_schema_privilege(c.relnamespace, 'USAGE') AS usage, has_table_privilege(c.oid, 'DELETE') AS delete,
           ARRAY(SELECT a.attname::text FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT')
                 ORDER BY a.attnum) AS hidden
    FROM pg_class c WHERE c.oid = $1::oid
"""
# Catalog only: the table and its leaves that the role may not drop.
NOT_OWNED = """
    SELECT c.oid::regclass::text AS relation
    FROM pg_class c
    WHERE (c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid))) AND NOT pg_has_role(c.relowner, 'USAGE')
    ORDER BY 1
"""
# Catalog only: the relations with rows that have no whole B-tree which begins with the column, with their sizes. Only a B-tree finds the
# first row of a range, and the rows of a day, without reading others.
LEAVES_WITHOUT_INDEX = """
    WITH family AS (SELECT relid FROM pg_partition_tree($1::oid) UNION SELECT $1::oid)
    SELECT n.nspname AS schema, c.relname AS name, pg_table_size(c.oid) AS bytes
    FROM pg_class c JOIN family f ON f.relid = c.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND NOT EXISTS (
        SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree' AND a.attname = $2
    )
    ORDER BY 1, 2
"""
# Catalog only: the publications that publish deletes of the table or a leaf, and the first relation without a replica identity.
PUBLICATIONS = """
    WITH family AS (
        SELECT c.oid, c.relkind, c.relreplident, n.nspname, c.relname
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid))
    )
    SELECT DISTINCT quote_ident(p.pubname) AS publication, (
        SELECT min(f.oid::regclass::text) FROM family f
        WHERE f.relkind = 'r' AND f.relreplident <> 'f' AND NOT EXISTS (
            SELECT FROM pg_index i
            WHERE i.indrelid = f.oid AND (f.relreplident = 'd' AND i.indisprimary OR f.relreplident = 'i' AND i.indisreplident)
        )) AS without_identity
    FROM pg_publication p JOIN pg_publication_tables t ON t.pubname = p.pubname
    JOIN family f ON f.nspname = t.schemaname AND f.relname = t.tablename
    WHERE p.pubdelete
    ORDER BY 1
"""


def quoted(name: str) -> str:
    """Return a name as SQL has to write it, for messages."""
    return sql.Identifier(name).as_string()


def set_option(name: str, value: str) -> sql.Composed:
    """Pin one setting, on a connection that cannot bind."""
    return sql.SQL("SELECT set_config({}, {}, false)").format(sql.Literal(name), sql.Literal(value))


def lock_table(relation: Relation) -> sql.Composed:
    """ACCESS SHARE, which only waits for, and only stops, statements that change the table itself. Takes no snapshot."""
    return sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(relation.identifier)


def lock_table_for_delete(relation: Relation) -> sql.Composed:
    """ROW EXCLUSIVE on the table and its leaves, as a DELETE takes it: nobody can alter or rename them, or add triggers or foreign keys."""
    return sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(relation.identifier)


def count_rows(days: Days) -> sql.Composed:
    """ACCESS SHARE. Wants an index that begins with the timestamp."""
    return sql.SQL("SELECT count(*) AS rows FROM {} AS t WHERE {}").format(days.relation.identifier, days.condition("t"))


def count_held(days: Days, held: Sequence[HeldRows]) -> sql.Composed:
    """Count the `rows` in range, those of them that are `held`, and those that each hold keeps, as `held0` and so on.

    ACCESS SHARE. Wants an index that begins with the timestamp.
    """
    fields = [sql.SQL("count(*) AS rows"), sql.SQL("count(*) FILTER (WHERE {}) AS held").format(any_held(held))] + [
        sql.SQL("count(*) FILTER (WHERE {}) AS {}").format(each.held("t"), sql.Identifier(f"held{number}"))
        for number, each in enumerate(held)
    ]
    return sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(sql.SQL(", ").join(fields), days.relation.identifier, days.condition("t"))


def first_row(days: Days, held: Sequence[HeldRows]) -> sql.Composed:
    """Return the smallest timestamp in range of a row that is not held.

    ACCESS SHARE; one probe of an index that begins with the timestamp, and reads on over rows that are held.
    """
    return sql.SQL("SELECT {column} AS first FROM {table} AS t WHERE {days} AND NOT {held} ORDER BY {column} LIMIT 1").format(
        column=sql.Identifier("t", days.column), table=days.relation.identifier, days=days.condition("t"), held=any_held(held)
    )


def try_held(relation: Relation, held: Sequence[HeldRows]) -> sql.Composed:
    """Let the server read holds, and do nothing: it names a value that is none of its type, or an operator that the type does not have.

    ACCESS SHARE; reads no row.
    """
    return sql.SQL("SELECT {} AS held FROM {} AS t LIMIT 0").format(any_held(held), relation.identifier)


def any_held(held: Sequence[HeldRows]) -> sql.Composed:
    """Return, as SQL that is never NULL, whether the row `t` is held by any of the holds."""
    return sql.SQL("({})").format(sql.SQL(" OR ").join([sql.SQL("false"), *(each.held("t") for each in held)]))


# Catalog only: the columns that PostgreSQL's own operators compare. For a type of an extension, whose operators lie outside the pinned
# search_path, those of another type could be taken: for citext those of text.
COMPARABLE_COLUMNS = """
    SELECT a.attname AS name
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
    JOIN pg_namespace n ON n.oid = coalesce(b.typnamespace, t.typnamespace)
    WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped AND (n.nspname = 'pg_catalog' OR t.typtype = 'e')
"""

# No lock. With row security off a query that it would filter is an error.
NO_ROW_SECURITY = "SET row_security = off"
NOW = "SELECT clock_timestamp() AS now"


def builtin(name: str) -> sql.Composable:
    """Return the name of a type of PostgreSQL's own, without length or precision, which a cast would cut values to."""
    return sql.Identifier("pg_catalog", name)


def select_holds(relation: Relation, columns: Sequence[str]) -> sql.Composed:
    """Read a table of holds: these columns, as text. ACCESS SHARE; reads it whole."""
    fields = sql.SQL(", ").join(sql.SQL("t.{0}::text AS {0}").format(sql.Identifier(name)) for name in columns)
    return sql.SQL("SELECT {} FROM {} AS t").format(fields, relation.identifier)


# No lock. What a visible transaction wrote to the WAL lies before the insert position that is read after the snapshot.
WAL_FLUSHED = "SELECT pg_current_wal_flush_lsn() >= $1::pg_lsn AS flushed"


def explain(days: Days) -> sql.Composed:
    """Plan to read the rows in range, and read none. ACCESS SHARE on the table and, for the plan, its leaves."""
    return sql.SQL("EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT FROM {} AS t WHERE {}").format(
        days.relation.identifier, days.condition("t")
    )


def vacuum(relations: Sequence[Relation]) -> sql.Composed:
    """SHARE UPDATE EXCLUSIVE, which stops no reader and no writer; a table on which another VACUUM is at work is skipped.

    TRUNCATE is off: giving the end of the file back takes ACCESS EXCLUSIVE, which on a standby ends its queries.
    """
    return sql.SQL("VACUUM (ANALYZE, SKIP_LOCKED, TRUNCATE false, PARALLEL 0) {}").format(_listed(relations))


def analyze(relations: Sequence[Relation]) -> sql.Composed:
    """SHARE UPDATE EXCLUSIVE, as `vacuum`."""
    return sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(_listed(relations))


def _listed(relations: Sequence[Relation]) -> sql.Composed:
    return sql.SQL(", ").join(relation.identifier for relation in relations)


def import_snapshot(snapshot_id: str) -> sql.Composed:
    """Let a transaction see what the exporting one sees. No lock."""
    return sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot_id))


def select_rows(days: Days, columns: Sequence[tuple[str, bool]], xmin: str) -> sql.Composed:
    """Read the rows in range: each column as it is, or, where its flag is set, as text; then `xmin` as a bigint.

    ACCESS SHARE. Wants an index that begins with the timestamp.
    """
    fields = [
        sql.SQL("{}::text AS {}" if as_text else "{} AS {}").format(sql.Identifier("t", name), sql.Identifier(name))
        for name, as_text in columns
    ]
    fields.append(sql.SQL("t.xmin::text::bigint AS {}").format(sql.Identifier(xmin)))
    return sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(sql.SQL(", ").join(fields), days.relation.identifier, days.condition("t"))


def count_without_day(relation: Relation, column: str) -> sql.Composed:
    """Count the rows whose timestamp is NULL or infinite: they are of no day. ACCESS SHARE. Wants an index on the timestamp."""
    return sql.SQL(
        "SELECT count(*) AS rows FROM {table} AS t WHERE {column} IS NULL OR {column} = 'infinity' OR {column} = '-infinity'"
    ).format(table=relation.identifier, column=sql.Identifier("t", column))


def compare_columns(days: Days, columns: Sequence[tuple[str, str | None]]) -> sql.Composed:
    """Count the rows in range and, of each column, those that are not null; and compare extremes with the bound values.

    `columns` gives names and types; a column without type has no extremes to compare, each other one takes two values: the least and the
    greatest. The answer has `rows`, and for the column at each position `present0`, and `same0` if it has extremes. ACCESS SHARE.
    """
    number = 1
    fields: list[sql.Composable] = [sql.SQL("count(*) AS rows")]
    for position, (name, pg_type) in enumerate(columns):
        column = sql.Identifier("t", name)
        fields.append(sql.SQL("count({}) AS {}").format(column, sql.Identifier(f"present{position}")))
        if pg_type is not None:
            least, greatest = (trusted(f"${number + offset}::text::{pg_type}") for offset in (0, 1))
            number += 2
            fields.append(
                sql.SQL("(min({column}) IS NOT DISTINCT FROM {least} AND max({column}) IS NOT DISTINCT FROM {greatest}) AS {name}").format(
                    column=column, least=least, greatest=greatest, name=sql.Identifier(f"same{position}")
                )
            )
    return sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(sql.SQL(", ").join(fields), days.relation.identifier, days.condition("t"))


def compare_rows(days: Days, key: Sequence[str], columns: Sequence[tuple[str, str]]) -> sql.Composed:
    """Compare whole rows, byte by byte, with the bound arrays: those of `columns` (names and types), then the xmins.

    The answer has `found`, the rows of the table in range with one of the keys and xmins, and for the column at each position the number
    of them in which it differs, as `differs0`. ACCESS SHARE. Needs the unique index on the key.
    """
    fields = [sql.SQL("count(*) AS found")] + [
        sql.SQL("count(*) FILTER (WHERE NOT ({})) AS {}").format(_same_image([column], [position]), sql.Identifier(f"differs{position}"))
        for position, column in enumerate(columns)
    ]
    return sql.SQL("SELECT {} FROM {} AS t JOIN {} ON {} AND t.xmin = given.stored_xmin WHERE {}").format(
        sql.SQL(", ").join(fields), days.relation.identifier, _given([*columns], xmin=True), _key(key, columns), days.condition("t")
    )


def delete_versions(days: Days, key: Sequence[tuple[str, str]], held: Sequence[HeldRows]) -> sql.Composed:
    """Delete the rows whose key and xmin are in the bound arrays, if still in range and not `held`; `key` gives names and types.

    The last array is that of the leaves (oid) in which a row version means what it meant when it was archived.

    ROW EXCLUSIVE, and a row lock on each row that it deletes. Needs the unique index on the key. In READ COMMITTED a row that another
    transaction changes while this statement waits for it is checked again, with its new xmin, and stays.
    """
    return sql.SQL("DELETE FROM {} AS t USING {} WHERE {} AND {} AND {} AND NOT {}").format(
        days.relation.identifier, _given(key, xmin=True), _same_key(key), _same_version(key), days.condition("t"), any_held(held)
    )


def delete_equal(days: Days, key: Sequence[str], columns: Sequence[tuple[str, str]], held: Sequence[HeldRows]) -> sql.Composed:
    """Delete the rows that are, byte by byte, those of the bound arrays, one array a column, and not `held`; `columns` gives names, types.

    Images, or PostgreSQL's text, are compared and not values, for which 1.0 equals 1.00 and 0 equals -0. Locks as `delete_versions`: a row
    that changes while this statement waits for it is compared again, and stays if it is another one now.
    """
    return sql.SQL("DELETE FROM {} AS t USING {} WHERE {} AND {} AND {} AND NOT {}").format(
        days.relation.identifier,
        _given(columns, xmin=False),
        _key(key, columns),
        _same_image(columns, range(len(columns))),
        days.condition("t"),
        any_held(held),
    )


def find_keys(days: Days, key: Sequence[tuple[str, str]], held: Sequence[HeldRows]) -> sql.Composed:
    """Of the keys and xmins in the bound arrays (the last is that of the leaves), find those of which the table has a row.

    The answer has a row for each: its `position` from 1, whether the row is the `same` version, whether it is `inside` the range, and
    whether it is `held`. ACCESS SHARE. Needs the unique index on the key.
    """
    return sql.SQL("SELECT given.position, {} AS same, {} AS inside, {} AS held FROM {} AS t JOIN {} ON {}").format(
        _same_version(key),
        days.condition("t"),
        any_held(held),
        days.relation.identifier,
        _given(key, xmin=True, ordinality=True),
        _same_key(key),
    )


def day_leaves(days: Days, pg_type: str, expired: datetime | date) -> sql.Composed:
    """Catalog only: the leaves of `$1`, by RANGE on its column `$2` alone, that lie inside the range or end at `expired` or before.

    Of leaves with both bounds finite, with these as text.
    """
    values = {"lower": days.lower, "upper": days.upper, "expired": expired}
    return sql.SQL(
        """
        SELECT * FROM (
            SELECT i.inhrelid::bigint AS oid, leaf.*, leaf.lower::{type} AS first,
                   leaf.lower::{type} >= {lower} AND leaf.upper::{type} <= {upper} AS inside, leaf.upper::{type} <= {expired} AS expired
            FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
                 JOIN pg_inherits i ON i.inhparent = p.partrelid, LATERAL ({leaf}) AS leaf
            WHERE p.partrelid = $1::oid AND p.partstrat = 'r' AND p.partnatts = 1 AND a.attname = $2::text
        ) AS leaves WHERE inside OR expired ORDER BY first
        """
    ).format(
        type=trusted(pg_type),
        leaf=trusted(LEAF_BOUNDS.replace("$1::oid", "i.inhrelid").replace("$2::oid", "p.partrelid")),
        **{name: sql.Literal(value) for name, value in values.items()},
    )


def lock_leaf(leaf: Relation) -> sql.Composed:
    """ACCESS EXCLUSIVE: nobody reads or writes the leaf, and whoever did has ended, so that what it holds is committed."""
    return sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(leaf.identifier)


def count_leaf(leaf: Relation) -> sql.Composed:
    """ACCESS SHARE."""
    return sql.SQL("SELECT count(*) AS rows FROM ONLY {}").format(leaf.identifier)


def first_of_leaf(leaf: Relation) -> sql.Composed:
    """ACCESS SHARE; one row, if there is any."""
    return sql.SQL("SELECT 1 FROM ONLY {} LIMIT 1").format(leaf.identifier)


def count_versions(days: Days, leaf: Relation, key: Sequence[tuple[str, str]]) -> sql.Composed:
    """Count the leaf's rows whose key and xmin are in the bound arrays, all different, as for `delete_versions`. ACCESS SHARE."""
    return sql.SQL("SELECT count(*) AS rows FROM ONLY {} AS t JOIN {} ON {} AND {} AND {}").format(
        leaf.identifier, _given(key, xmin=True), _same_key(key), _same_version(key), days.condition("t")
    )


def detach_leaf(relation: Relation, leaf: Relation) -> sql.Composed:
    """ACCESS EXCLUSIVE on the table too, for as long as the catalog is changed."""
    return sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(relation.identifier, leaf.identifier)


def drop_leaf(leaf: Relation) -> sql.Composed:
    """ACCESS EXCLUSIVE. Refused by the server while views or foreign keys depend on the leaf."""
    return sql.SQL("DROP TABLE {} RESTRICT").format(leaf.identifier)


def copy_in(relation: Relation, names: Sequence[str]) -> sql.Composed:
    """ROW EXCLUSIVE on the relation and the leaves that take the rows. Rules do not apply; triggers, defaults and constraints do."""
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(
        relation.identifier, sql.SQL(", ").join(map(sql.Identifier, names))
    )


# No table: to the end of the transaction nobody else creates a table for restored rows in this database.
LOCK_CREATION = "SELECT pg_advisory_xact_lock(hashtextextended('audit-archiver restore', 0))"


def create_table(relation: Relation, columns: Sequence[tuple[str, str, bool]], key: Sequence[str]) -> sql.Composed:
    """Create a table of `columns` (name, type, whether it is NOT NULL) with that primary key. The types are trusted."""
    lines = [
        sql.SQL("{} {}{}").format(sql.Identifier(name), trusted(pg_type), trusted(" NOT NULL" if not_null else ""))
        for name, pg_type, not_null in columns
    ]
    lines.append(sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(map(sql.Identifier, key))))
    return sql.SQL("CREATE TABLE {} ({})").format(relation.identifier, sql.SQL(", ").join(lines))


# Catalog only: columns into which rows are restored; `given` says whether a row brings its own value, and does not compute it.
DESTINATION_COLUMNS = """
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS pg_type, a.attnotnull AS not_null, a.attgenerated = '' AS given
    FROM pg_attribute a
    WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
# Catalog only: whether `$1` and `$2` are one table, or one of them is a leaf of the other.
RELATED = """
    SELECT EXISTS (SELECT FROM pg_partition_tree($1::oid) WHERE relid = $2::oid)
        OR EXISTS (SELECT FROM pg_partition_tree($2::oid) WHERE relid = $1::oid) OR $1::oid = $2::oid AS related
"""
# Catalog only: the triggers that an INSERT fires, as they were created; those of the leaves that come from their table go with it. Bits of
# tgtype: 4 is INSERT.
INSERT_TRIGGERS = """
    SELECT n.nspname AS schema, c.relname AS table, t.tgname AS name, t.tgenabled = 'A' AS always
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid)))
      AND NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled IN ('O', 'A') AND t.tgtype::int & 4 <> 0
    ORDER BY 1, 2, 3
"""
# Catalog only: the ascending sequences that number a column of the table, by identity or serial.
SEQUENCES = """
    SELECT a.attname AS column, n.nspname AS schema, c.relname AS name
    FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid JOIN pg_class c ON c.oid = s.seqrelid
         JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::oid
      AND d.deptype IN ('a', 'i') AND s.seqincrement > 0
    ORDER BY 1
"""


def advance_sequence(sequence: Relation) -> sql.Composed:
    """Let a sequence go on after `$1` if it has not come so far. Needs SELECT and UPDATE on it; a rollback does not take it back."""
    return sql.SQL("SELECT setval({}::regclass, $1::bigint) FROM {} AS s WHERE s.last_value < $1::bigint").format(
        sql.Literal(sequence.identifier.as_string()), sequence.identifier
    )


def switch_trigger(table: Relation, name: str, mode: str) -> sql.Composed:
    """`DISABLE`, `ENABLE` or `ENABLE ALWAYS` a trigger. SHARE ROW EXCLUSIVE: nobody else writes to the table. Needs ownership."""
    return sql.SQL("ALTER TABLE {} {} TRIGGER {}").format(table.identifier, trusted(mode), sql.Identifier(name))


# No lock of its own: deferred constraints are checked, and deferred triggers fire, now and no longer at the commit.
FIRE_DEFERRED = "SET CONSTRAINTS ALL IMMEDIATE"


def find_rows(relation: Relation, key: Sequence[str], columns: Sequence[tuple[str, str]]) -> sql.Composed:
    """Of the rows in the bound arrays, one array a column, find those whose key the relation has.

    The answer has a row for each: its `position` from 1, and whether the relation's row is the `same`, byte by byte. ACCESS SHARE. Needs
    the unique index on the key.
    """
    return sql.SQL("SELECT given.position, ({}) AS same FROM {} AS t JOIN {} ON {}").format(
        _same_image(columns, range(len(columns))), relation.identifier, _given(columns, xmin=False, ordinality=True), _key(key, columns)
    )


def delete_same(relation: Relation, key: Sequence[str], columns: Sequence[tuple[str, str]], held: Sequence[HeldRows]) -> sql.Composed:
    """Delete the rows that are, byte by byte, those of the bound arrays, and not `held`. Locks as `delete_equal`."""
    return sql.SQL("DELETE FROM {} AS t USING {} WHERE {} AND {} AND NOT {}").format(
        relation.identifier,
        _given(columns, xmin=False),
        _key(key, columns),
        _same_image(columns, range(len(columns))),
        any_held(held),
    )


PROOF = Relation("pg_temp", "archiver_proof")
# No lock but on the temporary table itself. It is dropped at once, and by a rollback.
ANALYZE_PROOF = "ANALYZE pg_temp.archiver_proof"
DROP_PROOF = "DROP TABLE pg_temp.archiver_proof"


def create_proof(columns: Sequence[tuple[str, str]]) -> sql.Composed:
    """Create the temporary table of that name for columns (names and types) of a table as it is. Needs TEMPORARY on the database."""
    fields = [sql.SQL("{} {}").format(sql.Identifier(name), trusted(pg_type)) for name, pg_type in columns]
    return sql.SQL("CREATE TEMPORARY TABLE {} ({})").format(sql.Identifier(PROOF.name), sql.SQL(", ").join(fields))


def compare_proof(days: Days, key: Sequence[str], columns: Sequence[tuple[str, str]], xmin: str) -> sql.Composed:
    """Compare, byte by byte, the rows in range with those of the temporary table that have their key and version.

    The answer has for the column at each position the number of rows in which it differs, as `differs0`. ACCESS SHARE. Wants an index that
    begins with the timestamp.
    """
    fields = [
        sql.SQL("count(*) FILTER (WHERE NOT ({})) AS {}").format(_same_stored(name, pg_type), sql.Identifier(f"differs{position}"))
        for position, (name, pg_type) in enumerate(columns)
    ]
    same_key = sql.SQL(" AND ").join(sql.SQL("t.{0} = given.{0}").format(sql.Identifier(name)) for name in key)
    return sql.SQL("SELECT {} FROM {} AS t JOIN {} AS given ON {} AND t.xmin::text::bigint = {} WHERE {}").format(
        sql.SQL(", ").join(fields),
        days.relation.identifier,
        PROOF.identifier,
        same_key,
        sql.Identifier("given", xmin),
        days.condition("t"),
    )


def _same_stored(name: str, pg_type: str) -> sql.Composed:
    same = (
        "t.{0}::text IS NOT DISTINCT FROM given.{0}::text" if _travels_as_text(pg_type) else "record_image_eq(ROW(t.{0}), ROW(given.{0}))"
    )
    return sql.SQL(same).format(sql.Identifier(name))


def _key(key: Sequence[str], columns: Sequence[tuple[str, str]]) -> sql.Composed:
    places = {name: (pg_type, position) for position, (name, pg_type) in enumerate(columns)}
    return _equal((name, *places[name]) for name in key)


def _given(columns: Sequence[tuple[str, str]], *, xmin: bool, ordinality: bool = False) -> sql.Composed:
    # Types come from the catalog's format_type, which quotes and qualifies them.
    types = [*("text" if _travels_as_text(pg_type) else pg_type for _, pg_type in columns), *(["xid"] if xmin else [])]
    arrays = [f"${number}::{pg_type}[]" for number, pg_type in enumerate(types, start=1)]
    names = [*(f"column{position}" for position in range(len(columns))), *(["stored_xmin"] if xmin else [])]
    names += ["position"] if ordinality else []
    return sql.SQL("unnest({}) {} AS given({})").format(
        sql.SQL(", ").join(trusted(array) for array in arrays),
        sql.SQL("WITH ORDINALITY" if ordinality else ""),
        sql.SQL(", ").join(map(sql.Identifier, names)),
    )


def _value(pg_type: str, position: int) -> sql.Composed:
    return sql.SQL("{}{}").format(
        sql.Identifier("given", f"column{position}"), trusted(f"::{pg_type}" if _travels_as_text(pg_type) else "")
    )


def _equal(columns: Iterable[tuple[str, str, int]]) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier("t", name), _value(pg_type, position)) for name, pg_type, position in columns
    )


def _same_key(key: Sequence[tuple[str, str]]) -> sql.Composed:
    return _equal((name, pg_type, position) for position, (name, pg_type) in enumerate(key))


def _same_image(columns: Sequence[tuple[str, str]], positions: Iterable[int]) -> sql.Composed:
    # What travels as text is compared as text, which a type whose text does not hold its value is refused for: an image of a composite
    # also changes when an attribute is added to its type.
    pairs = list(zip(columns, positions, strict=True))
    same: list[sql.Composable] = [
        sql.SQL("{}::text IS NOT DISTINCT FROM {}").format(sql.Identifier("t", name), sql.Identifier("given", f"column{position}"))
        for (name, pg_type), position in pairs
        if _travels_as_text(pg_type)
    ]
    plain = [(name, position) for (name, pg_type), position in pairs if not _travels_as_text(pg_type)]
    if plain:
        stored = sql.SQL(", ").join(sql.Identifier("t", name) for name, _ in plain)
        given = sql.SQL(", ").join(sql.Identifier("given", f"column{position}") for _, position in plain)
        # The function behind `*=`, which between two row constructors would be taken column by column.
        same.append(sql.SQL("record_image_eq(ROW({}), ROW({}))").format(stored, given))
    return sql.SQL(" AND ").join(same)


def _same_version(key: Sequence[tuple[str, str]]) -> sql.Composed:
    leaves = trusted(f"${len(key) + 2}")  # after the arrays of the keys and the one of the xmins
    return sql.SQL("(t.xmin = given.stored_xmin AND t.tableoid = ANY ({}::oid[]))").format(leaves)


def _travels_as_text(pg_type: str) -> bool:
    # Arrays of arrays would be flattened by unnest, arrays of composites spread into columns, and those of boxes are parted by semicolons.
    # Only types outside pg_catalog are written with their schema.
    return pg_type.endswith("[]") or "." in pg_type or pg_type == "box"


def trusted(text: str) -> sql.SQL:
    """Take text as SQL. Only for what the server itself has written and quoted, such as the names of types."""
    return sql.SQL(text)
