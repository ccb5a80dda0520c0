"""Render templates: times, figures and addresses as the pages show them, and static files."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from bot.messages.text import clean, counted, lasting, number, with_instants
from bot.web import charts

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_STATIC = {
    "style.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


_MACROS = frozenset(
    ("icon", "severity", "state", "problem", "cell", "drawings", "head", "pager", "outcome",
     "link_of", "matches", "budget_line", "condition", "tree", "visit_path")
)  # fmt: skip


def span(length: timedelta) -> str:
    """A length in its largest unit: `12 s`, `4 h`, `3 d`."""
    seconds = max(0.0, abs(length.total_seconds()))
    size, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{int(seconds // size)} {unit}"


def ago(at: datetime, now: datetime) -> str:
    """`8 s ago` or `in 4 min`."""
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"


class Clock:
    """Times in the account's zone, as the pages write them at one moment."""

    def __init__(self, zone: ZoneInfo, now: datetime) -> None:
        self.zone, self.now = zone, now

    def local(self) -> datetime:
        """Now, in the account's zone."""
        return self.now.astimezone(self.zone)

    def relative(self, at: datetime | None, never: str = "never") -> Markup:
        """How long ago, exact on hover; the script counts on."""
        if at is None:
            return Markup('<span class="quiet">{}</span>').format(never)
        return self._time(at, ago(at, self.now), counts=True)

    def clock(self, at: datetime | None) -> Markup:
        """The time of day; with its date if that is not today."""
        if at is None:
            return Markup('<span class="quiet">–</span>')
        local, today = at.astimezone(self.zone), self.now.astimezone(self.zone).date()
        text = f"{local:%H:%M}"
        if local.date() != today:
            text = f"{local:%a} {local.day} {local:%b}, {text}"
        return self._time(at, text)

    def said(self, text: str) -> Markup:
        """A text of the bot; instants in it are times of the account's zone."""
        parts = (self.clock(it) if isinstance(it, datetime) else it for it in with_instants(text))
        return Markup("").join(parts)

    def exact(self, at: datetime) -> Markup:
        """The time of day with seconds."""
        return self._time(at, f"{at.astimezone(self.zone):%H:%M:%S}")

    def on(self, at: datetime) -> date:
        """The day of this moment."""
        return at.astimezone(self.zone).date()

    def days(self, moments: Iterable[datetime]) -> frozenset[date]:
        """The days of these moments."""
        return frozenset(map(self.on, moments))

    def day(self, at: datetime) -> str:
        """`Today, Thursday 26 November`."""
        local, today = at.astimezone(self.zone), self.now.astimezone(self.zone).date()
        text = f"{local:%A} {local.day} {local:%B}"
        if local.date() == today:
            return f"Today, {text}"
        return f"Yesterday, {text}" if local.date() == today - timedelta(days=1) else text

    def _time(self, at: datetime, text: str, *, counts: bool = False) -> Markup:
        local = at.astimezone(self.zone)
        title = f"{local:%a} {local.day} {local:%b %Y, %H:%M:%S %Z}"
        element = Markup('<time datetime="{}" title="{}">{}</time>')
        if counts:
            element = Markup('<time datetime="{}" title="{}" data-rel>{}</time>')
        return element.format(f"{at:%Y-%m-%dT%H:%M:%SZ}", title, text)


def address(*parts: str, **query: str | int | None) -> str:
    """A path of this page: each part is one segment, percent-encoded."""
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    given = {name.rstrip("_"): value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def breakable(text: str) -> Markup:
    """A host name or a path that may break after its dots and slashes."""
    shown = str(escape(clean(text)))
    return Markup(shown.replace(".", ".<wbr>").replace("/", "/<wbr>"))  # noqa: S704 - escaped


def coded(text: str) -> Markup:
    """Text whose parts between backticks are code."""
    parts = text.split("`")
    marks = (Markup("{}"), Markup("<code>{}</code>"))
    return Markup("").join(marks[n % 2].format(part) for n, part in enumerate(parts))


def _lasting(seconds: float) -> str:
    return lasting(timedelta(seconds=seconds if seconds < 10 else round(seconds)))


def short_id(text: str) -> str:
    """The beginning of a recording's id, enough to recognise it."""
    return text[:12]


class Pages:
    """The templates, and the static files under names that change with their content."""

    def __init__(self) -> None:
        self.env = Environment(
            loader=PackageLoader("bot.web"),
            autoescape=True,  # also where the name does not end in .html
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.env.filters.update(
            clean=clean,
            coded=coded,
            number=number,
            breakable=breakable,
            short_id=short_id,
            span=span,
        )
        self.env.globals.update(
            address=address, counted=counted, bars=charts.bars, per_day=charts.per_day,
            burn_down=charts.burn_down, day_name=charts.day_name, weekday=charts.weekday,
            lasting=_lasting,
        )  # fmt: skip
        folder = files("bot.web") / "static"
        self.static = {name: (folder / name).read_bytes() for name in _STATIC}
        self.versions = {
            name: sha256(content).hexdigest()[:12] for name, content in self.static.items()
        }
        self.env.globals["static"] = {
            name: f"/static/{version}/{name}" for name, version in self.versions.items()
        }

    def compile(self) -> None:
        """Compile all templates, else the first request of each page does that. Any thread may."""
        for name in self.env.list_templates(extensions=["html"]):
            self._template(name)

    def _template(self, name: str) -> Template:
        if not self.env.globals.keys() >= _MACROS:
            macros: Any = self.env.get_template("macros.html").module
            self.env.globals.update({each: getattr(macros, each) for each in _MACROS})
        return self.env.get_template(name)

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """The whole page."""
        return self._template(f"{name}.html").render(values)

    def parts(self, name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """The blocks of the page that may change while somebody looks: (id, HTML)."""
        template = self._template(f"{name}.html")
        for block, render in template.blocks.items():
            if block.startswith("part_"):
                context = template.new_context(dict(values))
                yield block.removeprefix("part_"), "".join(render(context))

    def content_type(self, name: str) -> str:
        """The type of a static file."""
        return _STATIC[name]
