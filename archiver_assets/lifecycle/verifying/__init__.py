"""Verify: read generations back and prove them, one partition or a whole archive, from the store alone or with witnesses."""
