"""A typical simple archiver: it writes batches of rows as compressed JSON Lines, uploads them, and deletes the rows by their keys.

It does not verify what it uploaded. Argument: the prefix of its keys.

The comparison is fair: no row is read twice, rows are locked until they are deleted, and values that PostgreSQL returns as text, such as
jsonb, stay text.
"""

import asyncio
import gzip
import json
import os
import sys

import asyncpg
import boto3

from archiver_assets_tests.benchmarks.measuring import Done, Meter, report_part
from archiver_assets_tests.benchmarks.site import BUCKET, ENDPOINT
from archiver_assets_tests.benchmarks.workload import select_day

BATCH_ROWS = 10_000
_BATCH = f"{select_day()} ORDER BY created_at, id LIMIT {BATCH_ROWS} FOR UPDATE SKIP LOCKED"
_DELETE = "DELETE FROM public.audit_logs WHERE id = ANY ($1::bigint[])"


async def archived(prefix: str) -> Done:
    """Archive and delete the day, batch by batch."""
    s3 = boto3.client("s3", endpoint_url=os.environ[ENDPOINT], region_name="us-east-1")
    connection = await asyncpg.connect()
    rows, size, number = 0, 0, 0
    try:
        while True:
            async with connection.transaction():
                batch = await connection.fetch(_BATCH)
                if not batch:
                    return Done(rows, {"bytes": size})
                body = compressed(batch)
                s3.put_object(Bucket=os.environ[BUCKET], Key=f"{prefix}rows-{number:06}.jsonl.gz", Body=body)
                await connection.execute(_DELETE, [row["id"] for row in batch])
            rows, size, number = rows + len(batch), size + len(body), number + 1
    finally:
        await connection.close()


def compressed(batch: list[asyncpg.Record]) -> bytes:
    """Return rows as compressed JSON Lines."""
    lines = (json.dumps(dict(row), default=str, separators=(",", ":")) for row in batch)
    return gzip.compress(("\n".join(lines) + "\n").encode(), compresslevel=6)


def measured(meter: Meter, prefix: str) -> Done:
    """Run the archiver."""
    meter.start()
    done = asyncio.run(archived(prefix))
    meter.stop()
    return done


if __name__ == "__main__":
    report_part(lambda meter: measured(meter, sys.argv[1]))
