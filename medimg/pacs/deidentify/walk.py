"""Walk a dataset, sequences included, and do to every element what the table and the options say."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID_dictionary

from medimg.pacs.deidentify.dates import capped_age, shift
from medimg.pacs.deidentify.decide import PATIENT_NAME, TEXTS, Action, Decision, decide
from medimg.pacs.deidentify.elements import readable, strings, too_many
from medimg.pacs.deidentify.keyed import Key
from medimg.pacs.deidentify.private import SafeList, creators
from medimg.pacs.deidentify.report import Actions, element_name
from medimg.pacs.deidentify.settings import DeidentifySettings
from medimg.pacs.deidentify.text import Cleaner
from medimg.pacs.deidentify.values import DUMMY_TEXT, dummy, dummy_code, is_code, is_number

DEEPEST = 64


@dataclass(frozen=True)
class Walker:
    """Everything that one file's elements are judged by.

    Attributes
    ----------
    patient : str
        The original ID that pseudonym and date shift hang on.
    """

    settings: DeidentifySettings
    key: Key
    patient: str
    cleaner: Cleaner
    safe_private: SafeList
    actions: Actions

    def walk(self, dataset: Dataset, path: str = "", depth: int = 0) -> None:
        """Change a dataset in place. Items deeper than any standard object has are dropped."""
        blocks = creators(dataset)
        kept_blocks: set[tuple[int, int]] = set()
        for tag in list(dataset.keys()):
            if tag.group % 2:
                if self._private(dataset, tag, blocks, path, depth):
                    kept_blocks.add((tag.group, tag.element >> 8))
            elif tag.element == 0 or tag.group <= 4 or depth > DEEPEST:
                del dataset[tag]
            else:
                self._standard(dataset, tag, path, depth)
        for group, block in blocks:
            if (group, block) not in kept_blocks and (group, block) in dataset:
                del dataset[group, block]
                self.actions.add(f"{path}({group:04X},{block:04X})", Action.REMOVE.value, "E.1-1 X private")

    def _standard(self, dataset: Dataset, tag: BaseTag, path: str, depth: int) -> None:
        element = readable(dataset, tag)
        name = path + element_name(tag)
        if element is None:
            del dataset[tag]
            self.actions.add(name, Action.REMOVE.value, "E.1.1 unreadable value")
            return
        decision = decide(int(tag), element.VR, self.settings)
        if decision.action is Action.KEEP and too_many(element):
            decision = Decision(Action.REMOVE, "E.1.1 more values than in PS3.6")
        self._do(dataset, element, decision, name, depth)

    def _private(
        self, dataset: Dataset, tag: BaseTag, blocks: dict[tuple[int, int], str], path: str, depth: int
    ) -> bool:
        if (tag.group, tag.element) in blocks:
            return False
        creator = blocks.get((tag.group, tag.element >> 8), "")
        vr = self.safe_private.get((creator, tag.group, tag.element & 0xFF))
        element = readable(dataset, tag) if vr else None
        name = f"{path}({tag.group:04X},xx{tag.element & 0xFF:02X})"
        if element is None or element.VR not in (vr, "UN"):
            del dataset[tag]
            self.actions.add(name, Action.REMOVE.value, "E.1-1 X private")
            return False
        if element.VR == "UN" and vr not in ("UN", "OB"):
            del dataset[tag]
            self.actions.add(name, Action.REMOVE.value, "E.3.10 unknown VR")
            return False
        self._do(dataset, element, _private_decision(element.VR, self.settings), name, depth)
        return tag in dataset

    def _do(self, dataset: Dataset, element: DataElement, decision: Decision, name: str, depth: int) -> None:
        """Apply a decision to one element, and write down what was done."""
        action = decision.action
        if action is Action.WALK:
            for index, item in enumerate(element.value):
                self.walk(item, f"{name}[{index}].", depth + 1)
            self.actions.add(name, action.value, decision.clause)
            return
        if action in _CHANGED:
            action = self._change(element, action) or decision.fallback
        if action is Action.REMOVE:
            del dataset[element.tag]
        elif action is Action.EMPTY:
            element.value = Sequence() if element.VR == "SQ" else None
        elif action is Action.DUMMY:
            element.value = Sequence([dummy_code()]) if element.VR == "SQ" else dummy(element.VR)
        if action not in _QUIET or decision.clause.startswith("E.3"):
            self.actions.add(name, action.value, decision.clause)

    def _change(self, element: DataElement, action: Action) -> Action | None:
        """Change an element's values; None where nothing of them can stay."""
        if action is Action.PSEUDONYM:
            own = strings(element)[0].strip(" \0") if strings(element) and element.tag != PATIENT_NAME else ""
            element.value = self.key.pseudonym(own or self.patient)
            return action
        before = strings(element)
        after = [self._value(text, element.VR, action) for text in before]
        if action is Action.CODE and len(after) > 1:
            after = [DUMMY_TEXT if text is None else text for text in after]
        if any(text is None for text in after) or (before and not any(after)):
            return None
        if after == before and action not in _ALWAYS:
            return Action.KEEP
        element.value = after if len(after) > 1 else (after[0] if after else None)
        return Action.CLEAN if action in (Action.TERM, Action.CODE) else action

    def _value(self, text: str, vr: str, action: Action) -> str | None:
        if action is Action.UID:
            return self.uid(text)
        if action is Action.SHIFT:
            return shift(text, vr, self.key.days(self.patient, self.settings.max_shift_days))
        if action is Action.AGE:
            return capped_age(text)
        if action is Action.NUMBER:
            return text if is_number(text) else None
        if action is Action.CODE:
            fits = vr != "CS" or is_code(text)
            return self.cleaner.known(text) if fits else None
        words = action is Action.CLEAN and self.settings.text == "words"
        return self.cleaner.words(text) if words else self.cleaner.clean(text)

    def uid(self, text: str) -> str:
        """Return a UID's replacement; UIDs that the standard itself defines stay."""
        text = text.strip(" \0")
        return text if not text or text in UID_dictionary else self.key.uid(text)


_CHANGED = {
    Action.PSEUDONYM,
    Action.UID,
    Action.SHIFT,
    Action.AGE,
    Action.NUMBER,
    Action.CODE,
    Action.CLEAN,
    Action.TERM,
}
_ALWAYS = {Action.UID, Action.SHIFT}
_QUIET = {Action.KEEP, Action.CODE, Action.NUMBER}


def _private_decision(vr: str, settings: DeidentifySettings) -> Decision:
    clause = "E.3.10 C"
    if vr == "SQ":
        return Decision(Action.WALK, clause)
    if vr == "UI":
        return Decision(Action.UID, clause)
    if vr == "PN":
        return Decision(Action.REMOVE, clause)
    if vr in ("DA", "DT", "TM"):
        return Decision(Action.SHIFT if settings.dates == "shift" else Action.REMOVE, clause)
    if vr in ("DS", "IS"):
        return Decision(Action.NUMBER, clause)
    if vr == "CS":
        return Decision(Action.CODE, clause)
    return Decision(Action.CLEAN if vr in TEXTS else Action.KEEP, clause)
