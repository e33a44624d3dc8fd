"""What is compared: a module for each subject, which the harness knows through `registry.py`."""
