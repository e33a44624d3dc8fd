"""The lifecycle of a partition, without Dagster. Only this package implements the protocol.

Each verb has a package: `archiving`, `verifying`, `purging`, `restoring`. `holding` handles legal holds, and `reporting` answers operators'
questions. The modules in this folder are shared by several verbs: the task, generations, backlog, preflight, progress and retries.
"""
