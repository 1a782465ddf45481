"""Pictures of coloured shapes: what they show, what they are called, how they are drawn.

Shared by the demo model's trainer and its scorer. Needs numpy only.
"""
