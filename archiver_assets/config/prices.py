"""Prices of storage, for estimates of what the archive costs and saves.

What belongs here: list prices, which a config may replace with actual prices. What does not: measuring sizes. No decision depends on a
price.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import Field

from archiver_assets.config.base import Model

STORAGE_CLASSES: Final[Mapping[str, float]] = {
    "STANDARD": 0.023,
    "STANDARD_IA": 0.0125,
    "ONEZONE_IA": 0.01,
    "INTELLIGENT_TIERING": 0.023,
    "GLACIER_IR": 0.004,
    "REDUCED_REDUNDANCY": 0.024,
    "EXPRESS_ONEZONE": 0.11,
}
"""USD for a GiB and month, AWS's list prices for the first 50 TB in us-east-1 (https://aws.amazon.com/s3/pricing, 2025)."""

AT_LEAST_128_KIB: Final = frozenset({"STANDARD_IA", "ONEZONE_IA", "GLACIER_IR"})
"""The classes in which a smaller object is billed as one of 128 KiB."""

_SMALLEST_BILLED: Final = 128 << 10
_GIB: Final = 1 << 30


class Prices(Model):
    """Prices in USD for a GiB and month: estimates, of storage alone, without requests, versions, backups and taxes."""

    storage_per_gib_month: float | None = Field(
        default=None,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="a price in USD, 0 to 100, per GiB and month in the bucket, or null for AWS's list price of the storage class",
    )
    database_per_gib_month: float = Field(
        default=0.115,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="a price in USD, 0 to 100, per GiB and month on the database's disk; the default is RDS gp3 in us-east-1",
    )

    def of_storage(self, storage_class: str) -> float:
        """Return the price of a GiB and month in the bucket."""
        return STORAGE_CLASSES[storage_class] if self.storage_per_gib_month is None else self.storage_per_gib_month

    def monthly_storage(self, billed_bytes: int, storage_class: str) -> float:
        """Return the price of a month in the bucket, in USD."""
        return billed_bytes / _GIB * self.of_storage(storage_class)

    def monthly_database(self, size: int) -> float:
        """Return the price of a month on the database's disk, in USD."""
        return size / _GIB * self.database_per_gib_month


def billed_bytes(size: int, storage_class: str) -> int:
    """Return the bytes that an object of this size is billed as."""
    return max(size, _SMALLEST_BILLED) if storage_class in AT_LEAST_128_KIB else size
