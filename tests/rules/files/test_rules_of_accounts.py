"""`accounts` in rule files: whose rules, budgets and reports are active where."""

import pytest

from bot.errors import RuleErrors
from bot.rules.files.actions import Allowed
from bot.rules.files.load import read
from bot.rules.model import RuleSet

ACCOUNTS = ("shop", "outlet")

BOTH = """\
version: 1
rules:
  everywhere:
    watch: recordings
    when: {tags: a}
    do: {star: true}
  of-the-shop:
    watch: recordings
    accounts: shop
    when: {tags: b}
    do: {notify: oncall}
    disabled: true
  of-the-outlet:
    watch: recordings
    accounts: [outlet]
    when: {tags: c}
    do: {delete: true}
budgets:
  credits:
    accounts: [outlet]
    websites: "*"
    recordings: 100
    period: month
    pace: true
reports:
  weekly:
    accounts: [shop]
    at: mon 09:00
    do: {slack: {channel: "#ux"}}
"""
DEFAULT = """\
version: 1
accounts: [outlet]
rules:
  one:
    watch: recordings
    when: {tags: a}
    do: {star: true}
  other:
    watch: recordings
    accounts: [shop, outlet]
    when: {tags: b}
    do: {star: true}
"""


def rules(allowed: Allowed, *texts: str) -> RuleSet:
    files = [(f"{number}.yaml", text.encode()) for number, text in enumerate(texts)]
    return read(files, allowed=allowed, tested=True)


def ids(found: RuleSet) -> list[str]:
    every = (*found.written, *found.budgets, *found.reports)
    return [each.id for each in every]


def of(account: str, accounts: tuple[str, ...] = ACCOUNTS) -> Allowed:
    places = ("oncall",) if account == "shop" else ()
    return Allowed(delete=account == "outlet", places=places, accounts=accounts, account=account)


def test_what_names_accounts_is_active_only_there() -> None:
    assert ids(rules(of("shop"), BOTH)) == ["everywhere", "of-the-shop", "weekly"]
    assert ids(rules(of("outlet"), BOTH)) == ["everywhere", "of-the-outlet", "credits"]
    assert ids(rules(of("other", (*ACCOUNTS, "other")), BOTH)) == ["everywhere"]
    assert rules(of("shop"), BOTH).digest == rules(of("outlet"), BOTH).digest


def test_a_file_can_name_the_accounts_of_what_names_none() -> None:
    assert ids(rules(of("shop"), DEFAULT)) == ["other"]
    assert ids(rules(of("outlet"), DEFAULT)) == ["one", "other"]


def test_without_a_configuration_every_rule_is_read() -> None:
    every = rules(Allowed(delete=True, accounts=None), BOTH)
    assert [rule.id for rule in every.rules] == ["everywhere", "of-the-outlet"]
    assert every.rules[1].accounts == ("outlet",)


def test_what_other_accounts_do_is_no_error_here_and_gives_no_warning() -> None:
    personal = "{slack: {channel: '#x', text: '{{ ip }}'}}"
    text = BOTH.replace("{delete: true}", personal)
    assert rules(of("shop"), text).warnings == ()
    assert [each.lint for each in rules(of("outlet"), text).warnings] == ["personal-data"]


def test_rules_of_one_account_may_wait_for_those_of_another() -> None:
    text = """\
version: 1
rules:
  stopped:
    watch: websites
    accounts: [outlet]
    when: {status: Stopped}
    do: {slack: {channel: "#x"}}
  quiet:
    watch: websites
    when: {status: Recording}
    not_while: [stopped]
    do: {slack: {channel: "#x"}}
"""
    assert ids(rules(of("shop"), text)) == ["quiet"]


@pytest.mark.parametrize(
    ("allowed", "text", "said"),
    [
        (of("shop"), DEFAULT.replace("[outlet]", "[outlte]"),
         "0.yaml:2:12: accounts.0: unknown account; did you mean outlet?"),
        (of("shop"), DEFAULT.replace("[shop, outlet]", "[shop, shpo]"),
         "0.yaml:10:22: rules.other.accounts.1: unknown account; did you mean shop?"),
        (Allowed(), DEFAULT, "0.yaml:2:1: accounts: the configuration has no [accounts]"),
        (of("shop"), BOTH.replace("accounts: [outlet]\n    websites", "accounts: []\n    websites"),
         "0.yaml:20:15: budgets.credits.accounts: "),
    ],
)  # fmt: skip
def test_an_unknown_account_is_an_error_with_the_nearest_name(
    allowed: Allowed, text: str, said: str
) -> None:
    with pytest.raises(RuleErrors) as caught:
        rules(allowed, text)
    assert said in str(caught.value)


def test_a_rule_of_an_account_with_errors_of_its_own_is_an_error_everywhere() -> None:
    for account in ACCOUNTS:
        with pytest.raises(RuleErrors, match="of-the-outlet"):
            rules(of(account), BOTH.replace("{tags: c}", "{tagz: c}"))
