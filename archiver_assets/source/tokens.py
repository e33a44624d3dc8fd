"""AWS IAM tokens, which RDS and Aurora accept instead of a password.

What belongs here: signing a token for one server, one role and one region. What does not: when a token is needed (`session.py`).

A token is signed on this machine, with the credentials of AWS's default chain; AWS is only called if credentials have to be fetched first.
A token opens connections for 15 minutes, and a connection outlives its token. Each connection therefore gets a new token, and none is kept.
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
"""

import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from pydantic import SecretStr

from archiver_assets.aws import new_session
from archiver_assets.config import DatabaseConfig
from archiver_assets.errors import ConfigError, SourceUnavailable

CREDENTIALS_SECONDS: Final = 300
"""Credentials are looked up again after this time: their file may have changed. It takes 60 ms, and for some roles a call to AWS."""

_ENDPOINT = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-[0-9]+)\.rds\.|\.rds\.([a-z]{2}(?:-[a-z]+)+-[0-9]+)\.amazonaws\.")


def sign_token(config: DatabaseConfig, environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> SecretStr:
    """Return a token for the config's host, port and role, to be used within 15 minutes.

    The region comes from the name of the endpoint, else from AWS_REGION or AWS_DEFAULT_REGION in `environ`, else from the profile. Raises
    ConfigError without a region or without credentials, SourceUnavailable if credentials could not be fetched.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError  # noqa: PLC0415 - see below

    place = f"database {config.name}: expected to sign an AWS IAM token for {config.user} at {config.host}:{config.port}, found"
    try:
        signer = _signer(_region_in(config.host, environ), int(clock() // CREDENTIALS_SECONDS))
        if signer is None:
            message = f"{place} no region in the name of the host, in AWS_REGION or in AWS_DEFAULT_REGION"
            raise ConfigError(message, hint="set host to the endpoint that RDS shows, for which tokens must be signed, or set AWS_REGION")
        return SecretStr(signer.generate_db_auth_token(DBHostname=config.host, Port=config.port, DBUsername=config.user))
    except (NoCredentialsError, PartialCredentialsError) as error:
        message = f"{place} no credentials: {error}"
        raise ConfigError(message, hint="provide them through AWS's default chain: variables, shared files, or the pod's role") from error
    except (BotoCoreError, ClientError) as error:
        message = f"{place} no usable credentials: {error}"
        hint = "check what AWS's default chain uses here: a profile, the pod's role, its trust policy and the network path to AWS STS"
        raise SourceUnavailable(message, hint=hint) from error


def _region_in(host: str, environ: Mapping[str, str]) -> str | None:
    """Return the region in `name.id.eu-west-1.rds.amazonaws.com` or `name.id.rds.cn-north-1.amazonaws.com.cn`, else the environment's."""
    found = _ENDPOINT.search(host.lower())
    return (found[1] or found[2]) if found else environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")


@lru_cache(maxsize=8)
def _signer(region: str | None, _period: int) -> Any:  # noqa: ANN401 - boto3-stubs are those of S3 alone
    """Return boto3's client of RDS, which only signs and sends nothing; None without a region."""
    session = new_session()
    region = region or session.region_name
    return session.client("rds", region_name=region) if region else None
