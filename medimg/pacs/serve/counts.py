"""How many instances a series has where it comes from: asked by QIDO-RS (PS3.18 10.6) or C-FIND (PS3.4 C.4.1)."""

from __future__ import annotations

import logging
from typing import Any

import requests
from pydicom.dataset import Dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from medimg.pacs.serve.completeness import Count
from medimg.pacs.serve.scu import associate
from medimg.pacs.serve.settings import CountSettings

LOG = logging.getLogger("medimg.serve")
_RELATED = "00201209"
_PENDING = (0xFF00, 0xFF01)


def counter(settings: CountSettings, ae_title: str) -> Count | None:
    """Return who answers for a study and series UID; None where nobody is configured.

    An answer is None where the peer cannot be reached, or does not know: then the other signs decide.
    """
    if settings.qido:
        return lambda study, series: by_qido(settings, study, series)
    if settings.host:
        return lambda study, series: by_find(settings, ae_title, study, series)
    return None


def by_qido(settings: CountSettings, study_uid: str, series_uid: str) -> int | None:
    """Ask a DICOMweb server for NumberOfSeriesRelatedInstances."""
    url = f"{str(settings.qido).rstrip('/')}/studies/{study_uid}/series"
    wanted = {"SeriesInstanceUID": series_uid, "includefield": _RELATED}
    accept = {"Accept": "application/dicom+json"}
    try:
        answer = requests.get(
            url, params=wanted, headers=accept, timeout=settings.timeout_s, verify=settings.ca or True
        )
        answer.raise_for_status()
        found = answer.json() if answer.content else []
        values = [_related(one) for one in found if isinstance(one, dict)]
    except (requests.RequestException, ValueError) as error:
        LOG.warning("QIDO gave no count: %s", type(error).__name__)
        return None
    known = [value for value in values if value is not None]
    return max(known) if known else None


def _related(attributes: dict[str, Any]) -> int | None:
    element = attributes.get(_RELATED)
    values = element.get("Value") if isinstance(element, dict) else None
    try:
        return int(values[0]) if values else None
    except (TypeError, ValueError, LookupError):
        return None


def by_find(settings: CountSettings, ae_title: str, study_uid: str, series_uid: str) -> int | None:
    """Ask a C-FIND peer for NumberOfSeriesRelatedInstances."""
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = study_uid
    query.SeriesInstanceUID = series_uid
    query.NumberOfSeriesRelatedInstances = None
    wanted = [(StudyRootQueryRetrieveInformationModelFind, ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])]
    association = associate(
        ae_title, str(settings.host), settings.port, settings.ae_title, wanted, timeout_s=settings.timeout_s
    )
    if not association.is_established:
        LOG.warning("C-FIND gave no count: the peer accepts no association")
        return None
    known: list[int] = []
    try:
        for status, answer in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
            value = None if answer is None else answer.get("NumberOfSeriesRelatedInstances")
            if status and status.Status in _PENDING and value is not None:
                known.append(int(value))
    except (RuntimeError, ValueError, TypeError) as error:
        LOG.warning("C-FIND gave no count: %s", type(error).__name__)
    finally:
        association.release()
    return max(known) if known else None
