"""What each input of an image costs: see `bench.inputs.ours`."""
