"""Rule files with random damage: read, or refused with places inside the file, never a surprise."""

import random
import re
from pathlib import Path

from broken_files import FAULTS
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import RuleErrors
from bot.rules.files.actions import Allowed
from bot.rules.files.load import read

EXAMPLES = Path(__file__).parents[3] / "rules"
FILES = sorted(
    (path.suffix, path.read_bytes())
    for folder in (FAULTS, EXAMPLES)
    for path in folder.iterdir()
    if path.suffix in (".yaml", ".toml")
)
WORDS = sorted({word for _, text in FILES for word in re.findall(rb"[\w.*/%-]+|[^\w\s]", text)})
ODD = (
    *(b"\n", b"  ", b"\t", b": ", b"- ", b"[", b"]", b"{", b"}", b"'", b'"', b"|", b">", b"\\"),
    *(b"&a ", b"*a", b"!!str ", b"%", b"#", b"? ", b"<<: ", b'"\\ud83d"', b"\0", b"\xff", b"\r\n"),
    *(b"\xe2\x80\xa8", b"\r", b"9" * 50, b"-1", b".inf", b"nan", b"~", b"1e999", b"{{", b"{% for"),
    *(b"---\n", b"...\n", b"\xf0\x9f\x98\x80", b"\xef\xbb\xbf", b"1979-05-27", b"'''", b"[[", b"="),
)


def damaged(chance: random.Random) -> tuple[str, bytes]:
    """A file with up to eight pieces cut, replaced, repeated or put in."""
    suffix, text = chance.choice(FILES)
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        begin = chance.randrange(len(text) + 1)
        end = min(len(text), begin + chance.choice([0, 1, 5, 20, 80]))
        other = chance.choice(FILES)[1]
        cut = chance.randrange(len(other) + 1)
        piece = chance.choice(
            [b"", chance.choice(ODD), chance.choice(WORDS), text[begin:end] * 3, other[cut:][:200]]
        )
        text = text[:begin] + piece + text[end:]
    return f"x{suffix}", text


@given(st.integers(min_value=0))
def test_a_damaged_file_is_read_or_refused_with_places_in_it(seed):
    name, content = damaged(random.Random(seed))
    try:
        read([(name, content)], allowed=Allowed(delete=True), tested=True)
    except RuleErrors as error:
        lines = content.count(b"\n") + content.count(b"\r") + 2
        for fault in error.faults:
            assert "internal error" not in fault.message
            assert 1 <= fault.line <= lines
            assert fault.column >= 1
            str(fault).encode()
