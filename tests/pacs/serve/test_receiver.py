"""The receiver on a loopback socket: whom it lets in, what it refuses, and that it says so."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from parts import Bench, associate, ct_series, ct_slice, encoded, send, wait_for
from pynetdicom import AE

from medimg.errors import ConfigError, InputError
from medimg.pacs.serve.receiver import Receiver
from medimg.pacs.serve.recovery import recover
from medimg.pacs.serve.settings import TlsSettings
from medimg.pacs.serve.tls import client_context, server_context


@pytest.fixture
def listening(bench) -> Iterator[tuple[Bench, Receiver]]:
    here = bench()
    receiver = Receiver(here.intake, here.settings.receiver)
    receiver.start()
    yield here, receiver
    receiver.stop(0.1)


def counters(here: Bench) -> dict[str, int]:
    return {row["name"]: row["value"] for row in here.journal.rows("SELECT * FROM counters")}


def ended(here: Bench, outcome: str) -> None:
    wait_for(lambda: counters(here).get(f"associations_{outcome}"), 5.0, outcome)


def test_instances_are_kept_and_an_echo_is_answered(listening) -> None:
    here, receiver = listening
    series = ct_series("a", 4)
    assert len(send(receiver.settings.port, series)) == 4
    association = associate(receiver.settings.port, [])
    assert association.send_c_echo().Status == 0x0000
    association.release()
    ended(here, "released")
    assert here.one("SELECT n FROM series") == 4
    stored = sorted(path.read_bytes()[-1152:] for path in (here.spool.root / "series").rglob("*.dcm"))
    assert stored == sorted(one.PixelData for one in series)
    names = [path.name for path in here.spool.root.rglob("*")]
    assert not any(str(one.SOPInstanceUID) in name for one in series for name in names)


def test_strangers_are_rejected(listening) -> None:
    here, receiver = listening
    assert associate(receiver.settings.port, [], calling="STRANGER").is_rejected
    assert associate(receiver.settings.port, [], called="ELSEWHERE").is_rejected
    wait_for(lambda: counters(here).get("associations_rejected") == 2, 5.0)
    noted = [row["value"] for row in here.journal.rows("SELECT value FROM findings WHERE code LIKE '%REJECTED'")]
    assert noted == ["STRANGER", "SENDER"]


def test_more_associations_than_allowed_are_rejected(bench) -> None:
    here = bench()
    here.settings.receiver.max_associations = 1
    receiver = Receiver(here.intake, here.settings.receiver)
    receiver.start()
    first = associate(here.settings.receiver.port, [])
    assert associate(here.settings.receiver.port, []).is_rejected
    first.release()
    receiver.stop(0.1)


def test_an_aborted_and_a_broken_association_are_noted(listening) -> None:
    here, receiver = listening
    assert len(send(receiver.settings.port, ct_series("a", 4), abort_after=2)) == 2
    # Lost, where the connection was gone before the message that aborts it came.
    wait_for(lambda: here.one("SELECT outcome FROM associations") in ("aborted", "lost"), 5.0)
    association = associate(receiver.settings.port, ct_series("a", 1))
    association.dul.socket.socket.close()
    wait_for(lambda: not here.one("SELECT COUNT(*) FROM associations WHERE outcome = 'open'"), 10.0)
    association.kill()


def test_a_full_spool_pushes_back_and_goes_on_when_there_is_room(listening) -> None:
    here, receiver = listening
    here.settings.receiver.max_spool_bytes = 3000
    time.sleep(0.3)
    assert len(send(receiver.settings.port, ct_series("a", 2))) >= 1
    time.sleep(0.3)
    association = associate(receiver.settings.port, ct_series("b", 1))
    assert association.send_c_store(ct_slice("b", 0)).Status == 0xA700
    here.settings.receiver.max_spool_bytes = None
    time.sleep(0.3)
    assert association.send_c_store(ct_slice("b", 0)).Status == 0x0000
    association.release()
    assert counters(here)["refused_full"] >= 1
    assert here.one("SELECT message FROM findings WHERE code = 'REFUSED_FULL'").endswith("has reached its limit.")


def test_a_disk_that_fails_while_writing_is_no_success(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    here = bench()

    def no_room(handle: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medimg.pacs.serve.spool.write_all", no_room)
    assert here.take(ct_series("a", 1)) == ["full"]
    assert not list((here.spool.root / "incoming").iterdir())
    monkeypatch.undo()
    monkeypatch.setattr("medimg.pacs.serve.spool.sync_file", lambda path: no_room(0, b""))
    assert here.take(ct_series("a", 1)) == ["failed"]
    assert not list((here.spool.root / "incoming").iterdir())
    assert not list((here.spool.root / "series").rglob("*.dcm"))


def test_an_object_that_is_too_large_ends_its_association(bench) -> None:
    here = bench()
    here.settings.receiver.max_object_bytes = 100_000
    receiver = Receiver(here.intake, here.settings.receiver)
    receiver.start()
    assert send(here.settings.receiver.port, [ct_slice("a", 0, side=1024)]) == []
    wait_for(lambda: counters(here).get("refused_too_large"), 5.0)
    receiver.stop(0.1)


def test_stopping_lets_associations_finish_and_takes_no_new_one(bench) -> None:
    here = bench()
    receiver = Receiver(here.intake, here.settings.receiver)
    receiver.start()
    series = ct_series("a", 2)
    association = associate(here.settings.receiver.port, series)
    stopper = threading.Thread(target=receiver.stop, args=(10.0,))
    stopper.start()
    wait_for(lambda: receiver._stopping, 2.0)
    assert not associate(here.settings.receiver.port, []).is_established
    assert [association.send_c_store(one).Status for one in series] == [0x0000, 0x0000]
    association.release()
    stopper.join(5.0)
    assert not stopper.is_alive()
    assert here.one("SELECT outcome FROM associations") == "released"


def test_stopping_does_not_wait_for_ever(bench) -> None:
    here = bench()
    receiver = Receiver(here.intake, here.settings.receiver)
    receiver.start()
    associate(here.settings.receiver.port, [])
    receiver.stop(0.3)
    wait_for(lambda: here.one("SELECT outcome FROM associations") == "aborted", 5.0)


def test_damaged_objects_are_refused(bench) -> None:
    here = bench()
    association = here.intake.open_association("SENDER", "dicom")
    head, (body,), uid = encoded(ct_slice("a", 0))
    assert here.intake.take(association, head, (body[: len(body) // 2],), uid).status == 0xC000
    assert here.intake.take(association, head, (b"\xff" * 500,), uid).status == 0xC000
    assert here.intake.take(association, head, (), uid).status == 0xC000
    assert here.intake.take(association, head, (body,), "1.2.3").status == 0xA900
    nameless = ct_slice("a", 1)
    del nameless.SeriesInstanceUID
    assert here.intake.take(association, *encoded(nameless)).status == 0xC000
    long = ct_slice("a", 1)
    long["SeriesInstanceUID"]._value = "1." * 40 + "1"
    assert here.intake.take(association, *encoded(long)).status == 0xC000
    assert here.one("SELECT COUNT(*) FROM instances") == 0
    assert here.one("SELECT refused FROM associations") == 6


def test_the_same_uid_with_other_bytes_is_kept_beside(bench) -> None:
    here = bench()
    assert here.take([ct_slice("a", 0)]) == ["kept"]
    assert here.take([ct_slice("a", 0)]) == ["known"]
    assert here.take([ct_slice("a", 0, SeriesDescription="Other")]) == ["beside"]
    assert len(list((here.spool.root / "beside").iterdir())) == 1
    assert here.one("SELECT code FROM findings") == "DUPLICATE_DIFFERS"
    assert here.one("SELECT n FROM series") == 1


def test_a_file_without_its_row_gets_it_again_after_a_start(bench) -> None:
    here = bench()
    here.take(ct_series("a", 3), "open")
    with here.journal.change() as cursor:
        cursor.execute("DELETE FROM instances WHERE id = 2")
    (here.spool.root / "incoming" / "half.part").write_bytes(b"half")
    assert recover(here.spool, here.journal) == 1
    assert here.one("SELECT COUNT(*) FROM instances") == 3
    assert here.one("SELECT outcome FROM associations") == "lost"
    assert not list((here.spool.root / "incoming").iterdir())
    with here.journal.change() as cursor:
        cursor.execute("DELETE FROM instances WHERE id = 2")
    # The sender sends it again before anything else has noticed.
    assert here.take(ct_series("a", 3)) == ["known"] * 3
    assert here.one("SELECT COUNT(*) FROM instances") == 3


def test_files_are_taken_in_too(bench, tmp_path: Path) -> None:
    here = bench()
    series = ct_series("a", 3)
    association = here.intake.open_association("folder", "folder")
    for index, one in enumerate(series):
        one.save_as(tmp_path / f"{index}.dcm", enforce_file_format=True)
        assert here.intake.take_file(association, tmp_path / f"{index}.dcm").kind == "kept"
    (tmp_path / "no.dcm").write_bytes(b"nothing of the kind")
    assert here.intake.take_file(association, tmp_path / "no.dcm").kind == "damaged"
    assert here.intake.take_file(association, tmp_path / "absent.dcm").kind == "failed"
    here.intake.close_association(association, "released")
    assert here.take(series) == ["known"] * 3


def test_an_address_that_is_taken_is_an_error(listening) -> None:
    here, _ = listening
    with pytest.raises(InputError, match="cannot listen"):
        Receiver(here.intake, here.settings.receiver).start()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TlsSettings]:
    """Certificates of a server and of a client by one authority, and of a stranger by itself."""
    folder = tmp_path_factory.mktemp("tls")
    authority, root = _certificate(folder, "authority", None)
    for name in ("server", "client"):
        _certificate(folder, name, (authority, root))
    _certificate(folder, "stranger", None)
    return {
        name: TlsSettings(str(folder / f"{name}.pem"), str(folder / f"{name}.key"), str(folder / "authority.pem"))
        for name in ("server", "client", "stranger")
    }


def _certificate(folder: Path, name: str, issuer: tuple | None) -> tuple:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    by_key, by_name = (key, subject) if issuer is None else (issuer[0], issuer[1].subject)
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(by_name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    made = builder.sign(by_key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, form, plain))
    return key, made


def test_mutual_tls_lets_its_own_in_and_nobody_else(bench, certificates: dict[str, TlsSettings]) -> None:
    here = bench()
    settings = here.settings.receiver
    settings.tls = certificates["server"]
    receiver = Receiver(here.intake, settings)
    receiver.start()

    def established(context: ssl.SSLContext | None) -> bool:
        ae = AE("SENDER")
        ae.acse_timeout = ae.network_timeout = ae.connection_timeout = 5
        ae.add_requested_context("1.2.840.10008.1.1")
        tls = None if context is None else (context, "localhost")
        association = ae.associate("127.0.0.1", settings.port, ae_title="MEDIMG", tls_args=tls)
        if association.is_established:
            answered = association.send_c_echo()
            association.release()
            return bool(answered)
        return False

    assert established(client_context(certificates["client"]))
    assert not established(client_context(certificates["stranger"]))
    assert not established(client_context(TlsSettings(ca=certificates["client"].ca)))
    assert not established(None)
    receiver.stop(0.1)


def test_tls_is_1_2_at_least_and_needs_usable_files(certificates: dict[str, TlsSettings], tmp_path: Path) -> None:
    context = server_context(certificates["server"])
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert server_context(TlsSettings()) is None
    assert client_context(TlsSettings()) is None
    (tmp_path / "bad.pem").write_text("no certificate")
    for settings in (TlsSettings(str(tmp_path / "bad.pem")), TlsSettings("absent.pem"), TlsSettings(ca="absent.pem")):
        with pytest.raises(ConfigError):
            server_context(settings)
