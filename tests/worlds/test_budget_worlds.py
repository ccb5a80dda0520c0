"""In random worlds of budgets the bot stops, throttles and hands back as the docs say.

`SEED=17 python -m pytest tests/worlds/test_budget_worlds.py` runs one world again.
"""

from collections import Counter

from budget_judge import counted, wrongs
from budget_worlds import BudgetWorld

IN_CI = (0, 1, 3, 4, 6, 8, 11, 12, 13)


def test_budgets_are_kept_as_the_docs_say(seed, tmp_path, record_property):
    told = BudgetWorld(seed, tmp_path).run()
    found = [*wrongs(told)]
    for name, number in (counted(told) + Counter(each.kind for each in found)).items():
        record_property(name, number)
    assert not found, "\n".join(["", *map(str, found)])
