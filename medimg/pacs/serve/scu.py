"""Associations that medimg asks for: only what is needed is proposed, answers come at once, none is lost."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from typing import Any

from pynetdicom import AE, evt


def associate(
    ours: str,
    host: str,
    port: int,
    theirs: str,
    contexts: Iterable[tuple[str, list[str]]],
    *,
    timeout_s: float,
    tls: ssl.SSLContext | None = None,
) -> Any:
    """Ask for an association.

    Parameters
    ----------
    ours, theirs : str
        AE titles.
    host, port
        The peer.
    contexts : iterable of (str, list of str)
        SOP classes with their transfer syntaxes; at most 128.
    timeout_s : float
        Of every step.
    tls : ssl.SSLContext, optional

    Returns
    -------
    pynetdicom.association.Association
        Its ``is_established`` says whether the peer has accepted.
    """
    ae = AE(ours)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = timeout_s
    for sop_class, syntaxes in contexts:
        ae.add_requested_context(sop_class, syntaxes)
    association = ae.associate(
        host,
        port,
        ae_title=theirs,
        tls_args=None if tls is None else (tls, host),
        evt_handlers=[(evt.EVT_CONN_OPEN, without_delay)],
    )
    _for_us_alone(association)
    return association


def without_delay(event: Any) -> None:
    """Send small messages at once: else they wait for the acknowledgement of the one before (Nagle)."""
    found = event.assoc.dul.socket
    if found is not None and found.socket is not None:
        found.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _for_us_alone(association: Any) -> None:
    """Keep the association's own thread from taking answers.

    In pynetdicom 3.0.4 it looks for requests of the peer once more after it was told to pause; on a busy machine it
    then takes the answer that the caller waits for, and the caller waits until its time is over. Here the peer has
    nothing to request.
    """
    take = association.dimse.get_msg

    def get_msg(block: bool = False) -> Any:
        return take(block=True) if block else (None, None)

    association.dimse.get_msg = get_msg
