"""What a model predicts, what that took, and what it was computed on."""
