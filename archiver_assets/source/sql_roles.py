"""SQL for an administrator: it creates the archiver's role and grants its rights. The archiver itself never runs it.

What belongs here: single statements as text, each of which can be run again. What does not: which of them a config needs (`roles.py`).

DO blocks ask the server for what the config does not state: schemas of types, leaves, owners, the server's version. Plain statements change
only the catalog, and lock no table against readers or writers. Needs a superuser, or an owner who may create the role.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from archiver_assets.source.sql import Relation, trusted

MAINTAIN_VERSION = 170_000
_SET_VERSION = 160_000
"""The first PostgreSQL version in which a membership can be granted without the right to SET ROLE."""

_MANY = 4


@dataclass(frozen=True)
class Need:
    """A right on one object: `kind` is database, schema or table, and `name` is as the server's `has_..._privilege` takes it."""

    kind: Literal["database", "schema", "table"]
    right: str
    name: str


BEGIN = "BEGIN;\nSET LOCAL search_path = pg_catalog, pg_temp;\nSET LOCAL client_encoding = 'UTF8';"
COMMIT = "COMMIT;"


def comment(text: str) -> str:
    """Return text as a comment of one line: each unprintable character, such as a line end, becomes a question mark."""
    return "-- " + "".join(each if each.isprintable() else "?" for each in text)


def _written(statement: sql.Composed) -> str:
    return f"{statement.as_string()};"


def _block(body: sql.Composed) -> str:
    """Return a DO statement, quoted with a tag that its body does not contain."""
    text, quote, number = body.as_string().strip("\n"), "$archiver$", 0
    while quote in text:
        number += 1
        quote = f"$archiver{number}$"
    return f"DO {quote}\n{text}\n{quote};"


def _tables(relations: Sequence[Relation]) -> sql.Composed:
    """Return an array of tables; the server raises an error for one that does not exist."""
    names = _listed([sql.Literal(relation.identifier.as_string()) for relation in relations])
    return sql.SQL("ARRAY[{}]::regclass[]").format(names)


def _listed(names: Sequence[sql.Composable]) -> sql.Composed:
    """Return names on one line, or, from four names on, each on its own line."""
    return sql.SQL(", " if len(names) < _MANY else ",\n    ").join(names)


def require_database(name: str) -> str:
    """Raise an error, which ends the transaction, unless the session is in this database."""
    return _block(
        sql.SQL("""
BEGIN
    IF current_database() <> {name} THEN
        RAISE EXCEPTION 'expected a session in the database %, found one in %', {name}, current_database()
            USING HINT = 'connect to that database (psql --dbname), and run this again; nothing was changed';
    END IF;
END
""").format(name=sql.Literal(name))
    )


def create_role(role: str) -> str:
    """Create a role that may log in and nothing else, or let an existing one log in and use its memberships.

    An existing role that may do more than any right granted here is refused, and left unchanged: it may be somebody else's.
    """
    return _block(
        sql.SQL("""
DECLARE
    known record;
BEGIN
    SELECT * INTO known FROM pg_roles WHERE rolname = {name};
    IF NOT FOUND THEN
        CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    ELSIF known.rolsuper OR known.rolcreatedb OR known.rolcreaterole OR known.rolreplication OR known.rolbypassrls
        OR EXISTS (SELECT FROM pg_roles s WHERE s.rolsuper AND pg_has_role(known.oid, s.oid, 'MEMBER')) THEN
        RAISE EXCEPTION 'the role % is a superuser, a member of one, or may create databases or roles, replicate, or bypass row security',
            {name} USING HINT = 'set a dedicated role as user in the config, or ALTER ROLE this one; nothing was changed';
    ELSIF NOT known.rolcanlogin OR NOT known.rolinherit THEN
        ALTER ROLE {role} LOGIN INHERIT;
    END IF;
END
""").format(name=sql.Literal(role), role=sql.Identifier(role))
    )


def grant_membership(of: str, role: str) -> str:
    """Make the role a member of another one."""
    return _written(sql.SQL("GRANT {} TO {}").format(sql.Identifier(of), sql.Identifier(role)))


def grant_on_database(right: str, database: str, role: str) -> str:
    """Grant `CONNECT` or `TEMPORARY` on a database."""
    return _written(sql.SQL("GRANT {} ON DATABASE {} TO {}").format(trusted(right), sql.Identifier(database), sql.Identifier(role)))


def grant_on_schemas(right: str, schemas: Sequence[str], role: str) -> str:
    """Grant `USAGE` or `CREATE` on schemas."""
    names = _listed([sql.Identifier(schema) for schema in schemas])
    return _written(sql.SQL("GRANT {} ON SCHEMA {} TO {}").format(trusted(right), names, sql.Identifier(role)))


def grant_on_tables(rights: str, relations: Sequence[Relation], role: str) -> str:
    """Grant rights on tables; on a partitioned table they also cover its leaves."""
    names = _listed([relation.identifier for relation in relations])
    return _written(sql.SQL("GRANT {} ON TABLE {} TO {}").format(trusted(rights), names, sql.Identifier(role)))


def require_rights(role: str, needs: Sequence[Need]) -> str:
    """Raise an error, which ends the transaction, for rights that the session may not grant: a GRANT only warns about them."""
    rows = [sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, (each.kind, each.right, each.name)))) for each in needs]
    return _block(
        sql.SQL("""
DECLARE
    lacking text;
BEGIN
    SELECT string_agg(format('%s on %s %s', need.privilege, need.kind, need.name), ', ') INTO lacking
    FROM (VALUES
    {rows}) AS need(kind, privilege, name)
    WHERE NOT CASE need.kind
        WHEN 'database' THEN has_database_privilege({role}, need.name, need.privilege)
        WHEN 'schema' THEN has_schema_privilege({role}, need.name, need.privilege)
        ELSE has_table_privilege({role}, need.name, need.privilege) END;
    IF lacking IS NOT NULL THEN
        RAISE EXCEPTION 'expected a role that may grant these rights, found that it may not grant %', lacking
            USING HINT = 'run it as a superuser, or as a member of the owners; nothing was changed';
    END IF;
END
""").format(rows=sql.SQL(",\n    ").join(rows), role=sql.Literal(role))
    )


def grant_statistics(role: str) -> str:
    """Let the role see the statistics of all sessions, including those of replicas.

    A session that may only grant pg_monitor, as on some managed servers, grants that instead; pg_monitor includes this right.
    """
    return _block(
        sql.SQL("""
BEGIN
    GRANT pg_read_all_stats TO {role};
EXCEPTION WHEN insufficient_privilege THEN
    GRANT pg_monitor TO {role};
END
""").format(role=sql.Identifier(role))
    )


_GRANT_USAGE = """
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT DISTINCT n.nspname AS schema
        {source}
        WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
            AND {condition}
        ORDER BY 1
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', found.schema, {role});
        IF NOT has_schema_privilege({role}, found.schema, 'USAGE') THEN
            RAISE EXCEPTION 'expected a role that may grant USAGE on schema %, found that it may not', found.schema
                USING HINT = 'run it as a superuser, or as a member of the owners; nothing was changed';
        END IF;
    END LOOP;
END
"""


def grant_usage_of_types(relations: Sequence[Relation], role: str) -> str:
    """Let the role name the types of the tables' columns, wherever they are."""
    source = "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace"
    condition = sql.SQL("a.attrelid = ANY ({}) AND a.attnum > 0 AND NOT a.attisdropped").format(_tables(relations))
    return _block(sql.SQL(_GRANT_USAGE).format(source=trusted(source), condition=condition, role=sql.Literal(role)))


def grant_usage_of_all_types(role: str) -> str:
    """Let the role name all types of this database, except those of the system and of tables."""
    source = "FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid"
    condition = "n.nspname !~ '^pg_' AND t.typcategory <> 'A' AND (c.oid IS NULL OR c.relkind = 'c')"
    return _block(sql.SQL(_GRANT_USAGE).format(source=trusted(source), condition=trusted(condition), role=sql.Literal(role)))


def grant_usage_of_leaves(relations: Sequence[Relation], role: str) -> str:
    """Let the role name the leaves of partitioned tables, wherever they are."""
    source = sql.SQL(
        "FROM unnest({}) AS named(oid) CROSS JOIN LATERAL pg_partition_tree(named.oid) AS p\n"
        "            JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace"
    ).format(_tables(relations))
    return _block(sql.SQL(_GRANT_USAGE).format(source=source, condition=sql.SQL("p.isleaf"), role=sql.Literal(role)))


_GRANT_OWNERS = """
    FOR found IN
        SELECT DISTINCT o.rolname AS owner,
            EXISTS (SELECT FROM pg_roles s WHERE s.rolsuper AND pg_has_role(o.oid, s.oid, 'MEMBER')) AS is_superuser
        FROM unnest({tables}) AS named(oid) JOIN pg_class t ON t.oid = named.oid
            JOIN pg_class c ON c.oid = t.oid OR c.oid IN (SELECT relid FROM pg_partition_tree(t.oid))
            JOIN pg_roles o ON o.oid = c.relowner
        WHERE {condition} AND NOT pg_has_role({role}, o.oid, 'USAGE')
        ORDER BY 1
    LOOP
        IF found.is_superuser THEN
            RAISE EXCEPTION '%: expected an owner that is neither a superuser nor a member of one, found %', {why}, found.owner
                USING HINT = {hint};
        END IF;
        EXECUTE format('GRANT %I TO %I', found.owner, {role})
            || CASE WHEN current_setting('server_version_num')::int >= {set_version} THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END;
    END LOOP;
"""


def _grant_owners(relations: Sequence[Relation], role: str, *, condition: str, why: str, otherwise: str) -> sql.Composed:
    hint = f"transfer them to a role that can do nothing but own them (ALTER TABLE ... OWNER TO), or set {otherwise}; nothing was changed"
    return sql.SQL(_GRANT_OWNERS).format(
        tables=_tables(relations),
        condition=trusted(condition),
        role=sql.Literal(role),
        why=sql.Literal(why),
        hint=sql.Literal(hint),
        set_version=sql.Literal(_SET_VERSION),
    )


def grant_dropping(relations: Sequence[Relation], role: str) -> str:
    """Make the role a member of the owners of partitioned tables and of their leaves: only an owner may drop a table."""
    grant = _grant_owners(
        relations, role, condition="t.relkind = 'p'", why="a table with purge_method: drop_partition", otherwise="purge_method: delete"
    )
    return _block(sql.SQL("\nDECLARE\n    found record;\nBEGIN{}END\n").format(grant))


def grant_maintenance(relations: Sequence[Relation], role: str) -> str:
    """Let the role VACUUM and ANALYZE the tables or their leaves: by MAINTAIN, or, before PostgreSQL 17, as a member of the owners."""
    owners = _grant_owners(
        relations,
        role,
        condition="c.relkind = 'r'",
        why="a table with a vacuum_strategy, before PostgreSQL 17",
        otherwise="vacuum_strategy: none",
    )
    return _block(
        sql.SQL("""
DECLARE
    found record;
BEGIN
    IF current_setting('server_version_num')::int < {version} THEN{owners}    RETURN;
    END IF;
    FOR found IN
        SELECT DISTINCT n.nspname AS schema, c.relname AS name
        FROM unnest({tables}) AS named(oid)
            JOIN pg_class c ON c.oid = named.oid OR c.oid IN (SELECT relid FROM pg_partition_tree(named.oid))
            JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND NOT pg_has_role({role}, c.relowner, 'USAGE')
        ORDER BY 1, 2
    LOOP
        EXECUTE format('GRANT MAINTAIN ON TABLE %I.%I TO %I', found.schema, found.name, {role});
    END LOOP;
END
""").format(version=sql.Literal(MAINTAIN_VERSION), owners=owners, tables=_tables(relations), role=sql.Literal(role))
    )


def grant_on_sequences(relations: Sequence[Relation], role: str) -> str:
    """Let the role read and advance the sequences that number columns of the tables."""
    return _block(
        sql.SQL("""
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT DISTINCT n.nspname AS schema, c.relname AS name
        FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid JOIN pg_class c ON c.oid = d.objid
            JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
            AND s.seqincrement > 0 AND d.refobjid = ANY ({tables})
        ORDER BY 1, 2
    LOOP
        EXECUTE format('GRANT SELECT, UPDATE ON SEQUENCE %I.%I TO %I', found.schema, found.name, {role});
    END LOOP;
END
""").format(tables=_tables(relations), role=sql.Literal(role))
    )
