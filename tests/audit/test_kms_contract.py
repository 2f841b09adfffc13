"""The contract that every KMS adapter keeps: the key file, AWS KMS (moto's server) and PKCS#11 (SoftHSM2)."""

import http.server
import os
import threading
import time

import boto3
import kms_servers
import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit import AuditLog, KeyFailure, KeyFileKms, LogReader, init_keys, verify_log
from gateway.audit import kms_aws as aws_kms
from gateway.audit.key_watch import KeyWatch
from gateway.audit.kms import KmsHealth
from gateway.audit.kms_aws import AwsKms
from gateway.audit.kms_pkcs11 import Pkcs11Kms
from gateway.audit.sealed_signer import make_signer

REGION = "eu-central-1"
WORST_S = 15  # of one call: the attempts, and the pauses between them
PLACES_STEP = 5  # each change costs a round trip


@pytest.fixture(scope="module")
def moto():
    """Return the address of moto's AWS KMS, and credentials that it takes."""
    named = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
    before = {name: os.environ.get(name) for name in named}
    os.environ.update(named)
    try:
        with kms_servers.moto_server() as address:
            yield address
    except kms_servers.ServerMissing as missing:
        pytest.skip(str(missing))
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(scope="module")
def softhsm(tmp_path_factory):
    """Return the library of a SoftHSM2 token with a key that cannot leave it."""
    try:
        library = kms_servers.make_token(tmp_path_factory.mktemp("softhsm"))
    except kms_servers.ServerMissing as missing:
        pytest.skip(str(missing))
    with pkcs11.lib(str(library)).get_token(token_label=kms_servers.TOKEN).open(rw=True, user_pin=kms_servers.PIN) as session:
        for label in (kms_servers.KEY, "another"):
            attributes = {pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False}
            session.generate_key(pkcs11.KeyType.AES, 256, label=label, store=True, template=attributes)
    return library


def open_file(folder):
    if not (folder / "keys.json").exists():
        init_keys(folder / "keys.json")
    return KeyFileKms(folder / "keys.json")


def aws_client(address):
    return boto3.client("kms", region_name=REGION, endpoint_url=address)


def open_aws(address, folder, key_id):
    if not (folder / "signing.json").exists():
        make_signer(folder / "signing.json", AwsKms(key_id, None, region=REGION, endpoint=address).wrap)
    return AwsKms(key_id, folder / "signing.json", region=REGION, endpoint=address)


def open_pkcs11(library, folder, key=kms_servers.KEY):
    if not (folder / "signing.json").exists():
        make_signer(folder / "signing.json", Pkcs11Kms(library, kms_servers.TOKEN, key, kms_servers.PIN, None).wrap)
    return Pkcs11Kms(library, kms_servers.TOKEN, key, kms_servers.PIN, folder / "signing.json")


@pytest.fixture
def key_id(moto):
    """Return a fresh key of moto's AWS KMS."""
    return aws_client(moto).create_key()["KeyMetadata"]["KeyId"]


@pytest.fixture(params=["file", "aws", "pkcs11"])
def reopen(request, tmp_path):
    """Return a function that opens the service as a process does after a restart: the same keys, another object."""
    if request.param == "file":
        return lambda: open_file(tmp_path)
    if request.param == "aws":
        address, key_id = request.getfixturevalue("moto"), request.getfixturevalue("key_id")
        return lambda: open_aws(address, tmp_path, key_id)
    library = request.getfixturevalue("softhsm")
    return lambda: open_pkcs11(library, tmp_path)


@pytest.fixture
def other(request, reopen, tmp_path):
    """Return the same kind of service with another wrapping key."""
    folder = tmp_path / "other"
    folder.mkdir()
    kind = type(reopen())
    if kind is KeyFileKms:
        return open_file(folder)
    if kind is AwsKms:
        address = request.getfixturevalue("moto")
        return open_aws(address, folder, aws_client(address).create_key()["KeyMetadata"]["KeyId"])
    return open_pkcs11(request.getfixturevalue("softhsm"), folder, key="another")


def test_what_was_wrapped_is_unwrapped_also_after_a_restart(reopen):
    """A key survives wrapping; two wrappings of it differ; neither shows it."""
    key = os.urandom(32)
    kms = reopen()
    first, second = kms.wrap(key, "ring|1"), kms.wrap(key, "ring|1")
    assert first != second
    assert key not in first
    assert kms.unwrap(first, "ring|1") == reopen().unwrap(second, "ring|1") == key


def test_a_generated_key_is_fresh_and_hides_itself(reopen):
    """Each generated key is new, has 256 bits, can be unwrapped, and does not stand in its printed form."""
    kms = reopen()
    one, two = kms.generate("ring|1"), kms.generate("ring|1")
    assert one.plain != two.plain
    assert len(one.plain) == 32
    assert kms.unwrap(one.wrapped, "ring|1") == one.plain
    assert one.plain.hex() not in repr(one)


def test_another_context_or_another_key_does_not_unwrap(reopen, other):
    """A wrapped key is bound to its context and to the wrapping key."""
    kms = reopen()
    wrapped = kms.wrap(b"k" * 32, "ring|1")
    with pytest.raises(KeyFailure):
        kms.unwrap(wrapped, "ring|2")
    with pytest.raises(KeyFailure):
        other.unwrap(wrapped, "ring|1")


def test_no_byte_of_a_wrapped_key_can_be_changed(reopen):
    """Whatever is changed or cut off, nothing is unwrapped."""
    kms = reopen()
    wrapped = kms.wrap(b"k" * 32, "ring|1")
    for place in range(0, len(wrapped), PLACES_STEP):
        with pytest.raises(KeyFailure):
            kms.unwrap(wrapped[:place] + bytes([wrapped[place] ^ 1]) + wrapped[place + 1 :], "ring|1")
    for short in (b"", wrapped[:1], wrapped[:-1]):
        with pytest.raises(KeyFailure):
            kms.unwrap(short, "ring|1")


def test_signatures_verify_and_the_signing_key_stays_the_same(reopen):
    """Ed25519 under one public key, before and after a restart."""
    kms, again = reopen(), reopen()
    assert kms.public_key == again.public_key
    Ed25519PublicKey.from_public_bytes(kms.public_key).verify(again.sign(b"head"), b"head")


@pytest.mark.asyncio
async def test_a_log_is_written_and_read_with_the_service(reopen, make_draft, tmp_path):
    """The keyring of a log lies under the service: what one process sealed, another opens."""
    path = tmp_path / "audit.db"
    log = AuditLog.open(path, reopen(), node="test-node")
    try:
        assert log.healthy() == (True, "")
        await log.append([make_draft(payload=b'{"found": 1}')])
    finally:
        log.close()
    assert verify_log(path, reopen()).payloads_opened >= 1
    with LogReader(path, reopen()) as reader:
        assert b'{"found": 1}' in [reader.open_payload(record) for record in reader.records()]


def test_a_signing_key_sealed_by_another_key_of_aws_is_refused(moto, key_id, tmp_path):
    """Whoever takes the file has nothing: another key does not unseal it."""
    open_aws(moto, tmp_path, key_id)
    with pytest.raises(KeyFailure):
        open_aws(moto, tmp_path, aws_client(moto).create_key()["KeyMetadata"]["KeyId"])


def test_a_signing_key_sealed_by_another_key_of_the_token_is_refused(softhsm, tmp_path):
    """The same for a token."""
    open_pkcs11(softhsm, tmp_path)
    with pytest.raises(KeyFailure):
        open_pkcs11(softhsm, tmp_path, key="another")


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_a_key_of_aws_that_is_not_enabled_fails_closed(moto, key_id, tmp_path, state):
    """Moto goes on encrypting with such a key, as AWS does not: the state is asked for, told in health, and no start succeeds."""
    kms = open_aws(moto, tmp_path, key_id)
    assert kms.health().usable
    if state == "Disabled":
        aws_client(moto).disable_key(KeyId=key_id)
    else:
        aws_client(moto).schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    assert not kms.health().usable
    assert state in kms.health().reason
    with pytest.raises(KeyFailure, match=state):
        open_aws(moto, tmp_path, key_id)


class Faulty(http.server.BaseHTTPRequestHandler):
    """Stands before nothing: answers every question with the fault of its server."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        fault = self.server.fault
        if fault == "silence":
            self.server.released.wait(30)
            return
        if fault == "cut":
            self.connection.close()
            return
        status, body = {
            "disabled": (400, b'{"__type":"DisabledException","message":"arn:aws:kms:eu-central-1:111122223333:key/secret-name"}'),
            "denied": (400, b'{"__type":"AccessDeniedException","message":"secret-name"}'),
            "broken": (500, b"{}"),
            "garbage": (200, b"<html>secret-name</html>"),
            "empty": (200, b"{}"),
        }[fault]
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def faulty():
    """Return a server that gives the fault it is told to give."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    server.released = threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("fault", ["disabled", "denied", "broken", "garbage", "empty", "cut", "silence"])
def test_aws_kms_fails_closed_and_in_time(moto, key_id, tmp_path, faulty, fault):
    """Whatever the service does: no key, our own words without its texts, health says so, within the time the attempts may take."""
    kms = open_aws(moto, tmp_path, key_id)
    wrapped = kms.wrap(b"k" * 32, "ring|1")
    faulty.fault = fault
    kms._client = aws_kms._client(REGION, f"http://127.0.0.1:{faulty.server_port}")
    started = time.monotonic()
    for call in (lambda: kms.wrap(b"k" * 32, "ring|1"), lambda: kms.unwrap(wrapped, "ring|1"), lambda: kms.generate("ring|1")):
        with pytest.raises(KeyFailure) as failure:
            call()
        assert "secret-name" not in str(failure.value)
    assert not kms.health().usable
    assert time.monotonic() - started < 4 * WORST_S


def test_readiness_never_waits_for_a_slow_service():
    """The last known state is told at once; a new one is asked for beside, once at a time, and told when it came."""
    asked, go = [], threading.Event()

    def slow():
        asked.append(1)
        go.wait(30)
        return KmsHealth(usable=False, reason="gone")

    watch = KeyWatch(slow, refresh_s=0)
    started = time.monotonic()
    assert all(watch.health().usable for _ in range(100))
    assert time.monotonic() - started < 5
    assert len(asked) == 1
    go.set()
    until = time.monotonic() + 10
    while watch.health().usable and time.monotonic() < until:
        time.sleep(0.01)
    assert watch.health().reason == "gone"
