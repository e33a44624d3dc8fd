"""Restores of the table of the lab. What does not belong here: assertions."""

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.restoring.request import RestoreRequest
from archiver_assets_tests.lab import Lab

INTO_ITSELF = RestoreRequest(table_name="audit_logs")

TRIGGER = """
CREATE TABLE fired (id bigint);
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.fired VALUES (new.id); RETURN new; END $$;
CREATE TRIGGER on_insert AFTER INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION fire();
"""


def differing(lab: Lab, table: str, before: str = "before") -> int:
    """Let the server count the rows that one of two tables has and the other has not, byte by byte, with how often."""
    columns = ", ".join(
        f"{name}"
        for (name,) in lab.execute(
            "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY 1",
            [before],
        )
    )
    one, other = (f"SELECT record_send(ROW({columns})) AS image FROM {name}" for name in (table, before))
    return int(lab.execute(f"SELECT count(*) FROM (({one} EXCEPT ALL {other}) UNION ALL ({other} EXCEPT ALL {one})) AS d")[0][0])


def two_generations(lab: Lab) -> None:
    """Archive 10 rows, change five of them, archive these again; `after` has the rows as they were at last."""
    lab.fill(rows=10)
    archive(lab.task())
    lab.execute("UPDATE audit_logs SET action = 'changed' WHERE id <= 5")
    archive(lab.task())
    lab.execute("CREATE TABLE after AS SELECT * FROM audit_logs")
    lab.execute("DELETE FROM audit_logs")
