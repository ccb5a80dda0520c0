"""The command `mouseflow-bot`: checks that `bot` is this project's package, then runs it.

It is a module of its own because `bot` is a common name: a `bot` that comes first on
Python's path would be imported instead of ours.
"""

import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> int:
    """The exit code of the command line."""
    for name in ("bot", "mouseflow"):
        ours = Path(__file__).resolve().with_name(name) / "__init__.py"
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin != ours:
            print(  # noqa: T201
                f"mouseflow-bot: {origin or name} shadows {ours.parent}: rename it, or remove "
                "its folder from PYTHONPATH",
                file=sys.stderr,
            )
            return 1
    from bot.cli.main import main as run

    return run()
