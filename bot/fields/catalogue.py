"""The catalogue: every kind of subject that a rule can watch, and every field of each.

Conditions, the JSON Schema, docs, error texts, explanations, messages, webhooks and rule tests
all read it. It checks itself when it is imported.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, get_args

from msgspec import Struct

from bot.domain.subjects import (
    CampaignSubject,
    FormSubject,
    FunnelSubject,
    Kind,
    PageSubject,
    RecordingSubject,
    Site,
    Subject,
    WebsiteSubject,
)
from bot.fields.field import FOLLOWS, BadField, Field, Source, named
from bot.fields.recordings import RECORDING_FIELDS, blank
from bot.fields.reports import (
    CAMPAIGN_FIELDS,
    FORM_FIELDS,
    FUNNEL_FIELDS,
    PAGE_FIELDS,
    WEBSITE_FIELDS,
)


class SubjectKind(Struct, frozen=True, kw_only=True):
    """One kind of subject. `name` is the word after `watch`, `noun` one of them, `title` all.

    `blank` makes a subject of this website without any data. `names` is the field whose text
    tells people which one is meant, empty where the website's name does. `alert`: a rule has a
    state, firing or resolved; else it matches a subject at most once. `over_time`: figures are
    taken over a time, and of some visitors. `many`: so many that only figures which rules
    compare with their past are kept.
    """

    name: Kind
    noun: str
    title: str
    subject: type[Subject]
    blank: Callable[[Site], Subject]
    fields: tuple[Field, ...]
    names: str = ""
    alert: bool = True
    over_time: bool = False
    many: bool = False


SUBJECTS: Final[Mapping[Kind, SubjectKind]] = MappingProxyType(
    {
        "recordings": SubjectKind(
            name="recordings",
            noun="recording",
            title="Recordings",
            subject=RecordingSubject,
            blank=blank,
            fields=RECORDING_FIELDS,
            names="entry_page",
            alert=False,
        ),
        "feedback": SubjectKind(
            name="feedback",
            noun="campaign",
            title="Feedback campaigns",
            subject=CampaignSubject,
            blank=lambda site: CampaignSubject(website=site, id="campaign"),
            fields=CAMPAIGN_FIELDS,
            names="campaign",
        ),
        "funnels": SubjectKind(
            name="funnels",
            noun="funnel",
            title="Funnels",
            subject=FunnelSubject,
            blank=lambda site: FunnelSubject(website=site, id="funnel"),
            fields=FUNNEL_FIELDS,
            names="funnel",
            over_time=True,
        ),
        "forms": SubjectKind(
            name="forms",
            noun="form",
            title="Forms",
            subject=FormSubject,
            blank=lambda site: FormSubject(website=site, id="form"),
            fields=FORM_FIELDS,
            names="form",
            over_time=True,
        ),
        "pages": SubjectKind(
            name="pages",
            noun="page",
            title="Pages",
            subject=PageSubject,
            blank=lambda site: PageSubject(website=site, path="/"),
            fields=PAGE_FIELDS,
            names="path",
            over_time=True,
            many=True,
        ),
        "websites": SubjectKind(
            name="websites",
            noun="website",
            title="Websites",
            subject=WebsiteSubject,
            blank=lambda site: WebsiteSubject(website=site),
            fields=WEBSITE_FIELDS,
        ),
    }
)
"""Every kind of subject, in the order of the docs."""

KINDS: Final[tuple[Kind, ...]] = tuple(SUBJECTS)
ALERTS: Final[tuple[Kind, ...]] = tuple(kind for kind in KINDS if SUBJECTS[kind].alert)
"""The kinds whose rules have a state: firing or resolved."""

_IN_CONDITIONS = {
    kind: {field.name: field for field in about.fields if field.in_conditions}
    for kind, about in SUBJECTS.items()
}
_IN_TEXTS = {
    kind: MappingProxyType({field.text_name: field for field in about.fields if field.in_texts})
    for kind, about in SUBJECTS.items()
}


def fields(kind: Kind) -> tuple[Field, ...]:
    """The fields that conditions of a rule watching this kind may use, in the order of the docs."""
    return tuple(_IN_CONDITIONS[kind].values())


def field(kind: Kind, name: str) -> Field:
    """The condition field of that name; raises KeyError where the kind has none."""
    return _IN_CONDITIONS[kind][name]


def over_time(about: Field) -> bool:
    """Whether the figure is taken over a time, so that it is compared by whole days."""
    return SUBJECTS[about.watch].over_time or about.over_last


def is_average(about: Field) -> bool:
    """Whether the figure is a share or an average over a time: whole days are like parts of one."""
    return about.numeric and SUBJECTS[about.watch].over_time and not about.is_count


def told_of_the_past(about: Field) -> bool:
    """Whether the API tells the figure of past weeks, so that the usual is known at once."""
    return about.over_last or is_average(about)


def text_fields(kind: Kind) -> Mapping[str, Field]:
    """The fields that a message about this kind may use, by their names in texts."""
    return _IN_TEXTS[kind]


WEBSITE: Final = "website"
"""The subject's website: in `once_per` and `count`, in a rule test's `given`, and in texts."""

GROUPS: Final[Mapping[str, Field]] = MappingProxyType(
    {name: field for field in RECORDING_FIELDS for name in (field.group_as, field.count_as) if name}
)
"""What `once_per` and `count` may group recordings by, beside the website."""

ONCE_PER: Final = (WEBSITE, *(name for name, field in GROUPS.items() if name == field.group_as))
COUNT_BY: Final = (WEBSITE, *GROUPS)


def group_value(subject: Subject, name: str) -> str | None:
    """What `once_per` and `count` group the subject by; None where it has no such value."""
    if name == WEBSITE:
        return subject.website.id
    value = GROUPS[name].get(subject)
    return None if value in (None, "", ()) else str(value)


def group_told(subject: Subject, name: str) -> str:
    """The group's value for messages and webhooks; empty where it is personal."""
    if name == WEBSITE:
        return subject.website.name or subject.website.id
    return "" if GROUPS[name].personal else group_value(subject, name) or ""


VISITOR_FILTERS: Final[Mapping[str, Field]] = MappingProxyType(
    {
        field.name: field
        for field in RECORDING_FIELDS
        if field.api_filter is not None and field.api_filter.contrast
    }
)
"""What `visitors` may name: the API's filters that the bot can prove (L4241-4388)."""


def visitor_filters(kind: Kind) -> Mapping[str, Field]:
    """What `visitors` may name in rules that watch this kind."""
    return {
        name: about
        for name, about in VISITOR_FILTERS.items()
        if kind != "pages" or about.served.of_page_lists
    }


class Span(Struct, frozen=True):
    """Bounds of a figure under `visitors`; None: none."""

    low: float | None = None
    high: float | None = None


FilterValue = str | bool | tuple[str, ...] | tuple[tuple[str, str], ...] | Span
"""A value under `visitors`, by the type of its field."""


def made(kind: Kind, site: Site, given: Mapping[str, Any]) -> Subject:
    """A subject with the values that a rule's test gives; what it does not give is missing."""
    subject = SUBJECTS[kind].blank(site)
    for each in fields(kind):
        if each.name in given:
            subject = each.give(subject, given[each.name])
    return subject


def sample(kind: Kind) -> Subject:
    """A made-up subject in which every field has a value."""
    subject = SUBJECTS[kind].blank(Site("w1", "myshop.com"))
    for each in SUBJECTS[kind].fields:
        if each.sample is not FOLLOWS:
            subject = each.give(subject, each.sample)
    return subject


def _check() -> None:
    """Raise BadField for what only shows when all declarations stand side by side."""
    if get_args(Kind) != KINDS or {it.subject for it in SUBJECTS.values()} != set(
        get_args(Subject)
    ):
        raise BadField("SUBJECTS, Kind and Subject must list the same kinds")
    for kind, about in SUBJECTS.items():
        if about.name != kind or about.subject.kind != kind:
            raise BadField(f"SUBJECTS[{kind!r}] is about {about.subject.__name__}")
        if about.names and named(about.fields, about.names).text_name not in _IN_TEXTS[kind]:
            raise BadField(f"{kind}: texts don't know {about.names}, which is to name a subject")
        made_up = sample(kind)
        for problem in _problems(about):
            raise BadField(problem)
        for each in about.fields:
            if each.get(made_up) is None:
                raise BadField(f"field {kind}.{each.name}: its sample is read back as no data")


def _problems(about: SubjectKind) -> Iterator[str]:
    for names in ([it.name for it in about.fields], [it.text_name for it in about.fields]):
        if twice := [name for name in names if names.count(name) > 1]:
            yield f"{about.name}: two fields have the name {twice[0]}"
    for each in about.fields:
        if {it.watch for it in (each, *each.parts)} != {about.name}:
            yield f"field {about.name}.{each.name} says that it belongs to {each.watch}"
        if each.source is not Source.LIST and each.known is None:
            yield f"field {about.name}.{each.name} must say when it is known: the list lacks it"
        if each.counts and each.counts not in _IN_CONDITIONS[about.name]:
            yield f"field {about.name}.{each.name} counts {each.counts}, which is no field"


_check()

__all__ = [
    "ALERTS",
    "COUNT_BY",
    "GROUPS",
    "KINDS",
    "ONCE_PER",
    "SUBJECTS",
    "VISITOR_FILTERS",
    "WEBSITE",
    "Field",
    "FilterValue",
    "Span",
    "SubjectKind",
    "field",
    "fields",
    "group_value",
    "is_average",
    "made",
    "over_time",
    "sample",
    "text_fields",
    "told_of_the_past",
    "visitor_filters",
]
