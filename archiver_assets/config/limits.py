"""Checks of a config file's holds, targets and limits against its own databases and tables.

What belongs here: holds that would keep nothing, targets of no database, and settings beyond the limits of `compliance`. What does not:
holds outside the file, which may be about tables of other configs.
"""

from archiver_assets.config.layout import FileDraft, PlacedValues, TableDraft
from archiver_assets.config.legal import Compliance, Hold
from archiver_assets.config.problems import Problems


def note_limits(draft: FileDraft, problems: Problems) -> None:
    """Note every hold of no table, every target of no database, every table beyond the limits, and ids and names that two share."""
    if problems.found:
        return  # what is wrong in itself would be noted twice
    _note_holds(draft, problems)
    _note_holds_table(draft, problems)
    _note_targets(draft, problems)
    compliance, encryption = Compliance.model_validate(draft.section("compliance")), str(draft.section("s3").get("encryption", "none"))
    for database in draft.databases:
        for table in database.tables:
            _note_beyond(table, compliance, encryption, problems)


def _note_holds(draft: FileDraft, problems: Problems) -> None:
    first: dict[object, PlacedValues] = {}
    for placed in draft.holds:
        hold = Hold.model_validate(placed.values)
        if not any(hold.names(*name) for name in _names(draft)):
            problems.add(placed.line, placed.path, "expected the name of a configured table, found another; the hold would keep nothing")
        earlier = first.setdefault(hold.id, placed)
        if earlier is not placed:
            problems.add(placed.line, f"{placed.path}.id", f"duplicate hold; {earlier.path} on line {earlier.line} has the same id")


def _names(draft: FileDraft) -> list[tuple[str, str]]:
    names = [table.table_name(database.label or "") for database in draft.databases for table in database.tables]
    return [(name.schema, name.table) for name in names if name]


def _note_holds_table(draft: FileDraft, problems: Problems) -> None:
    placed = draft.holds_table
    if placed and placed.values["database"] not in {database.label for database in draft.databases}:
        problems.add(placed.line, f"{placed.path}.database", "expected the label of a configured database, found another name")


def _note_targets(draft: FileDraft, problems: Problems) -> None:
    labels = {database.label for database in draft.databases}
    first: dict[object, PlacedValues] = {}
    for placed in draft.targets:
        named = placed.values.get("databases") or ()
        if isinstance(named, list) and not labels.issuperset(named):
            problems.add(placed.line, f"{placed.path}.databases", "expected labels of configured databases, found another name")
        earlier = first.setdefault(placed.values.get("name"), placed)
        if earlier is not placed:
            problems.add(placed.line, f"{placed.path}.name", f"duplicate target; {earlier.path} on line {earlier.line} has the same name")


def _note_beyond(table: TableDraft, compliance: Compliance, encryption: str, problems: Problems) -> None:
    retention_days, critical = table.values.get("retention_days"), table.values.get("critical")
    if isinstance(retention_days, int):
        found = compliance.problems(retention_days=retention_days, critical=critical is True, encryption=encryption)
        for setting, text in found:
            problems.add(table.line, f"{table.path}.{setting}", text)
