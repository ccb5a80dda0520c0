"""How the suite runs: the same examples each time, many tests side by side, long files first."""

import gc
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import settings
from postgres_server import EMPTY, GIVEN, Server, connected, create_database

# A red run says something of the change, not of the dice; HYPOTHESIS_PROFILE=explore draws others.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 * 2**30:
    # Each commit of a store waits for the disk, and nothing here cuts the power.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core: one of them waits for a real daemon, which leaves the core to the other.

    More would take the processors' caches from each other: with three, a test costs a quarter more.
    """
    return 2 * (os.cpu_count() or 1)


SERVER = pytest.StashKey[str]()
"""The address of the PostgreSQL server; empty for one that starts when it is needed."""


def pytest_configure(config: pytest.Config) -> None:
    """One PostgreSQL for all workers of a run, which starts while they collect their tests."""
    # Not left in the environment: the bot would take it for an unknown setting.
    given = os.environ.pop(GIVEN, "")
    if hasattr(config, "workerinput"):
        given = config.workerinput[GIVEN]
    elif config.getoption("numprocesses", None) and not given:
        server = Server()
        given = server.url
        config.add_cleanup(server.remove)
    config.stash[SERVER] = given
    _begin_elsewhere(config)


def _begin_elsewhere(config: pytest.Config) -> None:
    """Let each worker begin to collect in another folder.

    So they share the work of compiling the tests, which takes 6 s, and is kept for the next run.
    """
    if not hasattr(config, "workerinput") or config.args != config.getini("testpaths"):
        return
    tests = Path(__file__).parent
    folders = sorted(it for it in tests.iterdir() if any(it.glob("**/test_*.py")))
    files = sorted(tests.glob("test_*.py"))
    worker = int(config.workerinput["workerid"].removeprefix("gw"))
    first = worker * len(folders) // config.workerinput["workercount"]
    config.args = [str(it) for it in (*folders[first:], *folders[:first], *files)]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    """Tell a worker where it is."""
    node.workerinput[GIVEN] = node.config.stash[SERVER]


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[str]:
    """The address of a PostgreSQL server."""
    if given := pytestconfig.stash[SERVER]:
        yield given
        return
    server = Server()
    try:
        yield server.url
    finally:
        server.remove()


@pytest.fixture(scope="session")
def worker_database(postgres: str) -> str:
    """A database of this worker, with the bot's tables."""
    from bot.store import open_store

    url = create_database(postgres, f"bot_test_{os.getpid()}")
    open_store(url).close()
    return url


@pytest.fixture
def postgres_url(worker_database: str) -> str:
    """The address of an empty store in PostgreSQL."""
    with connected(worker_database) as conn:
        conn.execute(EMPTY)
    return worker_database


ON_BOTH = ("tests/store/", "tests/delivery/")
"""What runs on SQLite and on PostgreSQL; others would add nothing about the database."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the kinds of databases, unless the test does."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "store_url" in metafunc.fixturenames and all("store_url" not in m.args[0] for m in marks):
        both = metafunc.definition.nodeid.startswith(ON_BOTH)
        kinds = ["sqlite", "postgresql"] if both else ["sqlite"]
        metafunc.parametrize("store_url", kinds, indirect=True)


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path) -> str:
    """The address of an empty store, in the kind of database that was chosen."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path}/bot.db"


# Started in the background SIGINT is ignored, also by the processes of tests.
signal.signal(signal.SIGINT, signal.default_int_handler)


# httpx looks for it at each call of a simulator in this process; to find it missing takes 0.4 ms.
sys.modules.setdefault("sniffio", None)


ALONE = (
    "tests/end_to_end/",
    "tests/worlds/",
    "tests/polling/test_poll_worlds.py",
    "tests/cli/test_daemon_commands.py",
    "tests/budgets/test_budget_pace.py",
    "tests/budgets/test_budget_switching.py",
)
"""Files whose tests take long, and share nothing: any worker may run any of them."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Give each worker a file at a time, of the longest ones a test at a time."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if nodeid.startswith(ALONE) else super()._split_scope(nodeid)

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


LONG = (
    "tests/end_to_end/",
    "tests/cli/test_daemon_commands.py",
    "tests/delivery/test_crash_matrix.py",
    "tests/worlds/",
    "tests/polling/test_poll_worlds.py",
    "tests/cli/",
    "tests/budgets/",
    "tests/delivery/",
)
"""What takes long begins first, so that at the end no worker is left alone with it."""

WAITING = tuple(
    f"tests/end_to_end/test_{name}.py"
    for name in (
        "accounts_process", "broken_configuration", "budget_story", "buttons_process", "daemon",
        "delivery_stories", "replicas", "store_lost",
    )
)  # fmt: skip
"""What takes long because it waits for real daemons: it runs beside what computes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files: the longest first, the others by name; alike in every worker."""
    items.sort(key=lambda item: str(item.path))
    items.sort(key=lambda item: next((n for n, part in enumerate(LONG) if part in item.nodeid), 99))
    waiting = [item for item in items if item.nodeid.startswith(WAITING)]
    others = [item for item in items if not item.nodeid.startswith(WAITING)]
    pairs = zip_longest(waiting, others)
    items[:] = [item for pair in pairs for item in pair if item is not None]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep modules and collected tests out of the garbage collector's walks, and walk seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
