"""Laterality (0020,0060) of results: its condition differs from object to object."""

from __future__ import annotations

from pydicom.dataset import Dataset

# Body parts that a patient has one of (PS3.16 annex L).
_UNPAIRED = frozenset({
    "ABDOMEN", "ABDOMENPELVIS", "ANUS", "AORTA", "BLADDER", "BRAIN", "CERVIX", "CHEST", "CHESTABDOMEN",
    "CHESTABDPELVIS", "COCCYX", "COLON", "CSPINE", "CTSPINE", "DUODENUM", "ESOPHAGUS", "GALLBLADDER", "HEAD",
    "HEADNECK", "HEART", "JAW", "LARYNX", "LIVER", "LSPINE", "LSSPINE", "MEDIASTINUM", "MOUTH", "NECK", "NECKCHEST",
    "NECKCHESTABDOMEN", "NECKCHESTABDPELV", "NOSE", "PANCREAS", "PELVIS", "PENIS", "PHARYNX", "PROSTATE", "RECTUM",
    "SACRUM", "SKULL", "SPINE", "SPLEEN", "SSPINE", "STERNUM", "STOMACH", "THORAX", "THYMUS", "THYROID", "TLSPINE",
    "TONGUE", "TRACHEA", "TSPINE", "UTERUS", "VAGINA", "VULVA", "WHOLEBODY",
})  # fmt: skip


def set_laterality(dataset: Dataset, kind: str) -> None:
    """Meet the attribute's condition: empty where nobody said it of what may be paired, and not in a SEG.

    A laterality that the source states is kept in key images, presentation states and maps. A segmentation may state
    it of its frames alone (Frame Anatomy), which needs a coded region that sources seldom give.

    Parameters
    ----------
    dataset : Dataset
        Changed in place; holds the source's BodyPartExamined and Laterality already.
    kind : str
        ``seg``, ``sr``, ``sc``, ``gsps`` or ``pm``.
    """
    part = str(dataset.get("BodyPartExamined", "") or "").strip().upper().replace(" ", "")
    if kind in ("sc", "gsps", "pm") and not dataset.get("Laterality") and part not in _UNPAIRED:
        dataset.Laterality = ""
    elif "Laterality" in dataset and (kind == "seg" or not dataset.Laterality):
        del dataset.Laterality
