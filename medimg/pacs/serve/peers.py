"""One association or one request to a peer, and what it says of every instance.

C-STORE status values: PS3.4 B.2.3 (success 0x0000, warnings 0xB000, 0xB006, 0xB007). STOW-RS: PS3.18 10.5; the answer
lists what was stored and what failed. A peer that cannot be reached is tried again, and so is one that is out of
resources; an object that a peer refuses for what it is is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient

from medimg.errors import ConfigError, InputError
from medimg.io.dicom.headers import PYDICOM_ERRORS, quietly
from medimg.pacs.serve.outbox import Letter
from medimg.pacs.serve.scu import associate
from medimg.pacs.serve.settings import DestinationSettings
from medimg.pacs.serve.tls import client_context

Letters = Sequence[tuple[Letter, Path]]

_MOST_CONTEXTS = 128


@dataclass(frozen=True)
class Answer:
    """What a peer says: ``final`` where there is no point in another try; ``counts`` as one of the tries."""

    taken: bool
    status: str
    final: bool = False
    counts: bool = True


def store(peer: DestinationSettings, ae_title: str, letters: Letters) -> Iterator[tuple[Letter, Answer]]:
    """Send by C-STORE over one association that proposes only what is sent."""
    kinds = list(dict.fromkeys((letter.sop_class, letter.transfer_syntax) for letter, _ in letters))[:_MOST_CONTEXTS]
    association = associate(
        ae_title,
        peer.host,
        peer.port,
        peer.ae_title,
        [(sop_class, [syntax]) for sop_class, syntax in kinds],
        timeout_s=peer.timeout_s,
        tls=client_context(peer.tls),
    )
    if not association.is_established and association.rejected_contexts and not association.accepted_contexts:
        yield from ((letter, Answer(False, "the peer accepts no such object", final=True)) for letter, _ in letters)
        return
    if not association.is_established:
        said = "the association was rejected" if association.is_rejected else "the peer cannot be reached"
        yield from ((letter, Answer(False, said)) for letter, _ in letters)
        return
    accepted = {(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts}
    try:
        for letter, path in letters:
            if (letter.sop_class, letter.transfer_syntax) not in accepted:
                proposed = (letter.sop_class, letter.transfer_syntax) in kinds
                yield letter, Answer(False, "the peer accepts no such object", final=proposed, counts=proposed)
            elif not association.is_established:
                yield letter, Answer(False, "the association broke")
            else:
                yield letter, _sent(association, path)
    finally:
        if association.is_established:
            association.release()


def _sent(association: Any, path: Path) -> Answer:
    try:
        with quietly():
            status = association.send_c_store(pydicom.dcmread(path))
    except (*PYDICOM_ERRORS, InputError) as error:
        gone = not path.is_file()
        return Answer(False, "the file is gone" if gone else type(error).__name__, final=gone)
    if not status:
        return Answer(False, "no answer in time")
    code = int(status.Status)
    if code == 0x0000 or code >> 12 == 0xB:
        return Answer(True, f"0x{code:04X}")
    # 0xA7xx is out of resources; what else is refused will be refused again.
    return Answer(False, f"0x{code:04X}", final=code >> 8 in (0xA9, 0xC0) or code in (0x0122, 0x0117))


def stow(peer: DestinationSettings, ae_title: str, letters: Letters) -> Iterator[tuple[Letter, Answer]]:
    """Send by STOW-RS, one request an instance, so that one that is refused takes no other with it."""
    try:
        session = _session(peer)
    except ConfigError as error:
        yield from ((letter, Answer(False, error.what, final=True)) for letter, _ in letters)
        return
    with session:
        client = DICOMwebClient(url=str(peer.url).rstrip("/"), session=session)
        # The outbox does that, and does not hold the others up meanwhile.
        client.set_http_retry_params(retry=False)
        for letter, path in letters:
            yield letter, _stowed(client, letter, path)


class _Timed(requests.Session):
    """A session whose requests end: the client itself sets no time limit."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__()
        self._timeout_s = timeout_s

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        options["timeout"] = self._timeout_s
        return super().request(*arguments, **options)


def _session(peer: DestinationSettings) -> requests.Session:
    session = _Timed(peer.timeout_s)
    session.verify = peer.ca or True
    if peer.tls.certificate:
        session.cert = (peer.tls.certificate, peer.tls.key) if peer.tls.key else peer.tls.certificate
    if peer.token_file:
        try:
            token = Path(peer.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("The token file cannot be read.", where=peer.token_file) from error
        session.headers["Authorization"] = f"Bearer {token}"
    return session


def _stowed(client: DICOMwebClient, letter: Letter, path: Path) -> Answer:
    try:
        with quietly():
            answer = client.store_instances([pydicom.dcmread(path)], study_instance_uid=letter.study_uid)
    except requests.HTTPError as error:
        code = 0 if error.response is None else error.response.status_code
        # 409: none was stored. 429 and 5xx pass; 401 and 403 are the operator's to mend, then it goes on.
        return Answer(False, f"HTTP {code}", final=code in (400, 409, 413, 415))
    except requests.RequestException as error:
        return Answer(False, type(error).__name__)
    except PYDICOM_ERRORS as error:
        gone = not path.is_file()
        return Answer(False, "the file is gone" if gone else type(error).__name__, final=gone)
    failed = list(answer.get("FailedSOPSequence", [])) if answer is not None else []
    if failed:
        reason = failed[0].get("FailureReason", 0)
        return Answer(False, f"0x{int(reason):04X}", final=int(reason) >> 8 != 0xA7)
    return Answer(True, "stored")
