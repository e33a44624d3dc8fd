"""The tables of types in docs/reference/types.md, made from a server's catalog and the archiver's own choice for each type.

What belongs here: which types a column can have, and a line for each. What does not: the choice (`source/types.py`), and the values, which
the tests of exactness take the whole way (`tables.py`). `make docs` (`reference/`) writes the tables anew.
"""

from collections.abc import Iterable
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from archiver_assets.config import TableConfig
from archiver_assets.errors import TableRefused
from archiver_assets.source.catalog import Column, Connection, read_table
from archiver_assets_tests.tables import OF_EXTENSIONS, OF_ONES_OWN, REFUSED, SAMPLES, TYPES_TO_MAKE

FILE = Path(__file__).parents[1] / "docs" / "reference" / "types.md"
MAJOR = 17
"""The version whose types are listed: other versions have others too."""
BEGIN, END = "<!-- types: begin -->\n", "<!-- types: end -->\n"
HEADING = ("PostgreSQL", "Parquet, as Arrow names it", "come back as they were, for example", "refused, unless stored as text")

# What a column can be of without a type of one's own: all but arrays, which are alike, and the catalogs' own row types.
_BUILTIN = """
    SELECT format_type(oid, NULL) AS type FROM pg_type
    WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm')
      AND NOT EXISTS (SELECT FROM pg_type element WHERE element.typarray = pg_type.oid)
"""
_KEPT = SAMPLES | {name: values for types in OF_EXTENSIONS.values() for name, values in types.items()}


def write(dsn: str, text: str) -> str:
    """Return the text of the file with its tables made anew, in an empty database, on a server that has the extensions."""
    with psycopg.connect(dsn, row_factory=dict_row, cursor_factory=psycopg.RawCursor) as connection:
        connection.execute(TYPES_TO_MAKE)
        for name in OF_EXTENSIONS:
            connection.execute(sql.SQL("CREATE EXTENSION {} SCHEMA public").format(sql.Identifier(name)))
        before, rest = text.split(BEGIN)
        return before + BEGIN + _tables(connection) + END + rest.split(END)[1]


def _tables(connection: Connection) -> str:
    names = [row["type"] for row in connection.execute(_BUILTIN) if row["type"] != "character"]  # which alone means character(1)
    builtin = {_written(connection, name): name for name in [*names, *(name for name in SAMPLES if "." not in name)]}
    parts = ["\n", *_lines(HEADING, (_line(connection, f"`{name}`", given) for name, given in sorted(builtin.items(), key=_by_name)))]
    parts += ["\n### Types of your own\n\n"]
    parts += _lines(("a column of", *HEADING[1:3]), (_line(connection, label, name)[:3] for name, label in OF_ONES_OWN.items()))
    parts += ["\n### Types of extensions\n\n"]
    extensions = [(extension, name) for extension, types in OF_EXTENSIONS.items() for name in types]
    parts += _lines(
        ("extension", *HEADING[:3]),
        ((f"`{extension}`", *_line(connection, f"`{name.removeprefix('public.')}`", name)[:3]) for extension, name in extensions),
    )
    return "".join([*parts, "\n"])


def _by_name(pair: tuple[str, str]) -> str:
    return pair[0].strip('"')


def _written(connection: Connection, name: str) -> str:
    """Return the name as PostgreSQL writes it, without length or precision, which stay as they were given."""
    if "(" in name or name == "bpchar":
        return name
    found = connection.execute(sql.SQL("SELECT format_type({}::regtype, NULL) AS type").format(sql.Literal(name))).fetchall()
    return str(found[0]["type"])


def _lines(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(heading)
    return [f"| {' | '.join(cells)} |\n" for cells in [head, ["---"] * len(head), *rows]]


def _line(connection: Connection, label: str, name: str) -> tuple[str, str, str, str]:
    found = _stored(connection, name)
    stored = f"refused: {found}" if isinstance(found, str) else f"`{found.field.type}`"
    kept = (
        []
        if isinstance(found, str)
        else _values(SAMPLES | {key: all_ for types in OF_EXTENSIONS.values() for key, all_ in types.items()}, name)
    )
    return label, stored, ", ".join(kept), ", ".join(_values(REFUSED, name))


def _values(values: dict[str, list[str]], name: str) -> list[str]:
    found = next((texts for kind, texts in values.items() if kind == name), [])
    return [_code(text) for text in found if len(text) < 60]


def _code(text: str) -> str:
    quoted = f"'{text}'" if text.strip() != text or not text else text
    return f"`{quoted}`".replace("|", "\\|")


def _stored(connection: Connection, name: str) -> Column | str:
    """Return the column as the archiver would store it, or why it refuses it."""
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("CREATE TABLE public.of_type (n int PRIMARY KEY, at date NOT NULL, v {})").format(sql.SQL(name)))
        config = TableConfig.model_validate(
            {"database": "docs", "name": "of_type", "timestamp_column": "at", "primary_key": ("n",), "retention_days": 1}
        )
        try:
            return read_table(connection, config).columns[-1]
        except TableRefused as error:
            return "its text does not hold its value" if "does not hold" in error.message else "PostgreSQL reads no text of it"
