"""`archiver init`: drafts a config for the tables of a database that look like audit tables.

What belongs here: the command, its report, and writing the file without overwriting another. What does not: judging the tables and the
text of the file (`lifecycle/reporting/config_draft.py`).
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import click
from pydantic import ValidationError

from archiver_assets.cli.app import Status
from archiver_assets.cli.common import Answer, Json, Options, begin, common_options
from archiver_assets.cli.each_table import paragraph, working
from archiver_assets.cli.formatting import plural
from archiver_assets.config import DatabaseConfig, S3Config, load_config
from archiver_assets.errors import ConfigError
from archiver_assets.lifecycle.reporting.config_draft import Judged, draft_config, judge_tables, size_of
from archiver_assets.source.session import Source

_PASSWORD_ENV = "ARCHIVER_DB_PASSWORD"  # noqa: S105 - the name of a variable
Model = TypeVar("Model", DatabaseConfig, S3Config)


@click.command("init", short_help="Draft a config from a database.")
@click.option("--host", required=True, help="Name or address of the PostgreSQL server.")
@click.option("--port", type=int, default=5432, show_default=True, help="Port of the PostgreSQL server.")
@click.option("--user", required=True, help="Role to connect as.")
@click.option("--dbname", required=True, help="Name of the database on the server.")
@click.option("--name", help="Label of the database in Dagster and in the bucket.  [default: the value of --dbname]")
@click.option(
    "--auth",
    type=click.Choice(["password", "aws_iam"]),
    default="password",
    show_default=True,
    help="How to log in; aws_iam uses a token per connection, from AWS's default credential chain.",
)
@click.option(
    "--password-env",
    help=f"Environment variable that holds the password; the config stores only the variable's name.  [default: {_PASSWORD_ENV}]",
)
@click.option(
    "--sslmode",
    type=click.Choice(["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]),
    help="libpq sslmode.  [default: verify-full with --sslrootcert or --auth aws_iam]",
)
@click.option("--sslrootcert", help="CA bundle file, or `system`.")
@click.option("--bucket", default="audit-archives", show_default=True, help="Name of the bucket.")
@click.option("--prefix", default="archives/", show_default=True, help="Key prefix in the bucket.")
@click.option("--endpoint", help="URL of an S3-compatible store.  [default: AWS]")
@click.option("--region", help="Region of the bucket.  [default: from the environment]")
@click.option(
    "--retention-days",
    type=click.IntRange(1, 36_500),
    default=90,
    show_default=True,
    help="Days to keep rows in the table.",
)
@click.option("--output", type=click.Path(path_type=Path), help="File to write.  [default: the path of the config file]")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@common_options
@click.pass_obj
@click.pass_context
def command(
    ctx: click.Context, options: Options, /, output: Path | None, retention_days: int, *, force: bool, **given: str | int | None
) -> None:
    """Inspect a database and write a commented config for the tables that look like audit tables. Other tables are comments in it.

    The database is not changed. An existing file is kept, unless --force is given.
    """
    answer, path = begin(options), output or options.config_file
    if path.exists() and not force:
        message = f"expected no file at {path}, found one"
        raise ConfigError(message, hint="give another file with --output, or overwrite this one with --force")
    database, s3 = _database(given), _s3(given)
    with working("connecting") as at:
        judged = judge_tables(Source(database), at)
    _say(answer, judged)
    chosen = [each for each in judged if each.recommended]
    answer.fact("candidates", [_facts(each) for each in judged])
    answer.fact("config", str(path) if chosen else None)
    if chosen:
        _write(path, draft_config(database, s3, retention_days, judged), force=force)
        answer.line(f"wrote {path} with {plural(len(chosen), 'table')}; other tables are comments in it, with the reasons")
        answer.line(f"next: read the file, then run archiver validate --config {path}, doctor and plan")
    else:
        answer.line("no table can be recommended, so nothing was written: fix the problems of a table, then run init again")
    answer.end()
    if not chosen:
        ctx.exit(Status.FOUND)


def _database(given: dict[str, str | int | None]) -> DatabaseConfig:
    values = {name: given[name] for name in ("host", "port", "user", "auth", "password_env", "sslmode", "sslrootcert")}
    if given["auth"] == "password":
        values["password_env"] = given["password_env"] or _PASSWORD_ENV
    elif given["password_env"]:
        message = "expected --password-env or --auth aws_iam, found both"
        raise ConfigError(message, hint="leave --password-env out: aws_iam uses tokens instead of a password")
    label = given["name"] or given["dbname"]
    # A database of a config has a table; nothing looks at this one.
    some = {"database": label, "name": "some", "timestamp_column": "at", "primary_key": "id", "retention_days": 1}
    return _valid(DatabaseConfig, {**values, "name": label, "database": given["dbname"], "tables": (some,)})


def _s3(given: dict[str, str | int | None]) -> S3Config:
    values = {name: given[name] for name in ("bucket", "prefix", "endpoint", "region")}
    return _valid(S3Config, {**values, "path_style": given["endpoint"] is not None})


def _valid(model: type[Model], values: dict[str, object]) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = dict.fromkeys(str(each["loc"][0]) for each in error.errors(include_input=False) if each["loc"][0] != "tables")
        described = "; ".join(f"--{name.replace('_', '-')}: expected {model.model_fields[name].description}" for name in wrong)
        raise ConfigError(described, hint="correct the options") from error


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write the file in one step, once it is known to be valid. Raises ConfigError, also if a file was created there meanwhile."""
    try:
        with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            draft = Path(folder) / path.name
            draft.write_text(text, encoding="utf-8")
            load_config(draft)
            draft.replace(path) if force else path.hardlink_to(draft)
    except OSError as error:
        message = f"expected to write {path}, found: {error.strerror}"
        raise ConfigError(message, hint="with --output, give a file in an existing folder that you may write to") from error


def _say(answer: Answer, judged: list[Judged]) -> None:
    for each in judged:
        candidate = each.candidate
        since = f", since {each.oldest}" if each.oldest else ""
        facts = f"{candidate.schema}.{candidate.name}: {size_of(candidate)}, about {candidate.rows:,} rows{since}"
        paragraph(answer, "take" if each.recommended else "leave", facts, margin=8)
        why = [*each.reasons] if each.recommended else [*(each.against or ("it does not look like an audit table",))]
        columns = f"by {each.column.name}, key {', '.join(candidate.key)}" if each.column and candidate.key else ""
        paragraph(answer, "", "; ".join(filter(None, [columns, *why])), margin=8)
        for finding in each.findings if each.recommended else ():
            paragraph(answer, "", finding.line, margin=8)
    answer.line("")


def _facts(judged: Judged) -> Json:
    candidate = judged.candidate
    return {
        "schema": candidate.schema,
        "name": candidate.name,
        "recommended": judged.recommended,
        "bytes": candidate.bytes,
        "rows": candidate.rows,
        "oldest_day": judged.oldest.isoformat() if judged.oldest else None,
        "timestamp_column": judged.column.name if judged.column else None,
        "timestamp_columns": [each.name for each in candidate.times],
        "timestamp_indexed": bool(judged.column and judged.column.indexed),
        "key": list(candidate.key),
        "reasons": list(judged.reasons),
        "against": list(judged.against),
        "findings": [{"name": each.name, "stops": each.stopped, "what": each.what, "hint": each.hint} for each in judged.findings],
    }
