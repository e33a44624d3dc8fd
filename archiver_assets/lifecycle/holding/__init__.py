"""Legal holds: which are in force, and which rows each of them keeps."""
