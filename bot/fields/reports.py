"""The fields of the levels: campaigns, funnels, forms, pages and websites."""

from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from bot.domain.subjects import CampaignSubject, FormSubject, FunnelSubject, Kind
from bot.fields.field import Field, Type, folded_path, page, same, share_of, text

STATUSES = ("notinstalled", "recording", "stopped", "paused")


@dataclass(frozen=True, slots=True)
class StepReached:
    """A funnel's step beside the step before: `conversion` is percent of the visitors there,
    `dropped` how many of them did not come here; None for the first step."""

    name: str
    count: int
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


def _site_names(subject: Any) -> tuple[str, ...]:
    return tuple(name for name in (subject.website.name, subject.website.id) if name)


def _field(watch: Kind, type_: Type, name: str, meaning: str, example: str, **more: Any) -> Field:
    unit = {"duration": "ms", "percent": "%"}.get(type_, "")
    more.setdefault("raw", attrgetter(name))
    if type_ == "text":
        more.setdefault("clean", text)
    return Field(
        watch=watch, type=type_, name=name, meaning=meaning, unit=unit, examples=(example,), **more
    )


_named = partial(_field, clean=same)  # compared with the name and the id alike
_step = partial(_field, "funnels")
_part = partial(_field, "forms")
_page = partial(_field, "pages")

CAMPAIGN_FIELDS: tuple[Field, ...] = (
    _named("feedback", "text", "campaign", "name or id of the campaign", "NPS*", raw=_names),
    _field("feedback", "flag", "enabled", "whether the campaign is on", "true"),
    _field("feedback", "number", "responses", "responses in all", "{min: 100}"),
    _field("feedback", "number", "new_responses", "responses since the last look", "{min: 1}"),
    _field("feedback", "number", "impressions", "how often it was shown", "{min: 1000}"),
    _field(
        "feedback",
        "percent",
        "response_rate",
        "responses of a hundred impressions",
        "{under: 2%}",
        raw=_response_rate,
    ),
)

STEP_PARTS: tuple[Field, ...] = (
    _step("text", "name", "name of the step", "Payment"),
    _step("number", "count", "visitors who reached the step", "{under: 100}"),
    _step("percent", "conversion", "of the visitors of the step before", "{under: 40%}"),
    _step("number", "dropped", "visitors of the step before who did not come here", "{over: 50}"),
)

FUNNEL_FIELDS: tuple[Field, ...] = (
    _named("funnels", "text", "funnel", "name or id of the funnel", "Checkout", raw=_names),
    _step("number", "entered", "visitors at the first step", "{min: 100}", raw=_entered),
    _step("number", "completed", "visitors at the last step", "{under: 10}", raw=_completed),
    _step(
        "percent",
        "conversion",
        "visitors at the last step, of those at the first",
        "{under: 20%}",
        raw=_conversion,
    ),
    _step(
        "items",
        "step",
        "one single step that meets all of its parts",
        "{name: Payment, conversion: {under: 40%}}",
        raw=steps,
        parts=STEP_PARTS,
    ),
)

FORM_FIELD_PARTS: tuple[Field, ...] = (
    _part("text", "name", "name of the field", "email"),
    _part("text", "type", "type of the input", "select"),
    _part("number", "interactions", "interactions with the field", "{min: 10}"),
    _part("duration", "time", "average time spent on the field", "{over: 20s}"),
    _part("number", "refills", "how often it was filled in again", "{over: 100}"),
    _part("number", "blanks", "how often it was sent empty", "{over: 100}"),
    _part("number", "dropped", "visitors who left just before the field", "{over: 50}"),
)

FORM_FIELDS: tuple[Field, ...] = (
    _named("forms", "text", "form", "name or id of the form", "Sign-up", raw=_names),
    _part("text", "url", "page of the form", "/demo", clean=page, normal=folded_path),
    _part("number", "visits", "visitors to the form's page", "{min: 100}"),
    _part("number", "interactions", "visitors who began to fill it in", "{min: 50}"),
    _part("number", "submits", "attempts to send it", "{min: 10}"),
    _part("number", "success", "times it was sent successfully", "{under: 5}"),
    _part(
        "percent",
        "completion",
        "successful sendings, of the visitors who began to fill it in",
        "{under: 30%}",
        raw=_completion,
    ),
    _part(
        "items",
        "field",
        "one single field that meets all of its parts",
        "{name: phone, dropped: {over: 50}}",
        raw=attrgetter("fields"),
        parts=FORM_FIELD_PARTS,
    ),
)

PAGE_FIELDS: tuple[Field, ...] = (
    _page("text", "path", "path of the page", "/checkout*", clean=page, normal=folded_path),
    _page("text", "title", "title of the page", "Your cart*"),
    _page("number", "views", "how often it was seen", "{min: 100}"),
    _page("duration", "visit_time", "average time on the page", "{over: 30s}"),
    _page("duration", "engagement_time", "average time of activity", "{under: 5s}"),
    _page("number", "clicks", "clicks on the page", "{under: 10}"),
    _page("duration", "render_time", "average time to render the page", "{over: 4s}"),
    _page("percent", "scroll", "average reach of scrolling", "{under: 25%}"),
)

WEBSITE_FIELDS: tuple[Field, ...] = (
    _named("websites", "text", "website", "name or id of the website", "my*", raw=_site_names),
    _field(
        "websites",
        "text",
        "status",
        "what recording does now",
        "stopped",
        choices=STATUSES,
    ),
    _field("websites", "percent", "recording_rate", "share of visitors recorded", "{under: 100%}"),
    _field("websites", "percent", "budget_used", "how much of the budget is used", "{over: 80%}"),
)
