"""Plain values that the fixtures hand out: where a server is. What does not belong here: starting or stopping one (`conftest.py`)."""

from dataclasses import dataclass, field

from psycopg.conninfo import conninfo_to_dict, make_conninfo


@dataclass(frozen=True)
class Database:
    """One database on the server under test."""

    name: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    dsn: str = field(repr=False)


@dataclass(frozen=True)
class PostgresServer:
    """The PostgreSQL server under test, embedded or the user's own; `maintenance_dsn` is allowed to create databases.

    `lab_template` is the database that those of labs are copied from.
    """

    maintenance_dsn: str = field(repr=False)
    lab_template: str = "template1"

    def dsn(self, dbname: str) -> str:
        return make_conninfo(self.maintenance_dsn, dbname=dbname)

    def database(self, name: str) -> Database:
        found = conninfo_to_dict(self.maintenance_dsn)
        return Database(
            name=name,
            host=str(found.get("host") or "localhost"),
            port=int(found.get("port") or 5432),
            user=str(found.get("user") or "postgres"),
            password=str(found.get("password") or ""),
            dsn=self.dsn(name),
        )
