"""Results of supreme-unlearning, the package of arXiv:2606.00380, as summaries of ours."""
