"""A model's folder: fetched, recognised, read, and its weights put on the devices."""
