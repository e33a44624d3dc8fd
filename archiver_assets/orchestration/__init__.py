"""Dagster: names, partitions, assets, checks, jobs, schedules, resources and metadata. No protocol of its own."""
