"""The op of a step, and the asset or the checks around it, made by Dagster's constructors in place of its decorators.

What belongs here: from what a step is called, takes and yields to Dagster's definitions. What does not: what it does (`steps.py`), and what
the asset or the check says of itself (`assets.py`, `restore_assets.py`, `checks.py`).

A decorator takes its function apart, annotation by annotation, a dozen times: of 1,000 tables, with 4,050 ops, that was more than half of
the time that their code location took to load. See https://docs.dagster.io/api/dagster/ops.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

AssetBody = Callable[[dg.AssetExecutionContext, Mapping[str, object]], Iterator[Any]]
CheckBody = Callable[[dg.AssetCheckExecutionContext, Mapping[str, object]], Iterator[dg.AssetCheckResult]]
"""What an op runs. It is given its context, whose resource `services` is Services, and its inputs, which hold nothing."""

_RESOURCES = frozenset({"services"})
_NOTHING = dg.In(dg.Nothing)


def step_asset(body: AssetBody, *, name: str, spec: dg.AssetSpec, config_schema: dg.Field) -> dg.AssetsDefinition:
    """Return the asset of `spec`, which its step, `name`, materializes or (if `spec` is skippable) leaves as it is."""
    inputs = {dep.asset_key.to_python_identifier(): dep.asset_key for dep in spec.deps}
    output = spec.key.to_python_identifier()
    op = dg.OpDefinition(
        body,
        name,
        ins=dict.fromkeys(inputs, _NOTHING),
        outs={output: dg.Out(dg.Nothing, is_required=not spec.skippable)},
        config_schema=config_schema,
        required_resource_keys=_RESOURCES,
    )
    return dg.AssetsDefinition(node_def=op, keys_by_input_name=inputs, keys_by_output_name={output: spec.key}, specs=[spec])


def step_checks(
    body: CheckBody, *, name: str, specs: Sequence[dg.AssetCheckSpec], config_schema: dg.Field | None = None, can_subset: bool = False
) -> dg.AssetChecksDefinition:
    """Return the checks of `specs`, which one step, `name`, evaluates together, or those of them that are selected."""
    inputs = {spec.asset_key.to_python_identifier(): spec.asset_key for spec in specs}
    outputs = {f"{spec.asset_key.to_python_identifier()}_{spec.name}": spec for spec in specs}
    op = dg.OpDefinition(
        body,
        name,
        ins=dict.fromkeys(inputs, _NOTHING),
        outs=dict.fromkeys(outputs, dg.Out(None, is_required=not can_subset)),
        config_schema=config_schema,
        required_resource_keys=_RESOURCES,
    )
    checks: dg.AssetChecksDefinition = dg.AssetChecksDefinition.create(
        keys_by_input_name=inputs, node_def=op, check_specs_by_output_name=outputs, can_subset=can_subset
    )
    return checks
