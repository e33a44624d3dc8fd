"""Where a scratch database is reached, and as whom: what its config leaves out is the database's own."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from archiver_assets.config import DatabaseConfig, ScratchConfig, TableConfig
from archiver_assets.errors import ConfigError
from archiver_assets.source.session import Source

ENVIRON = {"OWN": "own secret", "OTHER": "other secret"}


def source(scratch: dict[str, object] | None, **changes: object) -> Source:
    table = TableConfig(database="app", name="log", timestamp_column="at", primary_key=("id",), retention_days=30)
    values = {"name": "app", "host": "db", "port": 6000, "user": "archiver", "password_env": "OWN", "tables": (table,), **changes}
    found = None if scratch is None else ScratchConfig.model_validate({"host": "proof", "password_env": "OTHER", **scratch})
    return Source(DatabaseConfig.model_validate({**values, "scratch_database": found}), ENVIRON)


def reached(scratch: Source | None) -> dict[str, object]:
    assert scratch is not None
    found = conninfo_to_dict(scratch.conninfo())
    return {name: found.get(name) for name in ("host", "port", "dbname", "user", "password", "sslmode", "sslrootcert")}


def test_what_is_left_out_is_the_databases_own_but_for_port_and_password() -> None:
    tls = {"sslmode": "verify-full", "sslrootcert": __file__}
    assert reached(source({}, **tls).scratch) == {
        "host": "proof",
        "port": "5432",
        "dbname": "app",
        "user": "archiver",
        "password": "other secret",
        **tls,
    }


def test_what_is_given_wins() -> None:
    given = {"host": "proof", "port": 7, "user": "prover", "sslmode": "disable", "sslrootcert": "system"}
    own = source({**given, "database": "scratch"}, database="live", sslmode="verify-full", sslrootcert=__file__)
    expected = {**given, "port": "7", "dbname": "scratch", "password": "other secret"}
    assert reached(own.scratch) == expected
    assert reached(own)["dbname"] == "live"


def test_there_is_none_unless_it_is_configured_and_it_has_none_itself() -> None:
    assert source(None).scratch is None
    scratch = source({}).scratch
    assert scratch is not None
    assert scratch.scratch is None


def test_a_password_that_is_not_set_is_named_by_its_variable() -> None:
    own = source({"password_env": "NOWHERE"}).scratch
    assert own is not None
    with pytest.raises(ConfigError, match="expected its password in the environment variable NOWHERE"):
        own.conninfo()


def test_the_password_of_the_database_goes_to_no_other_server() -> None:
    scratch = source({"password_env": None}).scratch
    assert scratch is not None
    with pytest.raises(ConfigError, match="expected its password"):
        scratch.conninfo()


def test_its_errors_say_that_they_are_its_own() -> None:
    scratch = source({"database": "spare"}).scratch
    assert scratch is not None
    assert str(scratch.error_for(None, "gone")).startswith("scratch_database of app (spare at proof:5432): gone")
    assert str(source({}).error_for(None, "gone")).startswith("database app (app at db:6000): gone")
