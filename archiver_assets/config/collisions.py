"""Names that two entries of a config file would share.

What belongs here: duplicates in the file, and names that are the same only in Dagster. What does not: how the names are made
(naming.py). Messages give places, not names, which may come from variables.
"""

from archiver_assets.config.layout import DatabaseDraft, TableDraft
from archiver_assets.config.naming import TableName, checks_schedule_name, dagster_name
from archiver_assets.config.problems import Problems

_RULE = "in Dagster every character outside [A-Za-z0-9_] becomes _, and the parts of a name are joined by __; rename one"


def note_collisions(databases: tuple[DatabaseDraft, ...], problems: Problems) -> None:
    """Note every database and every table whose label or name, in the file or in Dagster, an earlier one has already."""
    distinct = _distinct_databases(databases, problems)
    names: dict[str, TableDraft | DatabaseDraft] = {checks_schedule_name(label): database for label, database in distinct.items()}
    for label, database in distinct.items():
        for name, table in _distinct_tables(label, database, problems):
            _note_shared_names(name, table, names, problems)


def _distinct_databases(databases: tuple[DatabaseDraft, ...], problems: Problems) -> dict[str, DatabaseDraft]:
    labels: dict[str, DatabaseDraft] = {}
    groups: dict[str, DatabaseDraft] = {}
    for database in databases:
        label = database.label
        if label is None:
            continue
        if label in labels:
            problems.add(database.line, f"{database.path}.name", f"duplicate database; {_place(labels[label])} has the same label")
        elif dagster_name(label) in groups:
            text = f"the label collides in Dagster with that of {_place(groups[dagster_name(label)])}; {_RULE}"
            problems.add(database.line, f"{database.path}.name", text)
        else:
            labels[label] = groups[dagster_name(label)] = database
    return labels


def _distinct_tables(label: str, database: DatabaseDraft, problems: Problems) -> list[tuple[TableName, TableDraft]]:
    distinct: dict[TableName, TableDraft] = {}
    for table in database.tables:
        name = table.table_name(label)
        if name in distinct:
            problems.add(table.line, table.path, f"duplicate table; {_place(distinct[name])} has the same schema and name")
        elif name:
            distinct[name] = table
    return list(distinct.items())


def _note_shared_names(name: TableName, table: TableDraft, names: dict[str, TableDraft | DatabaseDraft], problems: Problems) -> None:
    shared = sorted(name.all_names & names.keys())
    if shared:
        problems.add(table.line, table.path, f"the table's names collide in Dagster with those of {_place(names[shared[0]])}; {_RULE}")
    for each in name.all_names:
        names.setdefault(each, table)


def _place(draft: DatabaseDraft | TableDraft) -> str:
    return f"{draft.path} on line {draft.line}"
