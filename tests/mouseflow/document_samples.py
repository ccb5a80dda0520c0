"""The API document's sample answers, and the requests whose answers they are."""

from pathlib import Path

from mouseflow import feedback, forms, funnels, heatmaps, recordings, websites

SAMPLES = Path(__file__).parent / "samples"

READERS = {
    "websites_list": websites.list(),
    "website_detail": websites.detail("w"),
    "website_created": websites.create("d"),
    "recordings_list": recordings.list("w"),
    "recording_detail": recordings.detail("w", "r"),
    "tags": recordings.tags("w"),
    "variables": recordings.variables("w"),
    "share": recordings.share("w", "r"),
    "pages": heatmaps.pages("w"),
    "page": heatmaps.page("w", "/jobs"),
    "page_urls": heatmaps.urls("w"),
    "funnels": funnels.list("w"),
    "funnel": funnels.report("w", "f"),
    "funnel_created": funnels.create("w", "n", []),
    "forms": forms.list("w"),
    "form": forms.report("w", "f"),
    "forms_available": forms.available("w", "/"),
    "form_created": forms.create("w", "/", "f"),
    "campaigns": feedback.list("w"),
    "campaign": feedback.detail("w", "c"),
}
