"""What the messages about one thing say: a match, a budget, an ended alert, a notice.

The first line says what happened and where, the second why. What can be done follows, and one grey
line ends it.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from msgspec.structs import replace

from bot.domain.alert_state import NEWS, UNKNOWN_NOW, USUAL_NOW
from bot.domain.budget import BUDGET
from bot.domain.many import Many
from bot.domain.press import Button, Offer
from bot.domain.subjects import RecordingSubject, Subject
from bot.fields.catalogue import SUBJECTS, WEBSITE, fields, text_fields
from bot.fields.field import TextKind
from bot.fields.normal import path
from bot.messages import links
from bot.messages.figures import (
    FIGURES,
    Values,
    figure_of,
    in_words,
    then_and_now,
    value_in_words,
    with_limit,
)
from bot.messages.message import (
    BAD_PAGE,
    ENDED,
    HEADLINE,
    ICONS,
    INFO,
    OF_SEVERITY,
    PATH,
    PLACE,
    WARNING,
    WHY,
    Line,
    Message,
    Part,
    line_of,
    of_rule,
    of_several,
    plain_line,
    pressable,
    reread,
    site_of,
    span_of,
    text_of,
    time_part,
)
from bot.messages.pages import PAGE, Page, middle_cut, pages, where
from bot.messages.several import unlisted, without_websites, worst_few
from bot.messages.template_variables import values
from bot.messages.text import capital, clean, cut, lasting, number, size, with_instants
from bot.ports import Addresses, Task

_MOST_LINES, _MOST_PAGES = 20, 8


def match(task: Task, addresses: Addresses) -> Message:
    """A match: what and where, why, what the visitor saw, with a link to it."""
    if task.many is not None:
        return _many(task, task.many, addresses)
    if task.rule.startswith(BUDGET):
        return _budget(task, addresses)
    shown, subject = values(task, addresses), task.subject
    headline, why = _headline(task, shown)
    reasons = _sentences(why, joined=isinstance(subject, RecordingSubject))
    buttons, menu = _of_match(task, addresses)
    figures = " ".join(cut(clean(part), WHY) for part in FIGURES[subject.kind](shown))
    asked = task.why[0] if task.why and with_limit(task.why[0]) else ""
    return Message(
        icon=INFO if _is_news(task) and task.severity == "warning" else OF_SEVERITY[task.severity],
        headline=headline,
        url=shown["url"] or links.website(subject, addresses),
        place=_place(shown, subject),
        why=(
            *reasons,
            *_at_the_start(task, asked),
            *((line_of(figures),) if figures else ()),
            *_public_link(shown, subject),
        ),
        asked=asked,
        visit=_visit(subject),
        links=_links(shown, subject, addresses),
        context=(*_missing(task), *_context(task, shown, addresses)),
        **of_rule(task, addresses),
        buttons=buttons,
        menu=menu,
    )


def _budget(task: Task, addresses: Addresses) -> Message:
    """A step of a budget: how much is used and what the bot did, on which websites, what follows.

    It is news: there is nothing to acknowledge.
    """
    icon, headline = _iconed(task.summary, OF_SEVERITY[task.severity])
    url = links.page(addresses, "budgets", at=task.rule.removeprefix(BUDGET))
    names = (task.subject.website.name or "").split(", ")
    website = links.website(task.subject, addresses) if len(names) == 1 else ""
    opens = ("Open budget", url)
    if not url:
        opens = ("Open in Mouseflow", website or addresses.app_url)
    lines = [f"{_begin(line)}{_stop(line)}" for line in (clean(each, WHY) for each in task.why)]
    websites = f"{len(names)} websites" if len(names) > 1 else cut(clean(names[0]), PLACE)
    return Message(
        icon=icon,
        headline=cut(clean(headline), HEADLINE),
        url=url or website,
        why=tuple(line_of(cut(line, WHY)) for line in lines[:_MOST_LINES]),
        links=(opens,),
        context=(
            *_missing(task),
            *((plain_line(websites),) if websites else ()),
            time_part(task.matched, task.now, addresses.zone),
        ),
        rules=(task.rule,),
        pages=((task.rule, url),) if url else (),
        account=addresses.account,
    )


def _iconed(title: str, other: str = WARNING) -> tuple[str, str]:
    """The icon at the beginning of a title, `other` if it has none, and the rest."""
    icon, _, rest = title.partition(" ")
    return (icon, rest) if icon in ICONS else (other, title)


def _many(task: Task, many: Many, addresses: Addresses) -> Message:
    """A match of many: how many, in which time, where they concentrate, the worst few."""
    shown = values(task, addresses)
    lasted = lasting(max(many.until - many.since, timedelta(seconds=1)))
    buttons, menu = _of_match(task, addresses)
    asks = f"The rule asks for {number(many.asked)} in {lasting(many.within)}."
    spread = without_websites(many.spread)
    several = len(many.spread.websites) > 1
    few = worst_few(task, many.worst, many.total, many.until, addresses, several=several)
    return Message(
        icon=OF_SEVERITY[task.severity],
        headline=cut(f"{number(many.total)} in {lasted}: {clean(shown['summary'])}", HEADLINE),
        place=site_of(shown),
        why=(line_of(cut(" ".join((*where(spread, many.total), *_group(many), asks)), WHY)),),
        items=few,
        more=unlisted(few, many.worst, many.total),
        context=(
            *_missing(task),
            span_of(many.since, many.until, task.now, addresses),
        ),
        **{
            "links": _website_link(task.subject, addresses),
            **of_several(task, addresses, many.total, links.website(task.subject, addresses)),
        },
        buttons=buttons,
        menu=menu,
    )


def _group(many: Many) -> tuple[str, ...]:
    """`Same country: DK.`; nothing where the website is what they have in common."""
    if many.by == WEBSITE:
        return ()
    about = next((it for it in fields("recordings") if it.name == many.by), None)
    value = "" if about is not None and about.locates else clean(many.group)
    if about is not None and about.text is TextKind.COUNTRY:
        value = value.upper()
    told = f": {cut(value, PLACE)}" if value else ""
    return (f"Same {many.by.replace('_', ' ')}{told}.",)


def from_template(task: Task, addresses: Addresses, text: str, linked: bool) -> Message:
    """A message with the rule's own text, filled in by `render`.

    `linked`: the text has its own link, so it needs no button.
    """
    shown = values(task, addresses)
    buttons, menu = _of_match(task, addresses)
    return Message(
        own=text,
        links=() if linked else _links(shown, task.subject, addresses),
        context=(*_missing(task), *_context(task, shown, addresses)),
        **of_rule(task, addresses),
        buttons=buttons,
        menu=menu,
    )


def resolved(task: Task, addresses: Addresses, lasted: timedelta) -> Message:
    """An alert is resolved: its condition no longer holds, or what it tells is usual by now."""
    told = match(task, addresses)
    context = (*_missing(task), span_of(task.matched - lasted, task.matched, task.now, addresses))
    is_unknown = any(UNKNOWN_NOW in line for line in task.why)
    is_back = not is_unknown and not any(USUAL_NOW in line for line in task.why)
    after = lasting(lasted)
    known = "perhaps not back" if is_unknown else "not back"
    ends = f"Resolved after {after}" if is_back else f"Ended after {after}, {known}"
    headline = f"{ends}: {told.headline}"
    menu: tuple[Button, ...] = ("not_useful",) if told.menu else ()
    icon = ENDED if is_back else INFO
    began = _beginning(task)
    shown = values(task, addresses)
    compared = then_and_now(began.asked, shown) if began and is_back else ""
    kept = told.why[:-1] if any(FIGURES[task.subject.kind](shown)) else told.why
    return replace(
        told,
        icon=icon,
        headline=cut(headline, HEADLINE),
        why=(*kept, line_of(compared)) if compared else told.why,
        context=context,
        buttons=(),
        menu=menu,
    )


def _beginning(task: Task) -> Message | None:
    """The message of the alert's beginning, for one that answers it."""
    recording = isinstance(task.subject, RecordingSubject)
    return reread(task.post.shows) if task.post and not recording else None


def _at_the_start(task: Task, asked: str) -> tuple[Line, ...]:
    """What a reminder says of the figure at the beginning, if it has changed."""
    began = _beginning(task)
    then = figure_of(began.asked) if began and asked and began.asked != asked else ""
    return (line_of(f"It was {then} at the start."),) if then else ()


def notice(
    title: str,
    lines: Sequence[str],
    page: str,
    now: datetime,
    zone: str,
    offer: Offer | None = None,
    grey: str = "",
    rules: Sequence[tuple[str, str]] = (),
) -> Message:
    """A message about the bot itself: one cause, one line, one remedy, and buttons.

    The title may begin with an icon; without one it is a warning. `page` is where the status page
    says more, `grey` the last line, `rules` those that it names there and where the status page
    has them. Moments in ISO 8601 are shown as times.
    """
    icon, rest = _iconed(title)
    page_name = urlsplit(page).path.strip("/").partition("/")[0]
    rest = text_of(_timed(rest, now, zone))
    *shown, end = [
        # A message shows no code, and a backtick would become another character.
        _timed(clean(line.replace("`", ""), 400), now, zone)
        for line in (*lines[:_MOST_LINES], grey)
    ]
    left = len(lines) - _MOST_LINES
    more = [line_of(f"and {left} more lines")] if left > 0 else []
    return Message(
        icon=icon,
        headline=cut(clean(rest), HEADLINE),
        why=(*shown, *more),
        context=(end,) if end else (),
        links=((_PAGE_LABELS.get(page_name, "Open status page"), page),) if page else (),
        calm=page_name != "budgets",
        label=offer.label if offer else "",
        rules=tuple(rule for rule, _url in rules),
        pages=tuple((rule, url) for rule, url in rules if url),
        buttons=(offer.button,) if offer else (),
        acts_on=offer.on if offer else "",
    )


_PAGE_LABELS = {"queue": "See the queue", "rules": "Open rule", "budgets": "Open budget"}


def _timed(text: str, now: datetime, zone: str) -> Line:
    """The line; an instant in it is a time in the reader's own zone."""
    found: Line = ()
    for part in with_instants(text):
        found += line_of(part) if isinstance(part, str) else time_part(part, now, zone)
    return found


_SNOOZES: tuple[Button, ...] = ("snooze_1h", "snooze_tomorrow")


def _of_match(task: Task, addresses: Addresses) -> tuple[tuple[Button, ...], tuple[Button, ...]]:
    if isinstance(task.subject, RecordingSubject) and task.many is None:
        return pressable(addresses, "not_useful", "watched", "star", *_SNOOZES)
    if _is_news(task):
        return pressable(addresses, "snooze_1h", "snooze_tomorrow", "not_useful")
    return pressable(addresses, "ack", *_SNOOZES, "not_useful")


def _headline(task: Task, shown: Values) -> tuple[str, Sequence[str]]:
    """The headline, and the reasons below it.

    An alert's headline has its figure: the first reason, if it is what the rule asks for.
    """
    summary = clean(shown["summary"])
    names = text_fields(task.subject.kind)
    why = [in_words(line, names) for line in task.why]
    if _is_news(task):
        count = shown["new_responses"]
        answers = f"{number(count)} new answer{'' if count == 1 else 's'}"
        return cut(f"{answers}: {summary}", HEADLINE), why[1:]
    alert = not isinstance(task.subject, RecordingSubject)
    if alert and task.why and task.why[0].partition(" ")[0] in names:
        headline = f"{summary}: {clean(with_limit(task.why[0]) or why[0], HEADLINE)}"
        if size(headline) <= HEADLINE:
            return headline, why[1:]
    if not alert:
        # The line below says how long the visitor was active, on how many pages.
        below = (f"{value_in_words(shown['duration'])}, ", "pages ")
        why = [line for line in why if not line.startswith(below)] or why
        why = [_AT_LEAST.sub(r"friction \1+", line) for line in why]
    return cut(summary, HEADLINE), why


def _is_news(task: Task) -> bool:
    """Whether it tells of new answers, which begin no alert that could be acknowledged."""
    return task.subject.kind == "feedback" and bool(task.why) and task.why[0].startswith(NEWS)


_AT_LEAST = re.compile(r"\bfriction at least ([0-9.]+)$")


def _place(shown: Values, subject: Subject) -> str:
    """The website, and before it an alert's subject, if the summary does not name it."""
    names = "" if isinstance(subject, RecordingSubject) else SUBJECTS[subject.kind].names
    name = cut(clean(shown[names] or ""), PLACE) if names else ""
    if not name or name.casefold() in str(shown["summary"]).casefold() or name == site_of(shown):
        return site_of(shown)
    return f"{name} · {site_of(shown)}"


def _sentences(why: Sequence[str], *, joined: bool) -> tuple[Line, ...]:
    """Why, as sentences: joined by commas for a visitor, else each for itself."""
    lines = [clean(line, 200) for line in why if line]
    if joined and lines:
        lines = [", ".join(lines)]
    text = " ".join(f"{_begin(line)}{_stop(line)}" for line in lines)
    return (line_of(cut(text, WHY)),) if text else ()


def _begin(sentence: str) -> str:
    """The sentence with a capital, unless it begins with a name, as of a website."""
    is_name = "." in sentence.partition(" ")[0].rstrip(".")
    return sentence if is_name else capital(sentence)


def _stop(sentence: str) -> str:
    return "" if sentence.endswith((".", "!", "?")) else "."


def _context(task: Task, shown: Values, addresses: Addresses) -> tuple[Line, ...]:
    visitor = _visitor(shown) if isinstance(task.subject, RecordingSubject) else ()
    zone = task.subject.zone if isinstance(task.subject, RecordingSubject) else addresses.zone
    return (
        *(plain_line(part) for part in visitor),
        time_part(task.matched, task.now, zone),
    )


def _visitor(shown: Values) -> Iterable[str]:
    """Device, country, browser and system, without versions; no data is left out."""
    browser, system = shown["browser"], shown["os"]
    with_system = f"{browser} on {system}" if browser and system else browser or system
    country = (shown["country"] or "").upper()
    parts = (shown["visitor_type"], shown["device"], country, with_system)
    return [clean(part, PLACE) for part in parts if part]


def _missing(task: Task) -> tuple[Line, ...]:
    if not task.missing:
        return ()
    return (plain_line(f"Not done yet: {', '.join(task.missing)}"),)


def _links(shown: Values, subject: Subject, addresses: Addresses) -> tuple[tuple[str, str], ...]:
    if isinstance(subject, RecordingSubject):
        own, public = ("Watch recording", shown["url"]), ("Watch without login", shown["share_url"])
        return tuple(link for link in (own, public) if link[1])
    return _website_link(subject, addresses)


def _public_link(shown: Values, subject: Subject) -> tuple[Line, ...]:
    """That anybody can watch it, where the rule has shared it."""
    shared = isinstance(subject, RecordingSubject) and shown["share_url"]
    return (plain_line("🔗 Public link: anyone who has it can watch."),) if shared else ()


def _website_link(subject: Subject, addresses: Addresses) -> tuple[tuple[str, str], ...]:
    url = links.website(subject, addresses)
    return (("Open in Mouseflow", url),) if url else ()


def _visit(subject: Subject) -> Line:
    """`/ → /cart → ⚠️ /checkout (last page)`, its middle cut out if it is long."""
    seen = pages(subject)
    if not seen:
        entry = subject.recording.entry if isinstance(subject, RecordingSubject) else None
        return (Part(f"Entered on {middle_cut(clean(path(entry)), PAGE)}"),) if entry else ()
    head, gone, tail = _kept(seen)
    parts = [_shown(page) for page in head]
    parts += [(Part(f"{gone} more"),)] if gone else []
    parts += [_shown(page) for page in tail]
    if len(parts) > 1 and not any(page.bad for page in seen):
        parts[-1] = (replace(parts[-1][0], bold=True),)
    joined = parts[0]
    for part in parts[1:]:
        joined += (Part(" → "), *part)
    return (*joined, Part(" (last page)")) if len(seen) > 1 else joined


def _kept(seen: Sequence[Page]) -> tuple[Sequence[Page], int, Sequence[Page]]:
    """The first seen, how many are left out, and the last ones: as many as fit."""
    if len(seen) <= _MOST_PAGES and _fits(seen):
        return seen, 0, ()
    for first, last in ((3, 4), (2, 4), (2, 3), (1, 3), (1, 2)):
        if first + last < len(seen) and _fits((*seen[:first], *seen[-last:])):
            return seen[:first], len(seen) - first - last, seen[-last:]
    return seen[:1], max(len(seen) - 2, 0), seen[1:][-1:]


def _fits(seen: Iterable[Page]) -> bool:
    return sum(len(page.path) + 3 for page in seen) <= PATH


def _shown(page: Page) -> Line:
    return (Part(f"{BAD_PAGE} {page.path}" if page.bad else page.path, bold=page.bad),)
