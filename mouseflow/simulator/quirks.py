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
    unlisted_values: Literal["refuse", "nothing"] = "refuse"  # of enumerated filters (L4242)
    case_sensitive: bool = False  # whether names of parameters count as they are written
    empty_days: bool = True  # whether charts have the days without recordings
    shared_tag: bool = True  # whether a recording's tags have `shared` while it is shared (L4384)
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
    gone: Literal[404, 410] = 410  # the status of a deleted recording (L4453)
    status_delay: timedelta = timedelta()  # delay until a changed status or rate reaches visitors
    # feedback
    report_as_list: bool = False  # "Object[]" (L3455) where the sample has an object
    feedback_filters: bool = False  # whether dates filter campaigns (L3433)
    feedback_update: Literal["replaces", "merges"] = "replaces"  # a PUT (L3844)
    short_feedback_path: bool = True  # DELETE /websites/feedback/{id} (L4070) works, too
    # pages
    page_list_filters: bool = True
    page_list_friction: bool = True  # friction filters page lists: not excluded (L4301, L4374)
    page_detail_display_url: bool = False  # in the table (L1947), not in the sample
    # trouble
    retry_after: float | None = None  # seconds, on each 429
    rate_limit: float | None = None
    error_rate: float = 0.0
    slow: float = 0.0
