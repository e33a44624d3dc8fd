"""Compare ways to read a day's rows into Arrow, and the content digest with SHA-256 alone.

The first comparison decided the choice of the engine (docs/adr/0002-extraction-engine.md); it runs only if named.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from archiver_assets_tests.benchmarks.comparing import Comparison, Method
from archiver_assets_tests.benchmarks.measuring import Sample
from archiver_assets_tests.benchmarks.site import Site
from archiver_assets_tests.benchmarks.subjects.archive import DRAIN, drain
from archiver_assets_tests.benchmarks.workload import WORKLOADS

CANDIDATES = {
    "ADBC, the archiver's own path": "adbc",
    "psycopg COPY CSV, pyarrow.csv": "copy-csv",
    "psycopg COPY BINARY, Python rows": "copy-binary",
    "psycopg server-side cursor, Python rows": "cursor",
}
SHA256 = "SHA-256 alone"
DIGEST = "content digest"


@contextmanager
def extracting(site: Site) -> Iterator[Mapping[str, Method]]:
    """The drain, and each candidate, which writes a local Parquet file."""
    file = site.folder / "day.parquet"

    def extract(name: str) -> Sample:
        sample = site.child("extraction", name, str(file))
        file.unlink()
        return sample

    yield {DRAIN: lambda: drain(site)} | {title: partial(extract, name) for title, name in CANDIDATES.items()}


@contextmanager
def digesting(site: Site) -> Iterator[Mapping[str, Method]]:
    """Both hashes of the same batches."""
    yield {SHA256: lambda: site.child("digest", "sha256"), DIGEST: lambda: site.child("digest", "digest")}


_ABOUT = "Reading into Parquet, digested and hashed, on a local file"
COMPARISONS = (
    Comparison("extraction", WORKLOADS["wide"], _ABOUT, extracting, DRAIN, by_default=False),
    Comparison("digest", WORKLOADS["wide"], "The content digest, over the first 256 MiB of Arrow data", digesting, SHA256),
)
