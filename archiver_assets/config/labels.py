"""Owners and tags of a table, as Dagster takes them for its assets.

What belongs here: Dagster's rules for both, without Dagster, so that an invalid one is an error of the file and not of the code
location. See https://docs.dagster.io/guides/build/assets/metadata-and-tags.
"""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer

from archiver_assets.config.fields import Copied, FrozenMapping, Listed, refusal

_EMAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
_TEAM = re.compile(r"team:[^\x00-\x1f\x7f-\x9f]+")
_TAG_KEY = re.compile(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}")
_TAKEN = ("dagster/", "archiver/")
"""Namespaces whose tags mean something to Dagster, and to the archiver's own run coordinator."""


def owner_problem(value: str) -> str | None:
    """Return why `value` cannot be an owner in Dagster, None if it can."""
    if _EMAIL.fullmatch(value) or _TEAM.fullmatch(value):
        return None
    return "an owner is an e-mail address or team:NAME"


def tag_problem(key: str, value: str) -> str | None:
    """Return why this cannot be a tag in Dagster, None if it can."""
    if not _TAG_KEY.fullmatch(key):
        return "a tag's key is 1 to 63 letters, digits, _ . and -, optionally after a namespace of as many and a /"
    if key.startswith(_TAKEN):
        return f"tags that begin with {' or '.join(_TAKEN)} are reserved"
    return None if _TAG_VALUE.fullmatch(value) else "a tag's value is at most 63 letters, digits, _ . and -"


def _owners(value: tuple[str, ...]) -> tuple[str, ...]:
    for owner in value:
        if reason := owner_problem(owner):
            raise refusal(reason)
    return value


def _tags(value: Mapping[str, str]) -> Mapping[str, str]:
    for key, text in value.items():
        if reason := tag_problem(key, text):
            raise refusal(reason)
    return FrozenMapping(value)


Owners = Annotated[tuple[str, ...], Listed, AfterValidator(_owners)]
Tags = Annotated[Mapping[str, str], Copied, AfterValidator(_tags), PlainSerializer(dict, return_type=dict)]
