"""What people see in Dagster: links, tables and their order, owners and tags by Dagster's own rules, the settings of one run."""

import dagster as dg
import pytest
from dagster._core.definitions.utils import is_valid_owner
from dagster._utils.tags import is_valid_strict_tag_value, is_valid_tag_key
from hypothesis import given
from hypothesis import strategies as st

from archiver_assets.config import S3Config, TableConfig
from archiver_assets.config.labels import owner_problem, tag_problem
from archiver_assets.errors import ConfigError, NotArchived
from archiver_assets.lifecycle.overrides import Overrides
from archiver_assets.lifecycle.verifying.object_content import Comparison
from archiver_assets.orchestration.failure_text import failing_clearly
from archiver_assets.orchestration.tables import comparisons_table
from archiver_assets.store.links import Links

KEY = "archives/db/public/Odd%20name/dt=2024-03-05/rows-0001-8f3a1c07.parquet"


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (
            {"region": "eu-central-1"},
            "https://console.aws.amazon.com/s3/object/audit?region=eu-central-1&prefix=archives%2Fdb%2Fpublic%2FOdd%2520name%2Fdt%3D2024-03-",
        ),
        ({"region": "cn-north-1"}, "https://console.amazonaws.cn/s3/object/audit?region=cn-north-1&prefix=archives"),
        ({"region": "us-gov-west-1"}, "https://console.amazonaws-us-gov.com/s3/object/audit?region=us-gov-west-1&prefix=archives"),
        ({}, "https://console.aws.amazon.com/s3/object/audit?prefix=archives"),
        (
            {"endpoint": "http://minio:9000", "path_style": True},
            "http://minio:9000/audit/archives/db/public/Odd%2520name/dt%3D2024-03-05/rows-0001-8f3a1c07.parquet",
        ),
        ({"endpoint": "https://r2.example.com/base/"}, "https://audit.r2.example.com/base/archives/db/public/Odd%2520name/"),
    ],
)
def test_an_object_has_a_url_to_click_on(settings: dict[str, object], url: str) -> None:
    assert Links(S3Config.model_validate({"bucket": "audit", **settings})).url(KEY).startswith(url)


def test_a_verification_shows_what_differs_first_and_the_same_footer_in_one_line() -> None:
    compared = [
        Comparison(1, "rows", "5", "5"),
        Comparison(1, "format in its footer", "archiver/1", "archiver/1", in_footer=True),
        Comparison(1, "database in its footer", "a", "a", in_footer=True),
        Comparison(2, "columns", "x" * 100, "x" * 100),
        Comparison(2, "rows", "7", "6"),
        Comparison(2, "table in its footer", "a", "b", in_footer=True),
    ]
    shown = comparisons_table(compared)
    assert isinstance(shown, dg.TableMetadataValue)
    assert [tuple(record.data.values()) for record in shown.records] == [
        (2, "rows", "DIFFERS", "7", "6"),
        (2, "table in its footer", "DIFFERS", "a", "b"),
        (1, "rows", "same", "5", "5"),
        (1, "identity in its footer", "same", "2 fields", "2 fields"),
        (2, "columns", "same", "x" * 24 + "…", "x" * 24 + "…"),
    ]


@given(st.one_of(st.text(max_size=20), st.from_regex(r"team:.{0,5}"), st.from_regex(r"[a-z_.%-]{1,4}@[a-z.-]{1,4}\.[a-z|]{1,8}")))
def test_an_owner_that_the_config_takes_is_one_to_dagster(owner: str) -> None:
    assert is_valid_owner(owner) or owner_problem(owner)


@given(st.from_regex(r"([a-z./-]{0,4}/)?[A-Za-z0-9_.$-]{0,66}"), st.from_regex(r"[A-Za-z0-9_.$ -]{0,66}"))
def test_a_tag_that_the_config_takes_is_one_to_dagster(key: str, value: str) -> None:
    assert (is_valid_tag_key(key) and is_valid_strict_tag_value(value)) or tag_problem(key, value)


@pytest.mark.parametrize("key", ["dagster/kind/x", "dagster/x", "archiver/table"])
def test_tags_that_mean_something_are_not_for_the_config(key: str) -> None:
    assert tag_problem(key, "x")


TABLE = TableConfig(database="d", name="t", timestamp_column="at", primary_key=("id",), retention_days=30, verification="full")


def test_a_run_may_prove_more_and_never_less() -> None:
    assert Overrides().applied_to(TABLE) is TABLE
    assert Overrides(verification="restore").applied_to(TABLE).verification == "restore"
    assert Overrides(batch_size=5).applied_to(TABLE) == TABLE.model_copy(update={"batch_size": 5})
    with pytest.raises(ConfigError, match="at least as its config requires, verification full, found rows"):
        Overrides(verification="rows").applied_to(TABLE)
    with pytest.raises(ConfigError, match="found 'none'"):
        Overrides(verification="none").applied_to(TABLE)


def test_a_failure_begins_with_the_archivers_own_words() -> None:
    error = NotArchived("expected a generation", hint="archive first")
    with pytest.raises(dg.Failure) as failure, failing_clearly():
        raise error
    assert failure.value.__cause__ is error
    assert failure.value.description == "NotArchived: expected a generation\nHINT: archive first"
    assert {name: value.value for name, value in failure.value.metadata.items()} == {
        "error": "NotArchived",
        "what": "expected a generation",
        "next_step": "archive first",
        "transient": False,
    }
