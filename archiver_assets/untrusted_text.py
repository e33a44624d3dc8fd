"""Text of others, shown to people: bounded in length, and without characters that do more than stand there.

What belongs here: making it so. What does not: where text is shown.
"""

import hashlib
import json
from typing import Final

LONGEST: Final = 4_000
"""Characters of one text of others within a message: what a bucket holds can be megabytes, and messages go into events and marks."""
_KEPT: Final = 1_500


def bounded(text: str) -> str:
    """Return the text, or, of a long one, beginning, length, digest and end; different texts stay different."""
    if len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
    return f"{text[:_KEPT]} [... {len(text):,} characters, sha256:{digest} ...] {text[-_KEPT:]}"


def visible(text: str) -> str:
    """Return the text with escapes in place of characters that move a terminal's cursor, change its colours, or turn its direction.

    Line feeds and tabs stay.
    """
    return text if text.isprintable() else "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in text)


def json_text(value: object) -> str:
    """Return a value as JSON in which letters of all languages stand as they are, and what is not to be seen as escapes."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
