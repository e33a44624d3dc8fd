"""Object Lock: the model of `s3.object_lock`. What does not belong here: asking a store for it (`store/object_lock.py`)."""

from typing import Literal

from pydantic import Field

from archiver_assets.config.base import Model


class ObjectLock(Model):
    """For how long nobody can remove or replace a version of what the archiver writes, from the moment of the write."""

    mode: Literal["GOVERNANCE", "COMPLIANCE"] = Field(
        description="GOVERNANCE, which those with the right to bypass it can lift, or COMPLIANCE, which nobody can"
    )
    days: int = Field(ge=1, le=36_500, description="a whole number of days, 1 to 36500, that each object is locked from its write on")
