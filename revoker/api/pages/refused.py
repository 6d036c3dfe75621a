"""What a person sees where what they asked for did not happen: why, in their language, and the one way on."""

from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from revoker.api.languages import Language
from revoker.api.pages.rendering import Rendering
from revoker.api.problems import ProblemError

HOME: Final = "/devices"


@dataclass(frozen=True, slots=True)
class Link:
    """The one way on."""

    href: str
    text: str


def refused(rendering: Rendering, language: Language, error: ProblemError) -> Response:
    """`error` as a page, with its status and headers."""
    title = language.gettext("This did not work")
    text = language.gettext("Please try again in a moment. Nothing was changed.")
    link = Link(HOME, language.gettext("Back to your devices"))
    if error.status == 401:
        title = language.gettext("Please sign in again first")
        text = language.gettext("So that nobody else can sign you out, this needs a sign-in of just now.")
        link = Link(rendering.sign_in, language.gettext("Sign in"))
    elif error.status == 404:
        text = language.gettext("There is no such device. Maybe it is signed out already.")
    elif error.status == 403:
        text = language.gettext("This did not come from our own page. Nothing was changed.")
    return rendering.page(
        language, "over.html", error.status, error.headers, title=title, reason=None, lines=[text], link=link
    )
