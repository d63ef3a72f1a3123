"""What every neural model of the package shares: fields, chain loss, value heads and the training engine.

`rows` and `sources` hold the data, `embeddings` and `layers` are building blocks, `loss` and `value` the objective,
`engine` trains (with `averaging`, `selection`, `schedule`, `checkpoint`, `distributed`), `network` is what a network
must offer and `model` the interface to the rest of the package.
"""
