"""What the server of jobs imports before it forks any: the jobs' own module, and all that making an S3 client imports and caches.

What belongs here: nothing that connects to anything. What does not: being imported by a test, which it would cost a second.
"""

import boto3

import archiver_assets_tests.torture.job  # noqa: F401

boto3.session.Session("-", "-", region_name="us-east-1").client("s3", endpoint_url="http://127.0.0.1:1")
