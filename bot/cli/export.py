"""Export recordings with friction bands, or reports, as CSV or JSON Lines.

Recordings are read day by day, in whole days of the account's time zone. With --output an export
that was interrupted continues after the last whole day when the same command runs again.
"""

import asyncio
import csv
import io
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, assert_never

from bot.cli.history_context import moment
from bot.errors import BotError, ConfigError

if TYPE_CHECKING:
    from bot.config import Settings
    from mouseflow.lists import AccountLists
    from mouseflow.models import Website

EXAMPLE = (
    "mouseflow-bot export recordings --since 7d --website myshop.com --output week.csv\n"
    "mouseflow-bot export forms --since 30d --format jsonl"
)
THINGS = ("recordings", "pages", "funnels", "forms", "feedback", "websites")
_DAY = timedelta(days=1)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
Row = dict[str, Any]


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("what", metavar="WHAT", choices=THINGS, help=", ".join(THINGS))
    parser.add_argument("--since", type=moment, metavar="WHEN", help="first day (default: 7d)")
    parser.add_argument("--until", type=moment, metavar="WHEN", help="last day (default: today)")
    parser.add_argument(
        "--website", action="append", default=[], metavar="W", help="name or id; may be repeated"
    )
    parser.add_argument(
        "--format", choices=("csv", "jsonl"), default="", help="default: by the file's name, or csv"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write to this file (default: standard output)"
    )
    parser.set_defaults(paths=[], usage_error=parser.error)


def run(args: Namespace) -> int:
    """Write all rows; returns the exit code."""
    from bot import logs
    from bot.cli import context, output
    from mouseflow.errors import IgnoredFilter, IncompleteList

    args.since = args.since or datetime.now(UTC) - 7 * _DAY
    args.until = args.until or datetime.now(UTC)
    if args.since > args.until:
        args.usage_error("--since is after --until")
    settings = context.settings(args)
    logs.configure(settings.log.format, settings.log.level)
    try:
        written = asyncio.run(_export(args, settings))
    except (IncompleteList, IgnoredFilter) as error:
        raise BotError(f"{error}; nothing more was written") from None
    if args.output:
        output.error(f"wrote {written} rows to {args.output}")
    return 0


async def _export(args: Namespace, settings: "Settings") -> int:
    from zoneinfo import ZoneInfo

    from bot.cli.history_context import account, progress
    from bot.messages.links import recording_url
    from mouseflow.lists import ListsOver

    zone = ZoneInfo(settings.mouseflow.time_zone)
    first, last = (each.astimezone(zone).date() for each in (args.since, args.until))
    kind = args.format or ("jsonl" if str(args.output).endswith((".jsonl", ".ndjson")) else "csv")
    async with account(settings) as client:
        lists = ListsOver(client)
        sites = [each async for each in _sites(lists, args.website)]
        parts = [
            (site, day)
            for site in sites
            for day in (_days(first, last) if args.what == "recordings" else [first])
        ]
        target = _Target(args.output, kind, [args.what, str(first), str(last), *map(_id, sites)])
        with target, progress(f"export {args.what}", quiet=False) as advance:
            for number, (site, day) in enumerate(parts):
                if number < target.done:
                    continue
                rows = 0
                end = day if args.what == "recordings" else last
                async for row in _rows(lists, args.what, site, day, end + _DAY):
                    if "playback_url" in row:  # the API's is a path
                        url = recording_url(settings.mouseflow.app_url, site.id, row["id"])
                        row["playback_url"] = url
                    target.write(row, site)
                    rows += 1
                target.part_done(rows)
                advance(rows, target.rows * len(parts) // (number + 1))
        return target.rows


async def _sites(lists: "AccountLists", wanted: list[str]) -> AsyncIterator["Website"]:
    from bot.replay.select import website_named

    found = {site.id: site async for site in lists.websites()}
    names = {key: site.name or key for key, site in found.items()}
    for key in dict.fromkeys(website_named(names, each) for each in wanted) if wanted else found:
        yield found[key]


def _id(site: "Website") -> str:
    return site.id


def _days(first: date, last: date) -> Iterator[date]:
    for offset in range((last - first).days + 1):
        yield first + offset * _DAY


async def _rows(
    lists: "AccountLists", what: str, site: "Website", since: date, until: date
) -> AsyncIterator[Row]:
    """The rows of one website in those days; `until` is not included."""
    from mouseflow import to_dict, websites

    head = {"website": site.id}
    match what:
        case "recordings":
            friction = await lists.friction_bands(site, since=since, until=until)
            async for recording in lists.recordings(site, since=since, until=until):
                row = to_dict(recording)
                del row["page_views"], row["friction"], row["friction_score"], row["language"]
                yield head | row | {"friction_at_least": friction.get(recording.id, 0.0)}
        case "pages":
            async for page in lists.pages(site, since=since, until=until):
                yield head | to_dict(page)
        case "funnels":
            async for funnel in lists.funnels(site, since=since, until=until):
                for number, step in enumerate(funnel.steps, 1):
                    of = {"funnel": funnel.name, "funnel_id": funnel.id, "step": number}
                    yield head | of | to_dict(step)
        case "forms":
            async for form in lists.forms(site, since=since, until=until):
                of = {"form": form.alias, "form_id": form.id, "url": form.url}
                of |= {"visits": form.visits, "submits": form.submits, "success": form.success}
                for field in form.fields:
                    yield head | of | {f"field_{k}": v for k, v in to_dict(field).items()}
        case "feedback":
            async for campaign in lists.campaigns(site):
                report = campaign.report
                yield head | {
                    "campaign": campaign.name,
                    "campaign_id": campaign.id,
                    "enabled": campaign.enabled,
                    "impressions": report and report.impressions,
                    "responses": report and report.responses,
                }
        case "websites":
            detail = await lists.send(websites.detail(site.id))
            yield to_dict(detail)
        case _:
            assert_never(what)  # type: ignore[arg-type]


class _Target:
    """Where rows go: standard output, or a file that appears when it is whole.

    Beside a file that is not whole yet are `FILE.part` and `FILE.part.json`: what is exported,
    how many parts are done, and their bytes and rows.
    """

    def __init__(self, file: Path | None, kind: str, of: list[str]) -> None:
        self.file, self._kind, self._of = file, kind, [kind, *of]
        self.done = self.rows = 0
        self._columns: list[str] = []
        self._out: BinaryIO = sys.stdout.buffer
        if file is None:
            return
        if file.exists() and not file.is_file():
            raise ConfigError(
                f"{file} is not a regular file; without --output rows go to standard output"
            )
        self._part = file.with_name(f"{file.name}.part")
        self._notes = file.with_name(f"{file.name}.part.json")
        kept = self._kept()
        try:
            self._out = self._part.open("r+b" if kept else "wb")
        except OSError as error:
            raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None
        if kept:
            self.done, self.rows = kept["done"], kept["rows"]
            self._columns = kept["columns"]
            self._out.truncate(kept["bytes"])
            self._out.seek(kept["bytes"])

    def __enter__(self) -> "_Target":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._out.flush()
        if self.file is None:
            return
        self._out.close()
        if kind is None:
            self._part.replace(self.file)
            self._notes.unlink(missing_ok=True)

    def write(self, raw: Mapping[str, Any], site: "Website") -> None:
        """Write one row of that website; the first one decides the columns of a CSV file."""
        import msgspec

        from bot.cli.output import as_plain

        row = as_plain(raw, {site.id: site.name or site.id})
        if self._kind == "jsonl":
            self._out.write(msgspec.json.encode(row) + b"\n")
            return
        if place := row.pop("website", None):
            row = {"website": place["name"], "website_id": place["id"]} | row
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        if not self._columns:
            self._columns = list(row)
            table.writerow(self._columns)
        table.writerow([_cell(row.get(name)) for name in self._columns])
        self._out.write(text.getvalue().encode())

    def part_done(self, rows: int) -> None:
        """Note that a part is whole: a later run continues after it."""
        import msgspec

        self.done, self.rows = self.done + 1, self.rows + rows
        if self.file is None:
            return
        self._out.flush()
        notes = {
            "of": self._of,
            "done": self.done,
            "rows": self.rows,
            "columns": self._columns,
            "bytes": self._out.tell(),
        }
        new = self._notes.with_name(f"{self._notes.name}.new")
        new.write_bytes(msgspec.json.encode(notes))
        new.replace(self._notes)

    def _kept(self) -> dict[str, Any] | None:
        """The notes of an earlier run of the same export."""
        import msgspec

        try:
            notes = msgspec.json.decode(self._notes.read_bytes(), type=dict[str, Any])
            whole = notes["of"] == self._of and self._part.stat().st_size >= notes["bytes"]
        except (OSError, msgspec.DecodeError, KeyError):
            return None
        return notes if whole else None


def _cell(value: Any) -> Any:
    """A value for CSV: lists are joined, and no text is taken for a formula by a spreadsheet."""
    if isinstance(value, list | tuple):
        value = ";".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
