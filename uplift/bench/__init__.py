"""Benchmarks as commands: a suite fits its variants on its data for several seeds, one process per fit, resumable.

`suite` says what is compared, `data` draws campaigns, `measures` scores a model, `fit` is the process of one fit,
`runner` runs what is not there yet and `summary` makes the tables. A new suite is a module like `ecup_ablation`.
"""
