"""SQL for reports about tables: which there are, how large they are, and about how many rows a range has.

What belongs here, and how it is written: as in `sql.py`.
"""

from psycopg import sql

from archiver_assets.source.sql import Days, Relation

# Statistics only: bytes of the table with its TOAST, and of its indexes, leaves included; and the rows that VACUUM or ANALYZE last counted,
# or, where neither has run, the live rows of the statistics.
SIZE = """
    WITH family AS (SELECT relid FROM pg_partition_tree($1::oid) WHERE isleaf UNION SELECT $1::oid)
    SELECT coalesce(sum(pg_table_size(c.oid)), 0)::bigint AS table_bytes, coalesce(sum(pg_indexes_size(c.oid)), 0)::bigint AS index_bytes,
           coalesce(sum(CASE WHEN c.reltuples > 0 THEN c.reltuples ELSE pg_stat_get_live_tuples(c.oid) END), 0)::bigint AS rows
    FROM pg_class c JOIN family f ON f.relid = c.oid
    WHERE c.relkind = 'r'
"""

# Catalog and statistics only: every user table that is not a leaf, with its size and activity. For each: the key (the primary key, else the
# shortest unique index on NOT NULL columns), the timestamp and date columns, and which of them a non-partial B-tree begins with, on all
# leaves of a partitioned table.
CANDIDATES = """
    SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind = 'p' AS partitioned,
           size.bytes, size.rows, size.inserted, size.changed, size.deleted,
           coalesce(has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'), false) AS readable,
           coalesce((
               SELECT key.columns FROM (
                   SELECT i.indisprimary, array_agg(a.attname::text ORDER BY k.position) AS columns, bool_and(a.attnotnull) AS not_null
                   FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, position), pg_attribute a
                   WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
                     AND i.indexprs IS NULL AND k.position <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.attnum
                   GROUP BY i.indexrelid, i.indisprimary
               ) AS key
               WHERE key.not_null ORDER BY key.indisprimary DESC, cardinality(key.columns), key.columns LIMIT 1
           ), '{}') AS key,
           (
               SELECT coalesce(json_agg(json_build_object(
                   'name', a.attname, 'pg_type', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull, 'indexed', EXISTS (
                       SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
                       WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree' AND i.indkey[0] = a.attnum)
               ) ORDER BY a.attnum), '[]')
               FROM pg_attribute a
               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                 AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
           ) AS times
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL (
        SELECT coalesce(sum(pg_table_size(r.oid)), 0)::bigint AS bytes,
               coalesce(sum(CASE WHEN r.reltuples > 0 THEN r.reltuples ELSE pg_stat_get_live_tuples(r.oid) END), 0)::bigint AS rows,
               coalesce(sum(pg_stat_get_tuples_inserted(r.oid)), 0)::bigint AS inserted,
               coalesce(sum(pg_stat_get_tuples_updated(r.oid)), 0)::bigint AS changed,
               coalesce(sum(pg_stat_get_tuples_deleted(r.oid)), 0)::bigint AS deleted
        FROM pg_class r
        WHERE r.relkind = 'r' AND (r.oid = c.oid OR r.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))
    ) AS size
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY size.bytes DESC, 2, 3
"""

# Catalog only: whether the role may create a temporary table in this database, as `verification: restore` does.
TEMPORARY = "SELECT has_database_privilege(current_database(), 'TEMPORARY') AS allowed"


def oldest_day(relation: Relation, column: str) -> sql.Composed:
    """Return the `day` of the smallest finite time in a column, as text. ACCESS SHARE. Uses an index that begins with the column."""
    return sql.SQL("SELECT (SELECT {0} FROM {1} AS t WHERE {0} > '-infinity' ORDER BY {0} LIMIT 1)::date::text AS day").format(
        sql.Identifier("t", column), relation.identifier
    )


def estimate(days: Days) -> sql.Composed:
    """Plan a read of the rows in range, without reading any, for the planner's row count. ACCESS SHARE, leaves included."""
    return sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {} AS t WHERE {}").format(days.relation.identifier, days.condition("t"))
