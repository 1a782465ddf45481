"""What `npm run bench:chip` asks of the device that jax finds: see `bench/chip.mjs`."""
