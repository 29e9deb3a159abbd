"""What comes back from an outbound call: the bytes, and how to read them."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.errors import VendorUnavailable

_HEADER_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.I)
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w.:-]+)", re.I)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Python also knows codecs (idna, punycode, unicode_escape, utf-7) that no page needs and that cost
# quadratic time or decode to surprises, so that only the families pages use are accepted.
_KNOWN = re.compile(
    r"(utf-?(8|16|32)|iso|latin|us-ascii|ascii|windows|cp|koi8|gb|big5|euc|shift|sjis|mac|tis)",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer read to its end; header names are in lower case, `url` is where it came from.

    Its representation shows neither address nor content: both may hold keys or private text.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: str = field(repr=False)
    vendor: str = "The service"

    def json(self) -> Any:
        """Return the body parsed as JSON; raises VendorUnavailable when it is something else."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            message = f"{self.vendor} sent an answer that cannot be read. Try again in a moment."
            raise VendorUnavailable(message) from None  # a decoder's error carries the whole body

    def text(self) -> str:
        """Return the body as text, by byte order mark, header, HTML's own label, else UTF-8."""
        return self.body.decode(self._charset(), errors="replace")

    def _charset(self) -> str:
        for mark, name in _BOMS:
            if self.body.startswith(mark):
                return name
        header = _HEADER_CHARSET.search(self.headers.get("content-type", ""))
        meta = _META_CHARSET.search(self.body[:4096])
        labels = [header[1]] if header else []
        if meta:
            labels.append(meta[1].decode("ascii", "replace"))
        return next((label for label in labels if _decodes(label)), "utf-8")


def _decodes(label: str) -> bool:
    if not _KNOWN.match(label):
        return False
    try:
        codecs.lookup(label)
    except LookupError:
        return False
    return True
