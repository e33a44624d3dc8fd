"""`make docs`: write every generated part of docs/reference anew.

What belongs here: the servers that some of it is made on. What does not: what is written.
"""

import json
import re

import pytest

from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests import types_table
from archiver_assets_tests.conftest import fresh_lab, isolate_aws, with_lab_template
from archiver_assets_tests.reference import objects
from archiver_assets_tests.reference.all_parts import ALL
from archiver_assets_tests.reference.parts import replaced, written
from archiver_assets_tests.servers import PostgresServer


def main() -> None:
    """Write them."""
    for part in ALL:
        part.page.write_text(replaced(part.page.read_text(), part.name, part.make()))
    with EmbeddedPostgres() as postgres, EmbeddedS3() as s3, pytest.MonkeyPatch.context() as environment:
        isolate_aws(environment, s3)
        types_table.FILE.write_text(types_table.write(postgres.dsn(), types_table.FILE.read_text()))
        store = S3ObjectStore.connect(bucket="none", endpoint=s3.endpoint, region="us-east-1", path_style=True)
        with with_lab_template(PostgresServer(postgres.dsn())) as server, fresh_lab(server, s3, store) as lab:
            _write_example(objects.example(lab))


def _write_example(found: dict[str, object]) -> None:
    page = objects.PAGE.read_text()
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", written(page, "example"), re.DOTALL)]
    if objects.masked(shown) != objects.masked(list(found.values())):
        objects.PAGE.write_text(replaced(page, "example", objects.as_page(found)))


if __name__ == "__main__":
    main()
