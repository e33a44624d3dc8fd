"""The verbs: archive, verify, purge. The only place that knows the protocol, and free of Dagster."""
