"""TLS to the bucket by a private authority: everything that reads or writes objects goes by AWS_CA_BUNDLE, and nothing without it.

What belongs here: boto3, pyarrow and Dagster's own client, over https. What does not: what is said over it.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster_aws.s3 import S3ComputeLogManager

from archiver_assets.cli.app import Status, main
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import StoreError, StoreUnavailable
from archiver_assets.store.s3 import Patience, S3ObjectStore
from archiver_assets_tests.authorities import Authority, TlsS3
from archiver_assets_tests.commands import write_config
from archiver_assets_tests.conftest import fresh_bucket, fresh_database, isolate_aws
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, Lab
from archiver_assets_tests.servers import PostgresServer

AUTHORITY = "AWS_CA_BUNDLE"
ONCE = Patience(max_attempts=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority") / "ca.pem")


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[TlsS3]:
    with TlsS3(authority, authority.file.parent) as server:
        yield server


@pytest.fixture
def bucket(secure: TlsS3, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket, and an environment that knows the authority."""
    isolate_aws(monkeypatch, secure)
    monkeypatch.setenv(AUTHORITY, str(authority.file))
    with fresh_bucket(secure) as name:
        yield name


def store(bucket: str, endpoint: str) -> S3ObjectStore:
    return S3ObjectStore.connect(bucket=bucket, endpoint=endpoint, region="us-east-1", path_style=True, patience=ONCE)


def refused(bucket: str, endpoint: str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        store(bucket, endpoint).create("k", b"content")
    assert not isinstance(caught.value, StoreUnavailable)  # which would be tried again
    assert "expected a store that proves its name by TLS, found: " in caught.value.message
    return caught.value


def test_the_whole_job_goes_over_tls_that_proves_the_store(
    secure: TlsS3,
    bucket: str,
    postgres_server: PostgresServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with fresh_database(postgres_server, postgres_server.lab_template) as database:
        monkeypatch.setenv(PASSWORD_VARIABLE, database.password)
        lab = Lab(database, store(bucket, secure.endpoint), bucket, secure.endpoint)
        lab.fill(rows=50)
        config = write_config(lab, tmp_path)

        def says(*words: str) -> str:
            assert main([*words, "--config", config]) == Status.DONE
            logging.basicConfig(handlers=[], force=True)
            return capsys.readouterr().out

        assert "0 warned, 0 failed" in says("doctor")
        assert f"{DAY}: archived, 50 rows archived; purged, 50 rows purged" in says("run")
        assert lab.count() == 0
        says("verify")
        assert '"n": 50' in says("query", "--format", "json", "SELECT count(*) AS n FROM audit_logs")


def test_a_profile_names_the_authority_as_well(
    secure: TlsS3, bucket: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(AUTHORITY)
    (tmp_path / "config").write_text(f"[default]\nca_bundle = {authority.file}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert store(bucket, secure.endpoint).create("k", b"content").bytes == 7


def test_without_the_authority_nothing_is_written_and_the_variable_is_named(secure: TlsS3, bucket: str) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv(AUTHORITY)
        error = refused(bucket, secure.endpoint)
    assert "certificate verify failed" in error.message
    assert f"in the environment variable {AUTHORITY} of every process" in error.hint
    assert list(store(bucket, secure.endpoint).list("")) == []


def test_another_authority_is_refused(secure: TlsS3, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AUTHORITY, str(Authority.make(tmp_path / "other.pem").file))
    assert AUTHORITY in refused(bucket, secure.endpoint).hint


def test_another_name_is_refused(secure: TlsS3, bucket: str) -> None:
    """The certificate is for 127.0.0.1."""
    error = refused(bucket, f"https://localhost:{urlsplit(secure.endpoint).port}")
    assert "hostname 'localhost' doesn't match '127.0.0.1'" in error.message
    assert "write s3.endpoint as the store's certificate names it" in error.hint


@pytest.mark.parametrize(("content", "found"), [(None, "No such file or directory"), ("no certificate", "no certificate or crl found")])
def test_a_file_of_authorities_that_is_none_is_told(
    secure: TlsS3, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, found: str
) -> None:
    if content:
        (tmp_path / "ca.pem").write_text(content)
    monkeypatch.setenv(AUTHORITY, str(tmp_path / "ca.pem"))
    error = refused(bucket, secure.endpoint)
    assert found in error.message
    assert f"correct {AUTHORITY}" in error.hint


def test_a_store_that_speaks_no_tls_is_told(s3_server: EmbeddedS3, bucket: str) -> None:
    error = refused(bucket, s3_server.endpoint.replace("http://", "https://"))
    assert "what answers there does not speak TLS" in error.hint


def test_dagsters_output_of_runs_goes_over_it_too(secure: TlsS3, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variables that dagster.yaml counts on."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", secure.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    manager, key = (
        S3ComputeLogManager(bucket=bucket, local_dir=str(tmp_path), prefix="compute-logs", skip_empty_files=True),
        ["run", "compute_logs", "step"],
    )
    try:
        with manager.open_log_stream(key, ComputeIOType.STDOUT) as stream:
            assert stream is not None
            stream.write("said")
    finally:
        manager.dispose()  # type: ignore[no-untyped-call] # of Dagster
    assert [each.bytes for each in store(bucket, secure.endpoint).list("compute-logs/")] == [4]
