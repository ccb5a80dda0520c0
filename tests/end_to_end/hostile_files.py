"""Rule files that nobody should write, each with an error somewhere: name → how to make it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

HEAD = "version: 1\nrules:\n"
RULE = HEAD + "  bad:\n    watch: recordings\n    when: {device: phone}\n    do: {tag: x}\n"


def _in(when: str = "{device: phone}", do: str = "{tag: x}", more: str = "") -> str:
    return f"{HEAD}  bad:\n    watch: recordings\n    when: {when}\n    do: {do}\n{more}"


def _bomb(levels: int) -> str:
    rows = ["x0: &x0 [a, b, c, d, e, f, g, h, i]"]
    rows += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(rows) + "\n" + RULE


CONTENTS: Mapping[str, str | bytes] = {
    # nothing, or something else
    "empty.yaml": "",
    "blank.yaml": "\n \n\n",
    "comment.yaml": "# version: 1",
    "empty.toml": "",
    "nul.yaml": b"version: 1\0",
    "binary.yaml": bytes(range(256)),
    "elf.toml": b"\x7fELF\x02\x01\x01\0\0",
    "utf-16.yaml": RULE.encode("utf-16"),
    "latin-1.yaml": RULE.replace("x}", "caf\xe9}").encode("latin-1"),
    "half-utf-8.yaml": RULE.encode() + b"# \xf0\x9f",
    "overlong.yaml": b"version: 1\nrules: \xc0\xaf",
    "html.yaml": "<!DOCTYPE html><html><body>Sign in</body></html>",
    "json.yaml": '{"version": 1, "rules": {"bad": {"watch": "recordings"',
    "conflict.yaml": f"<<<<<<< HEAD\n{RULE}=======\n{RULE}>>>>>>> branch\n",
    "diff.toml": "--- a/rules.toml\n+++ b/rules.toml\n@@ -1 +1 @@\n-version = 1\n",
    "number.yaml": "1",
    "text.yaml": "version",
    "list.yaml": "- version: 1\n",
    "null.yaml": "~",
    "values.yaml": "replicaCount: 1\nimage:\n  repository: nginx\n  tag: latest\n",
    # characters
    "half-character-key.yaml": f'{HEAD}  "\\ud800": 1\n',
    "half-character-value.yaml": _in('{device: "\\udfff"}'),
    "half-character-tag.yaml": _in(do='{tag: "\\ud83d"}'),
    "wrong-way-round.yaml": _in(do='{slack: {text: "\\ude00\\ud83d"}}'),
    "big-escape.yaml": _in(do='{tag: "\\UFFFFFFFF"}'),
    "carriage-return.yaml": RULE.replace("{tag: x}", "{tag: x} # \r    star: true"),
    "carriage-return.toml": 'version = 1\n# note \rrules.bad.watch = "recordings"\n',
    "line-separator.yaml": RULE + "# \u2028except: {}\n",
    "bell.yaml": RULE + "# \x07",
    "tab-indent.yaml": f"{HEAD}\tbad: 1\n",
    "many-tabs.yaml": HEAD + "\t" * 50_000 + "a: b",
    # limits
    "too-big.yaml": RULE + "#" * 1_000_000,
    "deep-brackets.yaml": _in("[" * 100_000),
    "deep-braces.yaml": _in("{not: " * 5_000),
    "deep-dashes.yaml": HEAD + "- " * 50_000,
    "deep-blocks.yaml": HEAD + "".join(" " * n + "a:\n" for n in range(2, 400)),
    "deep.toml": "version = 1\nx = " + "[" * 100_000,
    "deep-tables.toml": "version = 1\n[" + ".".join("a" * 5_000) + "]\n",
    "many-values.yaml": _in(f"{{country: [{'de,' * 110_000}de]}}"),
    "alias-bomb.yaml": _bomb(9),
    "alias-itself.yaml": "version: 1\nrules: &a\n  bad: *a\n",
    "alias-unknown.yaml": "version: 1\nrules: *nowhere\n",
    "quotes.yaml": HEAD + "  'a\n" * 10_000,
    "long-tag.yaml": _in(f"!{'x' * 100_000} y"),
    "long-key.yaml": HEAD + "  " + "k" * 100_000 + ": 1\n",
    "long-number.yaml": _in(f"{{friction: {'9' * 100_000}}}"),
    "long-number.toml": f"version = {'9' * 100_000}\n",
    "long-regex.yaml": _in("{exit_page: {matches: '" + "(a|b)*" * 10_000 + "'}}"),
    "long-text.yaml": _in(do="{slack: {text: '" + "{{ country }}" * 10_000 + "'}}"),
    "duplicate-keys.yaml": RULE + "    do: {tag: y}\n" * 5_000,
    # YAML
    "directive.yaml": f"%YAML 1.3\n---\n{RULE}",
    "directive-2.yaml": f"%YAML 2.0\n---\n{RULE}",
    "directive-odd.yaml": f"%YAML one\n---\n{RULE}",
    "two-documents.yaml": f"{RULE}---\n{RULE}",
    "python-tag.yaml": _in("!!python/object/apply:os.system ['true']"),
    "merge.yaml": f"{HEAD}  bad:\n    <<: {{watch: recordings}}\n",
    "list-key.yaml": f"{HEAD}  ? [a, b]\n  : 1\n",
    "null-key.yaml": f"{HEAD}  ~: 1\n",
    "unclosed.yaml": _in("{device: phone"),
    "percent.yaml": "%\n",
    "anchor.yaml": "version: 1\nrules: & \n",
    "colons.yaml": HEAD + "  bad: a: b: c\n",
    # TOML
    "unclosed.toml": 'version = 1\nrules.bad.watch = "recordings',
    "no-value.toml": "version =\n",
    "twice.toml": "version = 1\n[rules.a]\n[rules.a]\n",
    "bare.toml": "version\n",
    "date.toml": "version = 1979-13-45\n",
    "infinite.toml": 'version = 1\nrules.bad = {watch = "recordings", when.friction = nan}\n',
    # rules
    "versions.yaml": RULE.replace("version: 1", "version: 2"),
    "version-true.yaml": RULE.replace("version: 1", "version: true"),
    "odd-id.yaml": RULE.replace("bad:", "'../../etc/passwd':"),
    "emoji-id.yaml": RULE.replace("bad:", "\U0001f600:"),
    "rule-is-a-list.yaml": f"{HEAD}  bad: [1, 2]\n",
    "infinite.yaml": _in("{friction: .inf}"),
    "not-a-number.yaml": _in("{friction: .nan}"),
    "negative.yaml": _in("{duration: {over: -5s}}"),
    "endless-time.yaml": _in("{duration: {over: 999999999999999999d}}"),
    "regex.yaml": _in("{exit_page: {matches: '(((('}}"),
    "look-behind.yaml": _in("{exit_page: {matches: '(?<=a)b'}}"),
    "repeat.yaml": _in("{exit_page: {matches: '((a{1000}){1000}){1000}'}}"),
    "template.yaml": _in(do="{tag: 'x-{{ country }}'}"),
    "template-syntax.yaml": _in(do="{slack: {text: '{{'}}"),
    "template-code.yaml": _in(do="{slack: {text: \"{{ ''.__class__.__mro__ }}\"}}"),
    "template-loop.yaml": _in(do="{slack: {text: '{% for a in range(999999999) %}x{% endfor %}'}}"),
    "fails-its-test.yaml": RULE + "    tests: [{given: {device: tablet}, expect: match}]\n",
    "test-of-nothing.yaml": RULE + "    tests: [{}]\n",
    "url.yaml": _in(do="{webhook: {url: 'http://[::1'}}"),
    "no-actions.yaml": _in(do="{}"),
    "budget.yaml": "version: 1\nbudgets:\n  bad: {websites: [a], recordings: .inf, period: eon}\n",
}


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(6_000_000_000)


THINGS: Mapping[str, Callable[[Path], None]] = {
    "pipe.yaml": os.mkfifo,
    "folder.yaml": Path.mkdir,
    "dangling.yaml": lambda path: path.symlink_to("nowhere"),
    "itself.yaml": lambda path: path.symlink_to(path),
    "endless.yaml": lambda path: path.symlink_to("/dev/zero"),
    "sparse.yaml": _sparse,
}


def make(name: str, folder: Path) -> None:
    """Put the file into the folder."""
    if name in THINGS:
        THINGS[name](folder / name)
        return
    content = CONTENTS[name]
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


NAMES = (*CONTENTS, *THINGS)
