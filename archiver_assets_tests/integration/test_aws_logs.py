"""What boto3's clients log at DEBUG has no secret, wherever the credentials come from.

What belongs here: the role of a pod, by a server of STS that gives keys. What does not: the token of a database (`test_iam_tokens.py`).
"""

import logging
from pathlib import Path

import pytest

from archiver_assets.aws import _LOUD
from archiver_assets.store.s3 import Patience, make_client

SECRET = "a-pods-token-5f20c1"  # noqa: S105 - made up


def test_neither_the_token_of_a_pod_nor_the_keys_it_is_given_are_logged(
    moto_server: str,
    aws_environment: dict[str, str],  # noqa: ARG001 - without which AWS's chain might find the developer's own
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "token").write_text(SECRET)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/archiver")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_server)
    for name in _LOUD:
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    with caplog.at_level(logging.DEBUG):
        client = make_client(moto_server, "us-east-1", path_style=True, patience=Patience())
        client.create_bucket(Bucket="a-bucket")
        given = client._request_signer._credentials.get_frozen_credentials()  # type: ignore[attr-defined] # for what may not be logged
    assert "botocore" in caplog.text
    assert [secret for secret in (SECRET, given.secret_key, given.token) if secret in caplog.text] == []
