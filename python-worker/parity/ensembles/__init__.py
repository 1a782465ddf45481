"""Images that a refiner finishes, beside diffusers' two pipelines."""
