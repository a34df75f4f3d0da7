"""The store: a folder or an S3 bucket, and what lies in it: artefacts, results, published files."""
