"""The benchmarks run: one small comparison, on the servers that the tests share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets_tests.benchmarks.comparing import Comparison, Method, compare
from archiver_assets_tests.benchmarks.site import Site
from archiver_assets_tests.benchmarks.subjects.archive import archive, drain
from archiver_assets_tests.benchmarks.workload import WORKLOADS
from archiver_assets_tests.servers import Database

ROWS = 50


@contextmanager
def methods(site: Site) -> Iterator[Mapping[str, Method]]:
    yield {"drain": lambda: drain(site), "archive": lambda: archive(site)}


def test_methods_are_measured_in_processes_of_their_own(database: Database, s3_server: EmbeddedS3, bucket: str, tmp_path: Path) -> None:
    workload = WORKLOADS["narrow"]
    workload.fill(database.dsn, ROWS)
    site = Site(workload, ROWS, database, None, s3_server, bucket, tmp_path)

    result = compare(Comparison("smoke", workload, "Smoke", methods, "drain"), site, 1, {}, print)

    assert result.not_measured == {}
    (drained,), (archived,) = result.samples["drain"], result.samples["archive"]
    assert (drained.rows, archived.rows) == (ROWS, ROWS)
    assert drained.peak_rss is not None
    assert archived.peak_rss is not None
    assert drained.peak_rss < archived.peak_rss
    assert archived.client_cpu > 0
    assert archived.server_cpu is None
    (key,) = [each["Key"] for each in s3_server.client().list_objects_v2(Bucket=bucket)["Contents"] if each["Key"].endswith(".parquet")]
    assert archived.figures["bytes"] == s3_server.client().head_object(Bucket=bucket, Key=key)["ContentLength"]
