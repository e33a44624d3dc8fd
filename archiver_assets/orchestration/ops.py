"""The op of a step, and the asset or the checks around it, made with Dagster's constructors instead of its decorators.

What belongs here: the definitions, from a step's name, inputs and outputs. What does not: the work of the step (`steps.py`), and the
description of the asset or the check (`assets.py`, `restore_assets.py`, `checks.py`).

A decorator inspects its function, annotation by annotation, a dozen times. With 1,000 tables, which have 4,050 ops, that took more than
half of the time to load the code location. See https://docs.dagster.io/api/dagster/ops.
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
