"""Print recordings as CSV or JSON Lines, each with its friction band.

Contains no personal data: no addresses, names, variables or full URLs.
"""

import asyncio
import csv
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bot.cli.history_context import moment

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.polling.evaluate import CountingClient
    from mouseflow.models import Recording, Website

EXAMPLE = (
    "mouseflow-bot export --since 1d > recordings.csv\n"
    "mouseflow-bot export --since 7d --website myshop.com --jsonl"
)
BANDS = (0.5, 1.0, 2.5, 5.0, 10.0)
"""Thresholds that are asked, one call a day and website each: no answer has a friction."""

COLUMNS = (
    "website", "id", "url", "created", "last_activity", "duration_s", "pages", "entry_page",
    "friction_at_least", "friction_below", "country", "city", "language", "browser", "os", "device",
    "screen", "referrer_type", "tags", "starred", "watched", "shared",
)  # fmt: skip


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--since", type=moment, metavar="WHEN", help="start (default: 1d)")
    parser.add_argument("--until", type=moment, metavar="WHEN", help="end (default: now)")
    parser.add_argument(
        "--website", action="append", default=[], metavar="W", help="name or id; may be repeated"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="CSV with a header line (the default)")
    form.add_argument("--jsonl", action="store_true", help="one JSON object a line")


def run(args: Namespace) -> int:
    """Print the recordings; 1 if some could not be read."""
    from bot import logs
    from bot.cli import context
    from bot.cli.history_context import utc
    from bot.errors import ConfigError

    settings = context.settings(args)
    logs.configure(settings.log.format, settings.log.level)
    until = args.until or utc()
    since = args.since or until - timedelta(days=1)
    if since >= until:
        raise ConfigError("--since must be before --until")
    return asyncio.run(_export(args, settings, since, until))


async def _export(args: Namespace, settings: "Settings", since: datetime, until: datetime) -> int:
    from bot.cli.history_context import account, progress
    from bot.polling.session import aware
    from mouseflow import websites

    missed = []
    async with account(settings) as api:
        sites = await api.send(websites.list())
        chosen = _chosen(sites, args.website)
        write = _writer(jsonl=args.jsonl)
        with progress("export", quiet=False) as advance:
            for site in chosen:
                for day in _days(settings, since, until):
                    found, why = await _day(api, site, day)
                    missed += [f"{site.name or site.id}: {day}: {why}"] if why else []
                    advance(len(found), 0)
                    rows = [
                        row for row in found if row.created and since <= aware(row.created) < until
                    ]
                    reached = await _reached(api, site, day) if rows else {}
                    for row in rows:
                        write(_row(settings, site, row, reached))
    for line in missed:
        print(f"not complete: {line}", file=sys.stderr)
    return 1 if missed else 0


def _chosen(rows: "Sequence[Website]", wanted: Sequence[str]) -> "list[Website]":
    """The websites with these names or ids, or all but Mouseflow's demo website."""
    from bot.cli.main import known_name

    if not wanted:
        return [row for row in rows if not row.is_demo]
    names = {row.name or row.id: row for row in rows} | {row.id: row for row in rows}
    known = [row.name or row.id for row in rows]
    there = f"the account has {', '.join(known)}"
    return [
        names[name] if name in names else names[known_name(name, known, "unknown website", there)]
        for name in dict.fromkeys(wanted)
    ]


def _days(settings: "Settings", since: datetime, until: datetime) -> Iterator[date]:
    """The days of the account's zone, and one more on either side, in case the zone is wrong."""
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(settings.mouseflow.time_zone)
    day = since.astimezone(zone).date() - timedelta(days=1)
    while day <= until.astimezone(zone).date() + timedelta(days=1):
        yield day
        day += timedelta(days=1)


async def _day(
    api: "CountingClient", site: "Website", day: date, friction: float | None = None
) -> "tuple[list[Recording], str]":
    """The recordings of a day, and what could not be read."""
    from mouseflow import SessionFilters, paging

    filters = SessionFilters(fromdate=day, todate=day + timedelta(days=1), frictionmin=friction)
    found: list[Recording] = []
    why = ""
    async for part in paging.read(api, site.id, filters, brief=friction is not None):
        found += part.recordings
        why = part.why or why
    return found, why


async def _reached(api: "CountingClient", site: "Website", day: date) -> Mapping[float, Set[str]]:
    """Each threshold with the ids of the day's recordings that reached it.

    Empty if the API ignores the friction filter.
    """
    from bot.polling.list_reader import of_days
    from bot.polling.server_facts import friction_is_ignored

    if await friction_is_ignored(api, site.id, of_days(day, day + timedelta(days=1))):
        return {}
    reached: dict[float, Set[str]] = {}
    ids: Set[str] = {""}
    for threshold in BANDS:
        if ids:  # nothing reaches more than the threshold before
            ids = {each.id for each in (await _day(api, site, day, threshold))[0]}
        reached[threshold] = ids
    return reached


def _row(
    settings: "Settings", site: "Website", row: "Recording", reached: Mapping[float, Set[str]]
) -> dict[str, Any]:
    from bot.cli.output import iso
    from bot.fields.normal import path
    from bot.messages.links import recording_url
    from bot.polling.session import aware

    return {
        "website": site.name or site.id,
        "id": row.id,
        "url": recording_url(settings.mouseflow.app_url, site.id, row.id),
        "created": iso(aware(row.created)) if row.created else None,
        "last_activity": iso(aware(row.last_activity)) if row.last_activity else None,
        "duration_s": None if row.duration is None else row.duration / 1000,
        "pages": row.pages,
        "entry_page": path(row.entry_page) if row.entry_page else None,
        "friction_at_least": max(
            (at for at, ids in reached.items() if row.id in ids), default=None
        ),
        "friction_below": min((at for at in reached if row.id not in reached[at]), default=None),
        "country": row.country,
        "city": row.city,
        "language": row.lang,
        "browser": row.browser,
        "os": row.os,
        "device": row.device,
        "screen": row.screen_res,
        "referrer_type": row.referrer_type,
        "tags": list(row.tags),
        "starred": row.starred,
        "watched": row.watched,
        "shared": row.token is not None,
    }


def _writer(*, jsonl: bool) -> Callable[[Mapping[str, Any]], object]:
    """What prints one row; of CSV the header has been printed."""
    if jsonl:
        return lambda row: print(json.dumps(row, ensure_ascii=True))
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    return lambda row: table.writerow([_cell(row[name]) for name in COLUMNS])


def _cell(value: Any) -> Any:
    """A cell that a spreadsheet takes as text, never as a formula."""
    if isinstance(value, list):
        value = " ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
