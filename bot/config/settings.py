"""Every section and key of config.toml, with its default and checks."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, Literal, get_args, get_type_hints
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

from bot.actions.base import Allowed
from bot.actions.notifier import Notifier
from bot.actions.notify import PLACE
from bot.actions.webhook import REFERENCE
from bot.domain.accounts import PREFIX
from bot.domain.calendar import Calendar, days_of
from bot.domain.causes import SLACK
from bot.domain.limits import Hours
from bot.domain.subjects import Severity
from bot.messages import duration
from bot.rules.model import Rule
from bot.rules.units import active
from bot.written import Check, Length, Secret, Written
from mouseflow.proxies import is_host


def _duration(value: object) -> timedelta:
    try:
        length = duration(value) if isinstance(value, str) else timedelta()
    except ValueError:
        length = timedelta()  # its text repeats the value, which may be a misplaced secret
    if length <= timedelta():
        raise ValueError("write a duration with a unit, such as 60s, 5m, 1h or 7d")
    return length


def _start(value: object) -> timedelta:
    if value == "now":
        return timedelta()
    try:
        return _duration(value)
    except ValueError:
        raise ValueError('write "now" or how far back, such as 24h') from None


def _days(value: object) -> str:
    """A day or the first and last of several: `2026-12-25`, `12-25`, `12-24..01-01`."""
    text = str(value).strip()
    days_of(text)
    return text


def _stripped(value: object) -> object:
    """Strip blanks around a pasted value, which the other side would reject."""
    if isinstance(value, str):
        return value.strip() or None
    return value


def _listed(value: object) -> object:
    """Split a list on commas, as in environment variables."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _length_or_none(value: object) -> object:
    """A duration, or zero, written `0s`."""
    return timedelta() if value in ("0", "0s", "0m", "0h", "0d") else _duration(value)


def _parts(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not is_host(parts.hostname or ""):
        raise ValueError("write a full URL, such as https://example.com")
    if parts.username or parts.password:
        raise ValueError("a URL must not contain a user or password")
    return parts


def web_address(value: str) -> str:
    """The URL, if it is complete and has no credentials; raises ValueError."""
    _parts(value)
    return value


def is_loopback(host: str) -> bool:
    """Whether the host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def private_address(value: str) -> str:
    """An address that receives credentials: plain http only on this machine."""
    parts = _parts(value)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError(
            "plain http would expose the credentials; use https (http only for 127.0.0.1)"
        )
    return value


def _several(value: object) -> object:
    """One text or a list; in an environment variable split on semicolons, TOML dates as texts."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(";") if part.strip()]
    if not isinstance(value, Sequence):
        value = [value]
    return [each.isoformat() if isinstance(each, date) else each for each in value]


def _one_word(value: Secret | None) -> Secret | None:
    """Refuse what no secret holds and no header may: spaces, line breaks, control characters."""
    text = value.get_secret_value() if value is not None else ""
    if any(each.isspace() or not each.isprintable() for each in text):
        raise ValueError("holds a space, line break or control character; write it alone")
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("holds a control character")
    return value


Duration = Annotated[timedelta, Check(_duration, before=True)]
Start = Annotated[timedelta, Check(_start, before=True)]
LengthOrNone = Annotated[timedelta, Check(_length_or_none, before=True)]
Text = Annotated[str, Check(_stripped, before=True)]
OptionalText = Annotated[str | None, Check(_stripped, before=True)]
OneWord = Annotated[Secret, Check(_stripped, before=True), Check(_one_word)]
OptionalSecret = Annotated[Secret | None, Check(_stripped, before=True), Check(_one_word)]
Days = Annotated[str, Check(_days, before=True)]
Texts = Annotated[tuple[Text, ...], Check(_listed, before=True)]
ALSO_IF_MISSING = {"validate_default": True}
"""The check of such a key also judges that it is missing."""


class Section(Written):
    """A table of config.toml."""


def _email(value: str) -> str:
    # A Basic user name ends at its first colon (RFC 7617).
    if ":" in value or not value.isprintable():
        raise ValueError("write the e-mail address of the API key")
    return value


def _requests_per_second(value: float) -> float:
    if not 0 < value <= 100:  # also false for nan
        raise ValueError("must be a number above 0 and at most 100")
    return value


def _base_url(value: str | None) -> str | None:
    return None if value is None else private_address(value)


BaseUrl = Annotated[OptionalText, Check(_base_url)]


def _region(value: str | None, before: Mapping[str, Any]) -> str | None:
    if value is not None and before.get("base_url") is not None:
        raise ValueError("set region or base_url, not both")
    if value is None and before.get("base_url", "faulty") is None:
        raise ValueError("missing; set eu or us, the account's region")
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("unknown time zone; use a name such as Europe/Copenhagen") from error
    return value


def _share_url(value: str | None) -> str | None:
    if value is None:
        return None
    if value.count("{token}") != 1 or re.search(r"[{}]", value.replace("{token}", "")):
        raise ValueError("write a URL with {token} in place of the share's token")
    return web_address(value)


class MouseflowSection(Section):
    """The account. Exactly one of `region` and `base_url` is given."""

    base_url: BaseUrl = None
    region: Annotated[Literal["eu", "us"] | None, Check(_region, among=True)] = field(
        default=None, metadata=ALSO_IF_MISSING
    )
    email: Annotated[Text, Check(_email)]
    api_key: OneWord
    time_zone: Annotated[Text, Check(_time_zone)] = "UTC"
    requests_per_second: Annotated[float, Check(_requests_per_second)] = 2
    app_url: Annotated[Text, Check(web_address)] = "https://app.mouseflow.com"
    share_url: Annotated[OptionalText, Check(_share_url)] = None


def _channel(value: str | None) -> str | None:
    if value is not None and any(each.isspace() or not each.isprintable() for each in value):
        raise ValueError('write one channel such as "#alerts", or its id such as C0123ABCD')
    return value


Channel = Annotated[OptionalText, Check(_channel)]


def _channels(value: Any) -> Any:
    """A table, or in a variable `critical=#incidents, info=#ux`."""
    if isinstance(value, str):
        pairs = [each.partition("=") for each in re.split(r"[,\s]+", value) if each]
        value = {name: channel for name, _, channel in pairs}
    named = value if isinstance(value, dict) else {}
    for channel in named.values():
        _channel(channel if isinstance(channel, str) else " ")
    if named != value or not set(named) <= set(get_args(Severity)) or "" in named.values():
        raise ValueError('write a table such as {critical = "#incidents", info = "#ux"}')
    return value


def _bot_token(value: Secret | None) -> Secret | None:
    if value is not None and not value.get_secret_value().isascii():
        raise ValueError("write the token as Slack shows it (xoxb-...)")
    return value


def _app_token(value: Secret | None, before: Mapping[str, Any]) -> Secret | None:
    if value is None:
        return None
    if not re.fullmatch(r"xapp-[!-~]+", value.get_secret_value()):
        raise ValueError("write the app-level token as Slack shows it (xapp-...)")
    if before.get("bot_token", "faulty") is None:
        raise ValueError("buttons need bot_token too")
    return value


def _users(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(re.fullmatch(r"[UW][A-Z0-9]{1,20}", value) for value in values):
        raise ValueError('write ids of people such as ["U0123ABCD"], as their profiles show')
    return values


def _webhook_url(value: Secret | None, before: Mapping[str, Any]) -> Secret | None:
    if value is None:
        return None
    if before.get("bot_token") is not None:
        raise ValueError("set bot_token or webhook_url, not both")
    private_address(value.get_secret_value())
    return value


class SlackSection(Section):
    """Slack. Without a token or a webhook, no rule may post."""

    bot_token: Annotated[OptionalSecret, Check(_bot_token)] = None
    app_token: Annotated[OptionalSecret, Check(_app_token, among=True)] = None
    users: Annotated[Texts, Check(_users)] = ()
    webhook_url: Annotated[OptionalSecret, Check(_webhook_url, among=True)] = None
    channel: Channel = None
    channels: Annotated[dict[Severity, Text], Check(_channels, before=True)] = field(
        default_factory=dict
    )
    ops_channel: Channel = None
    base_url: BaseUrl = None

    @property
    def configured(self) -> bool:
        """Whether the bot can post."""
        return self.bot_token is not None or self.webhook_url is not None

    @property
    def ops(self) -> str | None:
        """The channel for the bot's own troubles; None if there is none, "" for a webhook's own."""
        if not self.configured:
            return None
        return self.ops_channel or self.channel or ("" if self.webhook_url is not None else None)


def _paths(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_printable(value) for value in values)


class RulesSection(Section):
    """Where the rule files are, and what holds for all rules.

    `holidays` are days, and spans of days, that are not compared with other weeks.
    """

    paths: Annotated[tuple[Text, ...], Length(1), Check(_listed, before=True), Check(_paths)] = (
        "rules",
    )
    allow_delete: bool = False
    holidays: Annotated[tuple[Days, ...], Check(_listed, before=True)] = ()


def _not_too_often(value: timedelta) -> timedelta:
    if not timedelta(milliseconds=100) <= value <= timedelta(days=1):
        raise ValueError("from 100ms to 1d")
    return value


Interval = Annotated[Duration, Check(_not_too_often)]


class PollSection(Section):
    """How often to poll, and how.

    `start` is how far back the very first poll looks, zero for now. `marks` is for how long after a
    session people's tags, stars and the like still count. `expand` requests page
    views with lists, if the server returns them.
    """

    recordings: Interval = timedelta(seconds=60)
    feedback: Interval = timedelta(minutes=5)
    reports: Interval = timedelta(minutes=15)
    settle: Duration = timedelta(minutes=35)
    start: Start = timedelta()
    marks: LengthOrNone = timedelta(days=1)
    expand: bool = True


def _hours(values: tuple[str, ...]) -> tuple[str, ...]:
    week = timedelta(days=7)
    found = Calendar("UTC", tuple(_hours_of(value, "UTC") for value in values))
    begins = datetime(2026, 1, 5, tzinfo=UTC)
    if (found.quiet_until(begins) or begins) - begins > week:
        raise ValueError("leaves no time for posts; leave some hours of the week free")
    return values


class QuietSection(Section):
    """When posts below critical wait: hours of the week and days, on the account's clocks."""

    hours: Annotated[tuple[Text, ...], Check(_several, before=True), Check(_hours)] = ()
    dates: Annotated[tuple[Days, ...], Check(_several, before=True)] = ()

    def calendar(self, zone: str) -> Calendar:
        """These quiet times in the account's time zone."""
        hours = tuple(_hours_of(value, zone) for value in self.hours)
        return Calendar(zone, hours, tuple(map(days_of, self.dates)))


def _hours_of(text: str, zone: str) -> Hours:
    found = active(text)
    return Hours(found.days, found.start, found.end, zone)


def _url(value: str) -> str:
    scheme, separator, rest = _printable(value).partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and rest.strip("/"):
        return value
    if separator and scheme in {"postgresql", "postgres", "postgresql+psycopg"} and rest:
        return value
    raise ValueError("write sqlite:///data/bot.db or postgresql://user@host/database")


def _keep(value: timedelta) -> timedelta:
    if value < timedelta(days=4):
        raise ValueError("at least 4d: with less, old sessions would match again")
    return value


class StoreSection(Section):
    """The store. A PostgreSQL URL may contain a password, so it is never shown."""

    url: Annotated[Text, Check(_url)] = field(default="sqlite:///data/bot.db", repr=False)
    keep: Annotated[Duration, Check(_keep)] = timedelta(days=90)


def _listen(value: str) -> str:
    if value.strip() and _host_and_port(value) is None:
        raise ValueError('write host:port, such as 127.0.0.1:8080, or "" to turn it off')
    return value.strip()


def _token(value: Secret | None, before: Mapping[str, Any]) -> Secret | None:
    address = _host_and_port(before.get("listen", ""))
    if value is None and address is not None and not is_loopback(address[0]):
        raise ValueError(f"missing; other machines reach web.listen ({address[0]})")
    return value


def _public_url(value: str | None) -> str | None:
    if value is None:
        return None
    if _parts(value).path.strip("/") or _parts(value).query:
        raise ValueError("write the address without a path, such as https://bot.example.com")
    return value.rstrip("/")


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ip_network(value, strict=False)
        except ValueError:
            raise ValueError(
                "write addresses or networks of proxies, such as 10.0.0.5 or 10.0.0.0/8"
            ) from None
    return values


class WebSection(Section):
    """The status page: `listen` is host:port, or empty to turn it off.

    `public_url` is where people reach it, `hook_secret` part of the address of a hook.
    `trusted_proxies` may say on whose behalf they call.
    """

    listen: Annotated[str, Check(_listen)] = "127.0.0.1:8080"
    token: Annotated[OptionalSecret, Check(_token, among=True)] = field(
        default=None, metadata=ALSO_IF_MISSING
    )
    public_url: Annotated[OptionalText, Check(_public_url)] = None
    hook_secret: OptionalSecret = None
    trusted_proxies: Annotated[Texts, Check(_networks)] = ()

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port, None where the page is off."""
        return _host_and_port(self.listen)


def _host_and_port(listen: str) -> tuple[str, int] | None:
    host, _, port = listen.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return None
    return host, int(port)


def _named_secrets(value: Any) -> Any:
    """The table, if its keys may be names of places and its values addresses."""
    named = value if isinstance(value, dict) else {}
    good = all(
        isinstance(name, str) and PLACE.fullmatch(name) and isinstance(address, str | Secret)
        for name, address in named.items()
    )
    if named != value or not good:
        raise ValueError(
            'write a name of small letters and an address for each place, such as mail = "mailto://…"'
        )
    return named


Places = Annotated[dict[str, OneWord], Check(_named_secrets, before=True)]
"""Other places by name, with their Apprise URLs or where these are kept (`env:`, `file:`)."""


def _heartbeat(value: Secret | None) -> Secret | None:
    if value is not None:
        web_address(value.get_secret_value())
    return value


class HeartbeatSection(Section):
    """A dead-man's switch: `url` is called `every` so often while polls and deliveries move."""

    url: Annotated[OptionalSecret, Check(_heartbeat)] = None
    every: Interval = timedelta(minutes=1)


class LogSection(Section):
    """How to log; `auto` is text on a terminal and JSON elsewhere."""

    format: Literal["auto", "json", "text"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration of an account. Only `load_accounts` creates it.

    `account` is whose settings these are, `accounts` are all of the configuration by name; both
    are empty in one without `[accounts]`. `chose_address`: somebody has written `web.listen`.
    """

    mouseflow: MouseflowSection
    slack: SlackSection = field(default_factory=SlackSection)
    notify: Places = field(default_factory=dict)
    rules: RulesSection = field(default_factory=RulesSection)
    poll: PollSection = field(default_factory=PollSection)
    quiet: QuietSection = field(default_factory=QuietSection)
    store: StoreSection = field(default_factory=StoreSection)
    web: WebSection = field(default_factory=WebSection)
    heartbeat: HeartbeatSection = field(default_factory=HeartbeatSection)
    log: LogSection = field(default_factory=LogSection)
    account: str = ""
    accounts: tuple[str, ...] = ()
    chose_address: bool = False

    def of_account(self, name: str, accounts: Iterable[str]) -> "Settings":
        """These settings as those of one of the accounts."""
        return replace(self, account=name, accounts=tuple(accounts))

    def secrets(self) -> tuple[str, ...]:
        """Every secret value in every form in which it is sent, to redact it in all output."""
        given = (
            self.mouseflow.api_key,
            self.slack.bot_token,
            self.slack.app_token,
            self.heartbeat.url,
            self.slack.webhook_url,
            self.web.token,
            self.web.hook_secret,
        )
        values = {secret.get_secret_value() for secret in given if secret is not None}
        if key := self.mouseflow.api_key.get_secret_value():
            pair = f"{self.mouseflow.email}:{key}"
            values.add(base64.b64encode(pair.encode()).decode())
        for password in _passwords(self.store.url):
            values |= {password, unquote(password)}
        for address in self.notify.values():
            values |= _parts_of_secret(address.get_secret_value())
        return tuple(sorted(values - {""}))


def _parts_of_secret(url: str) -> set[str]:
    """The address and its long parts, any of which may be a token; not where it is kept."""
    if REFERENCE.fullmatch(url):
        return set()
    long = {part for part in re.split(r"[:/@?&=]+", url) if len(part) >= _LONG}
    return {url, *long, *map(unquote, long)}


_LONG = 12
"""Characters from which a part of an address is taken for a token."""


def _passwords(url: str) -> list[str]:
    """What of a store's URL must not be shown: libpq also takes a password as an option."""
    try:
        parts = urlsplit(url)
        return [parts.password or "", *parse_qs(parts.query).get("password", ())]
    except ValueError:
        return []


def variable(path: tuple[str, ...]) -> str:
    """The environment variable of a key: ("slack", "channel") is BOT_SLACK__CHANNEL."""
    return PREFIX + "__".join(path).upper()


_NOT_WRITTEN = {"account", "accounts", "chose_address"}
SECTIONS = tuple(each.name for each in fields(Settings) if each.name not in _NOT_WRITTEN)
"""The tables of config.toml."""


def keys() -> Iterator[tuple[str, str]]:
    """Every section and key."""
    types = get_type_hints(Settings)
    for section in SECTIONS:
        model = types[section]
        if isinstance(model, type) and issubclass(model, Section):
            for key in fields(model):
                yield section, key.name


def allowed(settings: Settings, *, offline: bool = False) -> Allowed:
    """What the configuration lets rules do.

    Commands that send nothing (`offline`) may run where the secrets are missing: rules may post
    then if the settings mention Slack, or lack the API key too.
    """
    slack = settings.slack
    elsewhere = not settings.mouseflow.api_key.get_secret_value()
    planned = elsewhere or slack.channel is not None or slack.ops_channel is not None
    return Allowed(
        delete=settings.rules.allow_delete,
        posts=slack.configured or (offline and planned),
        # A webhook posts to the channel it was created for.
        channel=slack.channel is not None or slack.webhook_url is not None,
        share_url=settings.mouseflow.share_url is not None,
        channels=() if slack.webhook_url is not None else tuple(slack.channels.items()),
        any_channel=slack.webhook_url is None,
        places=None if offline and elsewhere else tuple(settings.notify),
        accounts=settings.accounts,
        account=settings.account,
    )


def page_of_account(settings: Settings) -> str:
    """Where people reach the account's status page; empty for nowhere."""
    if settings.web.public_url is None or settings.web.address is None:
        return ""
    account = f"/accounts/{settings.account}" if settings.account else ""
    return f"{settings.web.public_url}{account}"


def channels(settings: Settings, rules: Iterable[Rule]) -> list[str]:
    """Every channel that is posted to, by name."""
    return list(posting(settings, rules))


def posting(settings: Settings, rules: Iterable[Rule]) -> dict[str, list[str]]:
    """Who posts to each channel: rule ids, and the setting of the ops channel."""
    slack = settings.slack
    own = ("slack.ops_channel", slack.ops_channel)
    if slack.ops_channel is None:
        own = ("slack.channel", slack.channel)
    found: dict[str, list[str]] = {own[1]: [own[0]]} if own[1] else {}
    for rule, action in slack_posts(rules):
        channel = action.posts_to(slack.channel or "")
        if channel and rule.id not in found.setdefault(channel, []):
            found[channel].append(rule.id)
    return dict(sorted(found.items()))


def slack_posts(rules: Iterable[Rule]) -> Iterator[tuple[Rule, Notifier]]:
    """The actions that post to Slack, each with its rule."""
    for rule in rules:
        for action in rule.do:
            if isinstance(action, Notifier) and action.service == SLACK:
                yield rule, action
