"""`archiver roles`: the permissions that the config needs, as SQL for its databases or as an IAM policy for its bucket. Nothing connects.

What belongs here: the command. What does not: which permissions are needed (`source/roles.py`, `store/policies.py`).
"""

import json
from collections.abc import Iterator
from typing import Any

import click

from archiver_assets.cli.common import Options, begin, common_options
from archiver_assets.cli.selection import choose_tables, tables_option
from archiver_assets.config import Config, S3Config, TableConfig
from archiver_assets.errors import ConfigError
from archiver_assets.source.roles import RestoreInto, Script, scripts
from archiver_assets.store.policies import Identity, policy

_DIRECTORY_BUCKET = "--x-s3"
"""How names of directory buckets end, and no others: https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-bucket-naming-rules.html."""


@click.command("roles", short_help="Print the SQL for the database role, or the bucket's IAM policy.")
@tables_option
@click.option(
    "--restore",
    type=click.Choice(["new", "original"]),
    help="Include permissions to restore: into a new table beside the original, or into the original table.",
)
@click.option(
    "--s3",
    "identity",
    type=click.Choice(["archive", "read-only"]),
    help="Print the bucket's IAM policy instead, for runs or for read-only users.",
)
@click.option("--object-lock", is_flag=True, help="With --s3: the bucket has Object Lock, so the policy allows no removal.")
@common_options
@click.pass_obj
def command(
    options: Options,
    /,
    restore: RestoreInto | None,
    identity: Identity | None,
    object_lock: bool,  # noqa: FBT001 - click's flag
    **names: str | None,
) -> None:
    """Print exactly the permissions that the config needs: as SQL for a database administrator, or as an IAM policy.

    The SQL for a database is one transaction, can be repeated, and contains no password. With several databases, each has its own script,
    which does nothing in any other database: choose one with --database, and pipe the script into psql.
    """
    if identity is None and object_lock:
        message = "--object-lock requires --s3"
        raise click.UsageError(message)
    if identity is not None and (restore or any(names.values())):
        message = "--s3 covers the whole archive: leave out --restore, --database, --schema and --table"
        raise click.UsageError(message)
    answer, config = begin(options), options.config()
    if identity is not None:
        document = _policy(config.s3, identity, object_lock=object_lock)
        answer.line(json.dumps(document, indent=2))
        answer.fact("identity", identity)
        answer.fact("policy", document)
    else:
        found = list(_scripts(config, choose_tables(config, **names), names["database"], restore))
        answer.line("\n".join(script.sql for script in found).rstrip("\n"))
        answer.fact("databases", [_facts(script) for script in found])
    answer.end()


def _policy(s3: S3Config, identity: Identity, *, object_lock: bool) -> dict[str, Any]:
    if s3.bucket.endswith(_DIRECTORY_BUCKET):
        message = f"expected a general purpose bucket, found {s3.bucket}, a directory bucket of S3 Express, which has other permissions"
        raise ConfigError(
            message,
            hint="allow s3express:CreateSession on the bucket; for read-only users, add the condition s3express:SessionMode ReadOnly",
        )
    return policy(
        identity,
        bucket=s3.bucket,
        prefix=s3.prefix,
        region=s3.region,
        endpoint=s3.endpoint,
        kms_key_id=s3.kms_key_id,
        locks=s3.object_lock is not None,
        object_lock=object_lock,
    )


def _scripts(config: Config, tables: list[TableConfig], only: str | None, restore: RestoreInto | None) -> Iterator[Script]:
    """Yield the scripts of the databases of the tables, and of the one that has the table of holds, or of the one that is named alone.

    In the order of the file.
    """
    holds = config.legal_holds.table
    for database in config.databases if only is None else [config.database(only)]:
        own = [table for table in tables if table.database == database.name]
        its_holds = holds if holds is not None and holds.database == database.name else None
        if own or its_holds:
            yield from scripts(database, own, its_holds, restore)


def _facts(script: Script) -> dict[str, str | int]:
    return {
        "of": script.of,
        "host": script.host,
        "port": script.port,
        "database": script.dbname,
        "role": script.role,
        "sql": script.sql,
    }
