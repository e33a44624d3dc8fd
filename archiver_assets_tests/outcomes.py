"""What a purge did, compared by name: a test that fails names the numbers that differ."""

from archiver_assets.lifecycle.purging.purge import Purged


def assert_purged(result: Purged, /, **expected: object) -> None:
    """Compare those of its facts that are named: `outcome`, `purged`, `late`, `held`, `dropped`, `batches`, and the fields of `Deleted`."""
    rows = result.tally.rows
    facts = {
        "outcome": result.outcome,
        "purged": result.tally.purged,
        "by_version": rows.by_version,
        "by_content": rows.by_content,
        "changed": rows.changed,
        "gone": rows.gone,
        "locked": rows.locked,
        "elsewhere": rows.elsewhere,
        "batches": result.tally.batches,
        "late": result.late,
        "held": result.held,
        "dropped": result.dropped,
    }
    found = {name: facts[name] for name in expected}
    assert found == expected, f"expected {expected}, found {found}; all of it: {facts}"
