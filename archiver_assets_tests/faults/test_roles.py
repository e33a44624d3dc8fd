"""The SQL of `archiver roles`: with it the whole job works, and without any one right of it something says which one, and deletes nothing.

What belongs here: a role made by what the command prints, in a database where everybody else's rights were taken away. What does not: the
policies of the bucket (`integration/test_iam_policies.py`).
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from archiver_assets.demo.postgres import find_binaries
from archiver_assets.errors import ArchiverError, TableRefused
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.preflight import preflight
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.source.session import Source
from archiver_assets_tests.clusters import catch_up, primary_with_standby
from archiver_assets_tests.estate import EV, HOLDS, LOG, PASSWORD, Estate, open_estate, run, run_psql, the_job
from archiver_assets_tests.lab import PASSWORD_VARIABLE, SCRATCH_PASSWORD_VARIABLE, Lab
from archiver_assets_tests.outcomes import assert_purged
from archiver_assets_tests.servers import Database, PostgresServer


@pytest.fixture
def estate(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Estate]:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with open_estate(lab, tmp_path, capsys) as made:
        yield made


def test_the_job_works_with_what_is_printed_and_the_doctor_has_nothing_to_say(estate: Estate) -> None:
    holds = {"legal_holds": {"table": HOLDS}}
    estate.tables = ({**LOG, "verification": "restore", "vacuum_strategy": vacuumed(estate)}, {**EV, "purge_method": "drop_partition"})
    estate.granted(**holds)

    found = estate.doctor(**holds)
    assert {subject: line for subject, line in found.items() if line[0] != "passed"} == {}

    emptied, dropped = (the_job(estate.task(table, holds=True)) for table in estate.tables)
    assert_purged(emptied, purged=20)
    assert (emptied.vacuumed.outcome, dropped.dropped) == (vacuumed(estate), ("ev_05",))
    assert (estate.lab.count("audit.log"), estate.lab.count("audit.ev")) == (0, 1)


def vacuumed(estate: Estate) -> str:
    return "standard" if server_version(estate.lab) >= 170_000 else "none"


def server_version(lab: Lab) -> int:
    return int(lab.execute("SELECT current_setting('server_version_num')")[0][0])


def test_the_role_may_do_nothing_else(estate: Estate) -> None:
    estate.tables = (LOG,)
    estate.granted()
    refused = [
        "SELECT * FROM audit.others",
        "UPDATE audit.log SET note = ''",
        "INSERT INTO audit.log (at) VALUES (now())",
        "TRUNCATE audit.log",
        "DROP TABLE audit.log",
        "SELECT nextval('audit.log_id_seq')",
        "DELETE FROM audit.ev",
        "CREATE TABLE audit.mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "SELECT * FROM law.holds",
        "CREATE ROLE other",
        "CREATE DATABASE other",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "SELECT pg_read_file('postgresql.conf')",
    ]
    with estate.task(LOG).source.connect() as connection:
        for statement in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


@dataclass(frozen=True)
class Lacking:
    """A right that is taken away again, by SQL; who says so, `doctor` by the subject of its line or the `purge`; and the words."""

    revoke: str
    says: str
    words: str
    table: dict[str, Any] = field(default_factory=lambda: LOG)


KEPT = {"purge": False, "vacuum_strategy": "standard", "purge_method": "drop_partition", "verification": "restore"}
"""A table that is archived only, with every setting by which a purge would need more rights."""


def test_for_a_table_that_is_archived_only_no_right_to_delete_is_printed_and_none_is_missed(estate: Estate) -> None:
    estate.tables = ({**LOG, **KEPT}, {**EV, **KEPT})
    script = sql_of(estate)
    assert "GRANT SELECT" in script
    assert set(re.findall(r"DELETE|TEMPORARY|MAINTAIN|pg_read_all_stats|drop_partition|INSERT|of leaves", script)) == set()
    estate.granted()

    assert {subject: line for subject, line in estate.doctor().items() if line[0] != "passed"} == {}
    for table in estate.tables:
        task = estate.task(table)
        assert archive(task).rows == 20
        assert verify(task).passed
        with pytest.raises(TableRefused, match="found purge: false"):
            purge(task)
        with pytest.raises(TableRefused, match=re.escape(f"the role {estate.role} may not delete")):
            purge(replace(task, table=task.table.model_copy(update={"purge": True, "purge_method": "delete"})))
    with estate.task(LOG).source.connect() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM audit.log")
    assert (estate.lab.count("audit.log"), estate.lab.count("audit.ev")) == (20, 21)


def test_beside_a_table_that_is_purged_one_that_is_archived_only_gets_no_right_to_delete(estate: Estate) -> None:
    estate.tables = (LOG, {**EV, "purge": False})
    estate.granted()
    rights = "SELECT has_table_privilege(%(role)s, %(table)s, 'SELECT'), has_table_privilege(%(role)s, %(table)s, 'DELETE')"
    found = {name: estate.lab.execute(rights, {"role": estate.role, "table": name}) for name in ("audit.log", "audit.ev")}
    assert found == {"audit.log": [(True, True)], "audit.ev": [(True, False)]}


DROPPED = {**EV, "purge_method": "drop_partition"}
PROVEN = {**LOG, "verification": "restore"}
RIGHTS = {
    "CONNECT": Lacking(
        'REVOKE CONNECT ON DATABASE "{database}" FROM {role}', "database lab", 'GRANT CONNECT ON DATABASE "{database}" TO "{role}"'
    ),
    "USAGE": Lacking("REVOKE USAGE ON SCHEMA audit FROM {role}", "table lab/audit/log", 'GRANT USAGE ON SCHEMA "audit" TO "{role}"'),
    "SELECT": Lacking("REVOKE SELECT ON audit.log FROM {role}", "table lab/audit/log", 'GRANT SELECT ON "audit"."log" TO "{role}"'),
    "SELECT on columns alone": Lacking(
        "REVOKE SELECT ON audit.log FROM {role}; GRANT SELECT (id, at, mood, note) ON audit.log TO {role}",
        "table lab/audit/log",
        'GRANT SELECT ON "audit"."log" TO "{role}"',
    ),
    "DELETE": Lacking("REVOKE DELETE ON audit.log FROM {role}", "table lab/audit/log", 'GRANT DELETE ON "audit"."log" TO "{role}"'),
    "USAGE of types": Lacking(
        "REVOKE USAGE ON SCHEMA kinds FROM {role}", "table lab/audit/log", 'GRANT USAGE ON SCHEMA "kinds" TO "{role}"'
    ),
    "USAGE of leaves": Lacking(
        "REVOKE USAGE ON SCHEMA parts FROM {role}, {owner}", "table lab/audit/ev", 'GRANT USAGE ON SCHEMA "parts" TO "{role}"', DROPPED
    ),
    "ownership": Lacking(
        "REVOKE {owner} FROM {role}", "table lab/audit/ev", 'make it a member of the owner (GRANT "{owner}" TO "{role}")', DROPPED
    ),
    "TEMPORARY": Lacking(
        'REVOKE TEMPORARY ON DATABASE "{database}" FROM {role}',
        "database lab: scratch",
        'GRANT TEMPORARY ON DATABASE "{database}" TO "{role}"',
        PROVEN,
    ),
    "holds": Lacking("REVOKE SELECT ON law.holds FROM {role}", "legal holds", "permission denied for table holds"),
    "USAGE of holds": Lacking("REVOKE USAGE ON SCHEMA law FROM {role}", "legal holds", "permission denied for schema law"),
}


@pytest.mark.parametrize("name", RIGHTS)
def test_without_any_one_right_the_doctor_names_it_and_no_row_is_deleted(estate: Estate, name: str) -> None:
    lacking, holds = RIGHTS[name], {"legal_holds": {"table": HOLDS}}
    estate.tables = (lacking.table,)
    estate.granted(**holds)
    archive(estate.task(lacking.table, holds=True))
    before = estate.lab.count(f"audit.{lacking.table['name']}")
    names = {"role": estate.role, "owner": estate.owner, "database": estate.lab.database.name}
    estate.lab.execute(lacking.revoke.format(**names))

    verdict, found, hint = estate.doctor(**holds)[lacking.says]
    assert verdict == "failed"
    assert lacking.words.format(**names) in f"{found} {hint}"
    assert "archiver roles" in hint
    with pytest.raises(ArchiverError, match=re.escape(estate.role)) as refused:
        the_job(estate.task(lacking.table, holds=True))
    assert "GRANT" in refused.value.hint or "grant" in refused.value.hint
    assert estate.lab.count(f"audit.{lacking.table['name']}") == before >= 20


def test_a_right_is_printed_only_where_the_config_needs_it(estate: Estate) -> None:
    def words(**table: object) -> set[str]:
        estate.tables = ({**LOG, "max_replication_lag_seconds": None, **table},)
        return set(re.findall(r"TEMPORARY|pg_monitor|pg_read_all_stats|MAINTAIN|rolsuper|holds|CREATE ON|INSERT|SEQUENCE", sql_of(estate)))

    assert words() == {"rolsuper"}
    assert words(verification="restore") == {"rolsuper", "TEMPORARY"}
    assert words(vacuum_strategy="analyze") == {"rolsuper", "MAINTAIN"}
    assert words(max_replication_lag_seconds=9) == {"rolsuper", "pg_read_all_stats", "pg_monitor"}
    assert "drop_partition" not in sql_of(estate)
    estate.tables = (DROPPED,)
    assert "drop_partition" in sql_of(estate)


def test_the_table_of_holds_is_in_the_script_of_its_database_whichever_tables_are_chosen(estate: Estate) -> None:
    other = {"name": "other", "host": "h", "user": "reader", "password_env": "X", "tables": [LOG]}
    estate.more, holds = {"others": [other]}, {"legal_holds": {"table": {**HOLDS, "database": "other"}}}
    estate.tables = (LOG, EV)

    def chosen(*arguments: str) -> dict[str, tuple[bool, ...]]:
        words = ('"law"."holds"', '"audit"."log"', '"audit"."ev"')
        return {each["of"]: tuple(word in each["sql"] for word in words) for each in estate.printed(*arguments, **holds)}

    assert chosen() == {"lab": (False, True, True), "other": (True, True, False)}
    assert chosen("--table", "ev") == {"lab": (False, False, True), "other": (True, False, False)}
    assert chosen("--database", "lab") == {"lab": (False, True, True)}
    assert chosen("--database", "other") == {"other": (True, True, False)}


def test_a_role_with_tokens_of_iam_is_a_member_of_rds_iam_and_gets_no_password(estate: Estate) -> None:
    place = {"host": "h", "auth": "aws_iam", "user": f"{estate.role}_2"}
    estate.more = {"auth": "aws_iam", "password_env": None, "scratch_database": place}
    estate.tables = (PROVEN,)
    first, second = estate.printed()
    assert f'GRANT "rds_iam" TO "{estate.role}";' in first["sql"]
    assert f'GRANT "rds_iam" TO "{estate.role}_2";' in second["sql"]
    assert "\\password" not in first["sql"] + second["sql"]
    with pytest.raises(psycopg.errors.UndefinedObject, match="rds_iam"):  # which only RDS has
        run(estate.lab.database.dsn, first["sql"])
    estate.lab.execute("CREATE ROLE rds_iam")
    try:
        run(estate.lab.database.dsn, first["sql"])
        assert estate.lab.execute("SELECT pg_has_role(%s, 'rds_iam', 'MEMBER')", [estate.role]) == [(True,)]
    finally:
        estate.lab.execute("DROP ROLE rds_iam")


def test_many_tables_are_named_a_line_each(estate: Estate) -> None:
    names = [f"log_{number}" for number in range(6)]
    for name in names:
        estate.lab.execute(f"CREATE TABLE audit.{name} (LIKE audit.log INCLUDING ALL)")
    estate.tables = tuple({**LOG, "name": name} for name in names)
    script = sql_of(estate)
    assert [script.count(f'\n    "audit"."{name}"') for name in names] == [0, 1, 1, 1, 1, 1]
    estate.granted()
    allowed = "SELECT count(*) FROM pg_class WHERE relname = ANY (%s) AND relkind = 'r' AND has_table_privilege(%s, oid, 'DELETE')"
    assert estate.lab.execute(allowed, [names, estate.role]) == [(len(names),)]


def sql_of(estate: Estate, *arguments: str) -> str:
    (script,) = estate.printed(*arguments)
    return str(script["sql"])


@pytest.mark.parametrize("into", ["new", "original"])
def test_a_restore_needs_what_is_printed_for_it_and_is_refused_before(estate: Estate, into: str) -> None:
    estate.tables = (LOG,)
    estate.granted()
    the_job(estate.task(LOG))
    request = RestoreRequest(table_name="log" if into == "original" else None)
    with pytest.raises(ArchiverError, match=r"permission denied(?s:.*)archiver roles"):
        restore(estate.task(LOG), request)
    assert estate.lab.count("audit.log") == 0

    estate.granted("--restore", into)
    restored = restore(estate.task(LOG), request)
    assert restored.tally.loaded == 20
    assert estate.lab.count("audit.log" if into == "original" else "audit.log_restored") == 20


def test_without_the_sequences_a_restore_into_the_original_is_refused_whole(estate: Estate) -> None:
    estate.granted("--restore", "original")
    the_job(estate.task(LOG))
    estate.lab.execute(f"REVOKE ALL ON SEQUENCE audit.log_id_seq FROM {estate.role}")
    with pytest.raises(ArchiverError, match="permission denied for sequence log_id_seq"):
        restore(estate.task(LOG), RestoreRequest(table_name="log"))
    assert estate.lab.count("audit.log") == 0


def test_leaves_are_vacuumed_by_their_own_right_and_else_the_right_is_named(estate: Estate) -> None:
    if server_version(estate.lab) < 170_000:
        pytest.skip("MAINTAIN is of PostgreSQL 17")
    table = {**EV, "vacuum_strategy": "standard"}
    estate.tables = (table,)
    estate.granted()
    estate.lab.execute(f"REVOKE MAINTAIN ON parts.ev_05 FROM {estate.role}; GRANT MAINTAIN ON audit.ev TO {estate.role}")
    verdict, found, hint = estate.doctor()["table lab/audit/ev"]
    assert (verdict, 'GRANT MAINTAIN ON "parts"."ev_05" TO' in found, "archiver roles" in hint) == ("warned", True, True)
    purged = the_job(estate.task(table))
    assert (purged.outcome, purged.vacuumed.outcome.startswith("skipped: the role")) == ("purged", True)

    estate.granted()
    estate.lab.execute("INSERT INTO audit.ev SELECT n, '2024-03-05 10:00+00', 'cross' FROM generate_series(1, 20) n")
    assert not preflight(estate.task(table).source, estate.task(table).table)
    estate.lab.execute(f"REVOKE MAINTAIN ON parts.ev_06 FROM {estate.role}")  # of another day, which says nothing of this one
    assert the_job(estate.task(table)).vacuumed.outcome == "standard"


def test_a_replica_takes_no_right_of_its_own_and_its_lag_is_seen(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    with primary_with_standby() as pair:
        primary = replace(lab, database=PostgresServer(pair.primary.dsn()).database("postgres"))
        with open_estate(primary, tmp_path, capsys) as estate:
            replica = {"host": pair.standby.host, "port": pair.standby.port}
            estate.more = {"read_replica": replica}
            estate.granted()
            catch_up(pair)
            found = estate.doctor()
            assert {found[subject][0] for subject in ("database lab: replica", "table lab/audit/log")} == {"passed"}
            primary.execute(f"REVOKE pg_read_all_stats FROM {estate.role}")
            verdict, what, hint = estate.doctor()["table lab/audit/log"]
            assert (verdict, "lag of 1 replicas" in what) == ("warned", True)
            assert "GRANT pg_read_all_stats" in hint
            assert "archiver roles" in hint

            task = estate.task(LOG)
            config = primary.database_config(task.table, user=estate.role, read_replica=replica)
            task = replace(task, source=replace(task.source, config=config))
            catch_up(pair)
            archived = archive(task)
            assert archived.generation is not None
            assert archived.generation.manifest.source.read_from == "standby"
            assert purge(task).tally.purged == 20


def test_a_scratch_database_has_a_script_of_its_own(estate: Estate, scratch: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCRATCH_PASSWORD_VARIABLE, PASSWORD)
    with psycopg.connect(scratch.dsn, autocommit=True) as other:
        other.execute("CREATE SCHEMA kinds; CREATE TYPE kinds.mood AS ENUM ('calm', 'cross'); REVOKE ALL ON SCHEMA public FROM PUBLIC")
        other.execute(f'REVOKE ALL ON DATABASE "{scratch.name}" FROM PUBLIC')
    place = {"host": scratch.host, "port": scratch.port, "database": scratch.name, "password_env": SCRATCH_PASSWORD_VARIABLE}
    estate.tables, estate.more = (LOG,), {"scratch_database": place}
    assert len(estate.printed()) == 2  # as the doctor looks there whatever `verification` says
    estate.tables = (PROVEN,)
    first, second = estate.printed()
    assert (first["database"], second["database"]) == (estate.lab.database.name, scratch.name)
    assert "TEMPORARY" not in first["sql"]
    estate.granted()
    run(scratch.dsn, second["sql"])
    assert estate.doctor()["database lab: scratch"][0] == "passed"
    task = estate.task(PROVEN)
    environ = {**task.source.environ, SCRATCH_PASSWORD_VARIABLE: PASSWORD}
    config = estate.lab.database_config(task.table, user=estate.role, scratch_database=place)
    task = replace(task, source=Source(config, environ))
    archive(task)
    for revoke, words in (
        ("REVOKE USAGE ON SCHEMA kinds FROM {}", "schema kinds"),
        (f'REVOKE TEMPORARY ON DATABASE "{scratch.name}" FROM {{}}', "temporary tables"),
        (f'REVOKE CONNECT ON DATABASE "{scratch.name}" FROM {{}}', "CONNECT"),
    ):
        with psycopg.connect(scratch.dsn, autocommit=True) as other:
            other.execute(revoke.format(estate.role))
        with pytest.raises(ArchiverError, match=f"{words}(?s:.*)archiver roles"):
            purge(task)
        assert estate.lab.count("audit.log") == 20
        run(scratch.dsn, second["sql"])
    assert purge(task).tally.purged == 20
    with psycopg.connect(scratch.dsn, autocommit=True) as other:
        other.execute(f"DROP OWNED BY {estate.role}")


def test_a_script_does_nothing_in_another_database_and_nothing_by_half(estate: Estate, scratch: Database) -> None:
    (script,) = estate.printed()
    with pytest.raises(psycopg.errors.RaiseException, match="expected a session in the database"):
        run(scratch.dsn, script["sql"])
    estate.tables = (LOG, {**LOG, "name": "missing"})
    with pytest.raises(psycopg.errors.UndefinedTable):
        run(estate.lab.database.dsn, sql_of(estate))
    assert estate.lab.execute("SELECT FROM pg_roles WHERE rolname = %s", [estate.role]) == []


HOSTILE = "x'; DROP TABLE victim; --\" $archiver$ \\ :a %s {}"


def test_names_of_any_kind_are_names_and_nothing_else(estate: Estate) -> None:
    psql = shutil.which("psql", path=find_binaries())
    if psql is None:
        pytest.skip("the server under test has no psql beside it")
    maintenance, number = estate.lab.database.dsn, token_hex(4)
    database, role, schema, table = (f"{HOSTILE}{kind}{number}" for kind in ("d", "r", "s", "t"))
    names = {"d": database, "r": role, "s": schema, "t": table}
    named = {name: sql.Identifier(value) for name, value in names.items()}
    dsn = make_conninfo(maintenance, dbname=database)
    with psycopg.connect(maintenance, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {d}").format(**named))
        try:
            with psycopg.connect(dsn, autocommit=True) as other:
                other.execute("CREATE TABLE victim ()")
                other.execute(sql.SQL("CREATE SCHEMA {s}; CREATE TYPE {s}.{t} AS ENUM ('a')").format(**named))
                other.execute(sql.SQL("CREATE TABLE {s}.{d} (id int, at timestamptz, e {s}.{t}) PARTITION BY RANGE (at)").format(**named))
                other.execute(sql.SQL("CREATE TABLE {s}.{r} PARTITION OF {s}.{d} DEFAULT").format(**named))
                other.execute(
                    sql.SQL("CREATE ROLE {t}; ALTER TABLE {s}.{d} OWNER TO {t}; ALTER TABLE {s}.{r} OWNER TO {t}").format(**named)
                )
                tables = {"schema": schema, "name": database, "purge_method": "drop_partition", "vacuum_strategy": "analyze"}
                hostile = replace(estate, role=role, tables=({**EV, **tables, "verification": "restore"},), more={"database": database})
                holds = {"legal_holds": {"table": {**HOLDS, "schema": schema, "name": database}}}
                (script,) = hostile.printed("--restore", "original", **holds)
                ran = run_psql(psql, dsn, script["sql"])
                assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
                allowed = "SELECT has_table_privilege(%s, %s, 'SELECT') AND has_table_privilege(%s, %s, 'DELETE'), count(*) FROM victim"
                relation = sql.Identifier(schema, database).as_string()
                assert other.execute(allowed, [role, relation] * 2).fetchone() == (True, 0)
                other.execute(sql.SQL("REASSIGN OWNED BY {t} TO CURRENT_USER; DROP OWNED BY {r}, {t}").format(**named))
        finally:
            admin.execute(sql.SQL("DROP DATABASE {d} WITH (FORCE)").format(**named))
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {r}, {t}").format(**named))


@pytest.mark.parametrize("attribute", ["SUPERUSER", "CREATEROLE", "BYPASSRLS"])
def test_a_role_that_may_more_is_refused_and_left_as_it_is(estate: Estate, attribute: str) -> None:
    estate.lab.execute(f"CREATE ROLE {estate.role} LOGIN {attribute}")
    with pytest.raises(psycopg.errors.RaiseException, match=estate.role):
        run(estate.lab.database.dsn, sql_of(estate))
    left = "SELECT rolsuper OR rolcreaterole OR rolbypassrls FROM pg_roles WHERE rolname = %s"
    assert estate.lab.execute(left, [estate.role]) == [(True,)]


def test_a_role_that_cannot_log_in_or_inherit_can_afterwards(estate: Estate) -> None:
    estate.lab.execute(f"CREATE ROLE {estate.role} NOLOGIN NOINHERIT")
    estate.tables = (DROPPED,)
    estate.granted()
    assert the_job(estate.task(DROPPED)).dropped == ("ev_05",)


OF_A_DOMAIN = """
CREATE FUNCTION kinds.seize(text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_user = '{role}' THEN DELETE FROM audit.ev; END IF;
    RETURN true;
END $$;
CREATE DOMAIN kinds.odd AS text CHECK (kinds.seize(VALUE));
CREATE TYPE kinds.pair AS (odd kinds.odd);
ALTER TABLE audit.log ADD odd {kind};
UPDATE audit.log SET odd = {value};
"""
ODD = {"kinds.odd": "'x'", "kinds.odd[]": "ARRAY['x'::kinds.odd]", "kinds.pair": "ROW('x')::kinds.pair"}


@pytest.mark.parametrize("table", [LOG, PROVEN], ids=["full", "restore"])
@pytest.mark.parametrize("kind", ODD)
def test_a_function_of_a_domain_cannot_write_with_the_rights_of_the_role(estate: Estate, table: dict[str, Any], kind: str) -> None:
    """Whoever owns a type has the server call it for the archiver, whose role may delete from the tables of others too."""
    estate.tables = (table, EV)
    estate.lab.execute(OF_A_DOMAIN.format(role=estate.role, kind=kind, value=ODD[kind]))
    estate.granted()
    archive(estate.task(table))
    estate.lab.execute("UPDATE audit.log SET note = note WHERE id < 5")
    try:
        purge(estate.task(table))
    except ArchiverError as error:
        assert "read-only transaction" in error.message  # noqa: PT017 - it may also end well
    assert estate.lab.count("audit.ev") == 21


def test_the_role_becomes_no_member_of_a_superuser(estate: Estate) -> None:
    estate.lab.execute("ALTER TABLE audit.ev OWNER TO CURRENT_USER")
    estate.tables = (DROPPED,)
    with pytest.raises(psycopg.errors.RaiseException, match="expected an owner that is neither a superuser") as refused:
        run(estate.lab.database.dsn, sql_of(estate))
    assert "purge_method: delete" in (refused.value.diag.message_hint or "")


def test_what_whoever_runs_it_may_not_grant_is_an_error_and_nothing_is_done(estate: Estate) -> None:
    """A GRANT of who has a right, and may not give it, is done with a warning, and without effect."""
    admin, database = f"admin_{estate.role}", estate.lab.database
    script = sql_of(estate)
    with psycopg.connect(database.dsn, autocommit=True) as superuser:
        superuser.execute(f"CREATE ROLE {admin} CREATEROLE; GRANT pg_read_all_stats TO {admin} WITH ADMIN OPTION")
        superuser.execute(f'GRANT ALL ON DATABASE "{database.name}" TO {admin} WITH GRANT OPTION')
        superuser.execute(f"GRANT ALL ON SCHEMA audit, kinds TO {admin}; GRANT ALL ON audit.log TO {admin}")
        try:
            for lacking, given in (
                ("may grant USAGE on schema kinds", "SCHEMA kinds"),
                ("SELECT on table .*, DELETE on table", "TABLE audit.log"),
                ("USAGE on schema audit", "SCHEMA audit"),
            ):
                superuser.execute(f"SET ROLE {admin}")
                with pytest.raises(psycopg.errors.RaiseException, match=lacking) as refused:
                    superuser.execute(script.encode())
                assert "nothing was changed" in (refused.value.diag.message_hint or "")
                superuser.execute("ROLLBACK")
                superuser.execute("RESET ROLE")
                assert superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", [estate.role]).fetchall() == []
                superuser.execute(f"GRANT ALL ON {given} TO {admin} WITH GRANT OPTION")
            superuser.execute(f"SET ROLE {admin}")
            superuser.execute(script.encode())
        finally:
            superuser.execute(
                f"ROLLBACK; RESET ROLE; DROP OWNED BY {admin} CASCADE; DROP OWNED BY {estate.role} CASCADE; DROP ROLE {admin}"
            )


@pytest.mark.parametrize(
    ("member", "expected"), [("owner", "an owner that is neither a superuser"), ("role", "the role {role} is a superuser, a member")]
)
def test_the_role_becomes_no_superuser_by_way_of_another_membership(estate: Estate, member: str, expected: str) -> None:
    """A member of a superuser can become it by SET ROLE, before PostgreSQL 16 through the owner too, or at least use its tables."""
    power, role = f"power_{estate.role}", getattr(estate, member)
    estate.tables = (DROPPED,)
    script = sql_of(estate)
    estate.lab.execute(f"CREATE ROLE {power} SUPERUSER; CREATE ROLE {estate.role} LOGIN; GRANT {power} TO {role}")
    try:
        with pytest.raises(psycopg.errors.RaiseException, match=expected.format(role=estate.role)):
            run(estate.lab.database.dsn, script)
    finally:
        estate.lab.execute(f"DROP ROLE {power}")


def test_an_owner_who_is_no_superuser_can_run_it_also_where_only_pg_monitor_is_his_to_grant(estate: Estate) -> None:
    """As on managed servers from PostgreSQL 16 on; before, who may create roles may grant all that are no superusers."""
    admin, database = f"admin_{estate.role}", estate.lab.database
    estate.tables = (DROPPED, {**LOG, "vacuum_strategy": "standard"})
    script = sql_of(estate)
    with psycopg.connect(database.dsn, autocommit=True) as superuser:
        superuser.execute(f"CREATE ROLE {admin} CREATEROLE; GRANT pg_monitor, {estate.owner} TO {admin} WITH ADMIN OPTION")
        superuser.execute(f'ALTER DATABASE "{database.name}" OWNER TO {admin}')
        try:
            superuser.execute(f"SET ROLE {admin}")
            superuser.execute(script.encode())
            superuser.execute(script.encode())
            superuser.execute("RESET ROLE")
            superuser.execute(f"ALTER ROLE {estate.role} PASSWORD '{PASSWORD}'")
            assert {line[0] for subject, line in estate.doctor().items() if "lab" in subject} == {"passed"}
            assert [the_job(estate.task(table)).outcome for table in estate.tables] == ["purged", "purged"]
            stats = "SELECT pg_has_role(%s, 'pg_read_all_stats', 'USAGE')"
            assert superuser.execute(stats, [estate.role]).fetchone() == (True,)
        finally:
            superuser.execute(f'RESET ROLE; ALTER DATABASE "{database.name}" OWNER TO CURRENT_USER')
            superuser.execute(f"DROP OWNED BY {estate.role}, {admin}; DROP ROLE {estate.role}, {admin}")
