"""A long list is decoded in pieces, between which an event loop does other work."""

import asyncio

import msgspec
import pytest
from turns import counted

from bench.decoding import row
from mouseflow import recordings
from mouseflow.client import LONG, AsyncMouseflow
from mouseflow.errors import BadAnswer
from mouseflow.transport import Reply

ROWS = 1_700
ODD = {
    "as documented": {},
    "gaps": {"city": "", "region": ""},
    "a number as text": {"pages": "7"},
    "a bad value": {"pages": [], "duration": {}},
    "a bad date": {"created": "9999-99-99"},
    "another century": {"created": "0001-01-01T00:00:00Z"},
    "no id": {"id": ""},
    "an id of dots": {"id": ".."},
    "nested": {"tags": "x"},
}


def body(odd=None, **head) -> bytes:
    """An answer in which three rows have these values."""
    rows = [row(n, gaps=False) for n in range(ROWS)]
    for place in (3, 600, ROWS - 1):
        rows[place] |= odd or {}
    return msgspec.json.encode(
        {"recordings": rows, "chart": {"2026-03-01": 1}, "count": ROWS} | head
    )


def outcome(work):
    try:
        return work()
    except BadAnswer as error:
        return str(error)


def run(pieces):
    count = 0
    while True:
        try:
            next(pieces)
            count += 1
        except StopIteration as done:
            run.count = count
            return done.value


def alike(text: bytes) -> None:
    for brief in (False, True):
        asked = recordings.list("w", brief=brief)
        expected = outcome(lambda asked=asked: asked.read(text))
        assert outcome(lambda asked=asked: run(asked.in_pieces(text))) == expected


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_in_pieces_the_answer_is_the_same(odd):
    alike(body(odd))
    assert run.count >= ROWS / recordings.AT_ONCE


@pytest.mark.parametrize(
    "head",
    [{"count": "12"}, {"count": None}, {"chart": None}, {"chart": {"x": 1, "2026-03-01": "a"}},
     {"chart": {"2026-03-01": 2**70}}, {"recordings": None}, {"recordings": {}}],
    ids=str,
)  # fmt: skip
def test_so_it_is_with_an_odd_head(head):
    alike(body(**head))


@pytest.mark.parametrize(
    "text",
    [
        body()[:-50],
        body().replace(b"Town 700", b"Town \xff"),
        body().replace(b"Town 700", b"Town \\ud83d"),
        body().replace(b"Town 700", b"Town \n"),
        body({"pages": "7"}).replace(b"Town 700", b"Town \xff"),
        b"<html>",
        b"",
    ],
    ids=["cut off", "a byte", "half an emoji", "a control character", "both", "HTML", "nothing"],
)
def test_so_it_is_with_damaged_json(text):
    alike(text)


class Answers:
    """A transport that always answers the same."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    async def exchange(self, _request, _timeout):
        return Reply(200, {}, self._text)

    async def aclose(self) -> None:
        pass


async def test_the_client_decodes_a_long_answer_in_short_turns():
    text = body()
    assert len(text) > LONG
    api = AsyncMouseflow("eu", "a@example.com", "key")
    api._transport = Answers(text)
    with counted() as turns:
        page = await api.send(recordings.list("w", limit=ROWS))
    assert len(page.recordings) == ROWS
    with counted() as whole:
        assert recordings.list("w").read(text) == page
        await asyncio.sleep(0)
    assert turns.calls < whole.calls / 2, turns
