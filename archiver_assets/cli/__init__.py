"""The `archiver` command: an operator's hands, for what is decided outside of Dagster's UI.

What belongs here: a module for each command, which reads its arguments, calls the lifecycle as the assets do, and says what was found or
done. What does not: any step of the protocol, or a decision about rows.
"""
