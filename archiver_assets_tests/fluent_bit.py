"""What Fluent Bit makes of a container's log by the settings of the example in deploy/, and what the runtime makes of it before.

What belongs here: their rules, as far as the settings ask for them. What does not: expectations.

The runtime writes a line as `TIME STREAM TAG TEXT`, in pieces of 16 KiB that are tagged P but for the last, F:
https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md. The rest is of
https://docs.fluentbit.io/manual/data-pipeline/inputs/tail and https://docs.fluentbit.io/manual/data-pipeline/filters/kubernetes.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

PIECE: Final = 16 * 1024
LONGEST: Final = 32 * 1024
"""Bytes of a line in the file, by default."""
_LINE: Final = re.compile(r"(?P<time>[^ ]+) (?P<stream>stdout|stderr) (?P<tag>[FP]) (?P<log>.*)")


def container_log(text: str, stream: str = "stdout") -> str:
    """Return the file that the runtime makes of what a container wrote to a stream."""
    lines = []
    for line in text.split("\n")[:-1]:
        pieces = [line[start : start + PIECE] for start in range(0, len(line), PIECE)] or [""]
        lines += [f"2026-08-01T00:00:00.000000000Z {stream} P {piece}" for piece in pieces[:-1]]
        lines.append(f"2026-08-01T00:00:00.000000000Z {stream} F {pieces[-1]}")
    return "".join(f"{line}\n" for line in lines)


def records(file: str, settings: str) -> list[dict[str, Any]]:
    """Return the records that leave Fluent Bit for such a file."""
    sections = _sections(settings)
    [tail], [kubernetes] = sections["INPUT"], sections["FILTER"]
    assert (tail["Name"], kubernetes["Name"]) == ("tail", "kubernetes")
    assert "cri" in tail["multiline.parser"].split(", ")
    return [_merged(record, kubernetes) for record in _joined(file)]


def _joined(file: str) -> Iterator[dict[str, Any]]:
    begun = ""
    for line in file.split("\n")[:-1]:
        assert len(line.encode()) <= LONGEST, "skipped as a long line"
        found = _LINE.fullmatch(line)
        assert found
        begun += found["log"]
        if found["tag"] == "F":
            yield {"time": found["time"], "stream": found["stream"], "log": begun}
            begun = ""


def _merged(record: dict[str, Any], kubernetes: Mapping[str, str]) -> dict[str, Any]:
    if kubernetes.get("Merge_Log", "Off") != "On":
        return record
    try:
        fields = json.loads(record["log"])
    except ValueError:
        return record
    if not isinstance(fields, dict):
        return record
    fields = {kubernetes["Merge_Log_Key"]: fields} if "Merge_Log_Key" in kubernetes else fields
    kept = record if kubernetes.get("Keep_Log", "On") == "On" else {name: value for name, value in record.items() if name != "log"}
    return {**kept, **fields}


def _sections(settings: str) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for line in settings.splitlines():
        if line.startswith("["):
            found.setdefault(line.strip("[]"), []).append({})
        elif line.strip() and not line.startswith("#"):
            name, value = line.split(maxsplit=1)
            found[list(found)[-1]][-1][name] = value.strip()
    return found
