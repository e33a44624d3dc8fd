"""Of which table and step lines are that are logged outside of the verbs, which have a context of their own."""

from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import dagster as dg
import pytest
from structlog.contextvars import get_contextvars

from archiver_assets.config import Config
from archiver_assets.errors import SourceUnavailable
from archiver_assets.orchestration.check_evaluation import looks_at
from archiver_assets.orchestration.instance_cache import KeptInstance
from archiver_assets.orchestration.schedules import table_schedule
from archiver_assets.services import Services
from archiver_assets_tests.unit.config_files import SHORTEST, config_from, only_table


class Unreachable(Services):
    """Services whose database notes in which context it is asked for, and is not there."""

    asked: list[dict[str, Any]] = []  # noqa: RUF012 -- of one test each: it is cleared

    def source(self, table: object) -> Any:  # noqa: ANN401 -- a double of a part of Source
        del table
        return self

    shared_source = source

    def connect(self) -> NoReturn:
        self.asked.append(get_contextvars())
        message = "expected a server, found none"
        raise SourceUnavailable(message, hint="start it")

    def hold_places(self) -> Any:  # noqa: ANN401 -- as above
        return None


@pytest.fixture
def config(tmp_path: Path) -> Config:
    Unreachable.asked.clear()
    return config_from(tmp_path, SHORTEST)


def test_lines_of_a_check_are_of_its_table_and_name(config: Config, instance: dg.DagsterInstance) -> None:
    for look in looks_at(config.databases[0], Unreachable(config), instance).values():
        with suppress(SourceUnavailable):
            look()
    assert Unreachable.asked == [{"database": "app", "table": "app/public/log", "step": step} for step in ("preflight", "backlog")]


def test_lines_of_a_tick_are_of_its_table(config: Config) -> None:
    schedule = table_schedule(only_table(config), "any", Unreachable(config), KeptInstance())
    assert schedule
    with pytest.raises(dg.DagsterError), dg.build_schedule_context() as context:
        schedule.evaluate_tick(context)
    assert Unreachable.asked == [{"database": "app", "table": "app/public/log", "step": "schedule"}]
