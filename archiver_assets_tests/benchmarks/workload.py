"""The tables of the benchmarks: `public.audit_logs` in several shapes, each with three days of rows and an index on the timestamp.

What belongs here: generating the rows. What does not: reading them, and the servers (`site.py`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, LiteralString

import psycopg
from psycopg import sql

DAY = date(2024, 3, 5)
"""The day that the methods process. The days before and after it each have a tenth of its rows, which must not be touched."""
DEFAULT_ROWS = 1_000_000
LARGE = "large"
LARGE_ROWS = 10_000_000

COLUMNS = """
    created_at timestamptz NOT NULL,
    tenant_id uuid NOT NULL,
    actor_id uuid,
    request_id uuid NOT NULL,
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text,
    address inet,
    user_agent text,
    amount numeric(18,4),
    tags text[],
    succeeded boolean NOT NULL,
    state_before jsonb,
    state_after jsonb
"""
WIDE = f"CREATE TABLE public.audit_logs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {COLUMNS})"
LEAVES = f"""
CREATE TABLE public.audit_logs (id bigint NOT NULL, {COLUMNS}, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at);
CREATE SEQUENCE public.audit_logs_id OWNED BY public.audit_logs.id;
ALTER TABLE public.audit_logs ALTER id SET DEFAULT nextval('public.audit_logs_id');
CREATE TABLE public.audit_logs_04 PARTITION OF public.audit_logs FOR VALUES FROM ('2024-03-04 UTC') TO ('2024-03-05 UTC');
CREATE TABLE public.audit_logs_05 PARTITION OF public.audit_logs FOR VALUES FROM ('2024-03-05 UTC') TO ('2024-03-06 UTC');
CREATE TABLE public.audit_logs_06 PARTITION OF public.audit_logs FOR VALUES FROM ('2024-03-06 UTC') TO ('2024-03-07 UTC');
"""
NARROW = """
CREATE TABLE public.audit_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL, account_id bigint NOT NULL, kind smallint NOT NULL, amount numeric(12,2))
"""
LARGE_VALUES = """
CREATE TABLE public.audit_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, created_at timestamptz NOT NULL, action text NOT NULL, state jsonb NOT NULL)
"""

# A day's rows are in time order, as an application writes them; about one in ten actors, amounts and resources is NULL.
WIDE_ROWS = """
INSERT INTO public.audit_logs (created_at, tenant_id, actor_id, request_id, action, resource_type, resource_id, address, user_agent, amount,
                               tags, succeeded, state_before, state_after)
SELECT %(day)s::timestamp AT TIME ZONE 'UTC' + n * (interval '1 day' / %(rows)s),
       md5((n %% 40)::text)::uuid,
       CASE WHEN n %% 10 > 0 THEN md5((n %% 5000)::text)::uuid END,
       gen_random_uuid(),
       (ARRAY['login', 'logout', 'create', 'update', 'delete', 'export', 'share'])[1 + n %% 7],
       (ARRAY['invoice', 'customer', 'order', 'document'])[1 + n %% 4],
       CASE WHEN n %% 11 > 0 THEN 'res-' || lpad((n * 7919::bigint %% 1000003)::text, 8, '0') END,
       ('10.' || n %% 200 || '.' || n %% 251 || '.' || n %% 241)::inet,
       'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/' || 100 + n %% 25 || '.0',
       CASE WHEN n %% 9 > 0 THEN ((n * 104729::bigint %% 1000000000) / 10000.0)::numeric(18,4) END,
       ARRAY['env:' || (ARRAY['prod', 'stage'])[1 + n %% 2], 'region-' || n %% 5],
       n %% 50 > 0,
       jsonb_build_object('status', 'draft', 'revision', n %% 100, 'owner', md5((n %% 997)::text)),
       jsonb_build_object('status', 'approved', 'revision', 1 + n %% 100, 'note', md5(n::text), 'total', (n %% 100000) / 100.0,
                          'labels', jsonb_build_array('a' || n %% 13, 'b' || n %% 17))
FROM generate_series(0, %(rows)s - 1) AS n
"""
NARROW_ROWS = """
INSERT INTO public.audit_logs (created_at, account_id, kind, amount)
SELECT %(day)s::timestamp AT TIME ZONE 'UTC' + n * (interval '1 day' / %(rows)s), n * 7919::bigint %% 1000003, n %% 12,
       CASE WHEN n %% 9 > 0 THEN ((n * 104729::bigint %% 1000000000) / 100.0)::numeric(12,2) END
FROM generate_series(0, %(rows)s - 1) AS n
"""
# 9,500 changed records are 1 MB of JSON text. Generating 32 lists instead of one per row saves a minute; the number makes values differ.
LARGE_VALUES_ROWS = """
INSERT INTO public.audit_logs (created_at, action, state)
WITH lists AS MATERIALIZED (
    SELECT list, jsonb_agg(jsonb_build_object('id', n, 'owner', md5(list || ':' || n),
                                              'total', round((n * 7919 + list) %% 100000 / 100.0, 2),
                                              'status', (ARRAY['draft', 'approved'])[1 + n %% 2],
                                              'labels', jsonb_build_array('a' || n %% 13))) AS records
    FROM generate_series(0, 31) AS list, generate_series(1, 9500) AS n GROUP BY list)
SELECT %(day)s::timestamp AT TIME ZONE 'UTC' + n * (interval '1 day' / %(rows)s), 'import', jsonb_build_object('n', n, 'records', records)
FROM generate_series(0, %(rows)s - 1) AS n JOIN lists ON list = n %% 32
"""


def fill_nothing(_dsn: str, _rows: int) -> None:
    """Leave the server without tables."""


@dataclass(frozen=True)
class Workload:
    """The contents of a server before its comparisons begin. `fill` takes the server's address and the rows per day.

    `fill_day` creates only the day, without its neighbours. A day has the number of rows of the chosen size, divided by `weight`, or none
    if `weight` is 0. `primary_key` is that of `public.audit_logs`. `durable` keeps fsync on; `settings` are PostgreSQL settings that
    differ from the defaults.
    """

    name: str
    title: str
    fill: Callable[[str, int], None] = fill_nothing
    fill_day: Callable[[str, int], None] = fill_nothing
    weight: int = 1
    primary_key: tuple[str, ...] = ("id",)
    durable: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)

    def rows(self, rows: int) -> int:
        """Return the number of rows per day, if the wide workload has `rows`."""
        return max(rows // self.weight, 1) if self.weight else 0


def days(table: LiteralString, rows_of_day: LiteralString, neighbours: float = 0.1) -> Callable[[str, int], None]:
    """Return a function that fills and indexes the table, and leaves no work for VACUUM or a checkpoint during a measurement.

    `neighbours` is the number of rows on the day before and on the day after, as a multiple of the day's rows; 0 for none.
    """

    def fill(dsn: str, rows: int) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(table)
            for offset in (-1, 0, 1):
                wanted = math.ceil(rows * neighbours) if offset else rows
                connection.execute(rows_of_day, {"day": DAY + timedelta(days=offset), "rows": wanted})
            connection.execute("CREATE INDEX ON public.audit_logs (created_at)")
            connection.execute("VACUUM (FREEZE, ANALYZE) public.audit_logs")
            connection.execute("CHECKPOINT")

    return fill


_WIDE = "15 columns, about 530 bytes a row in binary COPY"


def _workload(name: str, title: str, table: LiteralString, rows: LiteralString, **more: Any) -> Workload:  # noqa: ANN401 - of any field
    return Workload(name, title, days(table, rows), days(table, rows, neighbours=0), **more)


WORKLOADS = {
    each.name: each
    for each in (
        _workload("wide", _WIDE, WIDE, WIDE_ROWS),
        _workload("narrow", "5 scalar columns", NARROW, NARROW_ROWS),
        _workload("large", "values of 1 MB of jsonb", LARGE_VALUES, LARGE_VALUES_ROWS, weight=2000),
        _workload("leaves", f"{_WIDE}, a leaf for each day", LEAVES, WIDE_ROWS, primary_key=("id", "created_at")),
    )
}


def select_day() -> str:
    """Return the query for all columns of the day, in their own types, as one line."""
    first = datetime(DAY.year, DAY.month, DAY.day)  # noqa: DTZ001 - the zone is in the text
    bounds = [sql.Literal(f"{bound} UTC") for bound in (first, first + timedelta(days=1))]
    query = sql.SQL("SELECT * FROM public.audit_logs WHERE created_at >= {}::timestamptz AND created_at < {}::timestamptz")
    return query.format(*bounds).as_string()
