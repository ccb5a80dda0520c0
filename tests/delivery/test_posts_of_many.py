"""A post about many says how many, since when, where they concentrate, and the worst few."""

import json
from datetime import timedelta

import pytest
from posting_world import NOW, PLAY, posting, visit

from bot.domain.subjects import Site
from bot.errors import TryLater

RAGE = """
checkout-rage:
  summary: Many rage clicks
  watch: recordings
  when: {tags: click-rage}
  count: {at_least: 3, within: 10m, by: website}
  do: {slack: {}}
"""


def mrkdwn(text):
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def minutes(n):
    return NOW + timedelta(minutes=n)


async def test_a_count_says_how_many_where_and_the_worst_few():
    async with posting(RAGE) as world:
        world.now = minutes(9)
        world.match(
            visit("r1", "/", "/CHECKOUT/PAY", at=minutes(0), friction=2.5),
            visit("r2", "/CHECKOUT/PAY", "/help", at=minutes(5), friction=5),
            visit("r3", "/CART", at=minutes(8), device="Desktop", friction=5),
        )
        await world.deliver()
        [post] = world.posts()
    website = "https://app.mouseflow.com/websites/site-1"
    assert post.text == (
        "🔶 3 in 8 min: Many rage clicks · myshop.com · "
        "2 on /checkout/pay, 1 on /cart, 2 on phones. The rule asks for 3 in 10 min."
    )
    assert post.blocks == [
        {
            "type": "section",
            "text": mrkdwn(
                f"🔶 *<{website}|3 in 8 min: Many rage clicks>* · myshop.com\n"
                "2 on */checkout/pay*, 1 on */cart*, 2 on phones. The rule asks for 3 in 10 min."
            ),
        },
        {
            "type": "section",
            "text": mrkdwn(
                f"• <{PLAY.format('r2')}|/checkout/pay> · friction 5+ · "
                "<!date^1773133500^{time}|10:05 CET>\n"
                f"• <{PLAY.format('r3')}|/cart> · friction 5+ · "
                "<!date^1773133680^{time}|10:08 CET>\n"
                f"• <{PLAY.format('r1')}|/checkout/pay> · friction 2.5+ · "
                "<!date^1773133200^{time}|10:00 CET>"
            ),
        },
        {
            "type": "actions",
            "elements": [
                {
                    "type": "button",
                    "text": {"type": "plain_text", "text": "Open in Mouseflow", "emoji": False},
                    "url": website,
                    "action_id": "open",
                    "style": "primary",
                }
            ],
        },
        {
            "type": "context",
            "elements": [
                mrkdwn(
                    "<!date^1773133200^{time}|10:00 CET> to <!date^1773133680^{time}|10:08 CET>"
                    " · Rule checkout-rage"
                )
            ],
        },
    ]


class Receiver:
    """A webhook's receiver, whose first answer is lost."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def call(self, url, body, headers, secret=None) -> None:
        self.bodies.append(body)
        if len(self.bodies) == 1:
            raise TryLater("the answer was lost", unknown=True)


@pytest.mark.parametrize(
    ("field", "told", "said", "own"),
    [
        ("website", "myshop.com", "", "myshop.com"),
        ("country", "DK", "Same country: DK. ", "DK"),
        ("page", "/cart", "Same page: /cart. ", "/cart"),
        ("city", "Odense", "Same city. ", "Odense"),
        ("visitor", None, "Same visitor. ", "–"),
    ],
)
async def test_a_count_says_in_which_group_they_are(field, told, said, own):
    """A city is only in what the rule's author writes, and personal data in neither."""
    posts = '[{}, {channel: "#ops", text: "{{ group }}"}]'
    does = f"{{slack: {posts}, webhook: {{url: https://example.com/in}}}}"
    rule = RAGE.replace("by: website", f"by: {field}").replace("{slack: {}}", does)
    async with posting(rule) as world:
        world.now = minutes(9)
        seen = {"country": "DK", "city": "Odense", "visitor_id": "v1"}
        for n in range(3):
            world.match(visit(f"r{n}", "/CART", at=minutes(n), **seen))
        world.hook = Receiver()
        await world.deliver()
        world.wait(minutes=9)
        await world.deliver()
        [post], [written] = world.posts(), world.posts("ops")
    [first, second] = world.hook.bodies
    assert first == second
    count = json.loads(first)["count"]
    assert f"All on /cart, all on phones. {said}The rule asks for 3 in 10 min." in post.text
    assert written.text == own
    assert count.pop("worst")[0] == {
        "url": PLAY.format("r0"), "page": "/cart", "friction": None, "duration": 95000,
        "at": "2026-03-10T09:00:00Z",
    }  # fmt: skip
    assert count == {
        "recordings": 3, "at_least": 3, "within": 600000,
        "since": "2026-03-10T09:00:00Z", "until": "2026-03-10T09:02:00Z",
        "by": field, "group": None if field == "visitor" else told,
        "websites": [{"name": "myshop.com", "recordings": 3}],
        "pages": [{"name": "/cart", "recordings": 3}],
        "devices": [{"name": "Phone", "recordings": 3}],
    }  # fmt: skip


async def test_a_count_of_hundreds_is_no_taller():
    async with posting(RAGE.replace("at_least: 3", "at_least: 300")) as world:
        world.match(*(visit(f"r{n}", "/CART", at=minutes(n / 60)) for n in range(300)))
        await world.deliver()
        [post] = world.posts()
    body, items = (block["text"]["text"] for block in post.blocks[:2])
    assert "*<https://app.mouseflow.com/websites/site-1|300 in 4 min 59 s: Many" in body
    assert "All on */cart*, all on phones. The rule asks for 300 in 10 min." in body
    assert items.count("\n") == 1
    assert items.endswith("3 like this\n_and 297 more_")


async def test_the_next_count_begins_anew():
    async with posting(RAGE) as world:
        world.now = minutes(9)
        world.match(*(visit(f"r{n}", "/CART", at=minutes(n)) for n in range(7)))
        await world.deliver()
    told = [post.text.partition(":")[0] for post in world.posts()]
    assert told == ["🔶 3 in 2 min", "🔶 3 in 2 min"]


async def test_sessions_counted_by_an_earlier_version_count_without_details():
    async with posting(RAGE) as world:
        world.now = minutes(9)
        world.match(*(visit(f"r{n}", "/CART", at=minutes(n)) for n in range(2)))
        world.store.do(lambda conn: conn.exec_driver_sql("UPDATE tallies SET glimpse = NULL"))
        world.match(visit("r2", "/CART", at=minutes(2)))
        await world.deliver()
    [post] = world.posts()
    assert post.text.startswith("🔶 3 in 2 min: Many rage clicks · myshop.com · 1 on /cart")
    assert post.blocks[1]["text"]["text"].endswith("\n_and 2 more_")


async def test_a_digest_says_where_its_matches_concentrate():
    rule = """
friction:
  summary: Frustrated visitor
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {slack: {at_most: 1 per hour}}
"""
    other = Site("site-2", "de.myshop.com")
    async with posting(rule) as world:
        world.match(visit("r0", "/CART"))
        world.match(*(visit(f"r{n}", "/CHECKOUT/PAY", friction=5) for n in range(1, 5)))
        world.match(visit("r9", "/CHECKOUT/ADDRESS", site=other, device="Desktop"))
        await world.deliver()
        world.wait(hours=1)
        await world.deliver()
    digest = world.posts()[1]
    assert digest.text == (
        "🔶 5 more: Frustrated visitor · 4 on myshop.com, 1 on de.myshop.com. "
        "4 on /checkout/pay, 1 on /checkout/address, 4 on phones."
    )
    assert digest.blocks[0]["text"]["text"].splitlines()[1:] == [
        "4 on myshop.com, 1 on de.myshop.com. "
        "4 on */checkout/pay*, 1 on */checkout/address*, 4 on phones.",
        "In the last 1 h: 5 over the limit.",
    ]
    assert digest.blocks[1]["text"]["text"].splitlines() == [
        f"• <{PLAY.format('r1')}|/checkout/pay> · myshop.com · friction 5+ · "
        "<!date^1773133200^{time}|10:00 CET> · 4 like this",
        "• <https://app.mouseflow.com/websites/site-2/recordings/r9/play|/checkout/address>"
        " · de.myshop.com · 1 min 35 s · <!date^1773133200^{time}|10:00 CET>",
    ]


async def test_nothing_of_the_visitor_is_kept_for_a_list():
    async with posting(RAGE) as world:
        world.match(visit("r1", "/CART", visitor_name="Anna", ip="192.0.2.7", user_agent="Lynx"))
        [kept] = world.store.do(
            lambda conn: conn.exec_driver_sql("SELECT glimpse FROM tallies").scalars().all()
        )
    assert b"/cart" in kept
    assert not [it for it in (b"Anna", b"192.0.2.7", b"Lynx") if it in kept]


async def test_a_rules_own_text_can_say_the_same():
    text = "{{ count }} in {{ within }}: {{ others | join(' and ') }} ({{ others }})"
    own = RAGE.replace("slack: {}", f'slack: {{text: "{text}"}}').replace("3, within", "2, within")
    async with posting(own) as world:
        world.match(visit("r1", "/<!here>"), visit("r2", "/CART", at=minutes(5)))
        await world.deliver()
    links = [f"<{PLAY.format('r1')}|/&lt;!here&gt;>", f"<{PLAY.format('r2')}|/cart>"]
    [post] = world.posts()
    assert post.text == f"2 in 5 min: {' and '.join(links)} ({', '.join(links)})"


async def test_in_a_rule_without_count_these_names_have_no_data():
    rule = RAGE.replace("count: {at_least: 3, within: 10m, by: website}", "silence: [waits]")
    own = rule.replace("slack: {}", 'slack: {text: "{{ count }} {{ others }}"}')
    async with posting(own) as world:
        world.match(visit("r1", "/CART"))
        await world.deliver()
    assert world.posts()[0].text == "– –"
