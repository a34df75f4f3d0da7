"""What operator and trainer share: the resource, the plan, the store, and the unlearning engine.

Two halves live here. The first (api, plan, seeds, storage, results, statistics, report, registry,
catalogue) never imports torch, so that the operator can use it. The second (data, models,
scenarios, methods, metrics, engine) computes.
"""
