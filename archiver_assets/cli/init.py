"""`archiver init`: looks at a database, and drafts a config for the tables that look like audit tables.

What belongs here: the command, its report, and writing the file so that nothing is overwritten. What does not: judging the tables and the
text of the file (`lifecycle/reporting/config_draft.py`).
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import click
from pydantic import ValidationError

from archiver_assets.cli.app import Status
from archiver_assets.cli.common import Answer, Json, Options, begin, common_options
from archiver_assets.cli.each_table import paragraph, plural, working
from archiver_assets.config import DatabaseConfig, S3Config, load_config
from archiver_assets.errors import ConfigError
from archiver_assets.lifecycle.reporting.config_draft import Judged, draft_config, judge_tables, size_of
from archiver_assets.source.session import Source

_PASSWORD_ENV = "ARCHIVER_DB_PASSWORD"  # noqa: S105 - the name of a variable
Model = TypeVar("Model", DatabaseConfig, S3Config)


@click.command("init", short_help="Look at a database, and draft a config.")
@click.option("--host", required=True, help="The name or address of the PostgreSQL server.")
@click.option("--port", type=int, default=5432, show_default=True, help="Its port.")
@click.option("--user", required=True, help="The role to connect as.")
@click.option("--dbname", required=True, help="The database.")
@click.option("--name", help="The label of the database in Dagster and in the bucket.  [default: its name]")
@click.option(
    "--auth",
    type=click.Choice(["password", "aws_iam"]),
    default="password",
    show_default=True,
    help="aws_iam: a token for each connection, by AWS's default chain.",
)
@click.option(
    "--password-env",
    help=f"The environment variable that holds the password; the file holds its name only.  [default: {_PASSWORD_ENV}]",
)
@click.option(
    "--sslmode",
    type=click.Choice(["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]),
    help="As libpq has it.  [default: verify-full with --sslrootcert or --auth aws_iam]",
)
@click.option("--sslrootcert", help="A file with the certificates of the authorities that the server's may be by, or system.")
@click.option("--bucket", default="audit-archives", show_default=True, help="The bucket.")
@click.option("--prefix", default="archives/", show_default=True, help="What every key in it begins with.")
@click.option("--endpoint", help="The URL of an S3-compatible store.  [default: AWS]")
@click.option("--region", help="The region of the bucket.  [default: the environment's own]")
@click.option("--retention-days", type=click.IntRange(1, 36_500), default=90, show_default=True, help="Days that rows are kept.")
@click.option("--output", type=click.Path(path_type=Path), help="The file to write.  [default: the config file]")
@click.option("--force", is_flag=True, help="Overwrite it.")
@common_options
@click.pass_obj
@click.pass_context
def command(
    ctx: click.Context, options: Options, /, output: Path | None, retention_days: int, *, force: bool, **given: str | int | None
) -> None:
    """Look at a database, and write a commented config for the tables that look like audit tables; the others stand in it as comments.

    Nothing is changed in the database. An existing file stays as it is, unless --force is given.
    """
    answer, path = begin(options), output or options.config_file
    if path.exists() and not force:
        message = f"expected no file at {path}, found one"
        raise ConfigError(message, hint="name another file with --output, or overwrite it with --force")
    database, s3 = _database(given), _s3(given)
    with working("connecting") as at:
        judged = judge_tables(Source(database), at)
    _say(answer, judged)
    chosen = [each for each in judged if each.recommended]
    answer.fact("candidates", [_facts(each) for each in judged])
    answer.fact("config", str(path) if chosen else None)
    if chosen:
        _write(path, draft_config(database, s3, retention_days, judged), force=force)
        answer.line(f"wrote {path} with {plural(len(chosen), 'table')}; the others stand in it as comments, with the reasons")
        answer.line(f"next: read it, then archiver validate --config {path}, doctor and plan")
    else:
        answer.line("no table can be recommended, so nothing was written: mend what speaks against one of them, and run init again")
    answer.end()
    if not chosen:
        ctx.exit(Status.FOUND)


def _database(given: dict[str, str | int | None]) -> DatabaseConfig:
    values = {name: given[name] for name in ("host", "port", "user", "auth", "password_env", "sslmode", "sslrootcert")}
    if given["auth"] == "password":
        values["password_env"] = given["password_env"] or _PASSWORD_ENV
    elif given["password_env"]:
        message = "expected --password-env or --auth aws_iam, found both"
        raise ConfigError(message, hint="leave --password-env out: tokens take the place of a password")
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
    """Write the file all at once, when it is known to be valid. Raises ConfigError, also if a file came there meanwhile."""
    try:
        with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            draft = Path(folder) / path.name
            draft.write_text(text, encoding="utf-8")
            load_config(draft)
            draft.replace(path) if force else path.hardlink_to(draft)
    except OSError as error:
        message = f"expected to write {path}, found: {error.strerror}"
        raise ConfigError(message, hint="name a file in a folder that is there and that you may write to, with --output") from error


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
