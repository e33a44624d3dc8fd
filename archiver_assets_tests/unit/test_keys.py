"""The names of objects: one folder for each partition, one name for each generation's marks."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from archiver_assets.store.keys import Mark, PartitionKeys, TableKeys

DAY = "2026-08-01"
# What PostgreSQL allows in a name: anything but NUL. Lone surrogates are no UTF-8.
names = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20)
hostile = st.text("./%=\\ 2EFabAB\u00e9e\u0301_", min_size=1, max_size=8)
triples = st.tuples(*[names | hostile] * 3)
generations = st.integers(1, 9_999) | st.integers(10_000, 999_999)
prefixes = st.sampled_from(["", "audit/", "a/b/"])


def keys_of(triple: tuple[str, str, str], prefix: str = "", day: str = DAY) -> PartitionKeys:
    database, schema, table = triple
    return TableKeys.of(prefix=prefix, database=database, schema=schema, table=table).partition(day)


KEYS = keys_of(("d", "s", "t"), prefix="audit/")


def test_the_keys_are_those_of_the_public_contract() -> None:
    keys = keys_of(("prod", "public", "audit_logs"), prefix="audit/")
    assert keys.folder == "audit/prod/public/audit_logs/dt=2026-08-01/"
    assert keys.mark(Mark.MANIFEST, 1) == keys.folder + "_manifest-0001.json"
    assert keys.mark(Mark.REJECTED, 1) == keys.folder + "_rejected-0001.json"
    assert keys.mark(Mark.PURGING, 12) == keys.folder + "_purging-0012.json"
    assert keys.mark(Mark.PURGED, 12345) == keys.folder + "_purged-12345.json"
    assert re.fullmatch(re.escape(keys.folder) + r"rows-0001-[0-9a-f]{8}\.parquet", keys.new_rows(1))


@given(triples, triples)
def test_different_tables_have_different_folders(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assume(one != other)
    assert keys_of(one).folder != keys_of(other).folder


@given(triples, triples)
def test_no_folder_lies_in_another(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assume(one != other)
    assert not keys_of(one).folder.startswith(keys_of(other).folder)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a/b", "c", "d"), ("a", "b/c", "d")),
        (("a", "b", "."), ("a", "b", "%2E")),
        (("a", "..", "t"), ("a", "%2E%2E", "t")),
        (("a", "b", "c%2Fd"), ("a", "b", "c/d")),
        (("a", "b", "T"), ("a", "b", "t")),
        (("a", "b", "\u00e9"), ("a", "b", "e\u0301")),
        (("a", "b", "t "), ("a", "b", "t")),
    ],
)
def test_tables_with_confusing_names_have_different_folders(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert keys_of(one).folder != keys_of(other).folder


@given(triples, prefixes, generations)
def test_no_key_leaves_the_prefix(triple: tuple[str, str, str], prefix: str, generation: int) -> None:
    keys = keys_of(triple, prefix=prefix)
    for key in (keys.new_rows(generation), *(keys.mark(mark, generation) for mark in Mark)):
        assert key.startswith(prefix)
        *folders, day, name = key.removeprefix(prefix).split("/")
        assert len(folders) == 3
        assert all(re.fullmatch(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", folder) for folder in folders)
        assert not {".", ".."} & set(folders)
        assert day == "dt=2026-08-01"
        assert re.fullmatch(r"[a-z0-9_.-]+", name)


@given(st.sampled_from(Mark), generations, triples, prefixes)
def test_the_key_of_a_mark_reads_back(mark: Mark, generation: int, triple: tuple[str, str, str], prefix: str) -> None:
    keys = keys_of(triple, prefix=prefix)
    assert keys.parse_mark(keys.mark(mark, generation)) == (mark, generation)


@given(st.sampled_from(Mark), generations)
def test_a_mark_of_another_partition_is_none_of_ours(mark: Mark, generation: int) -> None:
    for other in (keys_of(("d", "s", "t")), keys_of(("d", "s", "t2"), prefix="audit/"), keys_of(("d", "s", "t"), "audit/", "2026-08-02")):
        assert KEYS.parse_mark(other.mark(mark, generation)) is None


@given(generations)
def test_data_is_no_mark(generation: int) -> None:
    assert KEYS.parse_mark(KEYS.new_rows(generation)) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "_manifest-001.json",
        "_manifest-0000.json",  # generations are numbered from 1
        "_manifest-00001.json",  # would be a second commit mark of generation 1
        "_manifest-010000.json",
        "_manifest-\u0660\u0660\u0660\u0661.json",  # Arabic digits, which int() reads
        "_manifest-0001.json\n",
        "_manifest-0001.json.bak",
        "_manifest-0001.JSON",
        "_Manifest-0001.json",
        "manifest-0001.json",
        "_manifest--001.json",
        "_manifest-+001.json",
        "_receipt-0001.json",
        "sub/_manifest-0001.json",
        "_manifest-1000000.json",  # beyond the last generation
        "_manifest-" + "9" * 5_000 + ".json",  # more digits than int() takes
    ],
)
def test_a_name_of_another_shape_is_no_mark(name: str) -> None:
    assert KEYS.parse_mark(KEYS.folder + name) is None


@given(st.text(max_size=40) | st.from_regex(r"\A_?(manifest|purged|rows)-\d{0,6}(-[0-9a-f]{8})?\.(json|parquet)\s?\Z"))
def test_only_the_name_that_we_would_give_is_read_as_a_mark(name: str) -> None:
    found = KEYS.parse_mark(KEYS.folder + name)
    assert found is None or KEYS.mark(*found) == KEYS.folder + name


@given(generations)
def test_attempts_at_a_generation_have_different_keys(generation: int) -> None:
    assert len({KEYS.new_rows(generation) for _ in range(5)}) == 5


@given(generations, generations)
def test_data_belongs_to_its_own_generation_only(generation: int, other: int) -> None:
    assume(generation != other)
    key = KEYS.new_rows(generation)
    assert KEYS.rows(key, generation) == key
    assert KEYS.rows(key, other) is None


@given(generations)
def test_a_copied_archive_is_read_where_it_lies(generation: int) -> None:
    key = keys_of(("d", "s", "t"), prefix="elsewhere/").new_rows(generation)
    found = KEYS.rows(key, generation)
    assert found is not None
    assert found == KEYS.folder + key.rpartition("/")[2]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "rows-0001.parquet",
        "rows-0001-0123ABCD.parquet",
        "rows-0001-0123abc.parquet",
        "rows-0001-0123abcd.parquet.tmp",
        "rows-00001-0123abcd.parquet",
        "rows-\u0660\u0660\u0660\u0661-0123abcd.parquet",
        "rows-0001-0123abcd.parquet/",
        "rows-0001-0123abcd.parquet\n",
        "_manifest-0001.json",
        "..",
    ],
)
def test_a_manifest_cannot_name_an_object_of_another_shape(name: str) -> None:
    assert KEYS.rows(KEYS.folder + name, 1) is None
    assert KEYS.rows(name, 1) is None


@given(st.text(max_size=60), st.integers(1, 3))
def test_whatever_a_manifest_names_lies_in_its_folder(key: str, generation: int) -> None:
    found = KEYS.rows(key + "rows-0001-0123abcd.parquet", generation)
    assert found in {None, KEYS.folder + "rows-0001-0123abcd.parquet"}
    assert KEYS.rows(key, generation) is None or "/" not in str(KEYS.rows(key, generation)).removeprefix(KEYS.folder)
