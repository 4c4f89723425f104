"""What an operator may set of ``medimg serve``. Plain values: they go to the child processes as one JSON file."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from medimg.errors import ConfigError, InputError
from medimg.pacs.results.kinds import check_kinds
from medimg.pacs.serve.tag_names import tag_of

INCOMPLETE = ("hold", "partial", "refuse")
PROTOCOLS = ("dimse", "stow")
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")
_LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass
class TlsSettings:
    """PEM files. ``ca`` makes it mutual: the other side must show a certificate that it signed.

    Without ``certificate`` there is no TLS. TLS 1.2 is the least that is spoken.
    """

    certificate: str | None = None
    key: str | None = None
    ca: str | None = None


@dataclass
class ReceiverSettings:
    """The C-STORE receiver. An empty ``peers`` list accepts nobody; ``["*"]`` everybody."""

    ae_title: str = "MEDIMG"
    host: str = "127.0.0.1"
    port: int = 11112
    peers: list[str] = field(default_factory=list)
    tls: TlsSettings = field(default_factory=TlsSettings)
    max_pdu_bytes: int = 131072
    max_associations: int = 20
    max_object_bytes: int = 2 << 30
    min_free_bytes: int = 2 << 30
    max_spool_bytes: int | None = None
    max_waiting_jobs: int = 10_000
    network_timeout_s: float = 60.0


@dataclass
class CountSettings:
    """Who is asked how many instances a series has: ``qido`` (a DICOMweb URL) or ``find`` (a C-FIND peer)."""

    qido: str | None = None
    ca: str | None = None
    host: str | None = None
    port: int = 104
    ae_title: str = "PACS"
    timeout_s: float = 10.0


@dataclass
class CompletenessSettings:
    """When a series is whole.

    ``quiet_s`` must pass after its last instance, ``doubt_s`` where something is unusual but not wrong. What speaks
    against it (holes, gaps of instance numbers, a count not reached, an association that was not released) holds it
    until ``deadline_s`` after the last instance; then ``incomplete`` decides: ``hold`` it on, run it as ``partial``,
    or ``refuse`` it with a report that says why.
    """

    quiet_s: float = 2.0
    doubt_s: float = 60.0
    deadline_s: float = 900.0
    incomplete: str = "hold"
    poll_s: float = 0.5
    count: CountSettings = field(default_factory=CountSettings)


@dataclass
class RouteSettings:
    """One rule. Texts are regular expressions that must match the whole value, upper and lower case alike.

    ``tags`` and ``exclude`` map keywords or tags (``SeriesDescription``, ``(0018,0015)``) to such expressions: all of
    ``tags`` must match, none of ``exclude`` may. ``derived`` lets images in that call themselves derived.
    """

    name: str = "default"
    package: str = ""
    modality: str = ".*"
    body_part: str = ".*"
    description: str = ".*"
    tags: dict[str, str] = field(default_factory=dict)
    exclude: dict[str, str] = field(default_factory=dict)
    min_slices: int = 1
    max_slices: int = 100_000
    derived: bool = False
    results: list[str] = field(default_factory=lambda: ["seg", "sr", "sc"])
    destinations: list[str] = field(default_factory=list)
    notify: list[str] = field(default_factory=list)
    priority: int = 0


@dataclass
class DestinationSettings:
    """Where results go: ``dimse`` by C-STORE to ``host``, ``port``, ``ae_title``; ``stow`` by STOW-RS to ``url``.

    ``token_file`` holds a bearer token. ``ca`` are the authorities that an https peer is checked against.
    """

    protocol: str = "dimse"
    host: str = "127.0.0.1"
    port: int = 104
    ae_title: str = "PACS"
    tls: TlsSettings = field(default_factory=TlsSettings)
    url: str | None = None
    ca: str | None = None
    token_file: str | None = None
    timeout_s: float = 30.0


@dataclass
class RetrySettings:
    """Tries before something is given up, and the pause before the next one, doubled each time."""

    tries: int = 8
    first_s: float = 5.0
    longest_s: float = 900.0


@dataclass
class WorkerSettings:
    """The process that runs the packages. A lease that is not renewed for ``lease_s`` frees its job."""

    backend: str = "auto"
    threads: int | None = None
    lease_s: float = 60.0
    poll_s: float = 0.5
    tries: int = 5
    first_s: float = 5.0
    max_images: int = 64


@dataclass
class StatusSettings:
    """The status pages: off without ``port``. They tell no names, but they ask for no password either."""

    host: str = "127.0.0.1"
    port: int | None = None


@dataclass
class RetentionSettings:
    """After so many days what is finished is removed; null keeps everything. Never what is held, unsent or dead."""

    days: float | None = None


@dataclass
class WatchSettings:
    """Folders whose files are taken in once they have been still for ``still_s``. They are left where they are."""

    folders: list[str] = field(default_factory=list)
    still_s: float = 10.0
    poll_s: float = 2.0


@dataclass
class OrthancSettings:
    """An Orthanc whose stable series are fetched, over its REST API at ``url``.

    At the first contact only what becomes stable from then on is fetched, or with ``from_start`` all that it has.
    ``password_file`` holds the password of ``user``.
    """

    url: str | None = None
    from_start: bool = False
    user: str | None = None
    password_file: str | None = None
    ca: str | None = None
    timeout_s: float = 30.0
    poll_s: float = 2.0


@dataclass
class NoticeSettings:
    """Who is told of flagged results: an address that takes a POST of JSON. ``token_file`` holds a bearer token."""

    url: str = ""
    ca: str | None = None
    token_file: str | None = None
    timeout_s: float = 10.0


@dataclass
class ServeSettings:
    """Everything. ``routes`` are tried in order: the first that matches a series decides."""

    root: str = "serve"
    receiver: ReceiverSettings = field(default_factory=ReceiverSettings)
    completeness: CompletenessSettings = field(default_factory=CompletenessSettings)
    routes: list[RouteSettings] = field(default_factory=list)
    destinations: dict[str, DestinationSettings] = field(default_factory=dict)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    status: StatusSettings = field(default_factory=StatusSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    orthanc: OrthancSettings = field(default_factory=OrthancSettings)
    notices: dict[str, NoticeSettings] = field(default_factory=dict)


_ADAPTER = TypeAdapter(ServeSettings)


def check(settings: ServeSettings) -> None:
    """Refuse settings that cannot work, before anything is started.

    Raises
    ------
    ConfigError
        Names the key.
    """
    titles = {"receiver.ae_title": settings.receiver.ae_title}
    titles |= {f"destinations.{name}.ae_title": one.ae_title for name, one in settings.destinations.items()}
    for where, title in titles.items():
        if not _AE_TITLE.fullmatch(title) or not title.strip():
            raise ConfigError("No AE title.", where=where, got=title, expected="1 to 16 characters, no backslash")
    if settings.completeness.incomplete not in INCOMPLETE:
        got = settings.completeness.incomplete
        raise ConfigError("No such policy.", where="completeness.incomplete", got=got, expected=" or ".join(INCOMPLETE))
    if not settings.receiver.peers:
        raise ConfigError(
            "Nobody may send.", where="receiver.peers", got="an empty list", fix="name the AE titles of the senders"
        )
    if settings.receiver.host not in _LOCAL and settings.receiver.peers == ["*"]:
        raise ConfigError(
            "Everybody on the network could send.",
            where="receiver.peers",
            got="['*']",
            fix="name the AE titles of the senders, or listen on 127.0.0.1 alone",
        )
    _check_beside(settings)
    _check_routes(settings)
    for name, one in settings.destinations.items():
        if one.protocol not in PROTOCOLS:
            raise ConfigError(
                "No such protocol.", where=f"destinations.{name}.protocol", got=one.protocol, expected="dimse or stow"
            )
        if one.protocol == "stow" and not one.url:
            raise ConfigError("STOW-RS needs an address.", where=f"destinations.{name}.url", fix="state the URL")


def _check_beside(settings: ServeSettings) -> None:
    for index, folder in enumerate(settings.watch.folders):
        watched, root = Path(folder).resolve(), Path(settings.root).resolve()
        if watched.is_relative_to(root) or root.is_relative_to(watched):
            raise ConfigError(
                "A watched folder and the spool lie in each other.",
                where=f"watch.folders[{index}]",
                fix="choose another folder, or another root=FOLDER",
            )
    days = settings.retention.days
    if days is not None and days <= 0:
        raise ConfigError("No such time.", where="retention.days", got=days, expected="a number above 0, or null")
    for name, recipient in settings.notices.items():
        if not recipient.url.startswith(("http://", "https://")):
            raise ConfigError(
                "No address.", where=f"notices.{name}.url", got=recipient.url, expected="http:// or https://"
            )


def _check_routes(settings: ServeSettings) -> None:
    for index, route in enumerate(settings.routes):
        where = f"routes[{index}]"
        if not route.package:
            raise ConfigError("The rule names no package.", where=f"{where}.package", fix="state the package's folder")
        unknown = [name for name in route.destinations if name not in settings.destinations]
        if unknown:
            valid = ", ".join(sorted(settings.destinations)) or "none is configured"
            raise ConfigError("No such destination.", where=f"{where}.destinations", got=unknown[0], expected=valid)
        strangers = [name for name in route.notify if name not in settings.notices]
        if strangers:
            valid = ", ".join(sorted(settings.notices)) or "none is configured"
            raise ConfigError("Nobody of this name.", where=f"{where}.notify", got=strangers[0], expected=valid)
        check_kinds(route.results)
        names = {route.name for route in settings.routes[:index]}
        if route.name in names:
            raise ConfigError("Two rules share a name.", where=f"{where}.name", got=route.name)
        for name in (*route.tags, *route.exclude):
            tag_of(name)
        patterns = {"modality": route.modality, "body_part": route.body_part, "description": route.description}
        for key, pattern in {**patterns, **route.tags, **route.exclude}.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError("No regular expression.", where=f"{where}: {key}", got=str(error)) from error


def save(settings: ServeSettings, path: Path) -> None:
    """Write the settings for the child processes; readable by this user alone."""
    part = path.with_name(path.name + ".part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(_ADAPTER.dump_json(settings, indent=2))
    os.replace(part, path)


def load(path: Path) -> ServeSettings:
    """Read what `save` wrote.

    Raises
    ------
    InputError
        It is not there, or is not what `save` writes.
    """
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError("The service's settings cannot be read.", where=path, fix="start medimg serve") from error
