"""What fuzzing once found stays fixed, and the targets work: `make fuzz` goes on from there."""

import random

import pytest
from fuzz_targets import TARGETS, finds
from fuzzer import FINDS, corpus, mutated

TRIES = {"rules": 60, "config": 60, "api": 8, "slack": 60}


@pytest.mark.parametrize(
    ("name", "path"),
    [(path.parent.name, path) for path in sorted(FINDS.glob("*/*"))],
    ids=lambda it: getattr(it, "name", it),
)
def test_what_was_found_stays_fixed(name, path):
    TARGETS[name].run(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_read_or_refused(name):
    inputs = corpus(name)
    assert inputs
    for data in inputs:
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_inputs_are_read_or_refused(name):
    target, chance = TARGETS[name], random.Random(name)
    known = [*target.seeds(), *finds(name)]
    assert known
    for _ in range(TRIES[name]):
        target.run(mutated(chance.choice(known), known, chance))
