"""What speaks against a table is found before any work, named with its next step, and enforced; what is accepted by name goes on."""

import re
from collections.abc import Iterator
from dataclasses import replace
from secrets import token_hex
from typing import Any

import dagster as dg
import psycopg
import pytest

from archiver_assets.config import TableConfig
from archiver_assets.errors import SourceError, TableRefused
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.preflight import preflight
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Task
from archiver_assets.orchestration.assets import table_keys
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.source import catalog, sql_catalog
from archiver_assets.source import preflight as source_preflight
from archiver_assets.source.findings import Finding
from archiver_assets.source.preflight import read_preflight
from archiver_assets_tests.clusters import catch_up, primary_with_standby, run
from archiver_assets_tests.lab import AUDIT_LOGS, Lab
from archiver_assets_tests.proxies import Pooler
from archiver_assets_tests.servers import PostgresServer

FUNCTION = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';"
CHILD = "CREATE TABLE child (id int PRIMARY KEY, log bigint DEFAULT 0 REFERENCES audit_logs {});"
DAYS = """
CREATE TABLE ev (id int NOT NULL, at timestamptz NOT NULL, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE ev_05 PARTITION OF ev FOR VALUES FROM ('2024-03-05') TO ('2024-03-06');
CREATE TABLE ev_rest PARTITION OF ev DEFAULT;
CREATE INDEX ON ev (at);
"""
EV = {"name": "ev", "primary_key": ("id", "at"), "timestamp_column": "at"}


def found(lab: Lab, table: TableConfig | None = None) -> dict[str, Finding]:
    task = lab.task(table=table or lab.table())
    return {each.name: each for each in preflight(task.source, task.table)}


def refused_by_both(lab: Lab, pattern: str, table: TableConfig | None = None) -> None:
    objects, rows = lab.objects(), lab.count()
    for verb in (archive, purge):
        with pytest.raises(TableRefused, match=pattern):
            verb(lab.task(table=table or lab.table()))
    assert (lab.objects(), lab.count()) == (objects, rows)


def test_nothing_speaks_against_a_sound_table(lab: Lab) -> None:
    assert found(lab) == {}
    lab.execute(DAYS)
    assert found(lab, lab.table(**EV)) == {}


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        (CHILD.format("ON DELETE CASCADE"), "cascading_foreign_key"),
        (CHILD.format("ON DELETE SET NULL"), "cascading_foreign_key"),
        (CHILD.format("ON DELETE SET DEFAULT"), "cascading_foreign_key"),
        (CHILD.format("ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED"), "cascading_foreign_key"),
        (FUNCTION + "CREATE TRIGGER t BEFORE DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION f()", "delete_trigger"),
        (FUNCTION + "CREATE TRIGGER t BEFORE INSERT OR DELETE ON audit_logs EXECUTE FUNCTION f()", "delete_trigger"),
        (
            FUNCTION + "CREATE TRIGGER t BEFORE DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION f();"
            "ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER t",
            "delete_trigger",
        ),
        (
            FUNCTION + "CREATE TRIGGER t BEFORE DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION f();"
            "ALTER TABLE audit_logs ENABLE REPLICA TRIGGER t",
            "delete_trigger",
        ),
        ("CREATE RULE r AS ON DELETE TO audit_logs DO ALSO NOTHING", "delete_rule"),
        ("CREATE TABLE heir () INHERITS (audit_logs)", "inheritance"),
        ("ALTER TABLE audit_logs SET UNLOGGED", "not_permanent"),
        ("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_pkey", "no_unique_key"),
        ("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_pkey, ALTER id DROP IDENTITY, ALTER id DROP NOT NULL", "nullable_key"),
        ("ALTER TABLE audit_logs RENAME TO t; CREATE VIEW audit_logs AS SELECT * FROM t", "wrong_kind"),
        ("ALTER TABLE audit_logs RENAME TO t; CREATE MATERIALIZED VIEW audit_logs AS SELECT * FROM t", "wrong_kind"),
    ],
)
def test_what_is_never_acceptable_is_refused_by_both_even_where_other_risks_are_accepted(lab: Lab, statement: str, name: str) -> None:
    lab.fill(rows=3)
    lab.execute(statement)
    table = lab.table(accepted_risks=("after_delete_trigger", "inbound_foreign_key", "connection_pooler"))

    assert found(lab, table)[name].stopped == "archive and purge"
    refused_by_both(lab, "cannot be archived and purged safely", table)


ACCEPTABLE = [
    (CHILD.format(""), "inbound_foreign_key"),
    (CHILD.format("ON DELETE RESTRICT"), "inbound_foreign_key"),
    (FUNCTION + "CREATE TRIGGER t AFTER DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION f()", "after_delete_trigger"),
    (FUNCTION + "CREATE TRIGGER t AFTER DELETE ON audit_logs EXECUTE FUNCTION f()", "after_delete_trigger"),
    (
        FUNCTION + "CREATE CONSTRAINT TRIGGER t AFTER DELETE ON audit_logs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f()",
        "after_delete_trigger",
    ),
]


@pytest.mark.parametrize(("statement", "name"), ACCEPTABLE)
def test_a_risk_is_refused_until_it_is_accepted_by_name_and_then_archive_and_purge_go_on(lab: Lab, statement: str, name: str) -> None:
    lab.fill(rows=3)
    lab.execute(statement)
    assert f"accepted_risks: [{name}]" in found(lab)[name].hint
    refused_by_both(lab, "would make a DELETE do more or less")

    table = lab.table(accepted_risks=(name,))
    assert found(lab, table)[name].stopped == "nothing"
    archive(lab.task(table=table))
    assert (purge(lab.task(table=table)).tally.purged, lab.count()) == (3, 0)


def test_a_trigger_that_is_disabled_or_not_for_deletes_is_none(lab: Lab) -> None:
    lab.execute(FUNCTION + "CREATE TRIGGER t BEFORE DELETE ON audit_logs EXECUTE FUNCTION f(); ALTER TABLE audit_logs DISABLE TRIGGER t")
    lab.execute("CREATE TRIGGER u BEFORE UPDATE ON audit_logs EXECUTE FUNCTION f()")
    assert found(lab) == {}


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        (FUNCTION + "CREATE TRIGGER t BEFORE DELETE ON ev_05 FOR EACH ROW EXECUTE FUNCTION f()", "delete_trigger"),
        (FUNCTION + "CREATE TRIGGER t AFTER DELETE ON ev_05 FOR EACH ROW EXECUTE FUNCTION f()", "after_delete_trigger"),
        ("CREATE RULE r AS ON DELETE TO ev_05 DO INSTEAD NOTHING", "delete_rule"),
        ("CREATE TABLE child (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES ev_05 ON DELETE CASCADE)", "cascading_foreign_key"),
        ("CREATE TABLE child (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES ev ON DELETE SET NULL)", "cascading_foreign_key"),
    ],
)
def test_what_a_leaf_alone_has_counts(lab: Lab, statement: str, name: str) -> None:
    lab.execute(DAYS + statement)
    assert found(lab, lab.table(**EV))[name].stopped == "archive and purge"


def test_a_leaf_that_is_a_foreign_or_an_unlogged_table_is_refused(lab: Lab) -> None:
    lab.execute(DAYS + "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; DROP TABLE ev_05;")
    lab.execute("CREATE FOREIGN TABLE f (id bigint, created_at timestamptz) SERVER s")
    assert "found a foreign table" in found(lab, lab.table(name="f"))["wrong_kind"].what
    lab.execute("ALTER TABLE ev DROP CONSTRAINT ev_pkey; DROP INDEX ev_at_idx")
    lab.execute("CREATE FOREIGN TABLE ev_f PARTITION OF ev FOR VALUES FROM ('2024-03-05') TO ('2024-03-06') SERVER s")
    assert "wrong_leaf" in found(lab, lab.table(**EV))
    lab.execute("DROP FOREIGN TABLE ev_f; CREATE UNLOGGED TABLE ev_u PARTITION OF ev FOR VALUES FROM ('2024-03-05') TO ('2024-03-06')")
    assert "ev_u" in found(lab, lab.table(**EV))["wrong_leaf"].what


def test_a_temporary_table_and_temporary_leaves_are_refused(lab: Lab) -> None:
    """A temporary table lies in a schema of its session, which the session that looks has to be."""
    task = lab.task()
    with task.source.connect() as connection:
        for statement in DAYS.replace("CREATE TABLE ev", "CREATE TEMPORARY TABLE ev").replace(" ON ev", " ON pg_temp.ev").split(";"):
            if statement.strip():
                connection.execute(statement)
        schema = connection.execute("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()").fetchone()
        connection.execute("CREATE TEMPORARY TABLE alone (id int PRIMARY KEY, at timestamptz)")
        name = (schema or {})["nspname"]
        alone = lab.table(schema_name=name, name="alone", timestamp_column="at")
        names = {each.name: each for each in read_preflight(connection, alone)}
        assert (names["not_permanent"].stopped, "temporary" in names["not_permanent"].what) == ("archive and purge", True)
        parent = {each.name: each for each in read_preflight(connection, lab.table(schema_name=name, **EV))}
        assert parent["wrong_leaf"].stopped == "archive and purge"


def test_a_missing_table_and_missing_columns_are_named(lab: Lab) -> None:
    assert found(lab, lab.table(name="nowhere"))["missing_table"].hint == "compare schema and name in the config"
    assert "found only id, created_at" in found(lab, lab.table(timestamp_column="at"))["missing_column"].what
    assert "wrong_timestamp" in found(lab, lab.table(timestamp_column="details"))


def test_a_large_table_without_an_index_on_the_timestamp_is_refused_with_the_statement_that_mends_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.fill(rows=50)
    lab.execute("DROP INDEX audit_logs_created_at_idx")
    assert found(lab)["no_timestamp_index"].stopped == "nothing"  # it is small
    monkeypatch.setattr(source_preflight, "SCANNED_ANYWAY", 100)
    lab.execute("CREATE INDEX half ON audit_logs (created_at) WHERE id > 5; CREATE INDEX other ON audit_logs (id, created_at)")
    finding = found(lab)["no_timestamp_index"]
    assert finding.stopped == "archive and purge"
    refused_by_both(lab, "no index begins with 'created_at'")
    assert found(lab, lab.table(allow_sequential_scan=True))["no_timestamp_index"].stopped == "nothing"

    run_the_hint(lab, finding)
    assert found(lab) == {}


def test_the_statement_for_a_leaf_without_an_index_can_be_run_as_it_is(lab: Lab) -> None:
    lab.execute(DAYS + 'DROP INDEX ev_at_idx; ALTER TABLE ev_05 RENAME TO "ev; 05"')
    run_the_hint(lab, found(lab, lab.table(**EV))["no_timestamp_index"])
    assert found(lab, lab.table(**EV)) == {}


def run_the_hint(lab: Lab, finding: Finding) -> None:
    statements = re.findall(r'CREATE INDEX CONCURRENTLY ON "public"\."[^"]+" \("?\w+"?\)', finding.hint)
    assert statements
    with psycopg.connect(lab.database.dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def role(lab: Lab) -> Iterator[str]:
    """Give a role that may log in and nothing else."""
    name = f"archiver_{token_hex(4)}"
    lab.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{lab.database.password}'")
    yield name
    lab.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def as_role(task: Task, role: str) -> Task:
    return replace(task, source=replace(task.source, config=task.source.config.model_copy(update={"user": role})))


def test_missing_rights_are_named_with_the_grants_and_a_missing_delete_stops_only_the_purge(lab: Lab, role: str) -> None:
    lab.fill(rows=3)

    def names() -> dict[str, Finding]:
        task = as_role(lab.task(), role)
        return {each.name: each for each in preflight(task.source, task.table)}

    lab.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    assert {"no_usage", "no_select", "no_delete"} <= set(names())
    for name in ("no_usage", "no_select"):
        lab.execute(names()[name].hint)
    assert {name: each.stopped for name, each in names().items()} == {"no_delete": "purge"}
    assert archive(as_role(lab.task(), role)).rows == 3
    with pytest.raises(TableRefused, match="may not delete") as refused:
        purge(as_role(lab.task(), role))
    lab.execute(refused.value.hint)
    assert (purge(as_role(lab.task(), role)).tally.purged, names()) == (3, {})


def test_row_level_security_is_refused_only_for_a_role_that_it_filters(lab: Lab, role: str) -> None:
    lab.fill(rows=3)
    lab.execute(f"GRANT SELECT, DELETE ON audit_logs TO {role}; ALTER TABLE audit_logs ENABLE ROW LEVEL SECURITY")
    lab.execute("CREATE POLICY p ON audit_logs USING (id = 1)")
    assert found(lab) == {}
    with pytest.raises(TableRefused, match="row-level security"):
        archive(as_role(lab.task(), role))


@pytest.mark.parametrize(
    ("identity", "name", "stops"),
    [
        ("DEFAULT", "published_deletes", "nothing"),
        ("FULL", "published_deletes", "nothing"),
        ("NOTHING", "publication_without_identity", "purge"),
    ],
)
def test_a_publication_is_a_warning_and_without_a_replica_identity_it_stops_the_purge(
    lab: Lab, identity: str, name: str, stops: str
) -> None:
    lab.fill(rows=3)
    lab.execute(f"ALTER TABLE audit_logs REPLICA IDENTITY {identity}; CREATE PUBLICATION p FOR TABLE audit_logs")
    assert {each.name: each.stopped for each in found(lab).values()} == {name: stops}
    archive(lab.task())
    if stops == "purge":
        with pytest.raises(TableRefused, match="has no replica identity"):
            purge(lab.task())
        assert not [key for key in lab.objects() if "_purging" in key]
    else:
        assert purge(lab.task()).tally.purged == 3


def test_a_publication_that_leaves_deletes_out_is_no_concern(lab: Lab) -> None:
    lab.execute("CREATE PUBLICATION p FOR TABLE audit_logs WITH (publish = 'insert')")
    assert found(lab) == {}


def test_a_pooler_is_refused_until_it_is_accepted(lab: Lab) -> None:
    lab.fill(rows=3)
    with Pooler(lab.database.port) as proxy:

        def through(**changes: Any) -> Task:  # noqa: ANN401 - settings of a table
            task = lab.task(table=lab.table(**changes))
            return replace(task, source=replace(task.source, config=task.source.config.model_copy(update={"port": proxy.port})))

        for verb in (archive, purge):
            with pytest.raises(TableRefused, match="goes through a pooler"):
                verb(through())
        assert archive(through(accepted_risks=("connection_pooler",))).rows == 3


def test_a_server_older_than_the_oldest_supported_is_refused_and_what_else_is_wrong_is_found_too(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.fill(rows=3)
    lab.execute("CREATE RULE r AS ON DELETE TO audit_logs DO ALSO NOTHING")
    monkeypatch.setattr(catalog, "OLDEST_SUPPORTED", 99)

    assert {name: each.stopped for name, each in found(lab).items()} == dict.fromkeys(
        ("unsupported_version", "delete_rule"), "archive and purge"
    )
    refused_by_both(lab, "expected PostgreSQL 99 or newer, found 1")


def test_where_an_older_server_s_catalog_does_not_have_what_is_asked_for_its_version_is_the_reason(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_catalog, "RIGHTS", "SELECT no_such_function($1)")
    with pytest.raises(SourceError):
        found(lab)
    monkeypatch.setattr(catalog, "OLDEST_SUPPORTED", 99)
    assert list(found(lab)) == ["unsupported_version"]


def test_an_encoding_that_has_no_utf8_form_is_refused_and_what_else_is_wrong_is_found_too(
    lab: Lab, postgres_server: PostgresServer
) -> None:
    name = f"{lab.database.name}_ascii"
    with psycopg.connect(postgres_server.maintenance_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        try:
            ascii_lab = replace(lab, database=postgres_server.database(name))
            ascii_lab.execute(AUDIT_LOGS + "CREATE RULE r AS ON DELETE TO audit_logs DO ALSO NOTHING")
            ascii_lab.fill(rows=3)
            assert {name: each.stopped for name, each in found(ascii_lab).items()} == dict.fromkeys(
                ("wrong_encoding", "delete_rule"), "archive and purge"
            )
            with pytest.raises(TableRefused, match="SQL_ASCII"), ascii_lab.task().source.connect() as connection:
                catalog.read_server(connection)
            refused_by_both(ascii_lab, "whose encoding has a UTF-8 form, found SQL_ASCII")
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_standby_is_no_finding_but_an_error_as_nothing_is_done_there(lab: Lab) -> None:
    with primary_with_standby() as pair:
        run(pair.primary, AUDIT_LOGS)
        catch_up(pair)
        standby = replace(lab, database=PostgresServer(pair.standby.dsn()).database("postgres"))
        with pytest.raises(SourceError, match="expected a primary server"):
            found(standby)


def test_a_server_newer_than_the_tested_ones_is_a_warning(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_preflight, "NEWEST_TESTED", 13)
    assert found(lab)["untested_version"].stopped == "nothing"
    lab.fill(rows=3)
    assert archive(lab.task()).rows == 3


def test_the_check_in_dagster_says_each_finding_on_a_line_with_its_severity(lab: Lab) -> None:
    table = lab.table()
    key = dg.AssetCheckKey(table_keys(table).source, "preflight")

    def evaluate() -> dg.AssetCheckEvaluation:
        definitions = build_definitions(lab.services(table).config, lab.services(table))
        job = definitions.resolve_implicit_global_asset_job_def() if hasattr(definitions, "resolve_implicit_global_asset_job_def") else None
        job = job or definitions.get_implicit_global_asset_job_def()
        result = job.get_subset(asset_check_selection={key}, asset_selection=set()).execute_in_process()
        (evaluation,) = result.get_asset_check_evaluations()
        return evaluation

    assert (evaluate().passed, evaluate().description) == (True, "found no obstacle to archiving and purging this table")
    lab.execute("CREATE PUBLICATION p FOR TABLE audit_logs")
    assert (evaluate().passed, evaluate().severity) == (False, dg.AssetCheckSeverity.WARN)
    lab.execute("CREATE RULE r AS ON DELETE TO audit_logs DO INSTEAD NOTHING")
    evaluation = evaluate()
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    lines = (evaluation.description or "").splitlines()
    assert [line.split(":")[0] for line in lines] == ["stops archive and purge", "warning"]
