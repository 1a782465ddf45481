"""Images that follow pictures by ControlNets and T2I-Adapters, beside diffusers."""
