"""Makes the package's description of the README: without links into a checkout."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_IMAGE = re.compile(r"!\[[^\]]*\]\((?!https?://)[^)]*\)\n*")
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?://)[^)]*\)")


class Description(MetadataHookInterface):
    """Sets `readme`: an index shows it beside no other file of the project."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Leave out pictures, and keep the words of relative links."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = _LINK.sub(r"\1", _IMAGE.sub("", text))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
