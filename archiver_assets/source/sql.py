"""SQL that reads and compares the rows of a configured table, one function per statement, and the terms that all SQL on rows shares.

What belongs here: composed statements (`psycopg.sql`), each described with the lock it takes and the index it needs. What does not: running
them; and the SQL of sessions, of the catalog, of purges and of restores (`sql_session.py`, `sql_catalog.py`, `sql_purge.py`,
`sql_restore.py`). Identifiers are always `sql.Identifier`. Values are bound as `$1`, for raw cursors, so that a `%` in a name has no
special meaning. The bounds of a range are literals, because COPY, which also uses them, cannot bind values.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import LiteralString

from psycopg import sql


@dataclass(frozen=True)
class Relation:
    """A table by its schema and name, unquoted."""

    schema: str
    name: str

    @property
    def identifier(self) -> sql.Identifier:
        """The quoted, qualified name."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class Days:
    """The rows of a table in a half-open range `[lower, upper)` of its timestamp column.

    The bounds have the column's own type: aware times for timestamptz, local times without a zone for timestamp, dates for date. NULL and
    infinite timestamps are in no range.
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
    """A condition on a column: an operator of `OPERATORS`, and values as text that is read as `pg_type`, which is trusted."""

    column: str
    operator: str
    pg_type: sql.Composable
    values: tuple[str, ...] = ()

    def met(self, alias: str) -> sql.Composed:
        """Return the condition as SQL. A comparison is NULL where the column is NULL.

        Values are literals, so that each has its type.
        """
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
    """The rows that one hold keeps: in `[lower, upper)` of the timestamp `column`, None for no bound, and meeting all `conditions`."""

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


def quoted(name: str) -> str:
    """Return a name quoted as in SQL, for messages."""
    return sql.Identifier(name).as_string()


def lock_table(relation: Relation) -> sql.Composed:
    """Lock the table in ACCESS SHARE mode, which conflicts only with statements that change the table itself.

    Takes no snapshot.
    """
    return sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(relation.identifier)


def count_rows(days: Days) -> sql.Composed:
    """Count the `rows` in range. ACCESS SHARE. Uses an index that begins with the timestamp."""
    return sql.SQL("SELECT count(*) AS rows FROM {} AS t WHERE {}").format(days.relation.identifier, days.condition("t"))


def timestamp_after(days: Days, rows: int) -> sql.Composed:
    """Return, as `timestamp`, the timestamp of the row in range that follows the first `rows` in time order.

    ACCESS SHARE. Reads that many entries of an index that begins with the timestamp; without one it sorts the range.
    """
    return sql.SQL("SELECT {column} AS timestamp FROM {table} AS t WHERE {condition} ORDER BY {column} OFFSET {rows} LIMIT 1").format(
        column=sql.Identifier("t", days.column), table=days.relation.identifier, condition=days.condition("t"), rows=sql.Literal(rows)
    )


def count_held(days: Days, held: Sequence[HeldRows]) -> sql.Composed:
    """Count the `rows` in range, the `held` ones among them, and those that each hold keeps, as `held0` and so on.

    ACCESS SHARE. Uses an index that begins with the timestamp.
    """
    fields = [sql.SQL("count(*) AS rows"), sql.SQL("count(*) FILTER (WHERE {}) AS held").format(any_held(held))] + [
        sql.SQL("count(*) FILTER (WHERE {}) AS {}").format(each.held("t"), sql.Identifier(f"held{number}"))
        for number, each in enumerate(held)
    ]
    return sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(sql.SQL(", ").join(fields), days.relation.identifier, days.condition("t"))


def first_row(days: Days, held: Sequence[HeldRows]) -> sql.Composed:
    """Return the smallest timestamp in range of a row that is not held.

    ACCESS SHARE. Probes an index that begins with the timestamp once, and reads on past held rows.
    """
    return sql.SQL("SELECT {column} AS first FROM {table} AS t WHERE {condition} ORDER BY {column} LIMIT 1").format(
        column=sql.Identifier("t", days.column), table=days.relation.identifier, condition=in_days_and_free(days, held)
    )


def try_held(relation: Relation, held: Sequence[HeldRows]) -> sql.Composed:
    """Have the server parse the holds: it rejects a value that is invalid for its type, or an operator that the type lacks.

    ACCESS SHARE; reads no row.
    """
    return sql.SQL("SELECT {} AS held FROM {} AS t LIMIT 0").format(any_held(held), relation.identifier)


def any_held(held: Sequence[HeldRows]) -> sql.Composed:
    """Return, as SQL that is never NULL, whether the row `t` is held by any of the holds."""
    return sql.SQL("({})").format(sql.SQL(" OR ").join([sql.SQL("false"), *(each.held("t") for each in held)]))


def builtin(name: str) -> sql.Composable:
    """Return the name of a built-in type without length or precision: a cast to these would cut values."""
    return sql.Identifier("pg_catalog", name)


def select_holds(relation: Relation, columns: Sequence[str]) -> sql.Composed:
    """Read these columns of a table of holds, as text. ACCESS SHARE; reads the whole table."""
    fields = sql.SQL(", ").join(sql.SQL("t.{0}::text AS {0}").format(sql.Identifier(name)) for name in columns)
    return sql.SQL("SELECT {} FROM {} AS t").format(fields, relation.identifier)


def explain(days: Days) -> sql.Composed:
    """Plan a read of the rows in range, without reading any. ACCESS SHARE on the table and, for the plan, its leaves."""
    return sql.SQL("EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT FROM {} AS t WHERE {}").format(
        days.relation.identifier, days.condition("t")
    )


def vacuum(relations: Sequence[Relation]) -> sql.Composed:
    """Vacuum and analyze tables, skipping those that are locked. SHARE UPDATE EXCLUSIVE, which blocks neither readers nor writers.

    TRUNCATE is off: returning the end of the file to the system takes ACCESS EXCLUSIVE, which cancels queries on a standby.
    """
    return sql.SQL("VACUUM (ANALYZE, SKIP_LOCKED, TRUNCATE false, PARALLEL 0) {}").format(_listed(relations))


def analyze(relations: Sequence[Relation]) -> sql.Composed:
    """Analyze tables, skipping those that are locked. SHARE UPDATE EXCLUSIVE, as for `vacuum`."""
    return sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(_listed(relations))


def _listed(relations: Sequence[Relation]) -> sql.Composed:
    return sql.SQL(", ").join(relation.identifier for relation in relations)


def select_rows(days: Days, columns: Sequence[tuple[str, LiteralString]], xmin: str) -> sql.Composed:
    """Read the rows in range: each column by the expression beside its name, where `{}` is the column; then `xmin`, an xid.

    ACCESS SHARE. Uses an index that begins with the timestamp.
    """
    fields = [
        sql.SQL("{} AS {}").format(sql.SQL(expression).format(sql.Identifier("t", name)), sql.Identifier(name))
        for name, expression in columns
    ]
    fields.append(sql.SQL("t.xmin AS {}").format(sql.Identifier(xmin)))
    return sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(sql.SQL(", ").join(fields), days.relation.identifier, days.condition("t"))


def count_without_day(relation: Relation, column: str) -> sql.Composed:
    """Count the rows whose timestamp is NULL or infinite: they belong to no day. ACCESS SHARE. Uses an index on the timestamp."""
    return sql.SQL("SELECT count(*) AS rows FROM {} AS t WHERE {}").format(relation.identifier, without_day(column))


def without_day(column: str) -> sql.Composed:
    """Return, as a condition on `t`, whether a row's timestamp is NULL or infinite."""
    return sql.SQL("({column} IS NULL OR {column} = 'infinity' OR {column} = '-infinity')").format(column=sql.Identifier("t", column))


def before(column: str, upper: datetime | date) -> sql.Composed:
    """Return, as a condition on `t`, whether a row's timestamp is finite and before `upper`, which has the column's own type."""
    return sql.SQL("({column} < {upper} AND {column} > '-infinity')").format(column=sql.Identifier("t", column), upper=sql.Literal(upper))


def in_days_and_free(days: Days, held: Sequence[HeldRows]) -> sql.Composed:
    """Return, as a condition on `t`, whether a row is in range and not held."""
    return sql.SQL("{} AND NOT {}").format(days.condition("t"), any_held(held))


def count_up_to(relation: Relation, condition: sql.Composed, most: int) -> sql.Composed:
    """Count the rows that meet a condition on `t`, up to `most`. ACCESS SHARE. Uses an index on the timestamp."""
    return sql.SQL("SELECT count(*) AS rows FROM (SELECT FROM {} AS t WHERE {} LIMIT {}) AS counted").format(
        relation.identifier, condition, sql.Literal(most)
    )


def compare_columns(days: Days, columns: Sequence[tuple[str, str | None]], counted: Collection[str]) -> sql.Composed:
    """Count the rows in range, and the non-null values of the columns in `counted`; compare extremes with the bound values.

    `columns` gives names and types. A column without a type has no extremes to compare; each other column takes two values, the least and
    the greatest. The result has `rows`, and for the column at each position `present0` if it is counted, and `same0` if it has extremes.
    ACCESS SHARE.
    """
    number = 1
    fields: list[sql.Composable] = [sql.SQL("count(*) AS rows")]
    for position, (name, pg_type) in enumerate(columns):
        column = sql.Identifier("t", name)
        if name in counted:
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

    The result has `found`, the number of rows in range with one of the keys and xmins, and for the column at each position the number of
    these rows in which it differs, as `differs0`. ACCESS SHARE. Needs the unique index on the key.
    """
    fields = [sql.SQL("count(*) AS found")] + [
        sql.SQL("count(*) FILTER (WHERE NOT ({})) AS {}").format(same_image([column], [position]), sql.Identifier(f"differs{position}"))
        for position, column in enumerate(columns)
    ]
    return sql.SQL("SELECT {} FROM {} AS t JOIN {} ON {} AND t.xmin = given.stored_xmin WHERE {}").format(
        sql.SQL(", ").join(fields),
        days.relation.identifier,
        given_rows([*columns], xmin=True),
        joined_by(key, columns),
        days.condition("t"),
    )


def joined_by(key: Sequence[str], columns: Sequence[tuple[str, str]]) -> sql.Composed:
    """Return the condition that joins `t` with the given rows of `columns` by the key."""
    places = {name: (pg_type, position) for position, (name, pg_type) in enumerate(columns)}
    return equal((name, *places[name]) for name in key)


def given_rows(columns: Sequence[tuple[str, str]], *, xmin: bool, ordinality: bool = False) -> sql.Composed:
    """Return bound arrays, one per column (names and types), as rows `given`, with xmins and positions from 1 if requested."""
    arrays = [f"${number}::{pg_type}[]" for number, pg_type in enumerate(bound_types(columns, xmin=xmin), start=1)]
    names = [*(f"column{position}" for position in range(len(columns))), *(["stored_xmin"] if xmin else [])]
    names += ["position"] if ordinality else []
    return sql.SQL("unnest({}) {} AS given({})").format(
        sql.SQL(", ").join(trusted(array) for array in arrays),
        sql.SQL("WITH ORDINALITY" if ordinality else ""),
        sql.SQL(", ").join(map(sql.Identifier, names)),
    )


def bound_types(columns: Sequence[tuple[str, str]], *, xmin: bool) -> list[str]:
    """Return the element types of the arrays that bind these columns (names and types), and of the xmins if requested."""
    # Types come from the catalog's format_type, which quotes and qualifies them.
    return [*("text" if travels_as_text(pg_type) else pg_type for _, pg_type in columns), *(["xid"] if xmin else [])]


def given_value(pg_type: str, position: int) -> sql.Composed:
    """Return the value at a position of the given row, in its type."""
    return sql.SQL("{}{}").format(sql.Identifier("given", f"column{position}"), trusted(f"::{pg_type}" if travels_as_text(pg_type) else ""))


def equal(columns: Iterable[tuple[str, str, int]]) -> sql.Composed:
    """Return the condition that `t` has the given row's values in these columns: names, types, and positions in the given row."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier("t", name), given_value(pg_type, position)) for name, pg_type, position in columns
    )


def same_image(columns: Sequence[tuple[str, str]], positions: Iterable[int]) -> sql.Composed:
    """Return the condition that `t` and the given row, whose columns are at `positions`, are the same, byte by byte."""
    # What travels as text is compared as text; a type whose text does not hold its value is refused. The image of a composite would also
    # change when an attribute is added to its type.
    pairs = list(zip(columns, positions, strict=True))
    same: list[sql.Composable] = [
        sql.SQL("{}::text IS NOT DISTINCT FROM {}").format(sql.Identifier("t", name), sql.Identifier("given", f"column{position}"))
        for (name, pg_type), position in pairs
        if travels_as_text(pg_type)
    ]
    plain = [(name, position) for (name, pg_type), position in pairs if not travels_as_text(pg_type)]
    if plain:
        stored = sql.SQL(", ").join(sql.Identifier("t", name) for name, _ in plain)
        given = sql.SQL(", ").join(sql.Identifier("given", f"column{position}") for _, position in plain)
        # The function behind `*=`, which would compare two row constructors column by column.
        same.append(sql.SQL("record_image_eq(ROW({}), ROW({}))").format(stored, given))
    return sql.SQL(" AND ").join(same)


def travels_as_text(pg_type: str) -> bool:
    """Return whether values of a type are bound as arrays of text instead of arrays of the type."""
    # unnest would flatten arrays of arrays and spread arrays of composites into columns; arrays of boxes separate elements with semicolons.
    # Only types outside pg_catalog are written with their schema.
    return pg_type.endswith("[]") or "." in pg_type or pg_type == "box"


def trusted(text: str) -> sql.SQL:
    """Return text as SQL. Only for text that the server itself has written and quoted, such as the names of types."""
    return sql.SQL(text)
