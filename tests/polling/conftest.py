"""What the tests of polling share."""

import pytest
from poll_world import CHECKOUT, Account


@pytest.fixture
def account(request, tmp_path):
    """Makes accounts under watch, by the module's `CHECKOUT` rule unless told otherwise."""
    rule = getattr(request.module, "CHECKOUT", CHECKOUT)
    opened = []

    def make(text=None, **options):
        opened.append(Account(tmp_path, text or rule, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.close()
