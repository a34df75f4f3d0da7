"""The engine: ranks, reduction, the training loop, prediction. The only code that needs torch.

ranks        processes that compute one stage together
images       samples on a device
networks     what is trained: how it is built, its weights and modes
evaluation   what a model predicts, and what that took
training     the one training loop and its parts
toolbox      what methods and probes are given
"""
