"""Times the model on a card, and diffusers on the same card and weights: see `bench.card.ours`."""
