"""TLS contexts for DICOM (PS3.15 B.12, BCP 195): 1.2 at least, certificates checked, mutual where asked for."""

from __future__ import annotations

import ssl

from medimg.errors import ConfigError
from medimg.pacs.serve.settings import TlsSettings


def server_context(settings: TlsSettings) -> ssl.SSLContext | None:
    """Return the context of a receiver; None without a certificate.

    Raises
    ------
    ConfigError
        A file is missing or is not what it should be.
    """
    if settings.certificate is None:
        if settings.ca or settings.key:
            raise ConfigError("TLS needs a certificate of its own.", where="tls.certificate", fix="name a PEM file")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, settings)
    if settings.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(settings: TlsSettings) -> ssl.SSLContext | None:
    """Return the context of a sender; None where no file is named.

    The peer's certificate is checked against ``ca`` (the system's authorities where it is not named).

    Raises
    ------
    ConfigError
        A file is missing or is not what it should be.
    """
    if not (settings.certificate or settings.ca):
        return None
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    _load(context, settings)
    return context


def _load(context: ssl.SSLContext, settings: TlsSettings) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
        if settings.ca is not None:
            context.load_verify_locations(settings.ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "A certificate or key cannot be used.",
            where="tls",
            got=type(error).__name__,
            expected="PEM files of a certificate with its chain, its key, and the authorities",
        ) from error
