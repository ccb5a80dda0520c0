"""Forms: how visitors fill them in; times and drop-offs of fields are in the report alone."""

from collections.abc import Iterable

from bot.mouseflow import models
from bot.subjects import FormField, FormSubject, Site


def read_forms(site: Site, forms: Iterable[models.Form]) -> list[FormSubject]:
    """The forms of a list (L2655) or of reports (L2802) as subjects."""
    return [
        FormSubject(
            website=site,
            id=form.id,
            name=form.alias or form.target or "",
            url=form.url or "",
            visits=form.visits,
            interactions=form.interactions,
            submits=form.submits,
            success=form.success,
            fields=tuple(map(_field, form.fields)),
        )
        for form in forms
    ]


def form_counters(subjects: Iterable[FormSubject]) -> dict[str, int]:
    """What two answers are compared by."""
    return {
        f"{subject.id}/{name}": value
        for subject in subjects
        for name, value in (("visits", subject.visits), ("interactions", subject.interactions))
        if value is not None
    }


def _field(field: models.FormField) -> FormField:
    return FormField(
        name=field.alias or field.target or "",
        type=field.type or "",
        interactions=field.interactions,
        time=field.duration,
        refills=field.refills,
        blanks=field.blanks,
        dropped=field.dropped,
    )
