"""Watches the account: which websites there are, by which rules, and what came of each look."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from hashlib import blake2b

import structlog

from bot.errors import BotError
from bot.mouseflow import websites
from bot.outages import Outages
from bot.poll import levels, recordings
from bot.poll.book import Book
from bot.poll.matching import Settled
from bot.poll.notices import notice
from bot.poll.recordings import Desk, Memory
from bot.rulebook.decide import applies
from bot.rulebook.rules import Rule, RuleSet
from bot.store import Connection
from bot.store.audit import Note, record
from bot.store.matches import add_match
from bot.store.rule_states import rules_loaded
from bot.subjects import Site

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Place:
    """A website under watch: its rules made ready, and what is remembered between polls."""

    site: Site
    book: Book
    memory: Memory = field(default_factory=Memory)


class Watcher:
    """The rules in force and the websites they watch; polls one of them at a time it is told.

    `wake` is called when there is something new in the outbox. `ops` is the channel for news
    of the bot itself, None where there is nobody to tell.
    """

    def __init__(
        self,
        desk: Desk,
        rules: RuleSet,
        *,
        ops: str | None,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        self.desk = desk
        self.rules = rules
        self.places: dict[str, Place] = {}
        self.outages = Outages()
        self._ops = ops
        self._wake = wake
        self._clock = clock

    async def find_sites(self) -> Sequence[Site]:
        """Ask for the account's websites; those that some rule watches are under watch now.

        Demo websites are left out unless a rule names them. Raises the errors of the call.
        """
        found = await self.desk.mouseflow.send(websites.list())
        sites = [
            Site(id=each.id, name=each.name or each.id, read_only=bool(each.read_only))
            for each in found
            if not each.is_demo or self._named(each.name or each.id)
        ]
        self._place(sites)
        return sites

    async def use(self, rules: RuleSet) -> None:
        """From the next poll on these rules hold; their state is kept by id."""
        now = self._clock()
        fingerprints = {rule.id: fingerprint(rule) for rule in rules.rules}
        text = f"{len(rules.rules)} rules in force"
        note = Note(kind="rules.loaded", text=text, details={"digest": rules.digest})

        def work(conn: Connection) -> frozenset[str]:
            record(conn, now, [note])
            return rules_loaded(conn, fingerprints, now)

        changed = await self.desk.store.run(work)
        self.rules = rules
        self._place([place.site for place in self.places.values()])
        log.info("rules.loaded", rules=len(rules.rules), changed=sorted(changed))

    async def poll_recordings(self, site: Site) -> bool:
        """One look at the website's recordings; false where it failed, which is logged."""
        place = self.places[site.id]

        async def look() -> Settled:
            polled = await recordings.poll(site, place.book, self.desk, place.memory, self._clock())
            if polled.judged:
                log.info("poll.decided", website=site.name, read=polled.read,
                         judged=polled.judged, details=polled.details,
                         matches=len(polled.settled.matches))  # fmt: skip
            await self._doubts(place, polled.unread)
            return polled.settled

        if not place.book.final.rules:
            return True
        return await self._tried(f"recordings of {site.name}", site, look)

    async def poll_feedback(self, site: Site) -> bool:
        """One look at the website's feedback campaigns; false where it failed."""

        async def look() -> Settled:
            looked = await levels.poll_feedback(site, self.rules.rules, self.desk, self._clock())
            return looked.settled

        return await self._tried(f"feedback of {site.name}", site, look)

    async def say(self, title: str, *lines: str, site: Site | None = None) -> None:
        """Tell the ops channel, if there is one; kept in the outbox until Slack takes it."""
        now = self._clock()
        await self.desk.store.run(
            partial(
                record,
                at=now,
                notes=[Note(kind="notice", text=title, details={"lines": list(lines)})],
            )
        )
        if self._ops is not None:
            match = notice(title, lines, now, self._ops, site)
            await self.desk.store.run(partial(add_match, match=match))
            self._wake()

    async def _tried(self, name: str, site: Site, look: Callable[[], Awaitable[Settled]]) -> bool:
        try:
            settled = await look()
        except BotError as error:
            self.outages.failed(name, error, self._clock())
            return False
        except Exception as error:
            # One website's odd data must not end the watch over the others.
            if self.outages.failed(name, error, self._clock()):
                log.exception("poll.fault", what=name)
            return False
        self.outages.works(name, self._clock())
        if settled.matches:
            self._wake()
        for rule, reason in settled.paused:
            log.warning("rule.paused", rule=rule, reason=reason)
            await self.say(
                f"The rule {rule} is paused", reason,
                f"mouseflow-bot retry {rule} lets it run again, and so does an edited rule",
                site=site,
            )  # fmt: skip
        return True

    async def _doubts(self, place: Place, unread: int) -> None:
        """What the last look could not vouch for is said once."""
        memory, site = place.memory, place.site
        if memory.friction_ignored and "friction" not in memory.said:
            memory.said.add("friction")
            log.error("poll.filter_ignored", website=site.name, filter="frictionmin")
            await self.say(
                f"Rules with friction are held on {site.name}",
                "The API ignores the friction filter there: an impossible friction counts visits.",
                site=site,
            )
        if unread and "unread" not in memory.said:
            memory.said.add("unread")
            log.warning("poll.unread", website=site.name, recordings=unread)

    def _place(self, sites: Sequence[Site]) -> None:
        """Put the sites under watch; what is remembered of them stays, but asked facts go."""
        before = self.places
        self.places = {}
        for site in sites:
            if not any(applies(rule, site) for rule in self.rules.rules):
                continue
            book = Book(self.rules.rules, site)
            known = before.get(site.id)
            memory = known.memory if known else Memory()
            if known and known.book.final.rules != book.final.rules:
                memory.forget_facts()
            self.places[site.id] = Place(site, book, memory)

    def _named(self, name: str) -> bool:
        return any(
            name.casefold() == wanted.casefold()
            for rule in self.rules.rules
            for wanted in rule.websites
        )


def fingerprint(rule: Rule) -> str:
    """Changes when the rule says something else; where it stands in its file does not count."""
    bare = replace(rule, file="", line=0, tests=())
    return blake2b(repr(bare).encode(), digest_size=8).hexdigest()
