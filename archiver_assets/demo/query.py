"""SQL over the demo's archive: `python -m archiver_assets.demo.query "SELECT … FROM audit_logs"`.

It shows that the objects are plain Parquet in Hive folders. DuckDB reads them through pyarrow's S3 client, because its own is an extension
that it downloads on first use.
"""

import sys
from urllib.parse import quote

import duckdb
import pyarrow.dataset as ds
from pyarrow import fs

from archiver_assets.config import Config, config_path, load_config


def open_archive(config: Config) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB in which each configured table with an archive is a view under its own name, with the day as `dt`."""
    s3 = config.s3
    files = fs.S3FileSystem(endpoint_override=s3.endpoint, region=s3.region)
    connection = duckdb.connect()
    for _, table in config.tables():
        parts = (table.database, table.schema_name, table.name)
        folder = f"{s3.bucket}/{s3.prefix}" + "/".join(quote(part, safe="") for part in parts)
        if files.get_file_info(folder).type == fs.FileType.NotFound:
            continue
        # pyarrow skips names that begin with an underscore: manifests and marks.
        archive = ds.dataset(folder, filesystem=files, format="parquet", partitioning="hive")
        connection.register(table.name, archive)
    return connection


if __name__ == "__main__":
    print(open_archive(load_config(config_path())).sql(sys.argv[1]))
