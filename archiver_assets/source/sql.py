"""All SQL that touches a configured table or the catalog, one function a statement.

What belongs here: composed statements (`psycopg.sql`), each commented with the lock it takes and the index it needs. What does not:
running them. Identifiers are always `sql.Identifier`. Values are bound as `$1`, for raw cursors, so that a `%` in a name means nothing;
the bounds of a range are literals, because they also stand in a COPY, which cannot bind.
"""

from collections.abc import Sequence
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


# Settings that every session of the archiver pins, so that a value's text is the same whatever role, database or server says.
# `client_connection_check_interval` makes the server notice a client that was killed in the middle of a long statement.
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
    "statement_timeout": "0",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "0",
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

# Catalog only.
IN_RECOVERY = "SELECT pg_is_in_recovery() AS in_recovery"

# A session-level advisory lock: no row, no table. Released by `UNLOCK_PARTITION` or by the end of the session, however it ends.
LOCK_PARTITION = "SELECT pg_try_advisory_lock($1) AS locked"
UNLOCK_PARTITION = "SELECT pg_advisory_unlock($1)"

# REPEATABLE READ: every statement after the first query sees one snapshot, which other sessions can import.
BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
EXPORT_SNAPSHOT = """
    SELECT pg_export_snapshot() AS id, pg_current_snapshot()::text AS snapshot, pg_current_wal_insert_lsn()::text AS lsn
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
# Keys that identify a row at every instant: unique, valid, immediate, without predicate or expression.
UNIQUE_KEYS = """
    SELECT array_agg(a.attname::text ORDER BY k.position) AS columns
    FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, position), pg_attribute a
    WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
      AND k.position <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.attnum
    GROUP BY i.indexrelid
"""
# Catalog only: what would make a DELETE do more, or less, than delete the rows it names, here or on a leaf. Bit 8 of tgtype is DELETE.
SIDE_EFFECTS = """
    WITH family AS (SELECT relid FROM pg_partition_tree($1::oid) UNION SELECT $1::oid)
    SELECT 'trigger ' || quote_ident(t.tgname) || ' on ' || t.tgrelid::regclass AS effect
    FROM pg_trigger t JOIN family f ON f.relid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype::int & 8 <> 0
    UNION
    SELECT 'rule ' || quote_ident(r.rulename) || ' on ' || r.ev_class::regclass
    FROM pg_rewrite r JOIN family f ON f.relid = r.ev_class
    WHERE r.ev_type = '4'
    UNION
    SELECT 'foreign key ' || quote_ident(c.conname) || ' of ' || c.conrelid::regclass
    FROM pg_constraint c JOIN family f ON f.relid = c.confrelid
    WHERE c.contype = 'f'
    UNION
    SELECT 'row-level security on ' || c.oid::regclass FROM pg_class c JOIN family f ON f.relid = c.oid
    WHERE row_security_active(c.oid)
    UNION
    SELECT 'inheritance child ' || i.inhrelid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
    WHERE i.inhparent = $1::oid AND c.relkind = 'r'
    ORDER BY 1
"""


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


def first_row(days: Days) -> sql.Composed:
    """Return the smallest timestamp in range. ACCESS SHARE; one probe of an index that begins with the timestamp."""
    return sql.SQL("SELECT {column} AS first FROM {table} AS t WHERE {days} ORDER BY {column} LIMIT 1").format(
        column=sql.Identifier("t", days.column), table=days.relation.identifier, days=days.condition("t")
    )


# No lock. What a visible transaction wrote to the WAL lies before the insert position that is read after the snapshot.
WAL_FLUSHED = "SELECT pg_current_wal_flush_lsn() >= $1::pg_lsn AS flushed"


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


def delete_versions(days: Days, key: Sequence[tuple[str, str]]) -> sql.Composed:
    """Delete the rows whose key and xmin are in the bound arrays, as far as they are still in range; `key` gives names and types.

    The last array is that of the leaves (oid) in which a row version means what it meant when it was archived.

    ROW EXCLUSIVE, and a row lock on each row that it deletes. Needs the unique index on the key. In READ COMMITTED a row that another
    transaction changes while this statement waits for it is checked again, with its new xmin, and stays.
    """
    return sql.SQL("DELETE FROM {} AS t USING {} WHERE {} AND {} AND {}").format(
        days.relation.identifier, _versions(key), _same_key(key), _same_version(key), days.condition("t")
    )


def count_versions(days: Days, key: Sequence[tuple[str, str]]) -> sql.Composed:
    """Of the keys and xmins in the bound arrays, count those that are in the table: as `same` or under another xmin as `changed`.

    ACCESS SHARE. Needs the unique index on the key.
    """
    counts = sql.SQL("count(*) FILTER (WHERE {same}) AS same, count(*) FILTER (WHERE NOT ({same})) AS changed")
    return sql.SQL("SELECT {} FROM {} AS t JOIN {} ON {}").format(
        counts.format(same=_same_version(key)), days.relation.identifier, _versions(key), _same_key(key)
    )


def _versions(key: Sequence[tuple[str, str]]) -> sql.Composed:
    # Types come from the catalog's format_type, which quotes and qualifies them. The last array is the one of the xmins.
    # unnest would flatten an array of arrays: keys that are arrays travel as text.
    types = [*("text" if _is_array(pg_type) else pg_type for _, pg_type in key), "xid"]
    arrays = [f"${number}::{pg_type}[]" for number, pg_type in enumerate(types, start=1)]
    names = [*(f"key{position}" for position in range(len(key))), "stored_xmin"]
    return sql.SQL("unnest({}) AS version({})").format(
        sql.SQL(", ").join(trusted(array) for array in arrays), sql.SQL(", ").join(map(sql.Identifier, names))
    )


def _same_key(key: Sequence[tuple[str, str]]) -> sql.Composed:
    pairs = [
        sql.SQL("{} = {}{}").format(
            sql.Identifier("t", name),
            sql.Identifier("version", f"key{position}"),
            trusted(f"::{pg_type}" if _is_array(pg_type) else ""),
        )
        for position, (name, pg_type) in enumerate(key)
    ]
    return sql.SQL(" AND ").join(pairs)


def _same_version(key: Sequence[tuple[str, str]]) -> sql.Composed:
    leaves = trusted(f"${len(key) + 2}")  # after the arrays of the keys and the one of the xmins
    return sql.SQL("t.xmin = version.stored_xmin AND t.tableoid = ANY ({}::oid[])").format(leaves)


def _is_array(pg_type: str) -> bool:
    return pg_type.endswith("[]")


def trusted(text: str) -> sql.SQL:
    """Take text as SQL. Only for what the server itself has written and quoted, such as the names of types."""
    return sql.SQL(text)
