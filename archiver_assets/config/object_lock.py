"""Object Lock: the model of `s3.object_lock`. Requesting it from a store is in `store/object_lock.py`."""

from typing import Literal

from pydantic import Field

from archiver_assets.config.base import Model


class ObjectLock(Model):
    """For how long nobody can remove or replace a version of what the archiver writes, from the moment of the write."""

    mode: Literal["GOVERNANCE", "COMPLIANCE"] = Field(
        description="GOVERNANCE, which users with the bypass permission can lift, or COMPLIANCE, which nobody can lift"
    )
    days: int = Field(ge=1, le=36_500, description="a whole number of days, 1 to 36500, that each object is locked after its write")
