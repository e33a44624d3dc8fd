"""Tables of all types with values at their edges, as hypothesis makes them: what the tests of exactness work on.

What belongs here: types, values as PostgreSQL's input text, and making such a table on a server, which alone says what a text means. What
does not: archiving, and comparing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

TYPES_TO_MAKE = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy', 'a"b\\c,d');
CREATE DOMAIN amount AS numeric CHECK (VALUE >= 0);
CREATE DOMAIN labels AS text[];
CREATE DOMAIN price AS amount CHECK (VALUE < 1000);
CREATE TYPE place AS (name text, "Odd, name" int, at point);
CREATE TYPE nested AS (it place, many int[]);
CREATE DOMAIN home AS place;
CREATE TYPE floats AS RANGE (subtype = float8);
CREATE DOMAIN code AS char(5);
CREATE DOMAIN short_code AS code;
"""
OF_ONES_OWN = {
    "public.mood": "an enum",
    "public.amount": "a domain over `numeric`",
    "public.price": "a domain over that domain",
    "public.labels": "a domain over `text[]`",
    "public.home": "a domain over a composite",
    "public.code": "a domain over `char(5)`",
    "public.short_code": "a domain over that domain",
    "public.place": "a composite",
    "public.nested": "a composite of a composite and an array",
    "public.floats": "a range over `float8`",
    "public.floats_multirange": "its multirange",
    "public.mood[]": "an array of enums",
    "public.amount[]": "an array of domains",
    "public.code[]": "an array of domains over `char(5)`",
    "public.place[]": "an array of composites",
    "public.floats[]": "an array of ranges",
    "public.floats_multirange[]": "an array of multiranges",
}
"""What the types made above are."""

_LETTERS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
_AWKWARD = ["", " ", "NULL", "\\.", '"', "'", "{a,b}", "\\N", "\r\n", "a\tb", "\x01\x7f\x80", "é", "\U0010ffff", "%s", "$1", "\\x00"]
_TEXT = st.one_of(st.sampled_from(_AWKWARD), _LETTERS)
_INT4 = st.integers(-(2**31), 2**31 - 1).map(str)


def _quoted(text: str | None) -> str:
    """Return an element of an array, or a field of a composite, as their input text writes it."""
    if text is None:
        return "NULL"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _array(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    flat = st.lists(st.none() | values, max_size=3).map(lambda found: "{" + ",".join(map(_quoted, found)) + "}")
    square = st.tuples(values, values, values, st.none() | values).map(
        lambda four: "{{" + ",".join(map(_quoted, four[:2])) + "},{" + ",".join(map(_quoted, four[2:])) + "}}"
    )
    lower = st.tuples(st.integers(-3, 5), values).map(lambda pair: f"[{pair[0]}:{pair[0]}]={{{_quoted(pair[1])}}}")
    return st.one_of(flat, square, lower)


def _place(text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(text, _INT4).map(lambda pair: f'({_quoted(pair[0])},{pair[1]},"(-0,1e300)")')


_FLOATS = ["0", "-0", "NaN", "Infinity", "-Infinity", "0.1", "1e-30", "3.25e20"]
_RANGES = ["empty", "(,)", "[1,5)", "(-3,)", "(,7]"]
SAMPLES: dict[str, list[str]] = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "0", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "real": [*_FLOATS, "1e-45", "3.4028235e38"],
    "double precision": [*_FLOATS, "5e-324", "1.7976931348623157e308", "0.1234567890123456789"],
    "numeric": ["NaN", "Infinity", "-Infinity", "1.00", "1.000", "-0.0", "1e-40", "1e300", "123456789012345678901234567890.5"],
    "numeric(18,4)": ["0", "-0.0001", "99999999999999.9999", "1"],
    "numeric(38,0)": ["-99999999999999999999999999999999999999", "1"],
    "numeric(40,2)": ["99999999999999999999999999999999999999.99", "NaN"],
    "numeric(3,-2)": ["12300", "-99900"],
    "money": ["-92233720368547758.08", "0.01"],
    "text": ["", " ", "NULL", "\\N", "{a,b}", "é"],
    "varchar": ["", "a  "],
    "varchar(12)": ["", " a "],
    "char(5)": ["", "a", "a  ", "abcde"],
    "bpchar": ["", "a  "],
    '"char"': ["a", "", "\\377"],
    "name": ["", "a name", "ü" * 20],
    "bytea": [r"\x", r"\x00", r"\xff5c5c", r"\xdeadbeef"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "f47ac10b-58cc-4372-a567-0e02b2c3d479"],
    "json": ['{"b": 1,   "a": [1.10, null]}', "null", '"\\u0041"', "[]"],
    "jsonb": ['{"b": 1, "a": [1.10, 1e2]}', "null", "[]"],
    "jsonpath": ['$."a"[*] ? (@ > 1)'],
    "xml": ["<a b='c'>d</a>", "text &amp; more"],
    "date": ["4714-11-24 BC", "0001-12-31 BC", "0001-01-01", "1969-12-31", "2024-02-29", "9999-12-31", "10000-01-01", "5874897-12-31"],
    "timestamp": ["4714-11-24 00:00:00 BC", "0044-03-15 23:59:59.999999 BC", "1969-12-31 23:59:59.999999", "294246-01-01 00:00:00"],
    "timestamp(3)": ["2024-03-05 10:00:00.123"],
    "timestamptz": ["4714-11-24 00:00:00+00 BC", "0001-01-01 00:00:00+00", "2024-03-31 02:30:00+02", "294246-01-01 00:00:00.000001+00"],
    "time": ["00:00", "24:00", "23:59:59.999999"],
    "timetz": ["00:00+15:59", "24:00-15:59", "12:34:56.7+02"],
    "interval": ["1 mon -2 days 03:04:05.000006", "-178000000 years", "24:00", "1 day -24:00", "0"],
    "interval day to second(3)": ["1 day 02:03:04.567"],
    "inet": ["10.0.0.1", "10.0.0.1/8", "::1", "::ffff:1.2.3.4/96"],
    "cidr": ["10.0.0.0/8", "::/0"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit": ["1", "0"],
    "bit(3)": ["101", "000"],
    "bit varying": ["", "1011101"],
    "tsvector": ["'a' 'it''s':1A,2B", ""],
    "tsquery": ["'a' & !'b' <-> 'c'"],
    "point": ["(-0,1e300)", "(NaN,Infinity)"],
    "line": ["{1,-2,3}"],
    "lseg": ["[(1,2),(3,4)]"],
    "box": ["(3,4),(1,2)"],
    "path": ["[(1,2),(3,4)]", "((1,2),(3,4))"],
    "polygon": ["((1,2),(3,4),(5,6))"],
    "circle": ["<(1,2),3>"],
    "oid": ["0", "4294967295"],
    "xid": ["4294967295"],
    "cid": ["4294967295"],
    "xid8": ["18446744073709551615"],
    "tid": ["(4294967295,65535)"],
    "pg_lsn": ["16/B374D848", "FFFFFFFF/FFFFFFFF"],
    "pg_snapshot": ["10:20:10,14,15"],
    "txid_snapshot": ["10:20:10,14,15"],
    "int2vector": ["1 -2", ""],
    "oidvector": ["4294967295 1"],
    "refcursor": ["", "a cursor"],
    "aclitem": ["=r"],
    "regtype": ["integer", "-"],
    "regclass": ["pg_class", "-", "4294967294"],
    "regproc": ["pg_backend_pid", "-"],
    "regprocedure": ["abs(integer)", "-"],
    "regoper": ["||/", "0"],
    "regoperator": ["+(integer,integer)", "0"],
    "regconfig": ["simple"],
    "regdictionary": ["simple"],
    "regcollation": ['"C"', "-"],
    "regnamespace": ["pg_catalog", "-"],
    "regrole": ["pg_monitor", "-"],
    "int4range": _RANGES,
    "int8range": ["[-9223372036854775808,1)", "empty"],
    "tsrange": ["[2024-01-01 00:00,infinity]", "empty"],
    "numrange": [*_RANGES, "[1.0,1.00]"],
    "tstzrange": ["[2024-01-01 00:00+00,infinity)", "empty", "(,)"],
    "daterange": ["[2024-01-01,2024-02-01)", "[0044-03-15 BC,)"],
    "int4multirange": ["{}", "{[1,3),[5,)}"],
    "int8multirange": ["{}", "{[1,3),[5,)}"],
    "tsmultirange": ["{[2024-01-01 00:00,2024-01-01 00:00]}"],
    "tstzmultirange": ["{(,2024-01-01 00:00+00)}"],
    "datemultirange": ["{[2024-01-01,infinity)}"],
    "nummultirange": ["{[1.0,1.5],(7,)}"],
    "public.mood": ["sad", "very happy", 'a"b\\c,d'],
    "public.amount": ["NaN", "1.00", "0"],
    "public.price": ["1.000", "0"],
    "public.labels": ["{}", '{"",NULL,"NULL"}'],
    "public.home": ['("",1,"(-0,1e300)")'],
    "public.place": ['("",,)', '(" a ""b""",1,"(-0,1e300)")'],
    "public.nested": ['("(a,1,)","{1,NULL}")'],
    "public.floats": ["[-0,0]", "(,NaN)"],
    "public.floats_multirange": ["{}", "{[-0,0],(1,NaN)}"],
    "public.mood[]": ['{sad,NULL,"a\\"b\\\\c,d"}'],
    "public.amount[]": ["{1.0,NaN}"],
    "public.code[]": ["{a,NULL}"],
    "public.place[]": ['{"(\\"\\",1,)",NULL}'],
    "public.floats[]": ['{"[-0,0]",empty}'],
    "public.floats_multirange[]": ['{"{[-0,0]}","{}"}'],
    "integer[]": ["{}", "{1,NULL}", "[0:1]={1,2}", "{{1,2},{3,NULL}}"],
    "text[]": ["{}", '{"",NULL,"NULL"}'],
    "double precision[]": ["{NaN,-0,Infinity}"],
    "timestamptz[]": ["{infinity,-infinity}"],
    "numeric(18,4)[]": ["{NaN,1.1000}"],
    "regtype[]": ['{integer,"character varying"}'],
    "regclass[]": ["{pg_class,4294967294}"],
    "xml[]": ['{"<a b=\\"c\\"/>"}'],
    "bytea[]": ['{"\\\\x00ff",NULL}'],
    "char(4)[]": ['{a,"b  ",NULL}', "{{a,b},{c,d}}"],
    "json[]": ['{"{\\"a\\": 1}"}'],
    "interval[]": ['{"1 mon","-1 day"}'],
}
REFUSED: dict[str, list[str]] = {
    "date": ["infinity", "-infinity"],
    "timestamp": ["infinity", "-infinity", "294247-01-10 04:00:54.775808", "294276-12-31 23:59:59.999999"],
    "timestamptz": ["infinity", "-infinity", "294247-01-10 04:00:54.775808+00", "294276-12-31 23:59:59.999999+00"],
    "numeric(18,4)": ["NaN"],
    "numeric(38,0)": ["NaN"],
}
"""Of each type, values that it cannot be stored with unless it is stored as text."""
OF_EXTENSIONS: dict[str, dict[str, list[str]]] = {
    "citext": {"public.citext": ["", "Upper and lower", "a  "], "public.citext[]": ['{A,NULL,""}']},
    "hstore": {"public.hstore": ["", '"a b"=>NULL, c=>""']},
    "ltree": {"public.ltree": ["", "Top.a_1"], "public.lquery": ["Top.*{1,2}"], "public.ltxtquery": ["a & !b"]},
    "cube": {"public.cube": ["(1,-0.1),(1e300,2)", "(0)"]},
    "seg": {"public.seg": ["1.00 .. 2.5", "~3", "<4"]},
    "isn": {"public.isbn": ["0-393-04002-X"], "public.ean13": ["978-0-393-04002-9"]},
    "intarray": {"public.query_int": ["1&(2|!3)"]},
    "lo": {"public.lo": ["4294967295"]},
}
"""Of each extension its types, and of these the input texts of values."""

_MADE: dict[str, st.SearchStrategy[str]] = {
    "integer": _INT4,
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "text": _TEXT,
    "varchar(12)": _LETTERS.map(lambda text: text[:12]),
    "text[]": _array(_TEXT),
    "integer[]": _array(_INT4),
    "numeric[]": _array(st.sampled_from(SAMPLES["numeric"])),
    "timestamptz[]": _array(st.sampled_from([*SAMPLES["timestamptz"], "infinity"])),
    "float8[]": _array(st.sampled_from(_FLOATS)),
    "uuid[]": _array(st.sampled_from(SAMPLES["uuid"])),
    "numrange[]": _array(st.sampled_from(SAMPLES["numrange"])),
    "public.mood[]": _array(st.sampled_from(SAMPLES["public.mood"])),
    "public.labels": _array(_TEXT),
    "public.place": _place(_TEXT),
    "public.place[]": _array(_place(_TEXT)),
    "public.nested": st.tuples(_place(_TEXT), st.sampled_from(["{}", "{1,NULL}"])).map(
        lambda two: f"({_quoted(two[0])},{_quoted(two[1])})"
    ),
}
VALUES: dict[str, st.SearchStrategy[str]] = {name: st.sampled_from(values) for name, values in SAMPLES.items()} | _MADE
"""Of each type, the input texts of values."""

_NAMES = ["plain", "Odd name", 'quo"te', "select", "ünï", "%s", "a.b", "x" * 63, "$1", "new\nline"]


@dataclass(frozen=True)
class MadeTable:
    """A table's columns, names and types, and its rows as input texts, None for NULL."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str | None, ...], ...]

    def on(self, server_version: int) -> "MadeTable":
        """Return the table as a server of that version can have it: PostgreSQL 14 knows no scale below 0."""
        if server_version >= 150_000:
            return self
        return replace(self, columns=tuple((name, "numeric" if kind == "numeric(3,-2)" else kind) for name, kind in self.columns))


@st.composite
def tables(draw: st.DrawFn) -> MadeTable:
    """Return a table of one to eight columns, and one to six rows."""
    names = draw(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=8, unique=True))
    columns = tuple((name, draw(st.sampled_from(sorted(VALUES)))) for name in names)
    row = st.tuples(*(st.none() | VALUES[kind] for _, kind in columns))
    return MadeTable(columns, tuple(draw(st.lists(row, min_size=1, max_size=6))))


def table_of(samples: Mapping[str, list[str]] = SAMPLES) -> MadeTable:
    """Return a table that has a column of each type, and in it all its sample values."""
    columns = tuple((f"{number} {kind}"[:60], kind) for number, kind in enumerate(sorted(samples)))
    most = max(map(len, samples.values()))
    rows = tuple(tuple([*samples[kind], *[None] * most][number] for _, kind in columns) for number in range(most))
    return MadeTable(columns, rows)


def any_tables(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a test so many tables as `made`."""
    chosen = settings(
        max_examples=count,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    return lambda test: chosen(given(made=tables())(test))
