"""The rights that the archiver's role needs for a config, and no others.

What belongs here: which rights, in which database, and why. What does not: their SQL (`sql_roles.py`), and the rights on the bucket
(`store/policies.py`). This module opens no connection: a script depends only on the config.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from archiver_assets.config import Auth, DatabaseConfig, HoldsTable, ScratchConfig, TableConfig
from archiver_assets.source import sql_roles as statements
from archiver_assets.source.sql import Relation, quoted

RestoreInto = Literal["new", "original"]
"""Where rows are restored to: a table that the archiver creates beside the original, or the archived table itself."""


@dataclass(frozen=True)
class Right:
    """A statement that grants rights, and why they are needed; `needs` lists those that a GRANT may skip with only a warning."""

    why: str
    statement: str
    needs: tuple[statements.Need, ...] = ()


@dataclass(frozen=True)
class Script:
    """What to run in one database, as one transaction: in `dbname` at `host` and `port`, for `role`.

    `of` is the database's name in the config, or states that this is its scratch database.
    """

    of: str
    host: str
    port: int
    dbname: str
    role: str
    rights: tuple[Right, ...]

    @property
    def sql(self) -> str:
        """The whole script, including the start and end of its transaction, with a comment before each statement."""
        place = f"the database {self.dbname} at {self.host}:{self.port}"
        head = [
            f"{self.of}: the rights of the archiver's role in {place}.",
            "Run it there as a superuser, or as an owner who may create roles. Run it again when the config, or a table's columns,",
            "leaves or owner change. It revokes nothing.",
        ]
        parts = [
            "\n".join(map(statements.comment, head)),
            statements.BEGIN,
            statements.require_database(self.dbname),
            *(f"{statements.comment(each.why)}\n{each.statement}" for each in [*self.rights, self._check]),
            statements.COMMIT,
        ]
        return "\n\n".join(parts) + "\n"

    @property
    def _check(self) -> Right:
        needs = tuple(dict.fromkeys(need for each in self.rights for need in each.needs))
        why = "All or nothing: PostgreSQL only warns about rights that this session may not grant."
        return Right(why, statements.require_rights(self.role, needs))


def scripts(
    database: DatabaseConfig, tables: Sequence[TableConfig], holds: HoldsTable | None, restore: RestoreInto | None = None
) -> Iterator[Script]:
    """Yield what `tables` of a database need: in it, and in its scratch database, which a single run can use even if the config does not.

    `holds` is the table of legal holds if it is in this database; `restore` is where rows are restored to, or None for no restores.
    """
    proves = any(table.purge and table.verification == "restore" for table in tables)
    rights = [*_login(database.user, database.auth), _connect(database.dbname, database.user), *_of_tables(database.user, tables)]
    if proves and database.scratch_database is None:
        rights.append(_temporary(database.dbname, database.user))
    if holds is not None:
        rights += _of_holds(database.user, holds)
    if restore is not None:
        rights += _of_restore(database.user, tables, restore)
    yield Script(database.name, database.host, database.port, database.dbname, database.user, tuple(rights))
    if tables and database.scratch_database is not None:
        yield _of_scratch(database, database.scratch_database)


def _login(role: str, auth: Auth) -> Iterator[Right]:
    if auth == "aws_iam":
        yield Right("The role, without a password.", statements.create_role(role))
        yield Right("auth: aws_iam. RDS accepts IAM tokens instead of a password.", statements.grant_membership("rds_iam", role))
    else:
        why = f"The role, without a password. Set one afterwards in psql, which does not send it in clear text: \\password {quoted(role)}"
        yield Right(why, statements.create_role(role))


def _on_database(why: str, right: str, dbname: str, role: str) -> Right:
    return Right(why, statements.grant_on_database(right, dbname, role), (statements.Need("database", right, dbname),))


def _on_schemas(why: str, right: str, schemas: Sequence[str], role: str) -> Right:
    needs = tuple(statements.Need("schema", right, schema) for schema in schemas)
    return Right(why, statements.grant_on_schemas(right, schemas, role), needs)


def _on_tables(why: str, rights: str, relations: Sequence[Relation], role: str) -> Right:
    needs = (statements.Need("table", right, each.identifier.as_string()) for each in relations for right in rights.split(", "))
    return Right(why, statements.grant_on_tables(rights, relations, role), tuple(needs))


def _connect(dbname: str, role: str) -> Right:
    return _on_database("To connect.", "CONNECT", dbname, role)


def _temporary(dbname: str, role: str) -> Right:
    why = "verification: restore. To load objects into a temporary table, and compare it with the rows before the purge."
    return _on_database(why, "TEMPORARY", dbname, role)


def _of_tables(role: str, tables: Sequence[TableConfig]) -> Iterator[Right]:
    if not tables:
        return
    relations, purged = _relations(tables), [each for each in tables if each.purge]
    yield _on_schemas("To name the tables.", "USAGE", _schemas(tables), role)
    if purged:
        why = "To archive (all columns and xmin, so on the whole table) and to purge."
        yield _on_tables(why, "SELECT, DELETE", _relations(purged), role)
    if kept := _relations([each for each in tables if not each.purge]):
        why = "purge: false. To archive (all columns and xmin, so on the whole table)."
        yield _on_tables(why, "SELECT", kept, role)
    yield Right("To name the types of columns in comparisons.", statements.grant_usage_of_types(relations, role))
    yield from _of_purges(role, purged)


def _of_purges(role: str, tables: Sequence[TableConfig]) -> Iterator[Right]:
    if named := _relations([each for each in tables if each.purge_method == "drop_partition" or each.vacuum_strategy != "none"]):
        yield Right("To name leaves, which are dropped or vacuumed.", statements.grant_usage_of_leaves(named, role))
    if dropped := _relations([each for each in tables if each.purge_method == "drop_partition"]):
        why = "purge_method: drop_partition. Only owners may drop tables. As a member, the role may alter and drop all that they own."
        yield Right(why, statements.grant_dropping(dropped, role))
    if vacuumed := _relations([each for each in tables if each.vacuum_strategy != "none"]):
        yield Right(
            "vacuum_strategy. MAINTAIN, or, before PostgreSQL 17, membership in the owners' roles.",
            statements.grant_maintenance(vacuumed, role),
        )
    if any(each.max_replication_lag_seconds is not None for each in tables):
        why = "max_replication_lag_seconds. To see how far replicas lag; this also shows all sessions' statements. Null needs no right."
        yield Right(why, statements.grant_statistics(role))


def _of_holds(role: str, holds: HoldsTable) -> Iterator[Right]:
    yield _on_schemas("To name legal_holds.table.", "USAGE", [holds.schema_name], role)
    why = "To read legal holds. Nothing is purged while they cannot be read."
    yield _on_tables(why, "SELECT", [Relation(holds.schema_name, holds.name)], role)


def _of_restore(role: str, tables: Sequence[TableConfig], into: RestoreInto) -> Iterator[Right]:
    if not tables:
        return
    relations = _relations(tables)
    if into == "new":
        why = f"To create the table that rows are restored into, such as {tables[0].name}_restored. REVOKE it afterwards."
        yield _on_schemas(why, "CREATE", _schemas(tables), role)
    else:
        why = "To restore rows into the tables themselves (triggers: disable needs their owner). REVOKE it afterwards."
        yield _on_tables(why, "INSERT", relations, role)
        yield Right("To advance the sequences of their columns past these rows.", statements.grant_on_sequences(relations, role))


def _of_scratch(database: DatabaseConfig, scratch: ScratchConfig) -> Script:
    dbname, role = scratch.database or database.dbname, scratch.user or database.user
    rights = (
        *_login(role, scratch.auth),
        _connect(dbname, role),
        _temporary(dbname, role),
        Right("To name this database's copies of the types that columns have.", statements.grant_usage_of_all_types(role)),
    )
    return Script(f"scratch_database of {database.name}", scratch.host, scratch.port, dbname, role, rights)


def _relations(tables: Sequence[TableConfig]) -> list[Relation]:
    return [Relation(table.schema_name, table.name) for table in tables]


def _schemas(tables: Sequence[TableConfig]) -> list[str]:
    return list(dict.fromkeys(table.schema_name for table in tables))
