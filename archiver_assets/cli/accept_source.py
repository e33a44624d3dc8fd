"""`archiver accept-source`: a person says that a table lives on the configured server and database from now on.

What belongs here: the command. What does not: what an accepted source means (`lifecycle/source_identity.py`).
"""

from datetime import UTC, datetime

import click

from archiver_assets.cli.common import Options, begin, common_options, table_options
from archiver_assets.lifecycle.source_identity import accept_source
from archiver_assets.services import Services


@click.command("accept-source", short_help="Accept that a table lives on another server or database now.")
@table_options
@common_options
@click.pass_obj
def command(options: Options, /, database: str, schema: str, table: str) -> None:
    """Say that a table lives on the configured server and database from now on, after a deliberate move.

    Generations of the former source stay in the archive. Rows that the table still holds are archived again before they are purged.
    """
    answer, config = begin(options), options.config()
    chosen, services = config.table(database, schema, table), Services(config)
    keys = services.table_keys(chosen)
    accepted = accept_source(services.source(chosen), services.store, keys, at=datetime.now(UTC), run_id="archiver accept-source")
    answer.fact("table", chosen.label)
    answer.fact("changed", accepted is not None)
    if accepted is None:
        answer.line(f"{chosen.label}: the archive is of the configured source already; nothing was changed")
    else:
        answer.fact("source", {"system_identifier": accepted.system_identifier, "database_oid": accepted.database_oid})
        answer.line(f"{chosen.label}: accepted system identifier {accepted.system_identifier}, database oid {accepted.database_oid}")
    answer.end()
