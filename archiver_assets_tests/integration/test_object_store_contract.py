"""The contract of the ObjectStore protocol, sentence by sentence, against every implementation.

What belongs here: what a caller of any store may rely on. What does not: what only S3 can do wrong (`test_s3_errors.py`).

SeaweedFS is the strict server: it checks signatures, conditions and checksums. moto is a second opinion about the protocol. Cases that a
server cannot play stand in the lists below with the reason; everything else runs against all three.
"""

import os
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import pytest

from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import ObjectExists, ObjectMissing
from archiver_assets.store.objects import ObjectStore, Upload
from archiver_assets.store.s3 import Patience, S3ObjectStore
from archiver_assets.store.s3_upload import MIB, PART_SIZE
from archiver_assets_tests.doubles import MemoryObjectStore

ALL = ("weed", "moto", "memory")
ON_S3 = ("weed", "moto")
# moto's put_object looks the key up and stores it in two steps, without a lock: two threads can both win there.
ATOMIC = ("weed", "memory")
# The memory double keeps everything in memory, and moto would keep the 100 MiB in ours.
STREAMING = ("weed",)
# moto takes 16 s to store a page of 1000 objects.
PAGES = ("weed", "memory")


@dataclass(frozen=True)
class Subject:
    """A store with an empty bucket, and a look behind it."""

    store: ObjectStore
    unfinished: Callable[[], list[str]]
    """The keys of multipart uploads that were neither completed nor aborted."""


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "memory":
        return Subject(MemoryObjectStore(), list)
    return s3_subject(*request.getfixturevalue(f"{request.param}_place"))


@pytest.fixture
def store(subject: Subject) -> ObjectStore:
    return subject.store


@pytest.fixture
def weed_place(s3_server: EmbeddedS3, bucket: str, aws_environment: dict[str, str]) -> tuple[str, str]:
    assert aws_environment
    return s3_server.endpoint, bucket


@pytest.fixture
def moto_place(moto_server: str, aws_environment: dict[str, str]) -> tuple[str, str]:
    assert aws_environment
    name = f"test-{uuid.uuid4().hex}"
    connected(moto_server, name).client.create_bucket(Bucket=name)
    return moto_server, name


def connected(endpoint: str, bucket: str) -> S3ObjectStore:
    return S3ObjectStore.connect(
        bucket=bucket,
        endpoint=endpoint,
        region="us-east-1",
        path_style=True,
        patience=Patience(max_attempts=2, connect_timeout=5, read_timeout=30),
    )


def s3_subject(endpoint: str, bucket: str) -> Subject:
    store = connected(endpoint, bucket)
    return Subject(store, lambda: [each["Key"] for each in store.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])])


def on(servers: tuple[str, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("subject", servers, indirect=True)


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [each.key for each in store.list(prefix)]


def content(store: ObjectStore, key: str) -> bytes:
    return b"".join(store.read(key))


def upload(store: ObjectStore, key: str, *chunks: bytes) -> None:
    with store.upload(key) as writer:
        for chunk in chunks:
            writer.write(chunk)
        writer.commit()


# --- create


@on(ALL)
def test_a_created_object_is_read_and_listed_as_it_was_given(store: ObjectStore) -> None:
    made = store.create("a.json", b'{"a": 1}')
    assert content(store, "a.json") == b'{"a": 1}'
    assert list(store.list("")) == [made]
    assert (made.key, made.bytes, made.version_id) == ("a.json", 8, None)


@on(ALL)
def test_creating_a_taken_key_raises_and_leaves_the_former_content(store: ObjectStore) -> None:
    store.create("a", b"first")
    with pytest.raises(ObjectExists):
        store.create("a", b"second")
    assert content(store, "a") == b"first"


@on(ATOMIC)
def test_of_many_concurrent_creates_exactly_one_wins(store: ObjectStore) -> None:
    together = Barrier(8)

    def attempt(number: int) -> int | None:
        together.wait()
        try:
            store.create("a", b"%d" % number)
        except ObjectExists:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [each for each in pool.map(attempt, range(8)) if each is not None]
    assert [b"%d" % each for each in winners] == [content(store, "a")]


@on(ALL)
def test_an_empty_object_can_be_created(store: ObjectStore) -> None:
    assert store.create("empty", b"").bytes == 0
    assert content(store, "empty") == b""


# --- upload

SIZES = {
    "empty": 0,
    "one byte": 1,
    "just under a part": PART_SIZE - 1,
    "exactly a part": PART_SIZE,
    "just over a part": PART_SIZE + 1,
    "two and a half parts": PART_SIZE * 5 // 2,
}


@on(ALL)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_an_upload_of_any_size_is_read_back_byte_by_byte(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    with store.upload("a") as writer:
        writer.write(data)
        made = writer.commit()
    assert content(store, "a") == data
    assert (made.key, made.bytes, made.version_id) == ("a", size, None)
    assert list(store.list("a")) == [made]


@on(ALL)
def test_chunks_of_any_size_are_joined_in_order(store: ObjectStore) -> None:
    chunks = [os.urandom(size) for size in (0, 1, PART_SIZE - 2, 3, 5 * MIB, 0, PART_SIZE * 2, 7)]
    upload(store, "a", *chunks)
    assert content(store, "a") == b"".join(chunks)


@on(ALL)
@pytest.mark.parametrize("size", [10, PART_SIZE + 10], ids=["small", "in parts"])
def test_an_upload_is_invisible_until_its_commit(store: ObjectStore, size: int) -> None:
    with store.upload("a") as writer:
        writer.write(bytes(size))
        assert keys(store) == []
        with pytest.raises(ObjectMissing):
            content(store, "a")
        writer.commit()
        assert keys(store) == ["a"]


@on(ALL)
@pytest.mark.parametrize("size", [0, 10, PART_SIZE + 10], ids=["empty", "small", "in parts"])
def test_leaving_without_a_commit_discards_everything(subject: Subject, size: int) -> None:
    with subject.store.upload("a") as writer:
        writer.write(bytes(size))
    assert (keys(subject.store), subject.unfinished()) == ([], [])


@on(ALL)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("size", [10, PART_SIZE + 10], ids=["small", "in parts"])
def test_leaving_by_any_exception_discards_everything_and_passes_it_on(subject: Subject, error: type[BaseException], size: int) -> None:
    def interrupted() -> None:
        with subject.store.upload("a") as writer:
            writer.write(bytes(size))
            raise error

    with pytest.raises(error):
        interrupted()
    assert (keys(subject.store), subject.unfinished()) == ([], [])


@on(ON_S3)
def test_the_look_behind_the_store_does_see_unfinished_parts(subject: Subject) -> None:
    with subject.store.upload("a") as writer:
        writer.write(bytes(2 * PART_SIZE))  # the second part begins when the first one is sent
        assert subject.unfinished() == ["a"]


@on(ALL)
def test_an_exception_after_the_commit_leaves_the_object(subject: Subject) -> None:
    def interrupted() -> None:
        with subject.store.upload("a") as writer:
            writer.write(bytes(PART_SIZE + 1))
            writer.commit()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (keys(subject.store), subject.unfinished()) == (["a"], [])


@on(ALL)
@pytest.mark.parametrize("size", [10, PART_SIZE + 10], ids=["small", "in parts"])
def test_a_commit_on_a_taken_key_raises_and_leaves_the_former_content(subject: Subject, size: int) -> None:
    with subject.store.upload("a") as writer:
        writer.write(bytes(size))
        subject.store.create("a", b"first")
        with pytest.raises(ObjectExists):
            writer.commit()
    assert content(subject.store, "a") == b"first"
    assert subject.unfinished() == []


@on(ALL)
def test_of_two_uploads_to_one_key_the_first_commit_wins(subject: Subject) -> None:
    with subject.store.upload("a") as first, subject.store.upload("a") as second:
        first.write(b"1" * (PART_SIZE + 1))
        second.write(b"2" * (PART_SIZE + 1))
        second.commit()
        with pytest.raises(ObjectExists):
            first.commit()
    assert content(subject.store, "a") == b"2" * (PART_SIZE + 1)
    assert subject.unfinished() == []


@on(ALL)
@pytest.mark.parametrize("late", [lambda writer: writer.write(b"x"), lambda writer: writer.commit()], ids=["write", "commit"])
def test_an_upload_that_is_over_takes_nothing_more(store: ObjectStore, late: Callable[[Upload], object]) -> None:
    with store.upload("committed") as writer:
        writer.commit()
        with pytest.raises(ValueError, match="is over"):
            late(writer)
    with store.upload("discarded") as writer:
        pass
    with pytest.raises(ValueError, match="is over"):
        late(writer)
    assert keys(store) == ["committed"]


@on(STREAMING)
def test_uploading_and_reading_100_mib_takes_the_memory_of_a_few_parts(store: ObjectStore) -> None:
    chunk = os.urandom(MIB)
    upload(store, "warm", chunk)
    tracemalloc.start()
    before = resident()
    try:
        with store.upload("big") as writer:
            for _ in range(100):
                writer.write(chunk)
            writer.commit()
        assert sum(len(each) for each in store.read("big")) == 100 * MIB
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One part fills while another is sent, and each is copied once on its way.
    assert peak < 4 * PART_SIZE
    # What malloc keeps for itself and tracemalloc does not see counts too.
    assert resident() - before < 5 * PART_SIZE


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not say it this way."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


# --- read


@on(ALL)
def test_reading_a_missing_object_raises(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing):
        content(store, "nothing")


@on(ALL)
def test_a_key_is_not_found_by_its_beginning(store: ObjectStore) -> None:
    store.create("a/b.json", b"x")
    for wrong in ("a", "a/b", "a/b.jso"):
        with pytest.raises(ObjectMissing):
            content(store, wrong)


@on(ALL)
def test_content_comes_in_chunks_of_at_most_a_mebibyte(store: ObjectStore) -> None:
    upload(store, "a", bytes(5 * MIB // 2))
    sizes = [len(each) for each in store.read("a")]
    assert max(sizes) <= MIB
    assert sum(sizes) == 5 * MIB // 2


@on(ALL)
def test_a_read_may_be_given_up_half_way(store: ObjectStore) -> None:
    upload(store, "a", bytes(5 * MIB))
    for _ in range(20):  # more than the connections in a client's pool
        assert next(iter(store.read("a")))
    assert len(content(store, "a")) == 5 * MIB


@pytest.fixture
def versioned(s3_server: EmbeddedS3, aws_environment: dict[str, str]) -> Iterator[S3ObjectStore]:
    assert aws_environment
    name = f"test-{uuid.uuid4().hex}"
    s3_server.create_bucket(name, versioning=True)
    yield connected(s3_server.endpoint, name)
    s3_server.remove_bucket(name)


@pytest.mark.parametrize("size", [10, PART_SIZE + 10], ids=["small", "in parts"])
def test_a_version_is_read_even_where_the_key_has_another_one_since(versioned: S3ObjectStore, size: int) -> None:
    with versioned.upload("a") as writer:
        writer.write(b"1" * size)
        made = writer.commit()
    assert made.version_id is not None
    versioned.client.put_object(Bucket=versioned.bucket, Key="a", Body=b"another")
    assert content(versioned, "a") == b"another"
    assert b"".join(versioned.read("a", version_id=made.version_id)) == b"1" * size
    assert [each.version_id for each in versioned.list("")] == [None]


def test_a_version_is_read_even_behind_a_delete_marker(versioned: S3ObjectStore) -> None:
    made = versioned.create("a", b"1")
    versioned.client.delete_object(Bucket=versioned.bucket, Key="a")
    assert keys(versioned) == []
    with pytest.raises(ObjectMissing):
        content(versioned, "a")
    assert b"".join(versioned.read("a", version_id=made.version_id)) == b"1"


# --- list

ODD = [
    "a b",
    "a%20b",
    "a+b",
    "a/b-c",
    "a/b/x",
    "a/bc/x",
    "a/#?&;",
    "dt=2026-08-01/_manifest-0001.json",
    'it\'s "quoted"',
    "<&>",
    "Z",
    "ü/é",
    "\uff5e",  # comes after the next one in UTF-16, before it in UTF-8
    "🙂",
]


@on(ALL)
def test_keys_of_any_characters_are_listed_in_the_order_of_their_bytes(store: ObjectStore) -> None:
    for key in ODD:
        store.create(key, key.encode())
    assert keys(store) == sorted(ODD, key=str.encode)
    assert [content(store, key) for key in ODD] == [key.encode() for key in ODD]


@on(ALL)
def test_a_prefix_is_taken_literally(store: ObjectStore) -> None:
    for key in ODD:
        store.create(key, b"x")
    for prefix in ("a", "a/", "a/b", "a%", "a+", "dt=", "it's", "<&", "ü", "nothing"):
        assert keys(store, prefix) == sorted((key for key in ODD if key.startswith(prefix)), key=str.encode), prefix


@on(PAGES)
def test_a_listing_longer_than_a_page_is_complete(store: ObjectStore) -> None:
    names = [f"{number:04d}" for number in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.create(name, b""), names))
    assert keys(store) == names


# --- uri


@on(ON_S3)
def test_the_uri_names_bucket_and_key(store: S3ObjectStore) -> None:
    assert store.uri("dt=1/a") == f"s3://{store.bucket}/dt=1/a"


def test_the_double_has_uris_of_its_own() -> None:
    assert MemoryObjectStore().uri("a/b") == "memory://a/b"


# --- head, remove, abort_uploads


@on(ALL)
def test_what_is_known_of_an_object_is_what_its_creation_said(store: ObjectStore) -> None:
    made = store.create("a", b"12345")
    found = store.head("a")
    assert (found.key, found.bytes, found.etag, found.version_id, found.expires_at) == ("a", 5, made.etag, made.version_id, None)


@on(ALL)
def test_nothing_is_known_of_an_object_that_is_not_there(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing, match="a"):
        store.head("a")


@on(ALL)
def test_a_removed_object_is_gone_and_removing_it_again_is_no_error(store: ObjectStore) -> None:
    store.create("a", b"1")
    store.create("ab", b"2")
    store.remove("a")
    store.remove("a")
    assert keys(store) == ["ab"]


@on(ALL)
def test_unfinished_uploads_of_others_are_ended_by_their_prefix(subject: Subject) -> None:
    store = subject.store
    with store.upload("p/a") as first, store.upload("q/a") as second:
        first.write(bytes(PART_SIZE))
        second.write(bytes(PART_SIZE))
        assert store.abort_uploads("p/") == 1
        assert store.abort_uploads("p/") == 0
        second.commit()
    assert keys(store) == ["q/a"]
    assert subject.unfinished() == []


@on(ALL)
@pytest.mark.parametrize("size", [10, PART_SIZE + 10], ids=["small", "in parts"])
def test_what_is_known_of_an_uploaded_object_is_what_its_commit_said(store: ObjectStore, size: int) -> None:
    with store.upload("a") as writer:
        writer.write(bytes(size))
        made = writer.commit()
    assert store.head("a") == made


@on(ALL)
def test_nothing_is_known_of_the_beginning_of_a_key_or_of_a_removed_object(store: ObjectStore) -> None:
    store.create("a/b", b"x")
    store.remove("a/b")
    for key in ("a", "a/b", "a/b/c"):
        with pytest.raises(ObjectMissing):
            store.head(key)


def test_the_current_version_is_the_one_that_is_known_and_removed(versioned: S3ObjectStore) -> None:
    made = versioned.create("a", b"1")
    newer = versioned.client.put_object(Bucket=versioned.bucket, Key="a", Body=b"22")["VersionId"]
    assert (versioned.head("a").version_id, versioned.head("a").bytes) == (newer, 2)

    versioned.remove("a")

    with pytest.raises(ObjectMissing):
        versioned.head("a")
    assert b"".join(versioned.read("a", version_id=made.version_id)) == b"1"
    assert b"".join(versioned.read("a", version_id=newer)) == b"22"


# --- history


@on(ALL)
def test_the_history_of_a_bucket_without_versions_is_its_objects(store: ObjectStore) -> None:
    for key in ODD:
        store.create(key, b"x")
    store.remove("Z")
    left = [key for key in ODD if key != "Z"]
    assert [(each.key, each.version_id, each.current, each.marker) for each in store.history("")] == [
        (key, None, True, False) for key in sorted(left, key=str.encode)
    ]
    assert [each.key for each in store.history("a/")] == sorted(key for key in ODD if key.startswith("a/"))


def test_the_history_has_every_version_and_marker_the_newest_first(versioned: S3ObjectStore) -> None:
    first = versioned.create("a", b"1")
    versioned.remove("a")
    second = versioned.create("a", b"22")
    versioned.create("b", b"1")
    versioned.remove("b")
    a, b = ([each for each in versioned.history("") if each.key == key] for key in ("a", "b"))
    assert (a[0].version_id, a[0].current) == (second.version_id, True)
    assert {each.version_id for each in a if not each.marker} == {first.version_id, second.version_id}
    assert sorted(each.marker for each in a) == [False, False, True]
    assert [(each.marker, each.current) for each in b] == [(True, True), (False, False)]


def test_a_history_longer_than_a_page_is_complete(versioned: S3ObjectStore) -> None:
    names = [f"{number:04d}" for number in range(520)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: versioned.create(name, b""), names))
        list(pool.map(versioned.remove, names))
    found = list(versioned.history(""))
    assert [each.key for each in found] == [name for name in names for _ in range(2)]
    assert sum(each.marker for each in found) == len(names)
