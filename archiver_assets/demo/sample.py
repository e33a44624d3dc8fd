"""The sample data: two databases with four audit tables of many column types, and the changes that an application makes to them.

What belongs here: SQL that inserts and changes rows, and the config that names the tables. What does not: archiving them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql

RETENTION_DAYS = 30
FRESH_DAYS = 3


@dataclass(frozen=True)
class SampleTable:
    """A table of the sample; `fill` inserts `rows` rows evenly over `[start, start + length)`, `update` changes one row of that range."""

    database: str
    schema: str
    name: str
    timezone: str
    timestamp_column: str
    ddl: str
    fill: str
    update: str

    @property
    def label(self) -> str:
        """`D/S/T`."""
        return f"{self.database}/{self.schema}/{self.name}"


AUDIT_LOGS = SampleTable(
    database="shop",
    schema="public",
    name="audit_logs",
    timezone="UTC",
    timestamp_column="created_at",
    ddl="""
        CREATE TABLE public.audit_logs (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, created_at timestamptz NOT NULL, tenant uuid NOT NULL, actor uuid,
            action text NOT NULL, entity varchar(40) NOT NULL, entity_id bigint, address inet, before jsonb, after jsonb,
            amount numeric(18,4), tags text[], succeeded boolean NOT NULL, latency interval, note text);
        CREATE INDEX audit_logs_created_at ON public.audit_logs (created_at)""",
    fill="""
        INSERT INTO public.audit_logs (created_at, tenant, actor, action, entity, entity_id, address, before, after, amount, tags,
                                       succeeded, latency, note)
        SELECT %(start)s::timestamptz + %(length)s::interval * n / %(rows)s, gen_random_uuid(),
               CASE WHEN n %% 10 > 0 THEN gen_random_uuid() END, (ARRAY['create', 'update', 'delete', 'login'])[1 + n %% 4], 'order', n,
               ('10.1.' || n %% 200 || '.' || n %% 250)::inet, jsonb_build_object('status', 'open', 'n', n),
               jsonb_build_object('status', 'paid', 'n', n, 'total', 1.10), n / 7.0, ARRAY['web', NULL, 'v' || n %% 3],
               n %% 50 > 0, make_interval(secs => n / 100.0), CASE n %% 3 WHEN 0 THEN '' WHEN 1 THEN 'über %% "quoted" line' END
        FROM generate_series(0, %(rows)s - 1) AS n""",
    update="""
        UPDATE public.audit_logs SET note = 'corrected' WHERE id = (
            SELECT min(id) FROM public.audit_logs WHERE created_at >= %(start)s AND created_at < %(start)s + %(length)s::interval)""",
)

LOGIN_EVENTS = SampleTable(
    database="shop",
    schema="public",
    name="login_events",
    timezone="UTC",
    timestamp_column="at",
    ddl="""
        CREATE TYPE public.login_result AS ENUM ('ok', 'wrong password', 'locked');
        CREATE TABLE public.login_events (
            event uuid PRIMARY KEY, at timestamptz NOT NULL, account text NOT NULL, result public.login_result NOT NULL, client cidr,
            fingerprint bytea, score double precision, window_hours int4range, day date NOT NULL);
        CREATE INDEX login_events_at ON public.login_events (at)""",
    fill="""
        INSERT INTO public.login_events
        SELECT gen_random_uuid(), %(start)s::timestamptz + %(length)s::interval * n / %(rows)s, 'user' || n %% 900 || '@example.com',
               (enum_range(NULL::public.login_result))[1 + n %% 3], '192.168.0.0/16', decode(md5(n::text), 'hex'),
               CASE n %% 100 WHEN 0 THEN 'NaN' WHEN 1 THEN '-0' ELSE n / 3.0 END, int4range(n %% 24, n %% 24 + 2), %(start)s::date
        FROM generate_series(0, %(rows)s - 1) AS n""",
    update="""
        UPDATE public.login_events SET account = 'corrected' WHERE event = (
            SELECT min(event::text)::uuid FROM public.login_events WHERE at >= %(start)s AND at < %(start)s + %(length)s::interval)""",
)

POSTINGS = SampleTable(
    database="ledger",
    schema="public",
    name="postings",
    timezone="Europe/Berlin",
    timestamp_column="booked_at",
    ddl="""
        CREATE TABLE public.postings (
            id bigint NOT NULL, booked_at timestamptz NOT NULL, account char(8) NOT NULL, amount numeric(38,10) NOT NULL,
            exact numeric, memo text, PRIMARY KEY (id, booked_at)) PARTITION BY RANGE (booked_at);
        CREATE INDEX postings_booked_at ON public.postings (booked_at);
        CREATE SEQUENCE public.postings_id;
        CREATE TABLE public.postings_past PARTITION OF public.postings FOR VALUES FROM (MINVALUE) TO (now() - interval '36 days');
        CREATE TABLE public.postings_recent PARTITION OF public.postings FOR VALUES FROM (now() - interval '36 days') TO (MAXVALUE)""",
    fill="""
        INSERT INTO public.postings
        SELECT nextval('public.postings_id'), %(start)s::timestamptz + %(length)s::interval * n / %(rows)s, 'ACC' || n %% 50,
               (n - 5000) / 3.0, (n::bigint * 1000003)::numeric / 7, 'posting ' || n
        FROM generate_series(0, %(rows)s - 1) AS n""",
    update="""
        UPDATE public.postings SET memo = 'corrected' WHERE id = (
            SELECT min(id) FROM public.postings WHERE booked_at >= %(start)s AND booked_at < %(start)s + %(length)s::interval)""",
)

PRICE_CHANGES = SampleTable(
    database="ledger",
    schema="audit trail",
    name="Price changes",
    timezone="America/New_York",
    timestamp_column="Changed at",
    ddl="""
        CREATE SCHEMA "audit trail";
        CREATE TABLE "audit trail"."Price changes" (
            sku text NOT NULL, version int NOT NULL, "Changed at" timestamp NOT NULL, price money, old_price money, reason xml,
            valid tstzrange, PRIMARY KEY (sku, version));
        CREATE INDEX price_changes_at ON "audit trail"."Price changes" ("Changed at");
        CREATE SEQUENCE "audit trail".versions""",
    fill="""
        INSERT INTO "audit trail"."Price changes"
        SELECT 'SKU-' || n %% 700, nextval('"audit trail".versions'),
               (%(start)s::timestamptz + %(length)s::interval * n / %(rows)s) AT TIME ZONE 'America/New_York', n::int::money,
               NULLIF(n %% 9, 0)::int::money, xmlelement(name reason, 'change ' || n), tstzrange(%(start)s, NULL)
        FROM generate_series(0, %(rows)s - 1) AS n""",
    update="""
        UPDATE "audit trail"."Price changes" SET price = 0::money WHERE version = (
            SELECT min(version) FROM "audit trail"."Price changes"
            WHERE "Changed at" >= %(start)s AT TIME ZONE 'America/New_York'
              AND "Changed at" < (%(start)s + %(length)s::interval) AT TIME ZONE 'America/New_York')""",
)

TABLES = (AUDIT_LOGS, LOGIN_EVENTS, POSTINGS, PRICE_CHANGES)
DATABASES = tuple(dict.fromkeys(table.database for table in TABLES))

CONFIG = f"""\
version: "2.0"

s3:
  endpoint: ${{DEMO_S3_ENDPOINT}}
  bucket: audit-archives
  prefix: archives/
  region: us-east-1
  path_style: true

defaults:
  retention_days: {RETENTION_DAYS}
  batch_size: 10000
  start_date: ${{DEMO_START_DATE}}

databases:
  - name: shop
    host: 127.0.0.1
    port: ${{DEMO_DB_PORT}}
    user: postgres
    password_env: DEMO_DB_PASSWORD
    tables:
      - name: audit_logs
        timestamp_column: created_at
        primary_key: id
        description: Who did what in the shop.
      - name: login_events
        timestamp_column: at
        primary_key: event
        description: Logins and their results.
  - name: ledger
    host: 127.0.0.1
    port: ${{DEMO_DB_PORT}}
    user: postgres
    password_env: DEMO_DB_PASSWORD
    tables:
      - name: postings
        timestamp_column: booked_at
        primary_key: [id, booked_at]
        timezone: Europe/Berlin
        description: Postings, natively partitioned.
      - name: Price changes
        schema: audit trail
        timestamp_column: Changed at
        primary_key: [sku, version]
        timezone: America/New_York
        description: Prices before and after, in local time.
"""


@dataclass(frozen=True)
class Day:
    """One local day of a table, `[start, start + length)`."""

    table: SampleTable
    day: date

    @property
    def bounds(self) -> Mapping[str, object]:
        """The parameters of the table's statements: the first instant and the length, which is 23 or 25 hours on days of a clock change."""
        zone = ZoneInfo(self.table.timezone)
        midnights = [datetime(each.year, each.month, each.day, tzinfo=zone) for each in (self.day, self.day + timedelta(days=1))]
        start, end = (midnight.astimezone(UTC) for midnight in midnights)
        return {"start": start, "length": end - start}


def expired_days(table: SampleTable, days: int) -> list[Day]:
    """Return the newest `days` expired days of a table, oldest first."""
    newest = datetime.now(ZoneInfo(table.timezone)).date() - timedelta(days=RETENTION_DAYS + 1)
    return [Day(table, newest - timedelta(days=back)) for back in reversed(range(days))]


def fill(connection: psycopg.Connection, table: SampleTable, days: int, rows_per_day: int) -> int:
    """Create a table with rows on `days` expired days and on three days that retention protects; return the number of rows."""
    _run(connection, table.ddl)
    expired = expired_days(table, days)
    fresh = [Day(table, expired[-1].day + timedelta(days=ahead + 1)) for ahead in range(FRESH_DAYS)]
    for day in (*expired, *fresh):
        _run(connection, table.fill, {**day.bounds, "rows": rows_per_day})
    return rows_per_day * (days + FRESH_DAYS)


def change_meanwhile(connection: psycopg.Connection, day: Day, late_rows: int) -> None:
    """Change an archived day as an application might between archive and purge: update one of its rows and insert late ones."""
    _run(connection, day.table.update, day.bounds)
    _run(connection, day.table.fill, {**day.bounds, "rows": late_rows})


def count_rows(connection: psycopg.Connection, day: Day) -> int:
    """Count the rows of a day with the demo's own SQL."""
    table = day.table
    column: sql.Composable = sql.Identifier(table.timestamp_column)
    if table is PRICE_CHANGES:
        column = sql.SQL("{} AT TIME ZONE {}").format(column, sql.Literal(table.timezone))
    statement = sql.SQL("SELECT count(*) FROM {} WHERE {} >= %(start)s AND {} < %(start)s + %(length)s::interval")
    row = connection.execute(statement.format(sql.Identifier(table.schema, table.name), column, column), day.bounds).fetchone()
    return int(row[0]) if row else 0


def _run(connection: psycopg.Connection, statement: str, parameters: Mapping[str, object] | None = None) -> None:
    connection.execute(statement, parameters)
