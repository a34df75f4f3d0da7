"""Files that `make generate` writes: the CRD, the catalogue, dashboards and tables of pages."""
