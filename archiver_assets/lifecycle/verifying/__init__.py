"""Verify: generations read back and proven, one partition at a time or a whole archive, from the store alone or with witnesses."""
