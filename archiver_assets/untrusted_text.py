"""Sanitizing text from outside the archiver before it is shown: bounded in length, with control characters escaped.

What does not belong here: where the text is shown.
"""

import hashlib
import json
from typing import Final

LONGEST: Final = 4_000
"""The most characters of one outside text in a message: text in a bucket can be megabytes long, and messages go into events and marks."""
_KEPT: Final = 1_500


def bounded(text: str) -> str:
    """Return the text; if it is longer than LONGEST, its beginning, length, digest and end. Different texts stay different."""
    if len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
    return f"{text[:_KEPT]} [... {len(text):,} characters, sha256:{digest} ...] {text[-_KEPT:]}"


def visible(text: str) -> str:
    """Return the text with unprintable characters escaped, such as those that move a terminal's cursor, set colours or reverse direction.

    Line feeds and tabs are kept.
    """
    return text if text.isprintable() else "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in text)


def json_text(value: object) -> str:
    """Return a value as JSON: printable characters of every language as they are, all others escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
