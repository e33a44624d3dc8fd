"""What S3ObjectStore does when the store, the network or the settings are not what they should be.

What belongs here: errors, and what only the requests themselves show. What does not: the contract of all stores
(`test_object_store_contract.py`). Where no real server can be made to fail as needed, a scripted one on loopback answers.
"""

import base64
import hashlib
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from threading import enumerate as enumerate_threads

import pytest

from archiver_assets import threads
from archiver_assets.demo.processes import free_ports
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import ObjectDamaged, ObjectExists, StoreError, StoreUnavailable
from archiver_assets.store.objects import Upload
from archiver_assets.store.s3 import CONFLICT_PAUSES, RESUME_PAUSES, Patience, S3ObjectStore
from archiver_assets.store.s3_upload import MAX_PARTS, MIB, PART_SIZE

HASTY = Patience(max_attempts=1, connect_timeout=2, read_timeout=2)
RESUMING = Patience(max_attempts=6)
"""For reads alone: the client below stays hasty."""
STARTED = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"


def error_body(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>as scripted.</Message></Error>".encode()


@dataclass
class Script:
    """A loopback server that answers with `answers` in turn, and keeps the requests."""

    answers: list[tuple[int, dict[str, str], bytes]]
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def play(self, handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.requests.append((handler.command, handler.path, {name.lower(): value for name, value in handler.headers.items()}))
        status, headers, body = self.answers.pop(0)
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(body)), "Connection": "close"} | headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True


Serve = Callable[[Script], S3ObjectStore]


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def serve(aws_environment: dict[str, str], slept: list[float]) -> Iterator[Serve]:
    assert aws_environment
    running: list[ThreadingHTTPServer] = []

    def start(script: Script) -> S3ObjectStore:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # answers `Expect: 100-continue`, for which botocore else waits a second

            def handle(self) -> None:
                self.handle_one_request()

            def do_GET(self) -> None:
                script.play(self)

            do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 -- http.server's names

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(server)
        return connected(f"http://127.0.0.1:{server.server_port}", "bucket", sleep=slept.append)

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def connected(endpoint: str, bucket: str, sleep: Callable[[float], None] = lambda _: None) -> S3ObjectStore:
    return S3ObjectStore.connect(bucket=bucket, endpoint=endpoint, region="us-east-1", path_style=True, patience=HASTY, sleep=sleep)


def upload(store: S3ObjectStore, size: int) -> None:
    with store.upload("a") as writer:
        writer.write(bytes(size))
        writer.commit()


CALLS: dict[str, Callable[[S3ObjectStore], object]] = {
    "create": lambda store: store.create("a", b"x"),
    "upload": lambda store: upload(store, 10),
    "upload in parts": lambda store: upload(store, PART_SIZE + 1),
    "read": lambda store: list(store.read("a")),
    "list": lambda store: list(store.list("a")),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@every_call
def test_a_missing_bucket_is_named_with_the_next_step(
    s3_server: EmbeddedS3, aws_environment: dict[str, str], call: Callable[[S3ObjectStore], object]
) -> None:
    assert aws_environment
    with pytest.raises(StoreError, match="s3://no-such-bucket/a: NoSuchBucket") as caught:
        call(connected(s3_server.endpoint, "no-such-bucket"))
    assert "create the bucket" in caught.value.hint
    assert type(caught.value) is StoreError


@every_call
@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_refused_and_shown_nowhere(
    s3_server: EmbeddedS3,
    bucket: str,
    aws_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[S3ObjectStore], object],
    variable: str,
) -> None:
    monkeypatch.setenv(variable, "wr0ngWr0ngWr0ng")
    with pytest.raises(StoreError, match=r"InvalidAccessKeyId|SignatureDoesNotMatch") as caught:
        call(connected(s3_server.endpoint, bucket))
    assert "credentials" in caught.value.hint
    shown = "".join(traceback.format_exception(caught.value))
    assert "wr0ng" not in shown
    assert aws_environment["AWS_SECRET_ACCESS_KEY"] not in shown


def test_missing_credentials_are_named(s3_server: EmbeddedS3, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in aws_environment.keys() & {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}:
        monkeypatch.delenv(name)
    with pytest.raises(StoreError, match="credentials"):
        connected(s3_server.endpoint, "bucket").create("a", b"x")


@every_call
def test_a_server_that_is_gone_is_transient(aws_environment: dict[str, str], call: Callable[[S3ObjectStore], object]) -> None:
    assert aws_environment
    (port,) = free_ports(1)
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}"):
        call(connected(f"http://127.0.0.1:{port}", "bucket"))


def test_an_endpoint_that_is_no_url_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(StoreError, match="no url") as caught:
        connected("no url", "bucket")
    assert "s3.endpoint" in caught.value.hint


@pytest.mark.parametrize("sent", [0, 10, 3 * MIB // 2])
def test_a_stream_that_ends_early_is_never_a_short_result(serve: Serve, slept: list[float], sent: int) -> None:
    first = (200, {"Content-Length": str(2 * MIB), "ETag": '"e"'}, bytes(sent))
    script = Script([first, *[(206, _range(sent, sent, 2 * MIB), b"")] * 9])
    with pytest.raises(StoreUnavailable, match="s3://bucket/a"):
        list(replace(serve(script), patience=RESUMING).read("a"))
    assert len(script.requests) == len(slept) + 1 == RESUMING.max_attempts
    means = (*RESUME_PAUSES, RESUME_PAUSES[-1])
    assert all(mean * 0.5 <= pause <= mean * 1.5 for pause, mean in zip(slept, means, strict=True))


def test_one_attempt_is_one_request(serve: Serve) -> None:
    script = Script([(200, {"Content-Length": "2", "ETag": '"e"'}, b"1")])
    with pytest.raises(StoreUnavailable, match="ended 1 bytes early"):
        list(serve(script).read("a"))
    assert len(script.requests) == 1


def _range(start: int, sent: int, size: int) -> dict[str, str]:
    return {"Content-Length": str(size - start), "Content-Range": f"bytes {start}-{size - 1}/{size}", "ETag": f'"{sent}"'}


def test_a_stream_that_ends_early_goes_on_where_it_ended(serve: Serve) -> None:
    content = bytes(range(256)) * 8
    first = (200, {"Content-Length": "2048", "ETag": '"e"'}, content[:1000])
    second = (206, _range(1000, 0, 2048), content[1000:1500])
    script = Script([first, second, (206, _range(1500, 0, 2048), content[1500:])])

    assert b"".join(replace(serve(script), patience=RESUMING).read("a", version_id="v1")) == content

    assert [(each["range"], each["if-match"]) for _, _, each in script.requests[1:]] == [("bytes=1000-", '"e"'), ("bytes=1500-", '"e"')]
    assert {path for _, path, _ in script.requests} == {"/bucket/a?versionId=v1"}


def test_another_object_is_never_read_to_the_end_of_the_first(serve: Serve) -> None:
    first = (200, {"Content-Length": "2048", "ETag": '"e"'}, bytes(1000))
    replaced = serve(Script([first, (412, {}, error_body("PreconditionFailed"))]))
    with pytest.raises(StoreUnavailable, match=r"replaced while it was read .*byte 1000"):
        list(replace(replaced, patience=RESUMING).read("a"))
    careless = serve(Script([first, (200, {"Content-Length": "2048", "ETag": '"e"'}, bytes(2048))]))
    with pytest.raises(StoreUnavailable, match="from byte 1000"):
        list(replace(careless, patience=RESUMING).read("a"))


PART_TAGS = hashlib.md5(hashlib.md5(bytes(PART_SIZE), usedforsecurity=False).digest(), usedforsecurity=False).hexdigest() + "-1"
LOST = [
    (200, dict[str, str](), STARTED.encode()),
    (200, {"ETag": f'"{hashlib.md5(bytes(PART_SIZE), usedforsecurity=False).hexdigest()}"'}, b""),
]


@pytest.mark.parametrize("answer", [(404, dict[str, str](), error_body("NoSuchUpload")), (412, {}, error_body("PreconditionFailed"))])
def test_a_completion_whose_answer_was_lost_is_recognised_by_the_object(serve: Serve, answer: tuple[int, dict[str, str], bytes]) -> None:
    there = (200, {"Content-Length": str(PART_SIZE), "ETag": f'"{PART_TAGS}"'}, b"")
    store = serve(Script([*LOST, answer, there]))
    with store.upload("a") as writer:
        writer.write(bytes(PART_SIZE))
        assert (made := writer.commit()).bytes == PART_SIZE
    assert made.etag == PART_TAGS


def test_a_completion_that_met_somebody_elses_object_is_an_error(serve: Serve) -> None:
    other = (200, {"Content-Length": str(PART_SIZE), "ETag": '"other-1"'}, b"")
    with pytest.raises(ObjectExists):
        upload(serve(Script([*LOST, (412, {}, error_body("PreconditionFailed")), other, (204, {}, b"")])), PART_SIZE)


def test_a_completion_whose_parts_and_object_are_gone_is_transient(serve: Serve) -> None:
    gone = [(404, dict[str, str](), error_body("NoSuchUpload")), (404, {}, b""), (204, {}, b"")]
    with pytest.raises(StoreUnavailable, match="parts are gone") as caught:
        upload(serve(Script([*LOST, *gone])), PART_SIZE)
    assert "run again" in caught.value.hint


@pytest.mark.parametrize(("etag", "ours"), [(hashlib.md5(bytes(9), usedforsecurity=False).hexdigest(), True), ("other", False)])
def test_a_single_put_whose_answer_was_lost_is_recognised_by_the_object(serve: Serve, etag: str, *, ours: bool) -> None:
    there = (200, {"Content-Length": "9", "ETag": f'"{etag}"', "x-amz-version-id": "v1"}, b"")
    with serve(Script([(412, {}, error_body("PreconditionFailed")), there])).upload("a") as writer:
        writer.write(bytes(9))
        if ours:
            made = writer.commit()
            assert (made.bytes, made.etag, made.version_id) == (9, etag, "v1")
        else:
            with pytest.raises(ObjectExists):
                writer.commit()


def test_an_upload_that_ended_meanwhile_is_not_counted_as_aborted(serve: Serve) -> None:
    uploads = "".join(f"<Upload><Key>p/{name}</Key><UploadId>{name}</UploadId></Upload>" for name in "ab")
    listing = f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{uploads}</ListMultipartUploadsResult>".encode()
    script = Script([(200, {}, listing), (404, {}, error_body("NoSuchUpload")), (204, {}, b"")])
    assert serve(script).abort_uploads("p/") == 1


def test_the_pages_of_a_listing_of_uploads_are_all_read(serve: Serve) -> None:
    def page(name: str, more: str) -> bytes:
        marker = f"<NextKeyMarker>p/{name}</NextKeyMarker><NextUploadIdMarker>{name}</NextUploadIdMarker>"
        entry = f"<Upload><Key>p/{name}</Key><UploadId>{name}</UploadId></Upload>"
        return f"<R><IsTruncated>{more}</IsTruncated>{marker}{entry}</R>".encode()

    script = Script([(200, {}, page("a", "true")), (200, {}, page("b", "false")), (204, {}, b""), (204, {}, b"")])
    assert serve(script).abort_uploads("p/") == 2


def test_a_date_of_expiration_that_is_none_is_passed_over(serve: Serve) -> None:
    headers = {"Content-Length": "5", "ETag": '"e"', "x-amz-expiration": 'expiry-date="soon", rule-id="r"'}
    assert serve(Script([(200, headers, b"")])).head("a").expires_at is None


def test_an_announced_expiration_is_told(serve: Serve) -> None:
    header = 'expiry-date="Fri, 21 Dec 2012 00:00:00 GMT", rule-id="r"'
    store = serve(Script([(200, {"Content-Length": "5", "ETag": '"e"', "x-amz-expiration": header}, b"")]))
    assert store.head("a").expires_at == datetime(2012, 12, 21, tzinfo=UTC)


def test_content_that_is_not_what_its_checksum_says_is_refused(serve: Serve) -> None:
    store = serve(Script([(200, {"ETag": '"e"', "x-amz-checksum-crc32": "AAAAAA=="}, b"damaged")]))
    with pytest.raises(ObjectDamaged, match=r"s3://bucket/a: .*checksum") as caught:
        list(store.read("a"))
    assert "damaged" in caught.value.hint


def test_the_checksum_of_the_whole_proves_no_damage_of_the_part_that_it_was_sent_with(serve: Serve) -> None:
    content = bytes(range(256)) * 8
    whole = {"x-amz-checksum-crc32": base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()}
    first = (200, {"Content-Length": "2048", "ETag": '"e"'} | whole, content[:1000])
    script = Script([first, (206, _range(1000, 0, 2048) | whole, content[1000:])])
    with pytest.raises(StoreUnavailable, match=r"s3://bucket/a: .*checksum"):
        list(replace(serve(script), patience=RESUMING).read("a"))


@pytest.mark.parametrize("code", ["InternalError", "SlowDown", "ServiceUnavailable"])
def test_an_error_of_the_server_itself_is_transient(serve: Serve, code: str) -> None:
    with pytest.raises(StoreUnavailable, match=code):
        serve(Script([(503, {}, error_body(code))])).create("a", b"x")


def test_a_refusal_names_the_right_that_it_needs(serve: Serve) -> None:
    with pytest.raises(StoreError, match=r"could not create s3://bucket/a: AccessDenied \(HTTP 403\): as scripted") as caught:
        serve(Script([(403, {}, error_body("AccessDenied"))])).create("a", b"x")
    assert "s3:PutObject" in caught.value.hint
    assert not caught.value.transient


CONFLICT = (409, dict[str, str](), error_body("ConditionalRequestConflict"))
TAKEN = (412, dict[str, str](), error_body("PreconditionFailed"))
DONE = (200, {"ETag": '"e"'}, b"")


def test_a_conflict_is_tried_again_after_growing_pauses(serve: Serve, slept: list[float]) -> None:
    assert serve(Script([CONFLICT, CONFLICT, DONE])).create("a", b"x").etag == "e"
    assert tuple(slept) == CONFLICT_PAUSES[:2]


def test_a_conflict_that_becomes_a_taken_key_is_reported_as_such(serve: Serve) -> None:
    with pytest.raises(ObjectExists):
        serve(Script([CONFLICT, TAKEN])).create("a", b"x")


def test_a_conflict_that_stays_is_transient_after_a_bounded_number_of_tries(serve: Serve, slept: list[float]) -> None:
    script = Script([CONFLICT] * 100)
    with pytest.raises(StoreUnavailable, match="ConditionalRequestConflict"):
        serve(script).create("a", b"x")
    assert len(script.requests) == len(slept) + 1 == len(CONFLICT_PAUSES) + 1


def test_every_write_is_conditional_and_only_uploads_have_the_storage_class(serve: Serve) -> None:
    script = Script([DONE, DONE, (200, {}, STARTED.encode()), DONE, DONE, (200, {}, b"<R><ETag>e</ETag></R>")])
    store = serve(script)
    cold = S3ObjectStore(store.client, store.bucket, "STANDARD_IA", store.sleep)
    cold.create("a", b"x")
    upload(cold, 10)
    upload(cold, PART_SIZE + 1)
    seen = [(method, headers.get("if-none-match"), headers.get("x-amz-storage-class")) for method, _, headers in script.requests]
    assert seen == [
        ("PUT", "*", None),
        ("PUT", "*", "STANDARD_IA"),
        ("POST", None, "STANDARD_IA"),
        ("PUT", None, None),
        ("PUT", None, None),
        ("POST", "*", None),
    ]


@pytest.mark.parametrize(("setting", "expected"), [("when_supported", True), ("when_required", False)])
def test_checksums_go_in_headers_and_never_behind_the_content(
    aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, setting: str, *, expected: bool
) -> None:
    """Over TLS botocore would use a trailer by itself; the request is stopped before it is sent."""
    assert aws_environment
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", setting)
    store = connected("https://127.0.0.1:1", "bucket")
    seen: list[dict[str, str]] = []

    def stop(request: object, **_: object) -> None:
        seen.append({name.lower(): str(value) for name, value in getattr(request, "headers", {}).items()})
        raise InterruptedError

    store.client.meta.events.register("before-send.s3", stop)
    with pytest.raises(InterruptedError):
        store.create("a", b"x")
    assert ("x-amz-checksum-crc32" in seen[0]) is expected
    assert not {"x-amz-trailer", "content-md5", "transfer-encoding"} & seen[0].keys()
    assert "aws-chunked" not in seen[0].get("content-encoding", "")


def test_an_abort_that_fails_is_logged_and_does_not_hide_the_first_error(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    script = Script([(200, {}, STARTED.encode()), (500, {}, error_body("InternalError")), (403, {}, error_body("AccessDenied"))])
    with pytest.raises(StoreUnavailable, match="InternalError"):
        upload(serve(script), PART_SIZE)
    assert [method for method, _, _ in script.requests] == ["POST", "PUT", "DELETE"]
    assert "could not abort the upload of s3://bucket/a" in caplog.text


def test_an_upload_that_begins_when_nobody_waits_for_it_any_more_is_aborted_too(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "END_SECONDS", 0.1)
    begun, left = Event(), Event()

    def hang(**_: object) -> None:
        begun.set()
        left.wait(5)

    script = Script([(200, {}, STARTED.encode()), (200, {"ETag": '"x"'}, b""), (204, {}, b"")])
    store = serve(script)
    store.client.meta.events.register("before-call.s3.CreateMultipartUpload", hang)
    with store.upload("a") as writer:
        writer.write(bytes(PART_SIZE))
        assert begun.wait(5)
    (sending,) = (each for each in enumerate_threads() if each.name == "uploading")
    left.set()
    sending.join(5)
    assert [method for method, _, _ in script.requests] == ["POST", "PUT", "DELETE"]


@pytest.mark.parametrize("hears", ["commit", "the next part"])
def test_after_a_lost_part_nothing_can_be_committed(serve: Serve, hears: str) -> None:
    """The part is sent while the next one fills, so that a later call is the one that fails, and every one after it."""
    script = Script([(200, {}, STARTED.encode()), (500, {}, error_body("InternalError")), (204, {}, b"")])
    with serve(script).upload("a") as writer:
        writer.write(bytes(PART_SIZE))
        with pytest.raises(StoreUnavailable, match="InternalError"):
            writer.commit() if hears == "commit" else writer.write(bytes(PART_SIZE))
        with pytest.raises(ValueError, match="is over"):
            writer.commit()
    assert [method for method, _, _ in script.requests] == ["POST", "PUT", "DELETE"]


def test_content_of_more_parts_than_s3_takes_is_refused_by_name(serve: Serve) -> None:
    def too_much(writer: Upload) -> None:
        vars(writer)["_begun"] = MAX_PARTS
        writer.write(bytes(PART_SIZE))

    with serve(Script([])).upload("a") as writer, pytest.raises(StoreError, match="10000 parts of 16 MiB"):
        too_much(writer)
