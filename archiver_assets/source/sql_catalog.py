"""SQL that reads only the catalog and statistics: what a table is, who may do what with it, and what depends on it.

What belongs here, and how it is written: as in `sql.py`.
"""

from datetime import date, datetime
from functools import lru_cache

from psycopg import sql

from archiver_assets.source.sql import Days, Relation, trusted

# Catalog only. The caller holds ACCESS SHARE on the table, so that the result stays true.
RELATION = """
    SELECT c.oid::bigint AS oid, c.relkind::text AS kind, c.relpersistence::text AS persistence
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2
"""

# Catalog only: the step of a recursive CTE `part`, of types' oids, to the types inside them: elements, base types of domains, attributes,
# subtypes of ranges.
INNER_TYPES = """
    SELECT inner_type.oid
    FROM part CROSS JOIN LATERAL (SELECT * FROM pg_type WHERE oid = part.oid OFFSET 0) AS p CROSS JOIN LATERAL (
        VALUES (p.typelem), (p.typbasetype)
        UNION ALL
        SELECT m.atttypid FROM pg_attribute m WHERE m.attrelid = p.typrelid AND m.attnum > 0 AND NOT m.attisdropped
        UNION ALL
        SELECT r.rngsubtype FROM pg_range r WHERE p.oid IN (r.rngtypid, r.rngmultitypid)
    ) AS inner_type(oid) WHERE inner_type.oid <> 0
"""

# `part` is the type and all types inside it: elements, base types of domains, attributes, subtypes of ranges. Labels of enums and
# attributes of composites, at any depth, decide how a stored value reads. `base` is the type and the chain of its base types. A cast to
# text that a type defines may lose the value, unless the cast has no function and the type has the input and output functions of text
# (citext); 12 is the language `internal`. The server cannot read text back for the `unreadable` types, of statistics and of index keys.
# OFFSET 0 keeps the planner from reading all of pg_type for each column, which took 3 ms for 15 columns.
COLUMNS = (
    """
    SELECT a.attname AS name, a.attnum::int AS number, a.attnotnull AS not_null,
           format_type(a.atttypid, a.atttypmod) AS pg_type,
           CASE WHEN n.nspname = 'pg_catalog' THEN t.typname ELSE '' END AS builtin_type,
           concat_ws(' ', CASE WHEN a.attgenerated <> '' THEN
               (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END,
               (SELECT string_agg(e.oid || '=' || quote_literal(e.enumlabel), ',' ORDER BY e.oid)
                FROM pg_enum e WHERE e.enumtypid = ANY (made.parts)),
               (SELECT string_agg(m.attnum || ' ' || quote_ident(m.attname) || ' ' || m.atttypid, ',' ORDER BY m.attrelid, m.attnum)
                FROM pg_type c JOIN pg_attribute m ON m.attrelid = c.typrelid
                WHERE c.oid = ANY (made.parts) AND c.typrelid <> 0 AND m.attnum > 0 AND NOT m.attisdropped)
           ) AS meaning,
           (t.typtype = 'd' AND t.typoutput = 'bpcharout'::regproc) OR EXISTS (
               WITH RECURSIVE base AS (
                   SELECT t.oid, t.typbasetype
                   UNION
                   SELECT b.oid, b.typbasetype
                   FROM base CROSS JOIN LATERAL (SELECT * FROM pg_type WHERE oid = base.typbasetype OFFSET 0) AS b
               )
               SELECT FROM base JOIN pg_cast k ON k.castsource = base.oid JOIN pg_type s ON s.oid = base.oid
                   JOIN pg_proc i ON i.oid = s.typinput JOIN pg_proc o ON o.oid = s.typoutput
               WHERE k.casttarget = 'text'::regtype AND k.castmethod <> 'i' AND k.oid >= 16384
                   AND (k.castmethod, i.prolang, i.prosrc, o.prolang, o.prosrc) <> ('b', 12, 'textin', 12, 'textout')
           ) AS text_is_lossy,
           EXISTS (
               SELECT FROM pg_type u JOIN pg_proc i ON i.oid = u.typinput
               WHERE u.oid = ANY (made.parts) AND i.prosrc IN (
                   'pg_node_tree_in', 'pg_ndistinct_in', 'pg_dependencies_in', 'pg_mcv_list_in', 'brin_bloom_summary_in',
                   'brin_minmax_multi_summary_in', 'gtsvectorin', 'gbtreekey_in', 'ghstore_in', '_intbig_in', 'ltree_gist_in', 'gtrgm_in')
           ) AS unreadable
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace
        CROSS JOIN LATERAL (
            WITH RECURSIVE part AS (
                SELECT t.oid
                UNION
"""  # noqa: S608 -- both are constants
    + INNER_TYPES
    + """
            )
            SELECT array_agg(part.oid) AS parts FROM part
        ) AS made
    WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
)

# Catalog only: the relations that hold the rows, the table itself or its leaves, each with a digest of its columns and their numbers. A
# column number is never used again, so a column that was dropped and added again has another number.
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

# Catalog only: a leaf directly below a table, and its bounds if both are finite, as text under the pinned settings.
LEAF_BOUNDS = """
    SELECT n.nspname AS schema, c.relname AS name, bounds[1] AS lower, bounds[2] AS upper
    FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
         regexp_match(pg_get_expr(c.relpartbound, c.oid), $$^FOR VALUES FROM \\('([^']+)'\\) TO \\('([^']+)'\\)$$ || '$') AS bounds
    WHERE c.oid = $1::oid AND h.inhparent = $2::oid AND c.relkind = 'r' AND NOT h.inhdetachpending
"""

# Catalog only: leaves that are not ordinary, permanent tables.
WRONG_LEAVES = """
    SELECT c.oid::regclass::text AS leaf, CASE c.relkind WHEN 'f' THEN 'a foreign table' ELSE 'an unlogged or temporary table' END AS kind
    FROM pg_partition_tree($1::oid) t JOIN pg_class c ON c.oid = t.relid
    WHERE t.isleaf AND c.oid <> $1::oid AND (c.relkind = 'f' OR c.relkind = 'r' AND c.relpersistence <> 'p')
    ORDER BY 1
"""

# Catalog only: the keys that identify a row at every instant: unique, valid, immediate, without predicate or expression.
UNIQUE_KEYS = """
    SELECT array_agg(a.attname::text ORDER BY k.position) AS columns
    FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, position), pg_attribute a
    WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
      AND k.position <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.attnum
    GROUP BY i.indexrelid
"""

# Catalog only: what would make a DELETE do more, or less, than delete the rows it names, on the table or on a leaf. Bits of tgtype: 2 is
# BEFORE, 8 DELETE, 64 INSTEAD OF. Of the actions of a foreign key, a and r only refuse a delete; the others change the referencing rows.
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


FACTS = {"columns": COLUMNS, "leaves": LEAVES, "wrong_leaves": WRONG_LEAVES, "unique_keys": UNIQUE_KEYS, "side_effects": SIDE_EFFECTS}
"""The statements that read a table's facts, by name."""


@lru_cache(maxsize=8)
def facts(relation: Relation) -> sql.SQL:
    """Catalog only: RELATION, and all `FACTS` of the relation it finds, as the text of one JSON object. Composed once for many batches.

    Has no parameters, so that a prepared statement is planned once: planning takes longer than reading.
    """
    found = sql.SQL(RELATION.replace("$1", "{schema}").replace("$2", "{name}")).format(
        schema=sql.Literal(relation.schema), name=sql.Literal(relation.name)
    )
    parts = [
        sql.SQL("{}, (SELECT coalesce(json_agg(part), '[]') FROM ({}) AS part)").format(
            sql.Literal(name), trusted(statement.replace("$1::oid", "(SELECT oid::oid FROM relation)"))
        )
        for name, statement in FACTS.items()
    ]
    composed = sql.SQL(
        "WITH relation AS ({}) SELECT json_build_object('relation', (SELECT to_json(relation) FROM relation), {})::text AS facts"
    ).format(found, sql.SQL(", ").join(parts))
    return trusted(composed.as_string())


# Catalog only: the relations with rows (the table or its leaves) that the role may not VACUUM and ANALYZE, as their owner or the owner of
# the database; `usage` is whether the role may use their schema. Rights on a partitioned table do not cover its leaves here.
NOT_MAINTAINED_AS_OWNER = """
    SELECT n.nspname AS schema, c.relname AS name, has_schema_privilege(n.oid, 'USAGE') AS usage
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_database d ON d.datname = current_database()
    WHERE (c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid))) AND c.relkind = 'r'
      AND NOT (has_schema_privilege(n.oid, 'USAGE') AND (pg_has_role(c.relowner, 'USAGE') OR pg_has_role(d.datdba, 'USAGE')))
    ORDER BY 1, 2
"""
# The same from PostgreSQL 17, where MAINTAIN is enough. Earlier servers do not know this right.
NOT_MAINTAINED = NOT_MAINTAINED_AS_OWNER.replace(
    "pg_has_role(d.datdba, 'USAGE')", "pg_has_role(d.datdba, 'USAGE') OR has_table_privilege(c.oid, 'MAINTAIN')"
)

# Statistics only: bytes of the tables with their TOAST, and the numbers of their live and dead rows.
SPACE = """
    SELECT coalesce(sum(pg_table_size(each.oid)), 0)::bigint AS bytes, coalesce(sum(pg_stat_get_live_tuples(each.oid)), 0)::bigint AS live,
           coalesce(sum(pg_stat_get_dead_tuples(each.oid)), 0)::bigint AS dead
    FROM unnest($1::regclass[]) AS each(oid)
"""

# Catalog only. Rights on a partitioned table cover its leaves. `schemas` are those that the role may not use, of the table and of its
# columns' types, which comparisons name. Rights on all columns do not include xmin.
RIGHTS = """
    SELECT has_table_privilege(c.oid, 'SELECT') AS select, has_table_privilege(c.oid, 'DELETE') AS delete,
           ARRAY(SELECT n.nspname::text FROM pg_namespace n
                 WHERE NOT has_schema_privilege(n.oid, 'USAGE') AND (n.oid = c.relnamespace OR n.oid IN (
                     SELECT t.typnamespace FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
                 ORDER BY 1) AS schemas,
           ARRAY(SELECT a.attname::text FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT')
                 ORDER BY a.attnum) AS hidden
    FROM pg_class c WHERE c.oid = $1::oid
"""

# Catalog only: the relations, the table and its leaves, that the role may not drop.
NOT_OWNED = """
    SELECT c.oid::regclass::text AS relation, pg_get_userbyid(c.relowner) AS owner
    FROM pg_class c
    WHERE (c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid))) AND NOT pg_has_role(c.relowner, 'USAGE')
    ORDER BY 1
"""

# Catalog only: the schemas of leaves that the role may not use.
UNUSABLE_LEAVES = """
    SELECT DISTINCT n.nspname AS schema
    FROM pg_partition_tree($1::oid) p JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE p.isleaf AND NOT has_schema_privilege(n.oid, 'USAGE')
    ORDER BY 1
"""

# Catalog only: the relations with rows that have no non-partial B-tree beginning with the column, and their sizes. Only a B-tree finds the
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

# Catalog only: the clock, the table, and the type of its timestamp, $3. Returns no row where the first row of a range might mislead: on a
# standby or an old server, for another kind of relation, one with leaves of another kind or with children, or under row-level security.
GLANCE = """
    SELECT now() AS now, c.oid::bigint AS oid, t.typname AS builtin_type
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $3 AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type t ON t.oid = a.atttypid
    WHERE n.nspname = $1 AND c.relname = $2 AND t.oid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
      AND (c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)
           OR c.relkind = 'p' AND NOT EXISTS (
               SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf AND l.relkind <> 'r'))
      AND NOT row_security_active(c.oid) AND NOT pg_is_in_recovery()
      AND current_setting('server_version_num')::int >= 140000 AND current_setting('server_encoding') <> 'SQL_ASCII'
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


# Catalog only: the columns that PostgreSQL's own operators compare. The operators of an extension's type lie outside the pinned
# search_path, so those of another type could be used instead: those of text for citext.
COMPARABLE_COLUMNS = """
    SELECT a.attname AS name
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
    JOIN pg_namespace n ON n.oid = coalesce(b.typnamespace, t.typnamespace)
    WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped AND (n.nspname = 'pg_catalog' OR t.typtype = 'e')
"""


def day_leaves(days: Days, pg_type: str, expired: datetime | date) -> sql.Composed:
    """Catalog only: the leaves of `$1`, by RANGE on its column `$2` alone, that lie inside the range or end at or before `expired`.

    Only leaves with two finite bounds, which are returned as text.
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


# Catalog only: the columns that rows are restored into; `given` is false for a column that the server computes.
DESTINATION_COLUMNS = """
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS pg_type, a.attnotnull AS not_null, a.attgenerated = '' AS given
    FROM pg_attribute a
    WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""

# Catalog only: whether `$1` and `$2` are the same table, or one of them is a leaf of the other.
RELATED = """
    SELECT EXISTS (SELECT FROM pg_partition_tree($1::oid) WHERE relid = $2::oid)
        OR EXISTS (SELECT FROM pg_partition_tree($2::oid) WHERE relid = $1::oid) OR $1::oid = $2::oid AS related
"""

# Catalog only: the triggers that an INSERT fires, on the table and on each leaf: a leaf's trigger can be enabled while its table's is
# disabled, and vice versa. Bits of tgtype: 4 is INSERT.
INSERT_TRIGGERS = """
    SELECT n.nspname AS schema, c.relname AS table, t.tgname AS name, t.tgenabled = 'A' AS always
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid)))
      AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype::int & 4 <> 0
    ORDER BY 1, 2, 3
"""

# Catalog only: the ascending sequences that number a column of the table, by identity or serial.
SEQUENCES = """
    SELECT a.attname AS column, n.nspname AS schema, c.relname AS name, s.seqmax AS greatest
    FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid JOIN pg_class c ON c.oid = s.seqrelid
         JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::oid
      AND d.deptype IN ('a', 'i') AND s.seqincrement > 0
    ORDER BY 1
"""

# Catalog only: the definition of each type in the bound array (as `format_type` writes it), down to PostgreSQL's own types, the same on
# every server; NULL for a type that does not exist. Oids differ between servers, and so would an order by another collation.
TYPE_DEFINITIONS = """
    WITH RECURSIVE parts AS (
        SELECT given.name, to_regtype(given.name)::oid AS oid FROM unnest($1::text[]) AS given(name)
        UNION
        SELECT parts.name, part.oid
        FROM parts JOIN pg_type t ON t.oid = parts.oid CROSS JOIN LATERAL (
            SELECT t.typelem
            UNION ALL SELECT t.typbasetype
            UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
            UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) AS part(oid)
        WHERE part.oid <> 0
    )
    SELECT parts.name, string_agg(concat_ws(' ', format_type(t.oid, NULL), t.typtype, t.typlen,
               CASE WHEN t.typbasetype <> 0 THEN format_type(t.typbasetype, t.typtypmod) END,
               (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
               (SELECT string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ',' ORDER BY a.attnum)
                FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
           ), '; ' ORDER BY format_type(t.oid, NULL) COLLATE "C") FILTER (WHERE t.oid IS NOT NULL) AS definition
    FROM parts LEFT JOIN pg_type t ON t.oid = parts.oid
    GROUP BY parts.name
"""
