"""The pages of a visit, and what a list of many recordings keeps and says of each."""

from collections.abc import Mapping

from msgspec import Struct

from bot.domain.insight import Stop
from bot.domain.many import OTHERS, Spread
from bot.domain.subjects import RecordingSubject, Subject
from bot.fields.normal import path
from bot.fields.recordings import FRICTION_TAGS
from bot.messages.text import capital, clean, number
from mouseflow.models import PageView, Recording

PAGE = 60
"""Characters of a page's path at most."""
SHOWN = 3
"""How many websites and pages are named; the others are counted."""


class Page(Struct, frozen=True):
    """A page of a visit; `bad`: it has a tag of friction."""

    path: str
    bad: bool


def pages(subject: Subject) -> list[Page]:
    """The pages in the order in which they were seen; one that was only reloaded counts once."""
    if not isinstance(subject, RecordingSubject):
        return []
    found: list[Page] = []
    for view in subject.recording.page_views or ():
        address = view.website_page or view.uri or ""
        bad = bool(FRICTION_TAGS.keys() & set(view.tags))
        page = Page(middle_cut(clean(path(address)), PAGE), bad)
        if found and found[-1].path == page.path:
            page = Page(page.path, page.bad or found.pop().bad)
        found.append(page)
    return found


def visit(subject: Subject) -> tuple[Stop, ...]:
    """The pages in order with their times and friction tags; empty where none are known."""
    if not isinstance(subject, RecordingSubject):
        return ()
    return tuple(
        Stop(
            path=middle_cut(clean(path(view.website_page or view.uri or "")), PAGE),
            time=view.visit_time,
            tags=tuple(FRICTION_TAGS[tag] for tag in view.tags if tag in FRICTION_TAGS),
        )
        for view in subject.recording.page_views or ()
    )


def middle_cut(text: str, limit: int) -> str:
    """The text without its middle, so that its end stays readable."""
    if len(text) <= limit:
        return text
    half = (limit - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def page_of_trouble(subject: Subject) -> str:
    """The page with a friction tag, else the last one; empty if no page is known."""
    seen = pages(subject)
    bad = [page for page in seen if page.bad]
    return (bad or seen)[-1].path if seen else ""


def glimpse(subject: Subject) -> Subject:
    """The subject with only what a line of a list shows: nothing personal of a recording."""
    if not isinstance(subject, RecordingSubject):
        return subject
    row, page = subject.recording, page_of_trouble(subject)
    return RecordingSubject(
        website=subject.website,
        recording=Recording(
            id=row.id,
            created=row.created,
            last_activity=row.last_activity,
            duration=row.duration,
            device=row.device,
            page_views=(PageView(website_page=page),) if page else None,
        ),
        zone=subject.zone,
        friction=subject.friction,
    )


def spread_with(spread: Spread, subject: Subject) -> Spread:
    """The spread with one more subject."""
    site = subject.website
    device = subject.recording.device if isinstance(subject, RecordingSubject) else None
    return spread.plus(clean(site.name or site.id), page_of_trouble(subject), clean(device or ""))


def where(spread: Spread, total: int) -> tuple[str, ...]:
    """Where they concentrate, in up to two sentences: on which websites; on which pages, devices.

    A single website needs no sentence if `total` are all of one.
    """
    sites = _most(spread.websites, total)
    share = max(spread.devices.items(), key=lambda each: each[1], default=("", 0))
    device = ""
    if share[0] and 2 * share[1] > total:
        device = f"{number(share[1])} on {share[0].lower()}s"
        if share[1] == total:
            device = f"all on {share[0].lower()}s" if total > 1 else f"on a {share[0].lower()}"
    pages = _most(spread.pages, total)
    second = ", ".join(part for part in (pages, device) if part)
    return tuple(f"{capital(line)}." for line in (sites, second) if line)


def _most(counts: Mapping[str, int], total: int) -> str:
    """`all on /cart`, `on /cart` of a single one, or `4 on /cart, 2 on /, 3 on 2 others`."""
    named = sorted(
        ((name, n) for name, n in counts.items() if name != OTHERS), key=lambda each: -each[1]
    )
    if len(named) == 1 and named[0][1] == total:
        return f"{'all ' if total > 1 else ''}on {named[0][0]}"
    told = [f"{number(n)} on {name}" for name, n in named[:SHOWN]]
    left = named[SHOWN:]
    rest = sum(n for _, n in left) + counts.get(OTHERS, 0)
    if rest:
        several = "others" if counts.get(OTHERS) else f"{len(left)} other{'s' * (len(left) > 1)}"
        told.append(f"{number(rest)} on {several}")
    return ", ".join(told)
