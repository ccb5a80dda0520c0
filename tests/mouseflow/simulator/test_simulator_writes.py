"""What is written to recordings and websites takes effect as the document says."""

import json
from datetime import timedelta

import pytest

ONE = "/websites/quiet/recordings/{}"


@pytest.fixture
async def made(stand):
    return stand.sim.add("quiet.example", "purchase", start=-3600)


async def test_a_tag_is_added_once_and_removed(stand, made):
    for _ in range(2):
        await stand.do("POST", f"{ONE.format(made)}/tag", params={"tag": "checkout"})
    assert (await stand.detail(made))["tags"].count("checkout") == 1
    assert stand.sim.effect(made).calls == {"tag checkout": 2}
    await stand.do("DELETE", f"{ONE.format(made)}/tag?tag=checkout")
    assert "checkout" not in (await stand.detail(made))["tags"]
    await stand.do("DELETE", f"{ONE.format(made)}/tag?tag=submit")
    assert "submit" not in (await stand.detail(made))["tags"]


@pytest.mark.parametrize("name", ["a b", "a&b", "50%", "größe", "#1", "x+y"])
async def test_trap_41_a_tag_is_a_query_parameter_and_any_text(stand, made, name):
    await stand.do("POST", f"{ONE.format(made)}/tag", params={"tag": name})
    assert name in (await stand.detail(made))["tags"]
    assert name in await stand.get("/websites/quiet/recordings/tags")
    assert await stand.ids(tags=name) == {made}


async def test_a_tag_call_without_a_tag_is_400(stand, made):
    assert (await stand.api.post(f"{ONE.format(made)}/tag")).status_code == 400


async def test_trap_37_star_and_watched_belong_to_the_user(stand, made):
    stand.sim.users["other@example.com"] = "other-key"
    await stand.do("POST", f"{ONE.format(made)}/star")
    await stand.do("POST", f"{ONE.format(made)}/watched")
    assert (await stand.detail(made))["starred"] is True
    assert (await stand.detail(made))["watched"] is True
    async with stand.client("other@example.com", "other-key") as other:
        row = (await other.get("/websites/quiet/recordings")).json()["recordings"][0]
        assert (row["starred"], row["watched"]) == (False, False)
        starred = await other.get("/websites/quiet/recordings?star=1")
        assert starred.json()["count"] == 0
    await stand.do("DELETE", f"{ONE.format(made)}/star")
    await stand.do("DELETE", f"{ONE.format(made)}/watched")
    assert (await stand.detail(made))["starred"] is False
    assert stand.sim.effect(made).calls == {"star": 1, "watched": 1, "unstar": 1, "unwatched": 1}


async def test_looking_at_a_detail_does_not_watch_it_unless_it_does(stand, made):
    await stand.detail(made)
    assert (await stand.detail(made))["watched"] is False
    stand.sim.behave(detail_marks_watched=True)
    assert (await stand.detail(made))["watched"] is True


async def test_trap_51_sharing_answers_a_bare_string_and_sets_the_system_tag(stand, made):
    answer = await stand.do("POST", f"{ONE.format(made)}/share")
    token = json.loads(answer.text)
    assert isinstance(token, str)
    assert len(token) == 22
    detail = await stand.detail(made)
    assert detail["token"] == token
    assert "shared" in detail["tags"]
    assert await stand.ids(tags="shared") == {made}
    await stand.do("DELETE", f"{ONE.format(made)}/share")
    detail = await stand.detail(made)
    assert "token" not in detail
    assert "shared" not in detail["tags"]


async def test_trap_52_sharing_again_keeps_or_rotates_the_token(stand, made):
    share = f"{ONE.format(made)}/share"
    first = (await stand.do("POST", share)).json()
    assert (await stand.do("POST", share)).json() == first
    stand.sim.behave(share_again="rotates")
    second = (await stand.do("POST", share)).json()
    assert second != first
    assert (await stand.detail(made))["token"] == second


async def test_trap_49_variables_merge_and_an_empty_text_removes(stand, made):
    await stand.do("PUT", f"{ONE.format(made)}/variables", json={"cart-id": "df342", "n": 43})
    assert sorted((await stand.detail(made))["variables"]) == [
        "cart-id=df342", "cart-value=59.00", "n=43",
    ]  # fmt: skip
    await stand.do("PUT", f"{ONE.format(made)}/variables", json={"cart-value": "", "n": ""})
    assert (await stand.detail(made))["variables"] == ["cart-id=df342"]
    assert await stand.ids(vars="cart-value=^") == {made}


async def test_trap_49_or_variables_replace_the_whole_list(stand, made):
    stand.sim.behave(variables="replace")
    await stand.do("PUT", f"{ONE.format(made)}/variables", json={"plan": "x"})
    assert (await stand.detail(made))["variables"] == ["plan=x"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a": null}', b'{"a": {}}', b'{"a=b": "x"}'])
async def test_variables_that_make_no_sense_are_400(stand, made, body):
    answer = await stand.api.put(f"{ONE.format(made)}/variables", content=body)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("kind", "body"), [("empty", ""), ("text", "OK"), ("html", "<html><body>OK</body></html>")]
)
async def test_trap_8_a_write_answers_nothing_or_text_or_html(stand, made, kind, body):
    stand.sim.behave(write_answer=kind)
    assert (await stand.do("POST", f"{ONE.format(made)}/star")).text == body


async def test_trap_9_a_deleted_recording_is_gone_for_every_call(stand, made):
    await stand.do("DELETE", ONE.format(made))
    assert await stand.ids() == set()
    for method, tail in (("GET", ""), ("POST", "/star"), ("POST", "/tag?tag=x"), ("DELETE", "")):
        answer = await stand.api.request(method, ONE.format(made) + tail)
        assert answer.status_code == 410
    assert stand.sim.effect(made).deleted


async def test_counts_shrink_when_recordings_are_deleted(stand):
    before = await stand.get("/websites/busy/recordings", limit=3)
    for row in before["recordings"]:
        stand.sim.delete(row["id"])
    after = await stand.get("/websites/busy/recordings", limit=3)
    assert after["count"] == before["count"] - 3
    assert sum(after["chart"].values()) == after["count"]


async def test_many_recordings_can_be_tagged_at_once_where_that_works(stand, made):
    other = stand.sim.add("quiet.example", "purchase", start=-60)
    await stand.do("POST", "/websites/quiet/recordings/bulktag?tag=mass", json=[made, other])
    assert await stand.ids(tags="mass") == {made, other}
    await stand.do("DELETE", "/websites/quiet/recordings/bulktag?tag=mass", json=[made])
    assert await stand.ids(tags="mass") == {other}
    stand.sim.behave(bulk_tag=False)
    answer = await stand.api.post("/websites/quiet/recordings/bulktag?tag=x", json=[made])
    assert answer.status_code == 404


async def test_trap_73_a_read_only_website_refuses_every_write(stand):
    (row,) = await stand.rows("closed", limit=1)
    one = f"/websites/closed/recordings/{row['id']}"
    for method, path in (
        ("POST", f"{one}/star"), ("POST", f"{one}/tag?tag=x"), ("POST", f"{one}/share"),
        ("PUT", f"{one}/variables"), ("DELETE", one), ("PUT", "/websites/closed"),
        ("POST", "/websites/closed/funnels"), ("POST", "/websites/closed/heatmaps/share?url=/"),
    ):  # fmt: skip
        answer = await stand.api.request(method, path, json={"x": "y"})
        assert answer.status_code == 403
        assert answer.json()["message"] == "You do not have permission to access."
    assert stand.sim.effects() == []


async def test_trap_69_recording_status_is_written_and_status_is_read(stand):
    await stand.do("PUT", "/websites/quiet", json={"recordingStatus": "Stopped"})
    assert (await stand.get("/websites/quiet"))["status"] == "Stopped"
    await stand.do("PUT", "/websites/quiet", json={"status": "Recording"})
    detail = await stand.get("/websites/quiet")
    assert detail["status"] == "Stopped"
    assert "recordingStatus" not in detail
    await stand.do("PUT", "/websites/quiet", json={"recordingStatus": "Recording"})
    assert (await stand.get("/websites/quiet"))["status"] == "Recording"
    answer = await stand.api.put("/websites/quiet", json={"recordingStatus": "Paused"})
    assert answer.status_code == 400


@pytest.mark.parametrize("status", ["Paused", "NotInstalled"])
async def test_traps_71_and_72_the_api_cannot_start_what_has_no_credits_or_script(stand, status):
    stand.sim.intervene("quiet.example", status=status)
    await stand.do("PUT", "/websites/quiet", json={"recordingStatus": "Recording"})
    assert (await stand.get("/websites/quiet"))["status"] == status


async def test_trap_76_an_update_is_partial(stand):
    before = await stand.get("/websites/quiet")
    await stand.do("PUT", "/websites/quiet", json={"recordingRate": 25})
    assert await stand.get("/websites/quiet") == before | {"recordingRate": 25}


@pytest.mark.parametrize(
    "change", [{"recordingRate": 101}, {"recordingRate": "50"}, {"name": 3}, {"domains": "x"}]
)
async def test_a_setting_of_the_wrong_type_is_400(stand, change):
    assert (await stand.api.put("/websites/quiet", json=change)).status_code == 400


async def test_trap_82_a_changed_status_reaches_visitors_late(stand):
    stand.moment = stand.moment.replace(hour=6)
    stand.sim.behave(status_delay=timedelta(hours=3))
    await stand.do("PUT", "/websites/busy", json={"recordingStatus": "Stopped"})
    counts = []
    for _ in range(3):
        counts.append((await stand.get("/websites/busy/recordings", limit=0))["count"])
        stand.later(hours=3)
    assert counts[0] < counts[1] == counts[2]


async def test_a_person_and_the_bot_can_be_told_apart_afterwards(stand):
    await stand.do("PUT", "/websites/quiet", json={"recordingStatus": "Stopped"})
    stand.sim.intervene("quiet.example", status="Recording")
    assert [(who, status) for _, who, status in stand.sim.switches("quiet")] == [
        ("api", "Stopped"), ("person", "Recording"),
    ]  # fmt: skip
