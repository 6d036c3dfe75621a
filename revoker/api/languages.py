"""What a person reads, in which language: texts, when something was, and why it is over.

English is what stands in templates and in the code; each other language is a catalogue in `locales/`, read at the
start. To add one, add its file. A reason comes with its event, in whatever languages its sender knows: where the
person's is not among them, those that the service itself gives by default are translated here.
"""

import gettext
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final, Self

from babel.dates import format_datetime, format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from revoker.core.verdicts import language_ranges, look_up

ENGLISH: Final = "en"
LOCALES: Final = Path(__file__).parent / "locales"

_LEAST: Final = timedelta(seconds=-1)
_ON: Final = " on "
"""Between browser and system, as `revoker.service.register` writes them."""


@dataclass(frozen=True, slots=True)
class Told:
    """A text, and the language that it is in."""

    text: str
    language: str


class Language:
    """One of them. `wanted` is what a person asked for, the best first: a reason may be in a language that we lack."""

    def __init__(self, code: str, catalogue: gettext.NullTranslations, wanted: Sequence[str] = ()) -> None:
        self.code: Final = code
        self.gettext = catalogue.gettext
        self.ngettext = catalogue.ngettext
        self._catalogue = catalogue
        self._wanted = wanted or (code,)

    @classmethod
    def read(cls, path: Path) -> Self:
        """From its catalogue."""
        with path.open("rb") as text:
            catalogue = read_po(text, locale=path.stem, abort_invalid=True)
        compiled = BytesIO()
        write_mo(compiled, catalogue)
        compiled.seek(0)
        return cls(path.stem, gettext.GNUTranslations(compiled))

    def for_(self, wanted: Sequence[str]) -> Self:
        """It, for somebody who wants these."""
        return type(self)(self.code, self._catalogue, wanted)

    def ago(self, instant: datetime, now: datetime) -> str:
        """How long ago it was. Whatever our clocks say, it was not in the future."""
        return format_timedelta(min(instant - now, _LEAST), add_direction=True, locale=self.code)

    def moment(self, instant: datetime) -> str:
        """When it was, in UTC."""
        return format_datetime(instant, "long", locale=self.code)

    def reason(self, reasons: Mapping[str, str], default: str) -> Told:
        """The best there is of `reasons`, or `default`, which is one of our own English texts."""
        known = {name.lower(): text for name, text in (reasons or {ENGLISH: default}).items()}
        english = look_up(known, ENGLISH)
        for wanted in self._wanted:
            language = wanted.partition("-")[0]
            found = look_up(known, wanted) or look_up(known, language)
            if found:
                return Told(found, language)
            # What is no text of ours stays as it is.
            if english and language == self.code and self.gettext(english) != english:
                return Told(self.gettext(english), language)
        return Told(english, ENGLISH) if english is not None else next(Told(text, name) for name, text in known.items())

    def device(self, name: str | None) -> str:
        """What a device is called."""
        if name is None:
            return self.gettext("Unknown device")
        browser, on, system = name.partition(_ON)
        return self.gettext("%(browser)s on %(system)s") % {"browser": browser, "system": system} if on else name


class Languages:
    """All of them."""

    def __init__(self) -> None:
        english = Language(ENGLISH, gettext.NullTranslations())
        self.all: Final = {ENGLISH: english} | {one.code: one for one in map(Language.read, _catalogues())}

    def best(self, header: str | None) -> Language:
        """The first that an Accept-Language header asks for and there is; else English."""
        wanted = tuple(language_ranges(header or ""))
        there = (code for one in wanted if (code := one.partition("-")[0]) in self.all)
        return self.all[next(there, ENGLISH)].for_(wanted)

    def reasons(self, text: str) -> dict[str, str]:
        """One of our own texts in every language, for whoever is told later and elsewhere."""
        return {code: language.gettext(text) for code, language in self.all.items()}


@cache
def languages() -> Languages:
    """Read once."""
    return Languages()


def _catalogues() -> list[Path]:
    return sorted(LOCALES.glob("*.po"))
