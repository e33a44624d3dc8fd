"""SQL that detects a change of any catalog row behind a table's facts, without reading the facts again.

What belongs here: which rows these are, for the statements of `sql_catalog.FACTS`, and their xmins. What does not: the facts
(`sql_catalog.py`), and what follows from a change (`catalog_versions.py`).
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql

from archiver_assets.source.sql import trusted
from archiver_assets.source.sql_catalog import INNER_TYPES

# Catalog only: the objects that these rows belong to, as lists of oids. `family` is the table `$1` and everything below it; `types` are
# those of its columns and all types inside them, as `part` in `sql_catalog.COLUMNS`; then the relations of composite types, the input and
# output functions of the types, and the schemas of all.
ROOTS = (
    """
    WITH RECURSIVE family AS (SELECT relid::oid AS oid FROM pg_partition_tree($1::oid) UNION SELECT $1::oid),
    part AS (
        SELECT a.atttypid AS oid FROM pg_attribute a WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
        UNION
"""  # noqa: S608 -- both are constants
    + INNER_TYPES
    + """
    ),
    types AS (SELECT t.* FROM pg_type t JOIN part ON part.oid = t.oid)
    SELECT ARRAY(SELECT oid FROM family ORDER BY 1)::text AS family,
           ARRAY(SELECT oid FROM types ORDER BY 1)::text AS types,
           ARRAY(SELECT typrelid FROM types WHERE typrelid <> 0 ORDER BY 1)::text AS composites,
           ARRAY(SELECT typinput::oid FROM types UNION SELECT typoutput::oid FROM types ORDER BY 1)::text AS functions,
           ARRAY(SELECT typnamespace FROM types
                 UNION SELECT c.relnamespace FROM pg_class c JOIN family f ON f.oid = c.oid ORDER BY 1)::text AS schemas
"""
)

ROWS: Sequence[tuple[LiteralString, LiteralString, LiteralString]] = (
    ("pg_namespace", "oid", "schemas"),
    ("pg_class", "oid", "family"),
    ("pg_attribute", "attrelid", "family"),
    ("pg_attribute", "attrelid", "composites"),
    ("pg_attrdef", "adrelid", "family"),
    ("pg_type", "oid", "types"),
    ("pg_enum", "enumtypid", "types"),
    ("pg_range", "rngtypid", "types"),
    ("pg_range", "rngmultitypid", "types"),
    ("pg_cast", "castsource", "types"),
    ("pg_proc", "oid", "functions"),
    ("pg_inherits", "inhparent", "family"),
    ("pg_index", "indrelid", "family"),
    ("pg_trigger", "tgrelid", "family"),
    ("pg_rewrite", "ev_class", "family"),
    ("pg_constraint", "confrelid", "family"),
)
"""A catalog, its column, and the roots that this column holds: the rows that facts are read from."""

# Facts that no row's xmin covers: expressions are written with the current names of what they refer to, and row-level security depends on
# the role and its memberships.
_EXPRESSIONS = """
    SELECT string_agg(pg_get_expr(d.adbin, d.adrelid), ',' ORDER BY d.adrelid, d.adnum)
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE d.adrelid = ANY ({family}::oid[]) AND a.attgenerated <> ''
"""
_ROW_SECURITY = "SELECT string_agg(row_security_active(f.oid)::text, ',') FROM unnest({family}::oid[]) AS f(oid)"


def versions(roots: dict[str, str]) -> sql.SQL:
    """Catalog only: the xmins of all `ROWS`, as one text; `roots` is the result of `ROOTS`. Has no parameters, to be planned once.

    A change gives a row a new xmin, a new row brings an xmin that nothing visible had before, and a deleted row takes its xmin away: equal
    texts mean equal rows. The server changes only statistics in place.
    """
    parts = [
        sql.SQL("(SELECT string_agg(xmin::text, ',') FROM {} WHERE {} = ANY ({}::oid[]))").format(
            sql.Identifier("pg_catalog", catalog), sql.Identifier(column), sql.Literal(roots[root])
        )
        for catalog, column, root in ROWS
    ]
    parts += [sql.SQL("({})").format(sql.SQL(each).format(family=sql.Literal(roots["family"]))) for each in (_EXPRESSIONS, _ROW_SECURITY)]
    return trusted(sql.SQL("SELECT ARRAY[{}]::text AS versions").format(sql.SQL(", ").join(parts)).as_string())
