"""What people called not useful becomes a test in the rule file, without personal data."""

import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.cli import fmt, learn
from bot.cli.learn import Learnt, written
from bot.cli.main import main
from bot.domain.press import Press
from bot.domain.subjects import Band, RecordingSubject, Site
from bot.errors import ConfigError
from bot.rules import tests as rule_tests
from bot.rules.files.load import read
from bot.rules.syntax.toml import spelled
from bot.store import open_store
from bot.store.presses import apply, receive
from mouseflow.models import PageView, Recording
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

RULE = """\
version: 1
rules:
  trouble:
    summary: Trouble on the way   # people see this
    watch: recordings
    when: {friction: {min: 1}, saw_page: /checkout*, visitor_name: {exists: true}}
    do: {slack: {channel: "#ux"}}
  other:
    watch: recordings
    when: {tags: x}
    do: {star: true}
"""
SUBJECT = RecordingSubject(
    website=Site("w1", "myshop.com"),
    recording=Recording(
        id="4a1b2c3d4e5f", duration=95_000, visitor_name="Anna",
        page_views=(PageView(uri="https://myshop.com/checkout/pay?mail=anna@example.com",
                             title="Anna's basket", tags=("click-rage",), visit_time=30_000),),
    ),
    friction=Band(2.5),
)  # fmt: skip


def rule_of(text, name="r.yaml"):
    return next(rule for rule in read([(name, text.encode())]).rules if rule.id == "trouble")


def test_a_test_has_what_the_rule_asks_about_and_nothing_personal():
    made = learn.test_of(rule_of(RULE), SUBJECT)
    assert made.given == {
        "friction": 2.5,
        "pages": [{"path": "/checkout/pay", "tags": ["click-rage"], "time": "30000ms"}],
    }
    assert made.left_out == ("visitor_name",)
    assert "nna" not in made.line


def test_it_is_a_test_that_the_rule_fails_until_it_is_changed(tmp_path):
    plain = RULE.replace(", visitor_name: {exists: true}", "")
    file = tmp_path / "r.yaml"
    file.write_text(plain)
    rule = rule_of(plain, str(file))
    written(file, rule, [learn.test_of(rule, SUBJECT)])
    again = read([("r.yaml", file.read_bytes())])
    [result] = rule_tests.run(again, ["trouble"])
    assert not result.passed
    assert file.read_text().startswith(plain.partition("  other:")[0])
    quieter = file.read_text().replace("min: 1", "min: 3")
    assert rule_tests.run(read([("r.yaml", quieter.encode())]), ["trouble"])[0].passed


TEST = Learnt("not useful: 4a", {"friction": 2.5})
ALIKE = """
    tests:   # those that people wrote
    - given: {friction: 3}
      expect: match
    # the end
"""


DEEPER = ALIKE.replace("    -", "      -").replace("      expect", "        expect")


@pytest.mark.parametrize("tests", ["", ALIKE, DEEPER])
def test_the_file_stays_as_it_is_with_the_test_at_the_end_of_the_rule(tmp_path, tests):
    text = RULE.replace('"#ux"}}\n', f'"#ux"}}}}\n{tests.lstrip(chr(10))}')
    file = tmp_path / "r.yaml"
    file.write_text(text)
    written(file, rule_of(text, str(file)), [TEST])
    added = [line for line in file.read_text().split("\n") if line not in text.split("\n")]
    assert added[-1].strip() == TEST.line
    assert len(added) == 1 + (not tests)


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nrules: {trouble: {watch: recordings, when: {pages: 3}, do: {star: true}}}\n",
        RULE.replace("  other:", "    tests: [{given: {friction: 3}, expect: no match}]\n  other:"),
    ],
)
def test_a_file_that_is_written_otherwise_is_not_touched(tmp_path, text):
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="can't be changed safely"):
        written(file, rule_of(text, str(file)), [TEST])
    assert file.read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.yaml"]


TOML = """\
# Rules of the shop
version = 1

[rules.trouble]
summary = "Trouble [on] the way"  # people see this
watch = "recordings"
when = {friction = {min = 1}, saw_page = "/checkout*"}
[rules.trouble.do.slack]
channel = "#ux"
# the end of trouble

[rules.other]
watch = "recordings"
when.tags = "x"
do.star = true
"""
TABLES = """
[[rules.trouble.tests]]  # those that people wrote
name = '''
[rules.other]'''
given.friction = 3
expect = "match"
"""
LISTED = """\
tests = [  # those that people wrote
  {given = {friction = 3}, expect = "match"}  # ] no comma
  # the end
]
"""
ONE_LINE = 'tests = [{given = {friction = 3}, expect = "match"}]\n'
ODD = Learnt(
    'not useful: 4a "\\\x7f',
    {"friction": 2.5, "pages": [{"path": "/ø", "tags": ["click-rage"], "time": "30000ms"}]},
)


def with_those(tests):
    """The rule file with these tests."""
    if not tests.startswith("tests"):
        return TOML.replace('"#ux"\n', f'"#ux"\n{tests}')
    return TOML.replace('/checkout*"}\n', f'/checkout*"}}\n{tests}')


def words(text):
    return text.replace(",", " ").replace("]", " ] ").split()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("tests", ["", TABLES, LISTED, ONE_LINE])
@pytest.mark.parametrize("last", [False, True], ids=["other rules follow", "the last rule"])
def test_a_toml_file_keeps_all_that_is_there_and_gets_the_test_behind_the_rule(
    tmp_path, tests, newline, last
):
    text = with_those(tests)
    text = (text.partition("\n# the end of")[0] if last else text).replace("\n", newline)
    file = tmp_path / "r.toml"
    file.write_bytes(text.encode())
    file.chmod(0o640)
    before = rule_of(text, str(file))
    written(file, before, [TEST, ODD])
    after = file.read_bytes().decode()
    assert after.count("\r\n") == (after.count("\n") if newline == "\r\n" else 0)
    rule = rule_of(after, str(file))
    assert [it.name for it in rule.tests[len(before.tests) :]] == [TEST.name, ODD.name]
    there = iter(words(after))
    assert all(word in there for word in words(text))
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["r.toml"]


@pytest.mark.parametrize(
    "text",
    [
        "version = 1\n[rules]\ntrouble = {watch='recordings', when.pages=3, do.star=true}\n",
        "version = 1\n[rules]\ntrouble.watch = 'recordings'\ntrouble.when.pages = 3\n"
        "trouble.do.star = true\nother.watch = 'recordings'\n"
        "other.when.pages = 3\nother.do.star = true\n",
    ],
)
def test_a_toml_rule_that_is_no_table_is_not_touched(tmp_path, text):
    file = tmp_path / "r.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"r.toml:3: this file can't be changed safely"):
        written(file, rule_of(text, str(file)), [TEST])
    assert file.read_text() == text


def test_a_file_that_changes_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    file = tmp_path / "r.toml"
    file.write_text(TOML)
    rule = rule_of(TOML, str(file))
    replaced = fmt.replaced

    def changed_first(path, old, new):
        file.write_text(f"{TOML}# more")
        return replaced(path, old, new)

    monkeypatch.setattr(fmt, "replaced", changed_first)
    with pytest.raises(ConfigError, match="it was changed meanwhile"):
        written(file, rule, [TEST])
    assert file.read_text() == f"{TOML}# more"


KEYS = st.text(st.characters(codec="utf-8"))


@settings(max_examples=100)
@given(
    st.recursive(
        st.booleans() | st.integers(-(10**12), 10**12) | KEYS
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
        max_leaves=10,
    )
)  # fmt: skip
def test_toml_reads_back_what_was_spelled(value):
    assert tomllib.loads(f"it = {spelled(value)}")["it"] == value


@pytest.fixture
def sim(tmp_path, monkeypatch):
    """An account with a match whose message was called not useful."""
    monkeypatch.chdir(tmp_path)
    site = website("w1", "myshop.com", plan=Plan(per_day=0))
    with Simulator(sites=[site]) as sim:
        sim.slack.add_channel("ux")
        sim.made = sim.add("myshop.com", "checkout-friction", start=-3600)
        (tmp_path / "rules").mkdir()
        (tmp_path / "rules" / "r.yaml").write_text(
            RULE.replace(", visitor_name: {exists: true}", "")
        )
        (tmp_path / "config.toml").write_text(
            f'[mouseflow]\nbase_url = "{sim.mouseflow_url}"\nemail = "{sim.email}"\n'
            f'api_key = "{sim.api_key}"\ntime_zone = "{sim.quirks.time_zone}"\n'
            f'[slack]\nbase_url = "{sim.slack_url}"\nbot_token = "{sim.slack.token}"\n'
            f'app_token = "{sim.slack.app_token}"\n[poll]\nstart = "2h"\n'
        )
        assert main(["once"]) == 0
        [post] = sim.slack.in_channel("ux")
        with open_store(f"sqlite:///{tmp_path}/data/bot.db") as store:
            press = Press(
                id="1", button="not_useful", post=post.metadata["event_payload"]["key"],
                user="U1", name="Kim", channel="C1", at=sim.clock.now(),
            )  # fmt: skip
            store.do(lambda conn: receive(conn, press))
            store.do(lambda conn: apply(conn, press, sim.clock.now(), "UTC"))
        yield sim


def test_the_command_asks_mouseflow_and_writes_the_test_once(sim, capsys):
    capsys.readouterr()
    assert main(["learn", "trouble"]) == 0
    assert capsys.readouterr().out.startswith('- {"name": "not useful: ')
    assert main(["learn", "trouble", "--write"]) == 0
    assert "1 test added" in capsys.readouterr().out
    assert main(["test"]) == 1
    capsys.readouterr()
    assert main(["learn", "trouble", "--write"]) == 0
    assert "no message of trouble was called not useful" in capsys.readouterr().out


def test_the_test_for_a_toml_file_is_printed_in_toml(sim, tmp_path, capsys):
    (tmp_path / "rules" / "r.yaml").unlink()
    (tmp_path / "rules" / "r.toml").write_text(TOML)
    capsys.readouterr()
    assert main(["learn", "trouble"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith('[[rules.trouble.tests]]\nname = "not useful: ')
    pasted = read([("r.toml", f"{TOML}\n{printed}".encode())])
    assert [it.name for it in pasted.rules[0].tests] == [f"not useful: {sim.made[:8]}"]
    assert main(["learn", "trouble", "--write"]) == 0
    assert "1 test added" in capsys.readouterr().out
    assert main(["test"]) == 1


def test_a_recording_that_mouseflow_no_longer_has_is_counted_and_writes_nothing(
    sim, tmp_path, capsys
):
    sim.delete(sim.made)
    before = (tmp_path / "rules" / "r.yaml").read_text()
    capsys.readouterr()
    assert main(["learn", "trouble", "--write"]) == 0
    assert capsys.readouterr().out == "1 recording is no longer in Mouseflow and left out\n"
    assert (tmp_path / "rules" / "r.yaml").read_text() == before


def test_a_rule_that_asks_only_personal_data_gets_no_test(sim, tmp_path, capsys):
    file = tmp_path / "rules" / "r.yaml"
    asks = "when: {friction: {min: 1}, saw_page: /checkout*}"
    before = file.read_text().replace(asks, "when: {entry_url: {exists: true}}")
    assert asks not in before
    file.write_text(before)
    capsys.readouterr()
    assert main(["learn", "trouble", "--write"]) == 0
    name = f"not useful: {sim.made[:8]}"
    assert capsys.readouterr().out == (
        f"{name}: entry_url is personal and left out\n"
        f"{name}: no test, because nothing else that the rule asks is known\n"
    )
    assert file.read_text() == before


def test_tune_suggests_the_threshold_that_avoids_what_was_not_useful(sim, capsys):
    for days in (1, 1, 2):
        sim.add("myshop.com", "checkout-friction", start=-days * 86_400)
    capsys.readouterr()
    assert main(["tune", "trouble", "--json", "--since", "3d"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["not_useful"] == 1
    assert {it["threshold"]: it["avoids"] for it in told["curve"]}[1.0] == 0
    assert main(["tune", "trouble", "--since", "3d"]) == 0
    assert "of the 1 that people called not useful" in capsys.readouterr().out
