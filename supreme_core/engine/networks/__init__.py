"""Networks: how one is described and built, its weights, its modes and its layers."""
