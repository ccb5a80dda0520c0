"""What people change on the page: snooze, resume, retry, drop. Each is in the audit log."""

from collections.abc import Callable
from datetime import UTC
from functools import partial
from typing import TypeVar

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bot.delivery.rebuild import current_rules, retry_some
from bot.store import Connection
from bot.store.lanes import probe_lanes
from bot.store.rules import end_snooze, resume_rule, snooze
from bot.store.troubles import drop_dead_letters
from bot.web.pages import address
from bot.web.read.queue import members
from bot.web.routes import snoozes
from bot.web.shared import Web, authorised_form, web_of

log = structlog.get_logger(__name__)

T = TypeVar("T")


async def _write(web: Web, work: Callable[[Connection], T]) -> T:
    """Do it in the daemon's store, and have delivery look."""
    done = await web.facts.store.run(work)
    web.facts.wake()
    return done


def _rule_of(request: Request) -> str:
    key = str(request.path_params["id"])
    if key not in {rule.id for rule in web_of(request).facts.rules().rules}:
        raise HTTPException(404)
    return key


async def snooze_rule(request: Request) -> Response:
    """Hold a rule's messages back until a time that the page offers, with who wants it and why."""
    form = await authorised_form(request)
    web, rule = web_of(request), _rule_of(request)
    now = web.facts.clock()
    offered = {key: until for key, _words, until in snoozes(now.astimezone(web.facts.zone))}
    until = offered.get(form.get("until", ""))
    if until is None:
        raise HTTPException(422, f"until: write one of {', '.join(offered)}")
    by, because = form.get("by", ""), form.get("because", "")
    begin = partial(snooze, rule=rule, until=until.astimezone(UTC), at=now, by=by, because=because)
    await _write(web, begin)
    log.info("web.done", what="snooze", rule=rule)
    return RedirectResponse(address("rules", rule), 303)


async def resume(request: Request) -> Response:
    """End a rule's pause and its snooze."""
    await authorised_form(request)
    web, rule = web_of(request), _rule_of(request)
    now = web.facts.clock()

    def work(conn: Connection) -> None:
        resume_rule(conn, rule, now, "on the status page")
        end_snooze(conn, rule, now, "hand on the status page")

    await _write(web, work)
    log.info("web.done", what="resume", rule=rule)
    return RedirectResponse(address("rules", rule), 303)


async def retry(request: Request) -> Response:
    """Try a failing lane now, or requeue a group of dead letters."""
    form = await authorised_form(request)
    web = web_of(request)
    if group := form.get("group", ""):
        await _retry_group(web, group)
    await _write(web, probe_lanes)
    log.info("web.done", what="retry")
    return RedirectResponse("/queue", 303)


async def _retry_group(web: Web, group: str) -> None:
    facts = web.facts
    now, slack = facts.clock(), facts.settings.slack
    ids = await web.reader.read(partial(members, group=group))
    if not ids:
        return  # somebody else was first
    rules = facts.rules().written
    making = partial(current_rules, rules=rules, channel=slack.channel or "", ops=slack.ops)
    current = await facts.store.run(making)
    after: int | None = 0
    while after is not None:
        some = partial(retry_some, now=now, current=current, ids=ids, rules=(), after=after)
        done = await _write(web, some)
        after = done.last or None


async def cancel(request: Request) -> Response:
    """Drop a group of dead letters: their data is erased."""
    form = await authorised_form(request)
    web = web_of(request)
    ids = await web.reader.read(partial(members, group=form.get("group", "")))
    for start in range(0, len(ids), 200):
        some = ids[start : start + 200]
        await _write(web, partial(drop_dead_letters, ids=some, now=web.facts.clock()))
    log.info("web.done", what="drop", actions=len(ids))
    return RedirectResponse("/queue", 303)
