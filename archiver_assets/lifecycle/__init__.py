"""The lifecycle of a partition, free of Dagster, and the only place that knows the protocol: a package for each verb.

`archiving`, `verifying`, `purging`, `restoring`; `holding` for legal holds, `reporting` for what people ask. The modules beside them are
what several verbs share: the task, the generations, the backlog, preflight, progress and retries.
"""
