"""The C-STORE receiver: who may send, how much, and an answer only when the instance is safe.

Source of the status values: PS3.4 B.2.3. A peer that is not on the list is rejected when it asks for an association;
one that sends an object larger than allowed is cut off while it sends, before the object fills the memory.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Literal, cast

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.pdu import A_ABORT_RQ, A_RELEASE_RQ
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from medimg.errors import InputError
from medimg.pacs.serve.intake import Intake
from medimg.pacs.serve.journal import count, note_seldom
from medimg.pacs.serve.scu import without_delay
from medimg.pacs.serve.settings import ReceiverSettings
from medimg.pacs.serve.tls import server_context
from medimg.pacs.serve.wire import IMPLEMENTATION_NAME, IMPLEMENTATION_UID, meta_header

LOG = logging.getLogger("medimg.serve")
_SYNTAXES = [
    *("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"),
    *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57"),
    *("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90"),
    *("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.103"),
    *("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"),
]
_RESERVE_BYTES = 1 << 16


class Receiver:
    """A C-STORE and C-ECHO service. `start` returns when it listens; `stop` lets associations finish."""

    def __init__(self, intake: Intake, settings: ReceiverSettings) -> None:
        self.intake, self.settings = intake, settings
        self._associations: dict[Any, int] = {}
        self._growing: dict[Any, int] = {}
        self._ending: dict[Any, Literal["released", "aborted"]] = {}
        self._lock = threading.Lock()
        self._server: Any = None
        self._stopping = False

    def start(self) -> tuple[str, int]:
        """Listen; return the address (with the port that was chosen where the settings say 0).

        Raises
        ------
        InputError
            The address is taken or is not this machine's.
        ConfigError
            The certificates cannot be used.
        """
        settings = self.settings
        ae = AE(settings.ae_title)
        ae.implementation_class_uid = IMPLEMENTATION_UID
        ae.implementation_version_name = IMPLEMENTATION_NAME
        ae.maximum_pdu_size = settings.max_pdu_bytes
        ae.maximum_associations = settings.max_associations
        ae.network_timeout = settings.network_timeout_s
        ae.require_called_aet = True
        if settings.peers != ["*"]:
            ae.require_calling_aet = list(settings.peers)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(cast(str, context.abstract_syntax), _SYNTAXES)
        ae.add_supported_context(Verification)
        try:
            self._server = ae.start_server(
                (settings.host, settings.port),
                block=False,
                ssl_context=server_context(settings.tls),
                evt_handlers=self._handlers(),
            )
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise InputError("The receiver cannot listen here.", where=where, got=error.strerror) from error
        host, port = self._server.server_address[:2]
        LOG.info("receiving on %s:%d", host, port)
        return str(host), int(port)

    @property
    def listening(self) -> bool:
        """Whether associations are taken."""
        return self._server is not None and not self._stopping

    def stop(self, patience_s: float = 10.0) -> None:
        """Take no new association, wait for those that are open, then abort them."""
        if self._server is None:
            return
        self._stopping = True
        done = threading.Event()
        waited = 0.0
        while self._associations and waited < patience_s:
            done.wait(0.1)
            waited += 0.1
        for association in list(self._associations):
            self._ending[association] = "aborted"
            association.abort()
        self._server.shutdown()
        self._server = None

    def _handlers(self) -> list[Any]:
        return [
            (evt.EVT_CONN_OPEN, without_delay),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_PDU_RECV, self._pdu),
            (evt.EVT_DIMSE_RECV, self._message),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda event: 0x0000),
            (evt.EVT_RELEASED, self._ended, ["released"]),
            (evt.EVT_ABORTED, self._ended, ["aborted"]),
            (evt.EVT_CONN_CLOSE, self._ended, ["lost"]),
        ]

    def _requested(self, event: Any) -> None:
        if self._stopping:
            # Transient, by the service provider: local limit exceeded (PS3.8 table 9-21). Senders come again.
            event.assoc.acse.send_reject(0x02, 0x03, 0x02)
            event.assoc.is_rejected = True

    def _accepted(self, event: Any) -> None:
        title = event.assoc.requestor.ae_title.strip()
        number = self.intake.open_association(title, "dicom")
        with self._lock:
            self._associations[event.assoc] = number
            self._growing[event.assoc] = 0

    def _rejected(self, event: Any) -> None:
        # An AE title names a machine, not a patient.
        title = event.assoc.requestor.ae_title.strip()
        LOG.warning("an association of %s was rejected", title)
        with self.intake.journal.change() as cursor:
            count(cursor, "associations_rejected")
            text = "An association was rejected: its titles are not known here, or there are too many."
            note_seldom(cursor, time.time(), "ASSOCIATION_REJECTED", text, value=title)

    def _ended(self, event: Any, outcome: Literal["released", "aborted", "lost"]) -> None:
        with self._lock:
            number = self._associations.pop(event.assoc, None)
            self._growing.pop(event.assoc, None)
            # The connection may close before the association has looked at the message that ends it.
            said = self._ending.pop(event.assoc, outcome)
        if number is not None:
            self.intake.close_association(number, said)

    def _pdu(self, event: Any) -> None:
        size = self._growing.get(event.assoc)
        if size is None:
            return
        if isinstance(event.pdu, A_RELEASE_RQ | A_ABORT_RQ):
            self._ending[event.assoc] = "released" if isinstance(event.pdu, A_RELEASE_RQ) else "aborted"
            return
        size += event.pdu.pdu_length
        self._growing[event.assoc] = size
        if size > self.settings.max_object_bytes + _RESERVE_BYTES:
            LOG.warning("an association was aborted: its object is larger than allowed")
            with self.intake.journal.change() as cursor:
                count(cursor, "refused_too_large")
            self._ending[event.assoc] = "aborted"
            event.assoc.abort(block=False)

    def _message(self, event: Any) -> None:
        if event.assoc in self._growing:
            self._growing[event.assoc] = 0

    def _store(self, event: Any) -> int:
        number = self._associations.get(event.assoc)
        request = event.request
        if number is None:
            return 0xA700
        sop_uid = str(request.AffectedSOPInstanceUID)
        head = meta_header(
            str(request.AffectedSOPClassUID),
            sop_uid,
            str(event.context.transfer_syntax),
            event.assoc.requestor.ae_title.strip(),
        )
        return self.intake.take(number, head, (request.DataSet.getbuffer(),), sop_uid).status
