"""Which action an attribute gets: the table's row, the options, and the closed list for what has no row."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag, repeater_has_tag

from medimg.pacs.deidentify.permitted import permitted
from medimg.pacs.deidentify.settings import DeidentifySettings
from medimg.pacs.deidentify.table import Rule, rule_for

TEXTS = {"LO", "SH", "ST", "LT", "UT", "UC", "CS", "AE", "UR", "PN", "AS"}
DATES = {"DA", "DT", "TM"}
BYTES = {"OB", "OW", "OF", "OD", "OL", "OV", "UN"}
NUMBER_TEXTS = {"DS", "IS"}
ANCESTRY = frozenset((0x00102160, 0x00102161, 0x00102162))
CONTENT_SEQUENCE, GRAPHICS, VERIFIERS = 0x0040A730, 0x00700001, 0x0040A073
TEXT_VALUE = 0x0040A160
# Who issued an identifier: a hospital by name or OID. Not listed, and empty without the texts inside.
ISSUERS = frozenset((0x00080051, 0x00100024, 0x00400026, 0x00400027, 0x00400033, 0x00400039, 0x0040003A))
PATIENT_ID, PATIENT_NAME = 0x00100020, 0x00100010
# UIDs of classes, syntaxes and coding schemes: structural, never of an instance (E.3.9, note 4).
_STRUCTURAL = (
    "ClassUID",
    "TransferSyntaxUID",
    "ClassesInStudy",
    "ClassesSupported",
    "CodingSchemeUID",
    "ContextUID",
    "MappingResourceUID",
    "GeneralClassUID",
    "SpecializedSOPClassUID",
    "TransferSyntaxUIDInFile",
    "ClassUIDInFile",
)


class Action(Enum):
    """What is done to one element."""

    KEEP = "K"
    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"
    PSEUDONYM = "Z/D pseudonym"
    SHIFT = "C shifted"
    CLEAN = "C text"
    TERM = "C term"
    CODE = "K code"
    NUMBER = "K number"
    AGE = "K age"
    WALK = "C sequence"


@dataclass(frozen=True)
class Decision:
    """An action, the clause that asks for it, and what takes its place where it leaves nothing behind."""

    action: Action
    clause: str
    fallback: Action = Action.REMOVE


def decide(tag: int, vr: str, settings: DeidentifySettings) -> Decision:
    """Return what to do with a standard element of this tag and VR."""
    if tag in (PATIENT_ID, PATIENT_NAME):
        return Decision(Action.PSEUDONYM, "E.1-1 Z")
    rule = rule_for(tag)
    return _unlisted(tag, vr, settings) if rule is None else _listed(rule, tag, vr, settings)


def _listed(rule: Rule, tag: int, vr: str, settings: DeidentifySettings) -> Decision:
    basic = _basic(rule.basic, vr)
    clause = f"E.1-1 {rule.basic}"
    if vr in DATES:
        if settings.dates == "shift" and rule.option("dates_modified"):
            return Decision(Action.SHIFT, "E.3.6 C", basic)
        return Decision(basic, clause)
    if rule.name == "Overlay Data" and settings.overlays == "keep":
        return Decision(Action.KEEP, "E.3.3 kept unseen")
    if tag in ANCESTRY:
        return Decision(Action.REMOVE, clause)
    retained = _retained(rule, vr, settings)
    if retained is not None:
        return retained
    if vr == "SQ":
        return _sequence(rule, tag, settings, basic, clause)
    if rule.option("descriptors") and settings.text != "remove" and vr in TEXTS:
        return Decision(Action.CLEAN, "E.3.5 C", basic)
    return Decision(basic, clause)


def _retained(rule: Rule, vr: str, settings: DeidentifySettings) -> Decision | None:
    for option, wanted, section in (
        ("patient", settings.patient, "E.3.7"),
        ("device", settings.device, "E.3.8"),
        ("institution", settings.institution, "E.3.11"),
    ):
        if wanted != "keep" or not rule.option(option):
            continue
        clause = f"{section} {rule.option(option)}"
        if vr == "AS":
            return Decision(Action.AGE, clause)
        if vr == "SQ":
            return Decision(Action.WALK, clause)
        if rule.option(option) == "C" and settings.text == "remove" and option == "patient":
            return None
        if vr in TEXTS:
            cleaned = option == "patient" and rule.option(option) == "C"
            return Decision(Action.CLEAN if cleaned else Action.CODE, clause, _basic(rule.basic, vr))
        return Decision(Action.UID if vr == "UI" else _plain(vr), clause)
    return None


def _sequence(rule: Rule, tag: int, settings: DeidentifySettings, basic: Action, clause: str) -> Decision:
    if rule.basic.endswith("U*") or (tag == VERIFIERS and settings.structured == "clean"):
        return Decision(Action.WALK, clause)
    if rule.option("structured") and settings.structured == "clean":
        return Decision(Action.WALK, "E.3.4 C")
    if tag == GRAPHICS and settings.graphics == "clean":
        return Decision(Action.WALK, "E.3.3 C")
    if rule.option("descriptors") and settings.text != "remove":
        return Decision(Action.WALK, "E.3.5 C")
    # An empty sequence is valid only where its type is 2, an absent one wherever the table has an X.
    return Decision(Action.REMOVE if "X" in rule.basic else basic, clause)


def _basic(actions: str, vr: str) -> Action:
    """Return one action of a combination: the one that leaves the object valid whatever its IOD demands."""
    if vr == "UI" and actions != "X":
        return Action.UID
    if "D" in actions:
        return Action.DUMMY
    if "Z" in actions:
        return Action.EMPTY
    return Action.REMOVE


def _unlisted(tag: int, vr: str, settings: DeidentifySettings) -> Decision:
    if not (dictionary_has_tag(tag) or repeater_has_tag(tag)):
        return Decision(Action.REMOVE, "E.1.1 not in PS3.6")
    if 0x60000000 <= tag < 0x61000000 and settings.overlays == "remove":
        return Decision(Action.REMOVE, "E.3.3 overlay")
    if tag in ISSUERS:
        return Decision(Action.REMOVE, "E.1.1 issuer")
    if not _vr_fits(tag, vr):
        return Decision(Action.REMOVE, "E.1.1 another VR than in PS3.6")
    if vr == "SQ":
        return Decision(Action.WALK, "E.1.1 walked")
    if vr == "UI":
        structural = keyword_for_tag(tag).endswith(_STRUCTURAL)
        return Decision(Action.KEEP if structural else Action.UID, "E.1.1 UID")
    if vr in DATES:
        return Decision(Action.SHIFT if settings.dates == "shift" else Action.REMOVE, "E.1.1 date")
    if vr == "CS":
        return Decision(Action.CODE, "E.1.1 code")
    if vr in TEXTS or vr in BYTES:
        kind = permitted(tag)
        if vr in BYTES:
            return Decision(Action.KEEP if kind == "bytes" else Action.REMOVE, "E.1.1 bytes")
        if tag == TEXT_VALUE:
            return Decision(Action.DUMMY if settings.text == "remove" else Action.CLEAN, "E.3.4 C", Action.DUMMY)
        kept = {"codes": Action.CODE, "terms": Action.TERM}.get(kind, Action.REMOVE)
        return Decision(kept, "E.1.1 text", Action.DUMMY)
    return Decision(_plain(vr), "E.1.1 number")


def _plain(vr: str) -> Action:
    return Action.NUMBER if vr in NUMBER_TEXTS else Action.KEEP


def _vr_fits(tag: int, vr: str) -> bool:
    if vr not in TEXTS | BYTES | NUMBER_TEXTS:
        return True
    try:
        return vr in dictionary_VR(tag).split(" or ")
    except KeyError:
        return False
