"""Legal holds on the table of the lab, as objects in its bucket."""

from archiver_assets.config import Hold
from archiver_assets.store.hold_objects import place_hold
from archiver_assets_tests.lab import PREFIX, Lab


def hold(**values: object) -> Hold:
    return Hold.model_validate({"id": "case-1", "reason": "an investigation", "table_name": "audit_logs", **values})


def condition(column: str, operator: str, *values: str) -> dict[str, object]:
    return {"column": column, "operator": operator, "values": list(values)}


def place(lab: Lab, *conditions: dict[str, object], **values: object) -> None:
    place_hold(lab.store, PREFIX, hold(conditions=list(conditions), **values))
