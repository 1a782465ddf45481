"""Images with LoRAs, nets and IP-Adapters together, of three kinds of model."""
