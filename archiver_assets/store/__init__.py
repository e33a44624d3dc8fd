"""The objects: the ObjectStore protocol and S3, keys, manifests, Parquet encoding and the content digest."""
