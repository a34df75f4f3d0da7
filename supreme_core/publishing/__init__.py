"""Read the results in a store, and write the summary and the report beside them."""
