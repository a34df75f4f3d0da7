"""The public face: results, methods and metrics for programs of others, named in supreme_core."""
