"""The engine: ranks, reduction, the training loop, prediction. The only code that needs torch."""
