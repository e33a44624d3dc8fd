"""`archiver query`: SQL over the archive, and with an option over the table too, by DuckDB.

What belongs here: the command, what its SQL may read, and output formats. What does not: which rows there are (`reader.py`).

DuckDB sees the datasets that are registered and nothing else: no file, no network, no variable of this process, and no setting can be
changed back. See https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview.
"""

import csv
import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
import pyarrow as pa

from archiver_assets.cli.common import Answer, Json, Options, begin, common_options
from archiver_assets.cli.formatting import plural
from archiver_assets.cli.selection import choose_tables, days_options, tables_option
from archiver_assets.config import TableConfig
from archiver_assets.errors import ConfigError, QueryRefused
from archiver_assets.reader import archived, archived_and_current
from archiver_assets.untrusted_text import json_text, visible

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MOST_SHOWN = 1000
"""Rows that a table shows; the other formats have all."""
_ANY_NAME = "archive"
_EXPLAIN = re.compile(r"\s*EXPLAIN(\s+ANALYZE\b|\s*\(\s*(ANALYZE|FORMAT)\b[^()]*\))?", re.IGNORECASE)


@click.command("query", short_help="Query the archive with SQL (DuckDB).")
@click.argument("sql")
@tables_option
@days_options
@click.option("--with-table", is_flag=True, help="Include rows still in the table (connects to the database).")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help=f"Output format: a table of at most {_MOST_SHOWN} rows, CSV, or one JSON object per line.",
)
@common_options
@click.pass_obj
def command(options: Options, /, sql: str, first: date | None, last: date | None, form: str, **chosen: Any) -> None:  # noqa: ANN401 - click's
    """Run SQL over the archive, each row version once; with `-`, read the SQL from stdin. Nothing is changed.

    Each table has its name in the config. If the options choose one table, `archive` names that table too. Give --from and --to where
    possible: only those days are read.
    """
    answer, config = begin(options), options.config()
    duckdb = _duckdb()
    text = sys.stdin.read() if sql == "-" else sql
    open_rows = archived_and_current if chosen.pop("with_table") else archived
    tables = choose_tables(config, **chosen)
    with TemporaryDirectory(prefix="archiver-") as folder, ExitStack() as datasets, _refusing(duckdb, tables):
        connection = datasets.enter_context(duckdb.connect(config={"python_enable_replacements": False}))
        _lock(connection, Path(folder))  # first: DuckDB opens files, and fetches extensions, as soon as it looks for the names of tables
        _require_queries(connection, text)
        for name, table in _named(connection, text, tables).items():
            days = (first or date.min, last or date.max)
            rows = open_rows(config, table.database, table.name, *days, schema=table.schema_name)
            connection.register(name, datasets.enter_context(rows))
        _say(answer, options, connection.sql(text), form)


def _duckdb() -> ModuleType:
    try:
        import duckdb  # noqa: PLC0415 - an extra: most installations run archives and purges only
    except ImportError as error:
        message = "expected DuckDB, which runs the SQL, to be installed, found no such package"
        raise ConfigError(message, hint="install DuckDB with this package: pip install 'audit-archiver[query]'") from error
    return duckdb


def _require_queries(connection: "DuckDBPyConnection", sql: str) -> None:
    """Raise QueryRefused for a statement that is no query: even without access to files, EXPORT DATABASE makes a folder.

    EXPLAIN ANALYZE runs what it explains, which may be a COPY into the folder that is left.
    """
    kinds = _kinds(connection, sql)
    if wrong := [kind for kind in kinds if kind != "SELECT"] or ([] if kinds else ["none"]):
        message = f"the query could not be run: expected SELECT, found {', '.join(wrong)}"
        raise QueryRefused(message, hint="give a query that returns rows; the SQL is run by DuckDB, and cannot change anything")


def _kinds(connection: "DuckDBPyConnection", sql: str) -> list[str]:
    """Return the kinds of the statements, of those that are explained as the explained ones."""
    found: list[str] = []
    for statement in connection.extract_statements(sql):
        explains = _EXPLAIN.match(statement.query) if statement.type.name == "EXPLAIN" else None
        inner = connection.extract_statements(statement.query[explains.end() :]) if explains else [statement]
        found += [each.type.name for each in inner]
    return found


def _named(connection: "DuckDBPyConnection", sql: str, tables: list[TableConfig]) -> dict[str, TableConfig]:
    """Return the tables that the SQL names. Raises ConfigError for a name of several."""
    found: dict[str, TableConfig] = {}
    for name in sorted(connection.get_table_names(sql)):
        fitting = [each for each in tables if each.name == name] or (tables if name == _ANY_NAME else [])
        if len(fitting) > 1:
            message = f"expected one table for the name {name!r}, found {', '.join(each.label for each in fitting)}"
            raise ConfigError(message, hint="choose one with --database, --schema and --table")
        if fitting:
            found[name] = fitting[0]
    return found


def _lock(connection: "DuckDBPyConnection", folder: Path) -> None:
    """Leave the SQL nothing but what is registered; what does not fit into memory goes into `folder`."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET temp_directory = ?", [str(folder)])
    for setting in ("enable_external_access", "autoinstall_known_extensions", "autoload_known_extensions"):
        connection.execute(f"SET {setting} = false")
    connection.execute("SET lock_configuration = true")


@contextmanager
def _refusing(duckdb: ModuleType, tables: list[TableConfig]) -> Iterator[None]:
    hint = f"write DuckDB's SQL; only the archive can be read, with the tables: {', '.join(sorted({each.name for each in tables}))}"
    try:
        yield
    except duckdb.Error as error:
        message = f"the query could not be run: {str(error).strip()}"
        raise QueryRefused(message, hint=hint) from error


def _say(answer: Answer, options: Options, result: Any, form: str) -> None:  # noqa: ANN401 - DuckDB's relation
    reader = pa.RecordBatchReader.from_stream(result)
    rows = (tuple(row.values()) for batch in reader for row in _unique(batch).to_pylist())
    names = [field.name for field in reader.schema]
    if options.as_json:
        answer.fact("columns", [{"name": field.name, "type": str(field.type)} for field in reader.schema])
        answer.fact("rows", [[_plain(value) for value in row] for row in rows])
        answer.end()
    else:
        {"table": _table, "csv": _csv, "json": _json}[form](answer, names, rows)


def _unique(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Name the columns by their places: a result may have one name twice, which a row as a mapping would lose."""
    return batch.rename_columns([str(number) for number in range(batch.num_columns)])


def _table(answer: Answer, names: list[str], rows: Iterator[tuple[object, ...]]) -> None:
    shown: list[list[str]] = []
    for row in rows:
        if len(shown) == _MOST_SHOWN:
            answer.table(names, shown)
            answer.line(f"only the first {_MOST_SHOWN:,} rows are shown: use --format csv or json for all")
            return
        shown.append(["NULL" if value is None else _text(value) for value in row])
    answer.table(names, shown)
    answer.line(plural(len(shown), "row"))


def _csv(_answer: Answer, names: list[str], rows: Iterator[tuple[object, ...]]) -> None:
    shown = visible if sys.stdout.isatty() else str  # a file has the values as they are
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(map(shown, names))
    out.writerows(["" if value is None else shown(_text(value)) for value in row] for row in rows)


def _json(_answer: Answer, names: list[str], rows: Iterator[tuple[object, ...]]) -> None:
    for row in rows:
        click.echo(json_text({name: _plain(value) for name, value in zip(names, row, strict=True)}))


def _text(value: object) -> str:
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _plain(value: object) -> Json:
    """Return a value as JSON has it: what is no number, text or list is its text, and bytes are hexadecimal, as PostgreSQL writes them."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # NaN and the infinities are no JSON
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value)
