"""The story of one table in Dagster's UI: archived, purged, damaged, refused, restored; told by a user at a browser.

What belongs here: what the user does, what she must see, and the rows in the tables, counted by SQL of the tests' own. What does not: how
things are found on a page (`user.py`). It is both a test and the source of the README's pictures.
"""

from dataclasses import dataclass, replace

from archiver_assets.demo.sample import AUDIT_LOGS, Day, change_meanwhile, count_rows, expired_days
from archiver_assets.demo.stage import BUCKET, Stage
from archiver_assets_tests.browser.user import User

DAYS = 5
ROWS = 400
LATE_ROWS = 7
TABLE = ("shop", "public", "audit_logs")
ARCHIVE_AND_PURGE = 'key:"shop/public/audit_logs/archive" or key:"shop/public/audit_logs/purge"'
WHOLE_TABLE = 'key:"shop/public/audit_logs*"'


@dataclass(frozen=True)
class Story:
    """Its chapters, in order; each leaves what the next one begins with."""

    stage: Stage
    user: User

    def tell(self) -> None:
        """Tell all of it."""
        first, second, third, *_ = expired_days(AUDIT_LOGS, DAYS)
        self._graph()
        self._main_job(first)
        backfill = self._begin_backfill(second, third)
        self._restore(first)
        self._archived_days(backfill, second, third)
        self._what_can_be_read()
        self._refused_purge(second)
        self._red_check(first)
        self._red_graph()
        self._end_of_backfill(backfill)

    def _graph(self) -> None:
        self.user.opens_group("shop", "audit_logs", "login_events")
        self.user.picture("group")
        self.user.filters_graph(WHOLE_TABLE, away="login_events")
        source, archive, purge, restore = (self.user.left_of(name) for name in ("audit_logs", "archive", "purge", "restore"))
        assert source < archive < purge == restore

    def _main_job(self, day: Day) -> None:
        assert self._rows(day) == ROWS
        self.user.opens_group("shop", "audit_logs", "login_events")
        self.user.filters_graph(ARCHIVE_AND_PURGE, away="login_events")
        self.user.materializes(str(day.day))
        assert self.user.sees_run_end() == "Success"
        self.user.picture("main_job")
        assert self._rows(day) == 0

    def _begin_backfill(self, first: Day, last: Day) -> str:
        self.user.opens_asset(*TABLE, "archive")
        return self.user.materializes(f"[{first.day}...{last.day}]")

    def _end_of_backfill(self, backfill: str) -> None:
        assert self.user.sees_backfill_end(backfill) == "Succeeded"
        self.user.picture("backfill")

    def _restore(self, day: Day) -> None:
        self.user.opens_asset(*TABLE, "restore")
        self.user.materializes(str(day.day))
        assert self.user.sees_run_end() == "Success"
        self.user.opens_asset(*TABLE, "restore", view="partitions", partition=str(day.day))
        self.user.sees("rows_loaded")
        self.user.picture("restore")
        assert (self._rows(day), self._rows(day, "audit_logs_restored")) == (0, ROWS)

    def _archived_days(self, backfill: str, *days: Day) -> None:
        self.user.sees_runs_of_backfill(backfill, len(days), "Success")
        self.user.opens_asset(*TABLE, "archive", view="partitions")
        self.user.sees(f"Materialized ({1 + len(days)})")
        self.user.picture("partitions")
        assert [self._rows(day) for day in days] == [ROWS] * len(days)

    def _refused_purge(self, day: Day) -> None:
        """The object of a day that is archived and not purged is damaged: the purge, asked for alone, proves for itself and refuses."""
        self._damage(day)
        self.user.opens_asset(*TABLE, "purge")
        self.user.materializes(str(day.day))
        assert self.user.sees_run_end() == "Failure"
        self.user.sees_error("NotVerified.*sha256: expected")
        self.user.picture("refused_purge")
        assert self._rows(day) == ROWS

    def _red_check(self, day: Day) -> None:
        """The object of a purged day, the only copy, is damaged. Late rows make a second generation, whose purge the red check prevents."""
        self._damage(day)
        with self.stage.connect(AUDIT_LOGS.database) as connection:
            change_meanwhile(connection, day, LATE_ROWS)
        self.user.opens_group("shop", "audit_logs", "login_events")
        self.user.filters_graph(ARCHIVE_AND_PURGE, away="login_events")
        self.user.materializes(str(day.day))
        assert self.user.sees_run_end() == "Failure"
        assert self._rows(day) == LATE_ROWS
        self.user.opens_asset(*TABLE, "archive", view="checks")
        self.user.sees("generation 1: sha256: expected")
        self.user.sees("Failed")
        self.user.picture("red_check")

    def _what_can_be_read(self) -> None:
        self.user.opens_asset(*TABLE, "archive")
        for text in ("timestamp with time zone", "rows_per_second"):
            self.user.sees(text)
        self.user.plots_metadata("bytes", "dagster/partition_row_count")
        self.user.picture("plots")
        self._sees_whole_table("1 / 1 Passed")
        self.user.picture("graph")

    def _red_graph(self) -> None:
        self._sees_whole_table("2 failed")
        self.user.picture("red_graph")

    def _sees_whole_table(self, text: str) -> None:
        self.user.opens_group("shop", "audit_logs", "login_events")
        self.user.filters_graph(WHOLE_TABLE, away="login_events")
        self.user.sees(text)

    def _rows(self, day: Day, table: str = AUDIT_LOGS.name) -> int:
        with self.stage.connect(AUDIT_LOGS.database) as connection:
            return count_rows(connection, Day(replace(day.table, name=table), day.day))

    def _damage(self, day: Day) -> None:
        """Overwrite some bytes in the midst of the day's object."""
        client = self.stage.s3.client()
        prefix = f"archives/{AUDIT_LOGS.label}/dt={day.day}/rows-0001-"
        (found,) = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
        whole = client.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read()
        middle = len(whole) // 2
        client.put_object(Bucket=BUCKET, Key=found["Key"], Body=whole[:middle] + bytes(64) + whole[middle + 64 :])
