"""Which options of PS3.15 E.3 apply, and what happens to files that cannot be made safe."""

from __future__ import annotations

from dataclasses import dataclass, field

from medimg.errors import ConfigError, nearest

CHOICES = {
    "dates": ("remove", "shift"),
    "patient": ("remove", "keep"),
    "device": ("remove", "keep"),
    "institution": ("remove", "keep"),
    "text": ("remove", "words", "clean"),
    "structured": ("clean", "remove"),
    "graphics": ("clean", "remove"),
    "overlays": ("remove", "keep"),
    "burned_in": ("refuse", "flag"),
    "on_error": ("fail", "skip"),
}


@dataclass
class DeidentifySettings:
    """The Basic Profile and its options; every default is the stricter choice that keeps an object readable.

    Attributes
    ----------
    dates : str
        ``remove``, or ``shift``: each patient's dates move back by the same keyed number of days (E.3.6).
    max_shift_days : int
        Largest shift; the smallest is one day.
    patient, device, institution : str
        ``keep`` retains what E.3.7, E.3.8 and E.3.11 list. Ancestry is never kept in a file.
    text : str
        Descriptors (E.3.5): ``remove``; ``words`` keeps only words of a list of harmless ones; ``clean`` takes
        out names and numbers that the file itself calls identifying, and what looks like a person or a contact.
    structured, graphics : str
        ``clean`` walks SR content and presentation graphics item by item (E.3.4, E.3.3); ``remove`` drops them.
    overlays : str
        ``keep`` leaves overlay planes (60xx) as they are, unseen.
    safe_private : list of str
        ``standard`` for the list of E.3.10, and ``CREATOR:gggg,xxee:VR`` for one more element.
    burned_in : str
        An image that may show text and that no region of the catalogue covers: ``refuse`` or ``flag`` it.
    catalogue : str, optional
        A YAML file with regions to mask, before those that come with medimg.
    ocr : bool
        Also look for text in the pixels with tesseract; only ever a flag.
    names : str, optional
        A text file with names to take out of every text, one a line.
    on_error : str
        ``fail`` ends with exit code 3 when a file was refused or unreadable; ``skip`` only lists it.
    """

    dates: str = "remove"
    max_shift_days: int = 3650
    patient: str = "remove"
    device: str = "remove"
    institution: str = "remove"
    text: str = "remove"
    structured: str = "clean"
    graphics: str = "clean"
    overlays: str = "remove"
    safe_private: list[str] = field(default_factory=list)
    burned_in: str = "refuse"
    catalogue: str | None = None
    ocr: bool = False
    names: str | None = None
    on_error: str = "fail"

    def __post_init__(self) -> None:
        """Refuse a choice that does not exist."""
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid:
                got = getattr(self, name)
                raise ConfigError("there is no such choice", where=name, got=got, expected=nearest(str(got), valid))
        if self.max_shift_days < 1:
            raise ConfigError(
                "dates cannot be shifted by less than a day",
                where="max_shift_days",
                got=self.max_shift_days,
                expected="at least 1",
            )
