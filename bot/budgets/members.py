"""Which websites a budget counts in a period, whatever becomes of them.

A website that was counted once stays in the budget until the period ends: deleting or renaming
it, or a list of websites that lacks it, must not make what is used smaller. Only an edit of the
budget's `websites` takes it out, and what it had used until then stays counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from msgspec import Struct
from msgspec.structs import replace

from bot.domain.budget import Period
from bot.domain.subjects import Site
from bot.rules.model import Budget, names_site


class Member(Struct, frozen=True, omit_defaults=True):
    """A website that a budget counts. `kept`: it left the budget after using so many."""

    id: str
    name: str
    kept: int | None = None


class Membership(Struct, frozen=True):
    """A budget's members in a period that is not over, under these `websites` of the file."""

    period: str
    end: str
    websites: tuple[str, ...]
    members: tuple[Member, ...]


class Counted(Struct, frozen=True):
    """What a budget counts: `sites` are there, `absent` are not in the account's list.

    `left` are out of the budget since an edit, with what they had used by then (None: unknown
    yet).
    """

    sites: tuple[Site, ...]
    absent: tuple[Member, ...] = ()
    left: tuple[Member, ...] = ()

    @property
    def ids(self) -> list[str]:
        """The websites whose recordings count."""
        return [*(each.id for each in self.sites), *(each.id for each in self.absent)]

    def found_again(self, sites: Mapping[str, Site]) -> "Counted":
        """The count, with absent websites that are in `sites` among those that are there."""
        there = tuple(sites[each.id] for each in self.absent if each.id in sites)
        absent = tuple(each for each in self.absent if each.id not in sites)
        return replace(self, sites=(*self.sites, *there), absent=absent)


def covered(budget: Budget, sites: Iterable[Site]) -> tuple[Site, ...]:
    """The websites that the budget names."""
    return tuple(site for site in sites if names_site(budget.websites, site))


def _names(budget: Budget, *names: str) -> bool:
    return any(names_site(budget.websites, Site(name, name)) for name in names)


def membership(running: Sequence[Membership], period: Period) -> Membership | None:
    """The budget's members in this period so far; None if it is new."""
    return next((each for each in running if each.period == period.name), None)


def counted(
    budget: Budget, before: Membership | None, sites: Sequence[Site], others: Sequence[Site]
) -> Counted:
    """The websites that the budget counts now.

    `sites` are the account's websites; `others` are those that no budget starts to count
    (demo websites), but that it may have counted before.
    """
    named = {site.id: site for site in covered(budget, sites)}
    listed: Mapping[str, Site] = {site.id: site for site in (*others, *sites)}
    same = before is not None and before.websites == budget.websites
    absent, left = [], []
    for member in before.members if before else ():
        site = listed.get(member.id)
        now_named = (site.name, member.name) if site else (member.name,)
        stays = member.kept is None if same else _names(budget, *now_named, member.id)
        if member.id in named:
            continue
        if not stays:
            left.append(member)
        elif site is None:
            absent.append(Member(member.id, member.name))
        else:
            named[site.id] = site
    order = {site.id: at for at, site in enumerate((*sites, *others))}
    found = sorted(named.values(), key=lambda site: order[site.id])
    return Counted(tuple(found), tuple(absent), tuple(left))


def remembered(
    budget: Budget,
    period: Period,
    found: Counted,
    running: Sequence[Membership],
    today: date,
) -> tuple[Membership, ...]:
    """The memberships to keep: of this period, of others that are not over yet, and the last one.

    Another period may be running if `period` or `starts_on` was edited; the edit may be undone.
    The last one may go on, if it is over only by a clock that is ahead.
    """
    before = membership(running, period)
    names = {each.id: each.name for each in before.members} if before else {}
    there = (
        # A renamed website keeps the name under which the budget counts it.
        Member(site.id, site.name if covered(budget, [site]) else names.get(site.id, site.name))
        for site in found.sites
    )
    members = (*there, *found.absent, *found.left)
    now = Membership(period.name, period.end.isoformat(), budget.websites, members)
    others = [each for each in running if each.period != now.period]
    ended = [each for each in others if each.end <= today.isoformat()]
    last = max(ended, key=lambda each: each.end, default=None)
    return (*(each for each in others if each is last or each not in ended), now)
