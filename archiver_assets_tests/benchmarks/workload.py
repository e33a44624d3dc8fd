"""The table that the benchmarks read: `public.audit_logs`, 15 columns, three days of equally many rows, an index on the timestamp.

What belongs here: making the rows, and how a process of its own finds them. What does not: reading them. Children are told where the server
is by libpq's own variables (https://www.postgresql.org/docs/current/libpq-envars.html), which psql and psycopg know too.
"""

import os
from collections.abc import Mapping
from datetime import date, datetime, timedelta

import psycopg
from psycopg import sql

from archiver_assets.demo.postgres import EmbeddedPostgres

DAY = date(2024, 3, 5)
"""The day that is read; the day before and the day after hold as many rows."""

TABLE = """
CREATE TABLE public.audit_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
)
"""

# A day's rows come in the order of time, as an application writes them; one actor, amount and resource in ten or so is NULL.
ROWS = """
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


def make_table(server: EmbeddedPostgres, rows: int) -> None:
    """Fill the table, index it, and leave nothing for VACUUM or a checkpoint to do while the clock runs."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(TABLE)
        for day in (DAY - timedelta(days=1), DAY, DAY + timedelta(days=1)):
            connection.execute(ROWS, {"day": day, "rows": rows})
        connection.execute("CREATE INDEX ON public.audit_logs (created_at)")
        connection.execute("VACUUM (FREEZE, ANALYZE) public.audit_logs")
        connection.execute("CHECKPOINT")


def select_day() -> str:
    """Return the query for all 15 columns of the day, in their own types, on one line."""
    first = datetime(DAY.year, DAY.month, DAY.day)  # noqa: DTZ001 - the zone is in the text
    bounds = [sql.Literal(f"{bound} UTC") for bound in (first, first + timedelta(days=1))]
    query = sql.SQL("SELECT * FROM public.audit_logs WHERE created_at >= {}::timestamptz AND created_at < {}::timestamptz")
    return query.format(*bounds).as_string()


def bytes_of_day(server: EmbeddedPostgres) -> int:
    """Read the day once, so that it is cached, and return its bytes in binary COPY."""
    with (
        psycopg.connect(server.dsn()) as connection,
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(sql.SQL(select_day()))) as copy,
    ):
        return sum(len(data) for data in copy)


def environment(server: EmbeddedPostgres) -> Mapping[str, str]:
    """Return the environment of a child process that is to reach the table."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    reach = {"PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": server.user, "PGPASSWORD": server.password}
    return own | reach | {"PGDATABASE": "postgres"}
