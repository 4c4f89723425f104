"""The texts of a page, by language: everything on it that is not in report.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import yaml

from medimg.errors import ConfigError

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Words:
    """The texts of one language by their dotted key, such as ``heading.results``."""

    language: str
    texts: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its {names} filled in."""
        text = self.texts[key]
        return text.format(**values) if values else text

    def get(self, key: str) -> str | None:
        """Return a text, or None where this language has none of its own."""
        return self.texts.get(key)


@lru_cache(maxsize=len(LANGUAGES))
def words_of(language: str) -> Words:
    """Return the texts of a language: ``en`` or ``zh``.

    Raises
    ------
    ConfigError
        For any other language.
    """
    if language not in LANGUAGES:
        raise ConfigError(
            "Reports are not written in this language.",
            where="language",
            got=language,
            expected=" or ".join(LANGUAGES),
            fix="choose one of these languages",
        )
    source = (files("medimg.reports") / "languages" / f"{language}.yaml").read_text(encoding="utf-8")
    return Words(language, dict(_flat(yaml.safe_load(source))))


def _flat(tree: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    return [(f"{section}.{key}", text) for section, part in tree.items() for key, text in part.items()]


ENGLISH = words_of("en")
