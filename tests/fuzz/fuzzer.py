"""Fuzz what reads rule files, configuration, answers of Mouseflow and answers of Slack.

make fuzz SECONDS=1800             every target, one after another
make fuzz SECONDS=900 TARGET=api   one of them
python tests/fuzz/fuzzer.py 0 --keep    what all runs have found, into tests/fuzz/corpus

Inputs that reach new lines are kept in `build/fuzz/TARGET`, so that the next run continues there.
An input after which something is raised that is no error of the bot, or that takes very long, is a
find: fix it, and move its file from `build/fuzz/finds/TARGET` to `tests/fuzz/finds/TARGET`.
"""

import argparse
import hashlib
import json
import random
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
FINDS = Path(__file__).parent / "finds"
CORPUS = Path(__file__).parent / "corpus"
"""One archive for each target, with the inputs that reach lines which no smaller one reaches."""

SLOW = 10.0
"""Seconds of this process after which an input is a find."""

MOST = 200_000
"""Bytes of an input."""

ODD = (
    *(b"\n", b"  ", b"\t", b": ", b"- ", b"[", b"]", b"{", b"}", b"'", b'"', b"|", b">", b"\\"),
    *(b"&a ", b"*a", b"!!str ", b"%", b"#", b"? ", b"<<: ", b'"\\ud83d"', b"\0", b"\xff", b"\r\n"),
    *(b"\xe2\x80\xa8", b"\r", b"9" * 50, b"-1", b".inf", b"nan", b"~", b"1e999", b"{{", b"{% for"),
    *(b"---\n", b"...\n", b"\xf0\x9f\x98\x80", b"\xef\xbb\xbf", b"1979-05-27", b"'''", b"[[", b"="),
    *(b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-12:00", b"99999999d", b"\xcc\x81" * 20),
)
VALUES = (
    *(None, True, False, 0, -1, 1.5, -0.0, 2**31, 2**53, 2**63, 10**30, 1e300, "", "7", "a/b", "."),
    *("\ud83d", "\0", "\u202e", "é" * 5000, "0001-01-01T00:00:00", "9999-12-31T23:59:59.9-12:00"),
    *("2015-09-23T09:46:08+25:00", "NaN", [], {}, [[]], [None], {"": ""}, "*", "/%00", "<@U1>"),
)


class Lines:
    """Notes which lines of the bot and the client are reached; `new` counts those never before."""

    def __init__(self) -> None:
        self.new = 0
        self._unreached: dict[CodeType, set[int]] = {}

    def __enter__(self) -> "Lines":
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, _event: str, _arg: object) -> Callable[..., Any] | None:
        code = frame.f_code
        unreached = self._unreached.get(code)
        if unreached is None:
            ours = code.co_filename.startswith((f"{ROOT}/bot/", f"{ROOT}/mouseflow/"))
            lines = {line for *_, line in code.co_lines() if line} if ours else set()
            self._unreached[code] = unreached = lines - {code.co_firstlineno}
        return self._line if unreached else None  # to follow each line is what takes the time

    def _line(self, frame: FrameType, event: str, _arg: object) -> Callable[..., Any]:
        unreached = self._unreached[frame.f_code]
        if event == "line" and frame.f_lineno in unreached:
            unreached.remove(frame.f_lineno)
            self.new += 1
        return self._line


@dataclass
class Corpus:
    """The inputs that reached something new, in a folder."""

    folder: Path
    inputs: list[bytes] = field(default_factory=list)

    def load(self, seeds: Sequence[bytes]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.inputs = [*seeds, *(path.read_bytes() for path in sorted(self.folder.iterdir()))]

    def add(self, data: bytes) -> None:
        self.inputs.append(data)
        keep(self.folder, data)


def keep(folder: Path, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    return path


def corpus(name: str) -> list[bytes]:
    """The inputs that are kept with the tests."""
    with zipfile.ZipFile(CORPUS / f"{name}.zip") as archive:
        return [archive.read(each) for each in archive.namelist()]


def keep_corpus(name: str, target: "Target", build: Path) -> None:
    """Keep the inputs of earlier runs that reach lines which the seeds and smaller ones don't."""
    found, lines = {*corpus(name)} if (CORPUS / f"{name}.zip").exists() else set(), Lines()
    found |= {path.read_bytes() for path in (build / name).glob("*")}
    seeds, kept = target.seeds(), dict[str, bytes]()
    for data in [*seeds, *sorted(found - set(seeds), key=lambda it: (len(it), it))]:
        before = lines.new
        with lines, suppress(Exception):
            target.run(data)
        if lines.new > before and data not in seeds:
            kept[hashlib.sha256(data).hexdigest()[:16]] = data
    CORPUS.mkdir(exist_ok=True)
    with zipfile.ZipFile(CORPUS / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for digest, data in kept.items():
            archive.writestr(zipfile.ZipInfo(digest), data, zipfile.ZIP_DEFLATED)
    print(f"{name}: {len(kept):,} of {len(found):,} inputs kept", flush=True)


def mutated(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """The input with a few pieces changed: as JSON where it is JSON, else as bytes."""
    head, mark, body = data.rpartition(b"\n\n")
    if chance.random() < 0.6:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            pass
        else:
            with suppress(RecursionError):
                for _ in range(chance.choice([1, 1, 1, 2, 4])):
                    document = other_value(document, chance)
                return (head + mark + json.dumps(document).encode())[:MOST]
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        begin = chance.randrange(len(data) + 1)
        end = min(len(data), begin + chance.choice([0, 1, 5, 20, 80]))
        other = chance.choice(others)
        cut = chance.randrange(len(other) + 1)
        piece = chance.choice(
            [b"", chance.choice(ODD), data[begin:end] * 3, other[cut:][: chance.choice([8, 200])]]
        )
        data = data[:begin] + piece + data[end:]
    return data[:MOST]


def other_value(document: Any, chance: random.Random) -> Any:
    """The document with one value changed, removed, repeated or moved to another key."""
    places = list(containers(document))
    if not places:
        return deepcopy(chance.choice(VALUES))
    container = chance.choice(places)
    keys = list(container) if isinstance(container, dict) else list(range(len(container)))
    if not keys:
        return document
    key = chance.choice(keys)
    match chance.randrange(6):
        case 0:
            del container[key]
        case 1 if isinstance(container, list):
            container.extend(deepcopy(container[key]) for _ in range(chance.choice([1, 3])))
        case 1:
            container[chance.choice([*keys, "count", "id", "name"])] = deepcopy(container[key])
        case _:
            container[key] = deepcopy(chance.choice(VALUES))
    return document


def containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for each in value.values() if isinstance(value, dict) else value:
            yield from containers(each)


@dataclass(frozen=True)
class Target:
    """`run` takes an input and raises if the bot does anything but read or refuse it."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]


def fuzz(name: str, target: Target, seconds: float, seed: int, build: Path) -> list[Path]:
    """Try mutated inputs for that long; returns the files of finds, one for each place."""
    chance, lines = random.Random(seed), Lines()
    inputs, finds = Corpus(build / name), dict[str, Path]()
    inputs.load([*target.seeds(), *corpus(name)])
    tries, begun, worked = 0, time.monotonic(), time.process_time()
    known = list(inputs.inputs)
    while time.monotonic() - begun < seconds:
        first = known.pop() if known else None
        data = (
            mutated(chance.choice(inputs.inputs), inputs.inputs, chance) if first is None else first
        )
        before, cpu, tries = lines.new, time.process_time(), tries + 1
        why = ""
        try:
            # To note the lines takes four times as long, so only one in a few inputs is watched.
            with lines if first is not None or chance.random() < 0.25 else nullcontext():
                target.run(data)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            why = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
            shown = traceback.format_exc()
        if not why and time.process_time() - cpu > SLOW:
            why, shown = "slow", f"{time.process_time() - cpu:.1f} s"
        if why and why not in finds:
            finds[why] = keep(build / "finds" / name, data)
            print(f"FIND {name}: {why} in {finds[why]}\n{shown}", flush=True)
        if not why and first is None and lines.new > before:
            inputs.add(data)
    print(f"{name}: {tries:,} inputs in {time.monotonic() - begun:.0f} s,"
          f" {time.process_time() - worked:.0f} s of processor time, {lines.new:,} lines,"
          f" {len(inputs.inputs):,} inputs kept, {len(finds)} finds", flush=True)  # fmt: skip
    return list(finds.values())


def main() -> int:
    from fuzz_targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("target", nargs="*", choices=[*TARGETS, []])
    parser.add_argument("--seed", type=int, default=time.time_ns())
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--keep", action="store_true", help="only renew tests/fuzz/corpus")
    given = parser.parse_args()
    chosen: Mapping[str, Target] = {it: TARGETS[it] for it in given.target or TARGETS}
    if given.keep:
        for it, target in chosen.items():
            keep_corpus(it, target, given.build)
        return 0
    found = [
        fuzz(it, target, given.seconds, given.seed, given.build) for it, target in chosen.items()
    ]
    return int(any(found))


if __name__ == "__main__":
    sys.path[1:1] = [
        str(ROOT),
        *(str(ROOT / "tests" / name) for name in ("mouseflow", "end_to_end")),
    ]
    sys.exit(main())
