"""What befalls the archive and the database in the session `disaster`: a script that pages of docs/operations run unseen.

What belongs here: one function for each disaster, and for each repair that takes another tool than the archiver (`aws`, `pg_restore`).
What does not: what the page shows.
"""

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = os.environ.get("PAGE_BUCKET", "audit-archives")
FOLDER = "archives/production_db/public/audit_logs"
COPY = "audit_logs_in_a_backup"
RESTORED = "production_restored"


def hide(day: str) -> None:
    """Remove a day's object as a console does: by a delete marker."""
    for key, _ in _versions(f"{FOLDER}/dt={day}/rows-"):
        _s3().delete_object(Bucket=BUCKET, Key=key)


def overwrite(day: str) -> None:
    """Put something else into the place of a day's object."""
    for key, _ in _versions(f"{FOLDER}/dt={day}/rows-"):
        _s3().put_object(Bucket=BUCKET, Key=key, Body=b"not what was archived")


def bring_back(day: str) -> None:
    """Remove all versions and markers but the oldest of each key, as an administrator of the bucket would by `aws s3api delete-object`."""
    found = _s3().list_object_versions(Bucket=BUCKET, Prefix=f"{FOLDER}/dt={day}/")
    oldest: dict[str, str] = {}
    for each in sorted(found["Versions"], key=lambda version: version["LastModified"], reverse=True):
        oldest[each["Key"]] = each["VersionId"]
    there = [(each["Key"], each["VersionId"]) for each in found["Versions"]]
    there += [(each["Key"], each["VersionId"]) for each in found.get("DeleteMarkers", [])]
    for key, version in there:
        if oldest[key] != version:
            _s3().delete_object(Bucket=BUCKET, Key=key, VersionId=version)


def copy_the_bucket(name: str) -> None:
    """Copy all objects into another bucket that keeps versions, as `aws s3 sync` does."""
    _s3().create_bucket(Bucket=name)
    _s3().put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for key, _ in _versions(""):
        _s3().copy_object(Bucket=name, Key=key, CopySource={"Bucket": BUCKET, "Key": key})


def back_up_the_table() -> None:
    """Keep a copy of the table's rows, as a backup has them."""
    _execute(os.environ["PGDATABASE"], f"CREATE TABLE {COPY} AS SELECT * FROM audit_logs")


def restore_the_table() -> None:
    """Put the rows of the backup back into the table."""
    _execute(os.environ["PGDATABASE"], f"INSERT INTO audit_logs SELECT * FROM {COPY} ON CONFLICT DO NOTHING")


def restore_elsewhere() -> None:
    """Make another database of the same server with all tables and rows, as `pg_restore` into a new one does."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(RESTORED), sql.Identifier(os.environ["PGDATABASE"]))
    _execute("postgres", statement)
    _execute(RESTORED, f"INSERT INTO audit_logs SELECT * FROM {COPY} WHERE created_at < '2024-08-02'")


def forget_elsewhere() -> None:
    """Drop that database again."""
    _execute("postgres", sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(RESTORED)))


def drop_the_restored_table() -> None:
    """Let the next restore make its table anew."""
    _execute(os.environ["PGDATABASE"], "DROP TABLE audit_logs_restored")


def add_a_trigger() -> None:
    """Let somebody be told of each row that is deleted."""
    _execute(os.environ["PGDATABASE"], "CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    trigger = "CREATE TRIGGER tell AFTER DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION told()"
    _execute(os.environ["PGDATABASE"], trigger)


def drop_the_trigger() -> None:
    """Take that away."""
    _execute(os.environ["PGDATABASE"], "DROP TRIGGER tell ON audit_logs")


def _s3() -> "S3Client":
    # Of a session of its own: boto3 keeps the credentials of its default one, which other tests have too.
    return boto3.session.Session().client("s3", endpoint_url=os.environ["S3_ENDPOINT"], region_name="us-east-1")


def _versions(prefix: str) -> Iterator[tuple[str, str]]:
    for each in _s3().list_object_versions(Bucket=BUCKET, Prefix=prefix)["Versions"]:
        yield each["Key"], each["VersionId"]


def _execute(database: str, statement: str | sql.Composed) -> None:
    with psycopg.connect(dbname=database, password=os.environ["DB_PASSWORD"], autocommit=True) as connection:
        connection.execute(statement.encode() if isinstance(statement, str) else statement)


def main(verb: str, *arguments: str) -> None:
    """Do what the page's session asks for."""
    of_bucket = (hide, overwrite, bring_back, copy_the_bucket)
    of_tables = (back_up_the_table, restore_the_table, drop_the_restored_table, add_a_trigger, drop_the_trigger)
    of_databases = (restore_elsewhere, forget_elsewhere)
    {each.__name__: each for each in (*of_bucket, *of_tables, *of_databases)}[verb](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
