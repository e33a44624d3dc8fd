"""Tokens of AWS IAM, which RDS and Aurora take in a password's place.

What belongs here: signing one, for one server, one role and one region. What does not: when one is needed (`session.py`).

A token is signed on this machine, with the credentials of AWS's default chain; AWS is asked for nothing, unless credentials have to be
fetched first. It opens connections for 15 minutes, and a connection outlives it. So each connection has a token of its own, and none is
kept. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
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
"""Credentials are looked up anew after so long: a file of them may have changed. A lookup takes 60 ms, and a call to AWS for some roles."""

_ENDPOINT = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-[0-9]+)\.rds\.|\.rds\.([a-z]{2}(?:-[a-z]+)+-[0-9]+)\.amazonaws\.")


def sign_token(config: DatabaseConfig, environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> SecretStr:
    """Return a token for the config's host, port and role, to be used within 15 minutes.

    The region is the one in the name of the endpoint, else that of AWS_REGION or AWS_DEFAULT_REGION in `environ`, or of the profile. Raises
    ConfigError without a region or without credentials, SourceUnavailable if credentials could not be fetched.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError  # noqa: PLC0415 - see below

    place = f"database {config.name}: expected to sign a token of AWS IAM for {config.user} at {config.host}:{config.port}, found"
    try:
        signer = _signer(_region_in(config.host, environ), int(clock() // CREDENTIALS_SECONDS))
        if signer is None:
            message = f"{place} no region in the name of the host, in AWS_REGION or in AWS_DEFAULT_REGION"
            raise ConfigError(message, hint="name the endpoint as RDS shows it, which tokens are signed for anyway, or set AWS_REGION")
        return SecretStr(signer.generate_db_auth_token(DBHostname=config.host, Port=config.port, DBUsername=config.user))
    except (NoCredentialsError, PartialCredentialsError) as error:
        message = f"{place} no credentials: {error}"
        raise ConfigError(message, hint="give them by AWS's default chain: variables, shared files, or the role of the pod") from error
    except (BotoCoreError, ClientError) as error:
        message = f"{place} no usable credentials: {error}"
        hint = "look at what AWS's default chain uses here: a profile, the role of the pod, its trust policy and the way to AWS's STS"
        raise SourceUnavailable(message, hint=hint) from error


def _region_in(host: str, environ: Mapping[str, str]) -> str | None:
    """Return the region of `name.id.eu-west-1.rds.amazonaws.com` or `name.id.rds.cn-north-1.amazonaws.com.cn`, or the environment's."""
    found = _ENDPOINT.search(host.lower())
    return (found[1] or found[2]) if found else environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")


@lru_cache(maxsize=8)
def _signer(region: str | None, _period: int) -> Any:  # noqa: ANN401 - boto3-stubs are those of S3 alone
    """Return boto3's client of RDS, which sends nothing: it signs. None without a region."""
    session = new_session()
    region = region or session.region_name
    return session.client("rds", region_name=region) if region else None
