"""Format rule files: indentation and spaces made alike; comments and values stay as they are.

Only YAML is formatted. A file whose comments or values would change stays as it is, and the
command says so.
"""

import os
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from pathlib import Path

from bot.messages.text import counted

EXAMPLE = "mouseflow-bot fmt\nmouseflow-bot fmt --check rules/checkout.yaml"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="rule files or folders")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if a file would change"
    )


def run(args: Namespace) -> int:
    """Format them; 1 if a file can't be formatted, or would change with `--check`."""
    from bot.cli import context, output
    from bot.rules.files.disk import contents
    from bot.rules.syntax.layout import NotKept, formatted
    from bot.rules.syntax.nodes import Unreadable, decoded

    accounts = context.accounts(args, offline=True).values() if not args.paths else ()
    paths = dict.fromkeys(path for each in accounts for path in each.rules.paths)
    found = contents(args.paths or tuple(paths))
    bad = list(map(str, found.faults))
    changed, toml, same = [], [], 0
    for name, data in found.files:
        if name.lower().endswith(".toml"):
            toml.append(name)
            continue
        try:
            text = decoded(data)
            new = formatted(text)
        except Unreadable as error:
            bad.append(f"{name}:{error.line}:{error.column}: {error.message}")
        except NotKept as error:
            bad.append(f"{name}: left as it is: {error}")
        else:
            if new.encode() == data:
                same += 1
            elif fault := "" if args.check else replaced(Path(name), data, new.encode()):
                bad.append(f"{name}: left as it is: {fault}")
            else:
                changed.append(name)
    for line in bad:
        output.line(line)
    for name in changed:
        output.line(f"{'would format' if args.check else 'formatted'} {name}")
    if toml:
        output.line(f"TOML files are not formatted: {', '.join(toml)}")
    output.line(f"{counted(same, 'file')} unchanged")
    return 1 if bad or (args.check and changed) else 0


def replaced(path: Path, old: bytes, new: bytes) -> str:
    """Replace the file, whole or not at all; returns why it can't be, empty if it is."""
    try:
        real = path.resolve()
        if real.read_bytes() not in (old, new):
            return "it was changed meanwhile; run this again"
        part = real.with_name(f".{real.name}.part")
        try:
            with part.open("wb") as file:
                file.write(new)
                file.flush()
                os.fsync(file.fileno())
            part.chmod(real.stat().st_mode & 0o7777)
            part.replace(real)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        return f"it can't be written: {error.strerror}"
    return ""
