"""The comparisons: one module per subject, listed in `registry.py`."""
