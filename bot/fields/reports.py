"""The fields of what the API reports as counters: campaigns, funnels, forms, pages, websites."""

from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from bot.domain.subjects import (
    CampaignSubject,
    FormField,
    FormSubject,
    FunnelStep,
    FunnelSubject,
    Site,
    WebsiteSubject,
)
from bot.fields.field import FOLLOWS, ITSELF, WEEKDAYS, Field, Source, TextKind, share_of

STATUSES = ("notinstalled", "recording", "stopped", "paused")

_MANY = 1_000_000
"""The whole that a given share is taken of, where a rule's test gives no whole."""


class StepReached(Struct, frozen=True):
    """A funnel's step beside the step before: `conversion` is percent of the visitors there,
    `dropped` how many of them did not come here; None for the first step."""

    name: str = ""
    count: int | None = None
    conversion: float | None = None
    dropped: int | None = None


def steps(subject: FunnelSubject) -> tuple[StepReached, ...]:
    """The funnel's steps, each with what became of the step before."""
    before: tuple[int | None, ...] = (None, *(step.count for step in subject.steps))
    return tuple(
        StepReached(
            step.name,
            step.count,
            share_of(step.count, earlier),
            None if earlier is None else earlier - step.count,
        )
        for step, earlier in zip(subject.steps, before, strict=False)
    )


def _entered(subject: FunnelSubject) -> int | None:
    return subject.steps[0].count if subject.steps else None


def _completed(subject: FunnelSubject) -> int | None:
    return subject.steps[-1].count if subject.steps else None


def _conversion(subject: FunnelSubject) -> float | None:
    return share_of(_completed(subject), _entered(subject))


def _completion(subject: FormSubject) -> float | None:
    return share_of(subject.success, subject.interactions)


def _response_rate(subject: CampaignSubject) -> float | None:
    return share_of(subject.responses, subject.impressions)


def _names(subject: CampaignSubject | FunnelSubject | FormSubject) -> tuple[str, ...]:
    return tuple(name for name in (subject.name, subject.id) if name)


def _stopped_by(subject: WebsiteSubject) -> tuple[str, ...] | None:
    return subject.stopped_by or None


def _site_names(subject: Any) -> tuple[str, ...]:
    return tuple(name for name in (subject.website.name, subject.website.id) if name)


# Writing what a rule's test gives


def _give_names(subject: Any, name: str) -> Any:
    return replace(subject, id=name, name=name)


def _give_site(subject: Any, name: str) -> Any:
    return replace(subject, website=Site(name, name))


def _give_stopped_by(subject: WebsiteSubject, who: str) -> WebsiteSubject:
    return replace(subject, stopped_by=(who,))


def _parts_of_share(whole: int | None, part: int | None, share: float) -> tuple[int, int]:
    """The whole and the part that make this share, as far as a test does not give them."""
    whole = _MANY if whole is None else whole
    return whole, round(whole * share / 100) if part is None else part


def _give_response_rate(subject: CampaignSubject, share: float) -> CampaignSubject:
    whole, part = _parts_of_share(subject.impressions, subject.responses, share)
    return replace(subject, impressions=whole, responses=part)


def _give_completion(subject: FormSubject, share: float) -> FormSubject:
    whole, part = _parts_of_share(subject.interactions, subject.success, share)
    return replace(subject, interactions=whole, success=part)


_FIRST, _LAST = "first step", "last step"


def _with_ends(
    subject: FunnelSubject, first: float | None = None, last: float | None = None
) -> FunnelSubject:
    """The funnel as its first and last step alone, with these counts beside those it has."""
    ends: dict[str, float | None] = {_FIRST: first, _LAST: last}
    for step in subject.steps:
        if ends.get(step.name, 0) is None:
            ends[step.name] = step.count
    made = (FunnelStep(name, "", round(count)) for name, count in ends.items() if count is not None)
    return replace(subject, steps=tuple(made))


def _give_conversion(subject: FunnelSubject, share: float) -> FunnelSubject:
    given = {step.name: step.count for step in subject.steps}
    whole, part = _parts_of_share(given.get(_FIRST), given.get(_LAST), share)
    return _with_ends(subject, whole, part)


def _give_steps(subject: FunnelSubject, rows: Sequence[Mapping[str, Any]]) -> FunnelSubject:
    """The steps given. A count that is missing follows from the step before."""
    made: list[FunnelStep] = []
    before = _MANY
    for row in rows:
        step: StepReached = STEP.made_item(StepReached(f"step {len(made) + 1}"), row)
        count = step.count
        if count is None and step.dropped is not None:
            count = before - step.dropped
        if count is None:
            count = round(before * (100 if step.conversion is None else step.conversion) / 100)
        if not made and (step.dropped is not None or step.conversion is not None):
            made.append(FunnelStep("before", "", before))
        made.append(FunnelStep(step.name, "", count))
        before = count
    return replace(subject, steps=tuple(made))


def _give_form_fields(subject: FormSubject, rows: Sequence[Mapping[str, Any]]) -> FormSubject:
    made = tuple(FORM_FIELD.made_item(FormField("field"), row) for row in rows)
    return replace(subject, fields=made)


_in_list = partial(Field, source=Source.LIST, personal=False)
_campaign = partial(_in_list, watch="feedback")
_funnel = partial(_in_list, watch="funnels")
_form = partial(_in_list, watch="forms")
_page = partial(_in_list, watch="pages")
_website = partial(_in_list, watch="websites")
_step = partial(_funnel, sample=FOLLOWS)
_form_part = partial(_form, sample=FOLLOWS)

CAMPAIGN_FIELDS: tuple[Field, ...] = (
    _campaign(
        name="campaign",
        type="text",
        meaning="name or id of the campaign",
        examples=("NPS*",),
        raw=_names,
        give=_give_names,
        several_names=True,
        sample="How was it?",
    ),
    _campaign(
        name="id",
        type="text",
        meaning="id of the campaign",
        at="id",
        sample="c1",
        in_conditions=False,
    ),
    _campaign(
        name="enabled",
        type="flag",
        meaning="whether the campaign is on",
        examples=("true",),
        at="enabled",
        sample=True,
        in_words={"true": "the campaign is on", "false": "the campaign is off"}.get,
    ),
    _campaign(
        name="trigger",
        type="text",
        meaning="what makes the campaign appear, such as delay, scroll or pageLoad",
        examples=("delay",),
        at="trigger",
        sample="delay",
    ),
    _campaign(
        name="locked",
        type="flag",
        meaning="whether the campaign is locked",
        examples=("true",),
        at="locked",
        sample=False,
    ),
    _campaign(
        name="responses",
        type="number",
        meaning="responses in all",
        examples=("{min: 100}",),
        at="responses",
        made_of="responses",
        sample=120,
        headline="{} answers",
    ),
    _campaign(
        name="new_responses",
        type="number",
        meaning="responses since the rule last fired",
        examples=("{min: 1}",),
        at="new_responses",
        news_of="responses",
        sample=3,
    ),
    _campaign(
        name="impressions",
        type="number",
        meaning="how often it was shown",
        examples=("{min: 1000}",),
        at="impressions",
        made_of="responses",
        sample=4_000,
        headline="{} impressions",
    ),
    _campaign(
        name="response_rate",
        type="percent",
        unit="%",
        meaning="responses of a hundred impressions",
        examples=("{under: 2%}",),
        raw=_response_rate,
        give=_give_response_rate,
        made_of="responses",
        sample=FOLLOWS,
        headline="{} answer",
    ),
)

STEP = _funnel(
    name="step",
    type="items",
    known=lambda subject: bool(subject.steps),
    meaning="one single step that meets all of its parts",
    examples=("{name: Payment, conversion: {under: 40%}}",),
    raw=steps,
    give=_give_steps,
    made_of="steps",
    sample=({"name": "Cart", "count": 1_200}, {"name": "Pay", "count": 180}),
    text_name="steps",
    text_meaning="list of the steps",
    parts=(
        _step(
            name="name",
            type="text",
            meaning="name of the step",
            examples=("Payment",),
            at="name",
            names_item=True,
        ),
        _step(
            name="count",
            type="number",
            meaning="visitors who reached the step",
            examples=("{under: 100}",),
            at="count",
        ),
        _step(
            name="conversion",
            type="percent",
            unit="%",
            most=100,
            meaning="of the visitors of the step before",
            examples=("{under: 40%}",),
            at="conversion",
            # Nothing is known of a step that nobody could come to; the first one has none.
            known=lambda step: step.conversion is not None or step.dropped is None,
        ),
        _step(
            name="dropped",
            type="number",
            meaning="visitors of the step before who did not come here",
            examples=("{over: 50}",),
            at="dropped",
        ),
    ),
)

FUNNEL_FIELDS: tuple[Field, ...] = (
    _funnel(
        name="funnel",
        type="text",
        meaning="name or id of the funnel",
        examples=("Checkout",),
        raw=_names,
        give=_give_names,
        several_names=True,
        sample="Checkout",
    ),
    _funnel(
        name="id",
        type="text",
        meaning="id of the funnel",
        at="id",
        sample="f1",
        in_conditions=False,
    ),
    _funnel(
        name="entered",
        type="number",
        meaning="visitors at the first step",
        examples=("{min: 100}",),
        raw=_entered,
        give=lambda subject, value: _with_ends(subject, first=value),
        made_of="steps",
        sample=FOLLOWS,
        headline="{} visitors",
    ),
    _funnel(
        name="completed",
        type="number",
        meaning="visitors at the last step",
        examples=("{under: 10}",),
        raw=_completed,
        give=lambda subject, value: _with_ends(subject, last=value),
        made_of="steps",
        sample=FOLLOWS,
        headline="{} visitors complete it",
    ),
    _funnel(
        name="conversion",
        type="percent",
        unit="%",
        most=100,
        meaning="visitors at the last step, of those at the first",
        examples=("{under: 20%}",),
        raw=_conversion,
        give=_give_conversion,
        made_of="steps",
        sample=FOLLOWS,
        headline="{} convert",
    ),
    STEP,
)

FORM_FIELD = _form(
    name="field",
    type="items",
    source=Source.DETAIL,
    known=lambda subject: subject.fields is not None,
    meaning="one single field that meets all of its parts",
    examples=("{name: phone, dropped: {over: 50}}",),
    raw=attrgetter("fields"),
    give=_give_form_fields,
    sample=(
        {
            "name": "Phone",
            "type": "tel",
            "interactions": 300,
            "time": 9_000,
            "start": 14_000,
            "refills": 40,
            "blanks": 12,
            "dropped": 35,
        },
    ),
    text_name="fields",
    text_meaning="list of the fields",
    parts=(
        _form_part(
            name="name",
            type="text",
            meaning="name of the field",
            examples=("email",),
            at="name",
            names_item=True,
        ),
        _form_part(
            name="type",
            type="text",
            meaning="type of the input",
            examples=("select",),
            at="type",
        ),
        _form_part(
            name="interactions",
            type="number",
            meaning="interactions with the field",
            examples=("{min: 10}",),
            at="interactions",
        ),
        _form_part(
            name="time",
            type="duration",
            unit="ms",
            meaning="average time spent on the field",
            examples=("{over: 20s}",),
            at="time",
        ),
        _form_part(
            name="start",
            type="duration",
            unit="ms",
            meaning="average time from the start of the page view to the field",
            examples=("{over: 30s}",),
            at="start",
        ),
        _form_part(
            name="refills",
            type="number",
            meaning="how often it was filled in again",
            examples=("{over: 100}",),
            at="refills",
        ),
        _form_part(
            name="blanks",
            type="number",
            meaning="how often it was sent empty",
            examples=("{over: 100}",),
            at="blanks",
        ),
        _form_part(
            name="dropped",
            type="number",
            meaning="visitors who left just before the field",
            examples=("{over: 50}",),
            at="dropped",
        ),
    ),
)

FORM_FIELDS: tuple[Field, ...] = (
    _form(
        name="form",
        type="text",
        meaning="name or id of the form",
        examples=("Sign-up",),
        raw=_names,
        give=_give_names,
        several_names=True,
        sample="Address",
    ),
    _form(
        name="id",
        type="text",
        meaning="id of the form",
        at="id",
        sample="o1",
        in_conditions=False,
    ),
    _form(
        name="url",
        type="text",
        meaning="page of the form",
        examples=("/demo",),
        text=TextKind.PATH,
        at="url",
        sample="/checkout/address",
        text_name="page",
    ),
    _form(
        name="visits",
        type="number",
        meaning="visitors to the form's page",
        examples=("{min: 100}",),
        at="visits",
        sample=500,
        headline="{} visits",
    ),
    _form(
        name="interactions",
        type="number",
        meaning="visitors who began to fill it in",
        examples=("{min: 50}",),
        at="interactions",
        made_of="interactions",
        sample=400,
    ),
    _form(
        name="submits",
        type="number",
        meaning="attempts to send it",
        examples=("{min: 10}",),
        at="submits",
        sample=210,
        headline="{} attempts",
    ),
    _form(
        name="success",
        type="number",
        meaning="times it was sent successfully",
        examples=("{under: 5}",),
        at="success",
        made_of="interactions",
        sample=180,
    ),
    _form(
        name="completion",
        type="percent",
        unit="%",
        meaning="successful sendings, of the visitors who began to fill it in",
        examples=("{under: 30%}",),
        raw=_completion,
        give=_give_completion,
        made_of="interactions",
        sample=FOLLOWS,
        headline="{} succeed",
    ),
    FORM_FIELD,
)

PAGE_FIELDS: tuple[Field, ...] = (
    _page(
        name="path",
        type="text",
        meaning="path of the page",
        examples=("/checkout*",),
        text=TextKind.PATH,
        at="path",
        sample="/checkout/pay",
    ),
    _page(
        name="title",
        type="text",
        meaning="title of the page",
        examples=("Your cart*",),
        at="title",
        sample="Pay",
    ),
    _page(
        name="views",
        type="number",
        meaning="how often it was seen",
        examples=("{min: 100}",),
        at="views",
        sample=2_300,
        headline="{} views",
    ),
    _page(
        name="visit_time",
        type="duration",
        unit="ms",
        meaning="average time on the page",
        examples=("{over: 30s}",),
        at="visit_time",
        sample=70_000,
        headline="{} on the page",
    ),
    _page(
        name="engagement_time",
        type="duration",
        unit="ms",
        meaning="average time of activity",
        examples=("{under: 5s}",),
        at="engagement_time",
        sample=20_000,
        headline="{} of activity",
    ),
    _page(
        name="clicks",
        type="number",
        meaning="clicks on the page",
        examples=("{under: 10}",),
        at="clicks",
        sample=5_100,
        headline="{} clicks",
    ),
    _page(
        name="render_time",
        type="duration",
        unit="ms",
        meaning="average time to render the page",
        examples=("{over: 4s}",),
        at="render_time",
        sample=3_500,
        headline="{} to render",
    ),
    _page(
        name="scroll",
        type="percent",
        unit="%",
        most=100,
        meaning="average reach of scrolling",
        examples=("{under: 25%}",),
        at="scroll",
        sample=39.0,
    ),
    _page(
        name="fold",
        type="number",
        unit="px",
        meaning="how much of the page is visible without scrolling, in pixels on average",
        examples=("{under: 600}",),
        at="fold",
        sample=820,
    ),
    _page(
        name="height",
        type="number",
        unit="px",
        meaning="height of the page in pixels",
        examples=("{over: 5000}",),
        at="height",
        sample=3_200,
    ),
    _page(
        name="size",
        type="number",
        unit="bytes",
        meaning="size of the page in bytes",
        examples=("{over: 500000}",),
        at="size",
        sample=84_000,
    ),
    _page(
        name="shared",
        type="flag",
        meaning="whether the page's heatmap is public by a link",
        examples=("true",),
        at="shared",
        sample=True,
    ),
)

RECORDINGS = _website(
    name="recordings",
    type="number",
    meaning="how many recordings were made in over_last",
    examples=("{under: 1}",),
    at="recordings",
    over_last=True,
    source=Source.DETAIL,
    known=lambda subject: subject.recordings is not None,
    sample=1_480,
    headline="{} recordings",
)
RECORDINGS_TODAY = _website(
    name="recordings_today",
    type="number",
    meaning="how many recordings were made since midnight",
    examples=("{over: 5000}",),
    at="recordings_today",
    over_last=True,
    of_today=True,
    source=Source.DETAIL,
    known=lambda subject: subject.recordings_today is not None,
    sample=620,
    headline="{} recordings today",
)
"""The fields of a website that are counted from rows of its recordings."""

WEBSITE_FIELDS: tuple[Field, ...] = (
    _website(
        name="website",
        type="text",
        meaning="name or id of the website",
        examples=("my*",),
        raw=_site_names,
        give=_give_site,
        several_names=True,
        sample=FOLLOWS,
        in_texts=False,
    ),
    _website(
        name="id",
        type="text",
        meaning="id of the website",
        at="website.id",
        sample=FOLLOWS,
        in_conditions=False,
    ),
    _website(
        name="status",
        type="text",
        meaning="what recording does now",
        examples=("stopped",),
        at="status",
        choices=STATUSES,
        sample="Recording",
        headline=ITSELF,
    ),
    _website(
        name="stopped_by",
        type="text",
        meaning="who stopped it: `person`, or `bot`, which is also `budget NAME` or `rule NAME`",
        examples=("person",),
        raw=_stopped_by,
        give=_give_stopped_by,
        several_names=True,
        sample="person",
    ),
    _website(
        name="recording_rate",
        type="percent",
        unit="%",
        most=100,
        meaning="share of visitors recorded",
        examples=("{under: 100%}",),
        at="recording_rate",
        sample=100,
    ),
    _website(
        name="budget_used",
        type="percent",
        unit="%",
        meaning="how much of the budget is used",
        examples=("{over: 80%}",),
        at="budget_used",
        of_budget=True,
        sample=82.5,
        headline="{} of the budget used",
    ),
    RECORDINGS,
    RECORDINGS_TODAY,
    _website(
        name="weekday",
        type="text",
        meaning="day on which the bot looks, in the account's zone",
        examples=("{not: [sat, sun]}",),
        text=TextKind.WEEKDAY,
        at="weekday",
        choices=WEEKDAYS,
        sample="mon",
        in_texts=False,
    ),
    _website(
        name="hour",
        type="number",
        unit="h",
        most=23,
        meaning="hour in which the bot looks, in the account's zone (0-23)",
        examples=("{min: 9, under: 17}",),
        at="hour",
        sample=10,
        in_texts=False,
    ),
    _website(
        name="read_only",
        type="flag",
        meaning="whether the API's user may only read the website",
        examples=("true",),
        at="website.read_only",
        sample=False,
        in_words={"true": "the API user may only read it", "false": "the API user may write"}.get,
    ),
    _website(
        name="is_demo",
        type="flag",
        meaning="whether it is Mouseflow's demo website, which only rules that name it watch",
        examples=("false",),
        at="demo",
        sample=False,
    ),
    _website(
        name="anonymize_ips",
        type="flag",
        meaning="whether Mouseflow masks the end of visitors' IP addresses",
        examples=("false",),
        at="anonymize_ips",
        sample=True,
        in_words={"true": "IP addresses are masked", "false": "IP addresses are not masked"}.get,
    ),
    _website(
        name="disable_keystrokes",
        type="flag",
        meaning="whether Mouseflow records no keystrokes",
        examples=("false",),
        at="disable_keystrokes",
        sample=True,
        in_words={"true": "keystrokes are not recorded", "false": "keystrokes are recorded"}.get,
    ),
    _website(
        name="excluded_ips",
        type="texts",
        text=TextKind.IP,
        meaning="IP addresses that are not recorded",
        examples=("{not: 192.0.2.7}",),
        personal=True,
        at="excluded_ips",
        sample=("192.0.2.7",),
    ),
    _website(
        name="merge_urls",
        type="texts",
        meaning="patterns of addresses that count as one page",
        examples=("/product/*",),
        at="merge_urls",
        sample=("/product/*",),
    ),
    _website(
        name="domains",
        type="texts",
        meaning="domains of the website",
        examples=("{not: myshop.com}",),
        at="domains",
        sample=("myshop.com",),
    ),
)
