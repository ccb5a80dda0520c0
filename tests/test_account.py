"""Every error of the client becomes the bot's error that says what to do, and nothing is lost."""

from datetime import timedelta

import pytest

import bot.errors
from bot.account import Account, meaning, translated
from bot.errors import BotError, ConfigError, GiveUp, TryLater
from bot.polling.outages import kind_of, trouble
from mouseflow import AsyncMouseflow, errors, websites
from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.server import Simulator

SITES = websites.list()
LATER = timedelta(seconds=7)


def family(kind: type) -> set[type]:
    return {kind}.union(*(family(each) for each in kind.__subclasses__()))


@pytest.mark.parametrize(
    ("kind", "root", "expected"),
    [
        (errors.BadCredentials, errors.Rejected, bot.errors.BadCredentials),
        (errors.Forbidden, errors.Rejected, bot.errors.Forbidden),
        (errors.NotFound, errors.Rejected, bot.errors.Gone),
        (errors.Removed, errors.Rejected, bot.errors.Gone),
        (errors.InvalidRequest, errors.Rejected, GiveUp),
        (errors.Unreachable, errors.Unavailable, bot.errors.Unreachable),
        (errors.TooManyRequests, errors.Unavailable, bot.errors.RateLimited),
        (errors.ServerError, errors.Unavailable, TryLater),
        (errors.Maintenance, errors.Unavailable, TryLater),
        (errors.UnreadableAnswer, errors.Unavailable, TryLater),
        (errors.Unavailable, errors.Unavailable, TryLater),
    ],
)
def test_each_failed_call_has_its_meaning(kind, root, expected):
    assert issubclass(kind, root)
    assert type(meaning(kind("why", request=SITES))) is expected


@pytest.mark.parametrize(
    "kind",
    sorted(family(errors.CallFailed) - {errors.CallFailed}, key=lambda kind: kind.__name__),
)
def test_no_kind_of_failed_call_is_without_a_meaning(kind):
    with pytest.raises((GiveUp, TryLater)), translated():
        raise kind("why")


def test_a_wrong_setting_is_an_error_of_the_configuration():
    with pytest.raises(ConfigError, match="use https"), translated():
        AsyncMouseflow("http://example.com", "a@b.c", "key")


def test_giving_up_keeps_the_reason_and_the_hint():
    given_up = meaning(errors.Forbidden("403", "ask an admin", request=SITES))
    assert (given_up.reason, given_up.remedy) == ("GET /websites: 403", "ask an admin")
    assert str(given_up) == "GET /websites: 403; ask an admin"


def test_trying_later_keeps_when_and_what_is_unknown():
    later = meaning(
        errors.TooManyRequests("429", retry_after=LATER, outcome_unknown=True, account_wide=True)
    )
    assert (later.after, later.unknown, later.lane) == (LATER, True, True)
    plain = meaning(errors.ServerError("500"))
    assert (plain.after, plain.unknown, plain.lane) == (None, False, False)


async def test_the_account_raises_the_bots_errors_and_names_the_cause():
    sim = Simulator(sites=[])
    client = AsyncMouseflow(
        "http://127.0.0.1", sim.email, "wrong", transport=InProcess(sim.mouseflow_app)
    )
    async with client:
        with pytest.raises(BotError) as caught:
            await Account(client).send(SITES)
    assert isinstance(caught.value, bot.errors.BadCredentials)
    assert isinstance(caught.value.__cause__, errors.BadCredentials)
    assert trouble(caught.value) == "key"


def test_an_outage_is_named_for_the_clients_error():
    with pytest.raises(TryLater) as caught, translated():
        raise errors.Maintenance("503")
    assert kind_of(caught.value) == "Maintenance"
    assert kind_of(KeyError("a bug")) == "KeyError"
