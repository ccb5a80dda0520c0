"""One field for each behaviour that the API document leaves open."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """How the simulated Mouseflow behaves where the document is silent or doubtful.

    The defaults are what the real API was seen to do, or the safer interpretation.
    `error_rate` and `slow` (seconds) apply to every call; `rate_limit` is calls a second.
    """

    # reading
    sort: Literal["created", "last_activity"] = "last_activity"
    offset: Literal["honoured", "ignored"] = "honoured"
    row_cap: int = 10_000
    ignored_filters: frozenset[str] = frozenset()
    reversed_rows: bool = False
    drop_optional_fields: bool = False  # rows lack every field that is not an identity
    malformed_rows: int = 0  # how many rows at the top of each list have no id
    odd_values: int = 0  # how many rows at the top of each list have values of a wrong type
    visibility_delay: timedelta = timedelta()
    time_zone: str = "Europe/Copenhagen"
    clock_skew: timedelta = timedelta()
    default_days: int = 30
    entry_page_host: bool = False  # entryPage has the host in front, as in L757
    stale_detail: bool = False  # a detail's lastActivity and duration lag (L917, L947)
    # undocumented features
    friction_in_answers: bool = False
    expand: bool = True
    tagless_expansion: bool = False  # expanded rows have page views without their tags
    bulk_tag: bool = True
    # writing
    variables: Literal["merge", "replace"] = "merge"
    share_again: Literal["keeps", "rotates"] = "keeps"
    write_answer: Literal["empty", "text", "html"] = "empty"
    detail_marks_watched: bool = False
    status_delay: timedelta = timedelta()  # delay until a changed status or rate reaches visitors
    # feedback
    report_as_list: bool = False  # "Object[]" (L3455) where the sample has an object
    feedback_filters: bool = False  # whether dates filter campaigns (L3433)
    # pages
    page_list_filters: bool = True
    page_detail_display_url: bool = False  # in the table (L1947), not in the sample
    # trouble
    retry_after: float | None = None  # seconds, on each 429
    rate_limit: float | None = None
    error_rate: float = 0.0
    slow: float = 0.0
