"""Benchmarks as commands: a suite fits its variants on its data for several seeds, one process per fit, resumable.

`suite` says what is compared, `suite_file` and `entries` read it from one TOML file (those that are shipped are in
`suites`), `data`, `truth_data` and `propensity` make training and test rows, `measures` scores a model, `fit` is the process
of one fit, `runner` runs what is not there yet, `compare` has the statistics of comparisons and `summary` the tables.
`reproductions` tries published numbers again, `literature` holds those that only stand beside ours. The leaderboard is
:mod:`uplift.reporting.leaderboard`.
"""
