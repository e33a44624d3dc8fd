"""`archiver accept-source`: accepts that a table is now on the configured server and database.

What belongs here: the command. What does not: what an accepted source means (`lifecycle/source_identity.py`).
"""

from datetime import UTC, datetime

import click

from archiver_assets.cli.common import Options, begin, common_options, table_options
from archiver_assets.lifecycle.source_identity import accept_source
from archiver_assets.services import Services


@click.command("accept-source", short_help="Accept that a table has moved to another server or database.")
@table_options
@common_options
@click.pass_obj
def command(options: Options, /, database: str, schema: str, table: str) -> None:
    """Accept that a table is now on the configured server and database, after a deliberate move.

    Generations of the former source stay in the archive. Rows still in the table are archived again before they are purged.
    """
    answer, config = begin(options), options.config()
    chosen, services = config.table(database, schema, table), Services(config)
    keys = services.table_keys(chosen)
    accepted = accept_source(services.source(chosen), services.store, keys, at=datetime.now(UTC), run_id="archiver accept-source")
    answer.fact("table", chosen.label)
    answer.fact("changed", accepted is not None)
    if accepted is None:
        answer.line(f"{chosen.label}: the archive already belongs to the configured source; nothing was changed")
    else:
        answer.fact("source", {"system_identifier": accepted.system_identifier, "database_oid": accepted.database_oid})
        answer.line(f"{chosen.label}: accepted system identifier {accepted.system_identifier}, database oid {accepted.database_oid}")
    answer.end()
