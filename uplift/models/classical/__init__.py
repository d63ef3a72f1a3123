"""Classical models: learners of one outcome, lifted to all arms and stages by one adapter.

`adapter` loops over stages and arms and assembles the effects; `boosting` trains LightGBM; `flat_forest` keeps and
predicts forests without pickle. The models themselves are in `lightgbm_models`, `sklift_models`, `causalml_meta`,
`causalml_residual`, `causalml_forest` and `references`; the registry imports them when asked for.
"""
