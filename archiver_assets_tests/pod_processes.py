"""A run as its pod executes it: the launcher's own command in a process of its own, with the production settings of the instance.

What belongs here: making such a run, with Dagster's storage in PostgreSQL, and starting it. What does not: expectations.

Only the launcher is not that of dagster.yaml: the command is what it would put into the Job. `pods.py` has the launcher too, for processes
that are forked.
"""

import copy
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, JobPythonOrigin, RepositoryPythonOrigin
from dagster._grpc.types import ExecuteRunArgs

from archiver_assets.config import load_config
from archiver_assets.orchestration.build import build_definitions
from archiver_assets_tests.commands import AUDIT_LOGS_TABLE, write_config
from archiver_assets_tests.lab import Lab
from archiver_assets_tests.pods import SHIPPED
from archiver_assets_tests.servers import Database


@dataclass(frozen=True)
class Pod:
    """A run, and its process."""

    run_id: str
    process: "subprocess.Popen[str]"


@dataclass(frozen=True)
class RunPods:
    """An instance, and the code location whose runs it has."""

    instance: dg.DagsterInstance
    location: dg.Definitions
    environ: Mapping[str, str]

    def start(self, job_name: str, day: str, keys: Sequence[dg.AssetKey], tags: Mapping[str, str], *also: str) -> Pod:
        """Start the process of a new run's pod; `also` are variables of its own, `NAME=value`."""
        pointer = ModuleCodePointer("archiver_assets.definitions", "defs", None)
        job_origin = JobPythonOrigin(job_name, RepositoryPythonOrigin("python", pointer, entry_point=DEFAULT_DAGSTER_ENTRY_POINT))
        run = self.instance.create_run_for_job(
            self.location.resolve_job_def(job_name),
            tags={"dagster/partition": day, **tags},
            asset_selection=frozenset(keys),
            job_code_origin=job_origin,
        )
        command = ExecuteRunArgs(job_origin, run.run_id, self.instance.get_ref(), set_exit_code_on_failure=True)
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        environ = os.environ | self.environ | path | dict(each.split("=", 1) for each in also)
        arguments = command.get_command_args()
        return Pod(run.run_id, subprocess.Popen(arguments, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))


def instance_file(home: Path, dagster: Database) -> dict[str, str]:
    """Write the production settings to `home`, and return the variables that they name."""
    document = copy.deepcopy({name: section for name, section in SHIPPED.items() if name != "run_launcher"})
    document["storage"]["postgres"]["postgres_db"]["params"] = {"sslmode": "prefer"}
    document["compute_logs"]["config"]["local_dir"] = str(home)  # where it leaves a folder for each run; else /tmp
    (home / "dagster.yaml").write_text(yaml.safe_dump(document))
    return {
        "DAGSTER_HOME": str(home),
        "DAGSTER_PG_HOST": dagster.host,
        "DAGSTER_PG_PORT": str(dagster.port),
        "DAGSTER_PG_DB": dagster.name,
        "DAGSTER_PG_USERNAME": dagster.user,
        "DAGSTER_PG_PASSWORD": dagster.password,
    }


@contextmanager
def open_run_pods(
    lab: Lab,
    dagster: Database,
    home: Path,
    *,
    database: Mapping[str, Any] | None = None,
    top: Mapping[str, Any] | None = None,
    **changes: object,
) -> Iterator[RunPods]:
    """Open an instance for the lab's table, whose bucket takes what runs print too.

    `changes` are to the table's config; `database` and `top` are keys of its database, and of the file.
    """
    config = write_config(lab, home, {**AUDIT_LOGS_TABLE, **changes}, top=top, **(database or {}))
    variables = instance_file(home, dagster) | {
        "ARCHIVER_CONFIG": config,
        "DAGSTER_COMPUTE_LOGS_BUCKET": lab.bucket,
        "AWS_ENDPOINT_URL_S3": lab.endpoint,
        "PYTHONUNBUFFERED": "1",
        **lab.environ,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield RunPods(instance, build_definitions(load_config(Path(config))), variables)
