"""The training loop: steps, gradients, precision, BatchNorm, checkpoints, and who goes along."""
